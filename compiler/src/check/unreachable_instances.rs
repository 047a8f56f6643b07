//! W034: instances that no record can reach.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Whole, listed};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    guide::owners,
};

pub(crate) static RULE: Rule = Rule {
    code: "W034",
    severity: Severity::Warning,
    title: "instances that no record can reach",
    explanation: "\
A stage runs on a server where none of the flows that it receives can arrive: the guide gives that server no keys (its
weight is 0, it doesn't run all consumers, a table or ranges don't name it), and no producer of an unkeyed one runs
there. Its processes would only wait. Place the stage with `on` where its records are.

  warned  flows: {call: {guide: {table: {}, default: s1}}}    stages: {parse: {in: [call], ...}}
  right   flows: {call: {guide: hash}}                        stages: {parse: {in: [call], ...}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let keyed = whole.topology.flows.keys().filter(|flow| whole.is_keyed(flow));
    let owners: BTreeMap<&str, BTreeSet<&str>> =
        keyed.map(|flow| (flow.as_str(), owners::of(whole.topology, &whole.placement, flow))).collect();
    for (name, stage) in whole.topology.stages.iter().filter(|(_, stage)| !stage.is_source()) {
        let arrives = |flow: &str, server: &str| match owners.get(flow) {
            Some(owners) => owners.contains(server),
            None => whole.topology.producers(flow).any(|(producer, _)| whole.placement.runs(producer, server)),
        };
        let unreached: Vec<_> = whole
            .placement
            .servers_of(name)
            .filter(|server| !stage.inputs.iter().any(|input| arrives(&input.flow.value, server)))
            .collect();
        if !unreached.is_empty() {
            let servers = listed(unreached);
            let keyed = stage.inputs.iter().any(|input| whole.is_keyed(&input.flow.value));
            let mend = match stage.inputs.first() {
                Some(input) if !keyed => {
                    format!("give flow `{}` a `guide` so that it crosses servers", input.flow.value)
                }
                _ => format!("let a guide give keys to {servers}"),
            };
            diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    stage.on.as_ref().map_or(stage.place, |on| on.place),
                    format!("no record can reach stage `{name}` on {servers}"),
                )
                .label("none of its flows arrives there")
                .help(format!("name only other servers in its `on`, or {mend}")),
            );
        }
    }
}
