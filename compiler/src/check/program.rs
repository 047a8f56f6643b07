//! W033: programs are there (`check --local`).

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    topology::Stage,
};

pub(crate) static RULE: Rule = Rule {
    code: "W033",
    severity: Severity::Error,
    title: "a program that isn't found or can't be run",
    explanation: "\
`check --local` looks on this machine for what each stage runs. A program whose name has no slash is looked for in `PATH`;
one with a slash from the namespace's root, for a local namespace the directory of the topology file. It must be a file
that may be executed: build it, mend the path, or `chmod +x` it.

  wrong   stages: {score: {run: bin/scor}}            # there is only bin/score
  right   stages: {score: {run: bin/score}}",
};

/// Says that a stage's program can't be run, and why.
pub fn missing(name: &str, stage: &Stage, why: &str, help: &str) -> Diagnostic {
    let program = stage.run.value.first().map(String::as_str).unwrap_or_default();
    Diagnostic::new(&RULE, stage.run.place, format!("the program of stage `{name}` can't be run: `{program}` {why}"))
        .label(why)
        .help(help)
}
