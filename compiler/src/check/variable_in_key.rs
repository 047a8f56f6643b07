//! W043: variables stand in values only.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
};

pub(crate) static RULE: Rule = Rule {
    code: "W043",
    severity: Severity::Error,
    title: "a variable in a key",
    explanation: "\
`${NAME}` is filled in from the environment in values, never in keys: names of stages, flows and servers are what everything else refers to, and must be
the same wherever the topology is compiled. Write the name out. Where the text `${` itself is meant, write `$${`.

  wrong   stages: {\"score-${ZONE}\": {run: ./score}}
  right   stages: {score: {run: \"./score ${ZONE}\"}}",
};

pub(crate) fn key(key: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("the key `{key}` has a variable in it"))
        .label("keys are taken as written")
        .help("write the name out; for the text `${` itself write `$${`")
}
