//! W009: durations, sizes, numbers and words that can't be read.

use super::{Rule, listed};
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
    suggestion,
};

pub(crate) static RULE: Rule = Rule {
    code: "W009",
    severity: Severity::Error,
    title: "a value that can't be read",
    explanation: "\
Durations are a whole number and a unit: `250ms`, `5s`, `2m`, `1h`. Sizes: `512KiB`, `64MiB`, `2GB`, or a number of bytes.
Signals: `TERM` or `SIGTERM`. Weights are decimals of at least 0. `instances`, `queue` and `passes` are at least 1. Some
fields take one of a few words; the message lists them.",
};

pub(crate) fn literal(what: &str, text: &str, place: Place, expected: &str) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("{what} can't be `{text}`"))
        .label("can't be read")
        .help(format!("write {expected}"))
}

pub(crate) fn choice(what: &str, text: &str, place: Place, words: &[&str]) -> Diagnostic {
    let help = match suggestion::similar(text, words.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if words.len() == 1 => format!("the only choice is {}", listed(words)),
        None => format!("choose one of {}", listed(words)),
    };
    literal(what, text, place, "").help(help)
}
