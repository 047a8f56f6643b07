//! W016: records can reach every stage.

use super::{Rule, Whole, listed};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W016",
    severity: Severity::Error,
    title: "a stage that no record can reach",
    explanation: "\
Records come from sources (stages without `in`) and from clients (`from: clients`). A stage that can't be reached from
any of them never receives anything: usually a group of stages that only feed each other, without a way in.",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let topology = whole.topology;
    let sources = topology.stages.iter().filter(|(_, stage)| stage.is_source()).map(|(name, _)| name.as_str());
    let from_clients = topology.flows.iter().filter(|(_, flow)| flow.from_clients.is_some());
    let fed = from_clients.flat_map(|(flow, _)| topology.consumers(flow)).map(|(name, _)| name.as_str());
    let reached = whole.graph.reached_from(sources.chain(fed));
    for (name, stage) in &topology.stages {
        // A flow without a producer is another rule's.
        let flows: Vec<_> = stage.inputs.iter().map(|input| input.flow.value.as_str()).collect();
        let has_producers = flows.iter().all(|flow| topology.producers(flow).next().is_some());
        if !reached.contains(name.as_str()) && has_producers {
            diagnostics.push(
                Diagnostic::new(&RULE, stage.place, format!("no record can reach stage `{name}`"))
                    .label(format!("receives only {}, which no source or client feeds", listed(flows)))
                    .help("add a source (a stage without `in`) that sends to it, or `from: clients` to a keyed flow"),
            );
        }
    }
}
