//! W036: a label that nobody uses.

use super::{Rule, Whole};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W036",
    severity: Severity::Warning,
    title: "a label that no stage uses",
    explanation: "\
Labels exist for a stage's `on`. One that no stage names has no effect; perhaps a stage lost its `on`, or the label is
spelt differently there.

  warned  servers: {s1: {address: 10.0.0.1, labels: [wroker]}}    # stages have `on: [worker]`
  right   servers: {s1: {address: 10.0.0.1, labels: [worker]}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let topology = whole.topology;
    let used = |label: &str| {
        let mut on = topology.stages.values().filter_map(|stage| stage.on.as_ref()).flat_map(|on| &on.value);
        on.any(|name| name.value == label)
    };
    let mut said = std::collections::BTreeSet::new();
    for label in topology.servers.values().flat_map(|server| &server.labels) {
        if !used(&label.value) && said.insert(&label.value) {
            diagnostics.push(
                Diagnostic::new(&RULE, label.place, format!("no stage uses label `{}`", label.value))
                    .label("unused")
                    .help("use it in a stage's `on`, or remove it"),
            );
        }
    }
}
