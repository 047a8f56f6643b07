//! W016: records can reach every stage.

use std::collections::BTreeSet;

use super::{Rule, Whole, listed};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    topology::Stage,
};

pub(crate) static RULE: Rule = Rule {
    code: "W016",
    severity: Severity::Error,
    title: "a stage that no record can reach",
    explanation: "\
Records come from sources (stages without `in`) and from clients (`from: clients`). A stage that can't be reached from
any of them never receives anything: usually a group of stages that only feed each other, without a way in.

  wrong   flows: {page: {guide: hash}}                  # only the stages that receive it send it
  right   flows: {page: {guide: hash, from: clients}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let topology = whole.topology;
    let sources = topology.stages.iter().filter(|(_, stage)| stage.is_source()).map(|(name, _)| name.as_str());
    let from_clients = topology.flows.iter().filter(|(_, flow)| flow.from_clients.is_some());
    let fed = from_clients.flat_map(|(flow, _)| topology.consumers(flow)).map(|(name, _)| name.as_str());
    let reached = whole.graph.reached_from(sources.chain(fed));
    let is_reached = |stage: &str| reached.contains(stage);
    // A flow without a producer is another rule's.
    let waits = |stage: &Stage| stage.inputs.iter().all(|input| topology.producers(&input.flow.value).next().is_some());
    let unreached = topology.stages.iter().filter(|(name, stage)| !is_reached(name) && waits(stage));
    for group in whole.graph.groups(&unreached.map(|(name, _)| name.as_str()).collect()) {
        let mut stages = group.iter().filter_map(|name| topology.stages.get(*name));
        let Some(first) = stages.next() else { continue };
        let flows: BTreeSet<&str> = first.inputs.iter().map(|input| input.flow.value.as_str()).collect();
        let (kind, feeds) = match group.len() {
            1 => ("stage", "it, or add `from: clients` to one of its keyed flows"),
            _ => ("stages", "one of them, or add `from: clients` to one of their keyed flows"),
        };
        let mut diagnostic =
            Diagnostic::new(&RULE, first.place, format!("no record can reach {kind} {}", listed(&group)))
                .label(format!("receives only {}, which no source or client feeds", listed(flows)));
        for other in stages {
            diagnostic = diagnostic.also(other.place, "waits for the same records");
        }
        diagnostics.push(diagnostic.help(format!("let a source (a stage without `in`) send to {feeds}")));
    }
}
