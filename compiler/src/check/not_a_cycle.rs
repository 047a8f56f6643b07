//! W022: a declared loop is a cycle.

use super::{Rule, Whole};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W022",
    severity: Severity::Error,
    title: "a declared loop that isn't a cycle",
    explanation: "\
A loop lists all flows of its cycle, in order: some stage receives the first and sends the second, and so on, and some
stage receives the last and sends the first. A loop of one flow needs a stage that both receives and sends it.",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, declared) in &whole.topology.loops {
        for (index, flow) in declared.flows.iter().enumerate() {
            let next = &declared.flows[(index + 1) % declared.flows.len()];
            let joined = whole.topology.stages.iter().any(|(stage, declared)| {
                declared.receives(&flow.value)
                    && declared.sends(&next.value)
                    && whole.placement.servers_of(stage).next().is_some()
            });
            if !joined {
                diagnostics.push(
                    Diagnostic::new(
                        &RULE,
                        flow.place,
                        format!(
                            "loop `{name}` isn't a cycle: no stage receives `{}` and sends `{}`",
                            flow.value, next.value
                        ),
                    )
                    .label("the cycle ends here")
                    .also(declared.place, "declared as a loop")
                    .help("list all flows of the cycle in order, or remove the loop"),
                );
                break;
            }
        }
    }
}
