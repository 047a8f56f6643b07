//! W002: fields that the language doesn't have are errors.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
    suggestion,
};

pub(crate) static RULE: Rule = Rule {
    code: "W002",
    severity: Severity::Error,
    title: "unknown field",
    explanation: "\
A field that waldo doesn't know is never ignored: it is a slip of the pen, or is meant for another version, and a
topology that runs without what it asks for is worse than one that doesn't run. At the top of a file, keys that start
with `x-` are free: for anchors, notes, or other tools.",
};

pub(crate) fn field(key: &str, place: Place, owner: &str, known: &[&str]) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("{owner} has no field `{key}`"))
        .label("unknown field")
        .help(suggestion::help(key, known.iter().copied(), "its fields"))
}
