//! W013: somebody sends every flow.

use super::{Rule, Whole};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W013",
    severity: Severity::Error,
    title: "a flow that nobody sends",
    explanation: "\
Every flow has a producer: a stage that names it in `out`, or clients (`from: clients`). A flow without one carries
nothing, and the stages that wait for it wait for ever; most often its name is missing from a stage's `out`.

  wrong   flows: {call: {guide: hash}}                  # only clients send it
  right   flows: {call: {guide: hash, from: clients}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, flow) in &whole.topology.flows {
        if flow.from_clients.is_none() && whole.topology.producers(name).next().is_none() {
            let mut help = format!("add `{name}` to the `out` of the stage that sends it");
            if flow.is_keyed() {
                help.push_str(", or `from: clients` to the flow");
            }
            diagnostics.push(
                Diagnostic::new(&RULE, flow.place, format!("flow `{name}` has no producer"))
                    .label("no stage sends it")
                    .help(help),
            );
        }
    }
}
