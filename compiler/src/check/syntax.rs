//! W001: a topology is a YAML file.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
};

pub(crate) static RULE: Rule = Rule {
    code: "W001",
    severity: Severity::Error,
    title: "the file can't be read as YAML",
    explanation: "\
A topology is one YAML document. The parser stopped at the place shown; what follows it wasn't looked at, so other
mistakes may come to light once this one is mended. Common causes: a tab used for indentation, a bracket or quote that
isn't closed, `key:value` without the space, two documents (`---`) in one file.",
};

pub(crate) fn empty(place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, "the file is empty").help(
        "the smallest topology has a name and a stage: `topology: hello` and `stages: {greet: {run: echo hello}}`",
    )
}

pub(crate) fn unreadable(words: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("this isn't YAML: {words}"))
        .label("reading stopped here")
        .help("mend the YAML here or just before; `waldo explain W001` lists common causes")
}
