//! W047: `alive` looks at stages whose progress can be seen.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    plan::Speaks,
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W047",
    severity: Severity::Error,
    title: "`alive` on a stage whose progress can't be seen",
    explanation: "\
`alive` notices a process that makes no progress for too long: one over the SDK that doesn't ask for its next record, one that speaks `ack`
and doesn't answer. Of a program that speaks `lines` nobody can tell whether it hangs, or has nothing to say: it is never asked. Leave `alive` out, or
let the program speak `ack`.

  wrong   grep: {run: grep x, speaks: lines, alive: {within: 30s}, in: [a], out: [b]}
  right   grep: {run: grep x, speaks: lines, in: [a], out: [b]}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    for (name, stage) in &topology.stages {
        if let (Some(alive), Speaks::Lines) = (&stage.alive, stage.speaks.value) {
            diagnostics.push(
                Diagnostic::new(&RULE, alive.place, format!("nobody can tell whether stage `{name}` makes progress"))
                    .label("watches for progress")
                    .also(stage.speaks.place, "a filter may be silent for good reasons")
                    .help("leave `alive` out, or let the program speak `ack`"),
            );
        }
    }
}
