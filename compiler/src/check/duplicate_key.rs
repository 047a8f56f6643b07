//! W005: a key stands once in a map.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
};

pub(crate) static RULE: Rule = Rule {
    code: "W005",
    severity: Severity::Error,
    title: "a key is written twice in one map",
    explanation: "\
YAML leaves it open which of two equal keys counts, and parsers differ: one of the two would silently be lost. Keep one,
or give the second a name of its own.

  wrong   stages: {score: {run: ./score}, score: {run: ./count}}
  right   stages: {score: {run: ./score}, count: {run: ./count}}",
};

pub(crate) fn twice(key: &str, place: Place, first: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("`{key}` is written twice"))
        .label("again here")
        .also(first, "first here")
        .help("remove one of the two, or rename it")
}
