//! W040: a stage that speaks `lines` inside a loop.

use super::{Rule, Whole};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    plan::Speaks,
};

pub(crate) static RULE: Rule = Rule {
    code: "W040",
    severity: Severity::Warning,
    title: "a stage that speaks `lines` in a loop",
    explanation: "\
A program that speaks `lines` doesn't say when it is done with a record: that is judged by quiet time, and what comes out
isn't tied to what went in. Around a loop its records start counting passes anew, and idleness is a guess. Use `ack` or
the SDK for stages in loops.

  warned  links: {run: ./links, in: [page], out: [link], speaks: lines}
  right   links: {run: ./links, in: [page], out: [link], speaks: ack}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, declared) in &whole.topology.loops {
        let carries = |flow: &str| declared.flows.iter().any(|carried| carried.value == flow);
        for (stage, declared) in &whole.topology.stages {
            if declared.speaks.value == Speaks::Lines
                && declared.inputs.iter().any(|input| carries(&input.flow.value))
                && declared.outputs.iter().any(|output| carries(&output.value))
            {
                diagnostics.push(
                    Diagnostic::new(
                        &RULE,
                        declared.speaks.place,
                        format!("stage `{stage}` speaks `lines` in loop `{name}`"),
                    )
                    .label("it doesn't say when it is done with a record")
                    .help("let it speak `ack`, or use the SDK"),
                );
            }
        }
    }
}
