//! W009: durations, sizes, numbers and words that a field can't take.

use super::{Rule, listed};
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
    suggestion,
};

pub(crate) static RULE: Rule = Rule {
    code: "W009",
    severity: Severity::Error,
    title: "a value that can't be used",
    explanation: "\
Durations are a whole number and a unit: `250ms`, `5s`, `2m`, `1h`. Sizes: `512KiB`, `64MiB`, `2GB`, or a number of bytes.
Signals: `TERM` or `SIGTERM`. Weights are decimals of at least 0. `instances`, `queue` and `passes` are at least 1. Some
fields take one of a few words; the message lists them.

  wrong   stages: {score: {run: ./score, stop: {grace: 5}, limits: {memory: 2G}}}
  right   stages: {score: {run: ./score, stop: {grace: 5s}, limits: {memory: 2GiB}}}",
};

pub(crate) fn literal(what: &str, text: &str, place: Place, expected: &str) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("{what} can't be `{text}`"))
        .label("can't be used")
        .help(format!("write {expected}"))
}

/// The same where one can guess what was meant.
pub(crate) fn near(what: &str, text: &str, place: Place, expected: &str, meant: &str) -> Diagnostic {
    literal(what, text, place, expected).help(format!("did you mean `{meant}`? Write {expected}"))
}

pub(crate) fn choice(what: &str, text: &str, place: Place, words: &[&str]) -> Diagnostic {
    let help = match suggestion::similar(text, words.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if words.len() == 1 => format!("the only choice is {}", listed(words)),
        None => format!("choose one of {}", listed(words)),
    };
    literal(what, text, place, "").help(help)
}
