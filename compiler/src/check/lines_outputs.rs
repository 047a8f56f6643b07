//! W031: a stage that speaks `lines` has at most one output, and no key to state.

use waldo_sdk::wiring::KeyRule;

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    plan::Speaks,
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W031",
    severity: Severity::Error,
    title: "outputs that a stage which speaks `lines` can't have",
    explanation: "\
A program that speaks `lines` writes payload lines and nothing else: it can't say which flow a line belongs to, nor what
its key is. So it has at most one output flow, and if that is keyed, its key must be found in the payload (`{json: ...}`,
`{column: ...}` or `{bytes: ...}`), not stated by the sender. A program that speaks `ack` can say both.

  wrong   stages: {match: {run: grep x, in: [line], out: [hit, miss], speaks: lines}}
  right   stages: {match: {run: grep x, in: [line], out: [hit], speaks: lines}}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    for (name, stage) in topology.stages.iter().filter(|(_, stage)| stage.speaks.value == Speaks::Lines) {
        if let Some(second) = stage.outputs.get(1) {
            diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    second.place,
                    format!("stage `{name}` speaks `lines` and has {} outputs", stage.outputs.len()),
                )
                .label("a line can't say which flow it belongs to")
                .also(stage.speaks.place, "speaks `lines`")
                .help("keep one output, or let the program speak `ack`"),
            );
            // Which keys they need is a question of one output only.
            continue;
        }
        for output in &stage.outputs {
            let flow = topology.flows.get(&output.value);
            if flow.is_some_and(|flow| flow.is_keyed() && flow.key_rule() == KeyRule::Sender) {
                diagnostics.push(
                    Diagnostic::new(
                        &RULE,
                        output.place,
                        format!("stage `{name}` speaks `lines`, but the sender states the key of flow `{}`", output.value),
                    )
                    .label("a line has no key")
                    .also(stage.speaks.place, "speaks `lines`")
                    .help(format!(
                        "say where flow `{}` has its key, for example `key: {{column: 1}}`, or let the program speak `ack`",
                        output.value
                    )),
                );
            }
        }
    }
}
