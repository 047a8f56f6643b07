//! W023: every loop is bounded.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
};

pub(crate) static RULE: Rule = Rule {
    code: "W023",
    severity: Severity::Error,
    title: "a loop without `passes`",
    explanation: "\
`passes` says how often a record may go round a loop: a pass is one sending on the loop's first flow. A record that would
go round more often goes to dead letters and is counted. Without it one record could keep the loop busy for ever. Choose
a number above what the data can need.

  wrong   loops: {crawl: {flows: [link, page]}}
  right   loops: {crawl: {flows: [link, page], passes: 16}}",
};

pub(crate) fn missing(owner: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("{owner} has no `passes`"))
        .label("a record could go round for ever")
        .help("say how often a record may go round, for example `passes: 16`")
}
