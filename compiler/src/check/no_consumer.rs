//! W014: somebody receives every flow.

use super::{Rule, Whole};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W014",
    severity: Severity::Error,
    title: "a flow that nobody receives",
    explanation: "\
Every flow has a consumer: a stage that names it in `in`. Records of a flow without one would pile up in front of
nobody. Add it to a stage's `in`, say with `to` where it leaves the topology, or remove the flow and the `out` that names it.

  wrong   stages: {parse: {run: ./parse, in: [call], out: [debug]}}           # nobody reads it
  right   stages: {parse: {run: ./parse, in: [call], out: [debug]},
          keep: {run: ./keep, in: [debug]}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, flow) in &whole.topology.flows {
        if whole.topology.consumers(name).next().is_none() {
            diagnostics.push(
                Diagnostic::new(&RULE, flow.place, format!("flow `{name}` has no consumer"))
                    .label("no stage receives it")
                    .help(format!("add `{name}` to the `in` of the stage that receives it, or remove the flow")),
            );
        }
    }
}
