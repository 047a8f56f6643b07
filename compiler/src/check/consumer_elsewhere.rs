//! W015: an unkeyed flow has a consumer wherever it has a producer.

use super::{Rule, Whole, listed};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W015",
    severity: Severity::Error,
    title: "a flow that doesn't cross servers has no consumer where it is sent",
    explanation: "\
A flow without a `guide` (an unkeyed one) stays inside its server, so on every server that runs a producer of it a consumer must run too. Place the
consumer there (`on`), or give the flow a `guide`: then it crosses servers, through portals.

  wrong   flows: {hit: {}}             # parse, which sends it, runs everywhere; store on s1 alone
  right   flows: {hit: {guide: hash}}  # now it crosses servers",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, _) in whole.topology.flows.iter().filter(|(_, flow)| !flow.is_keyed()) {
        let consumers: Vec<_> = whole.topology.consumers(name).map(|(consumer, _)| consumer).collect();
        if consumers.is_empty() {
            continue;
        }
        for (producer, stage) in whole.topology.producers(name) {
            let without: Vec<_> = whole
                .placement
                .servers_of(producer)
                .filter(|server| !consumers.iter().any(|consumer| whole.placement.runs(consumer, server)))
                .collect();
            let Some(output) = stage.outputs.iter().find(|output| output.value == *name) else { continue };
            if without.is_empty() {
                continue;
            }
            let servers = listed(without);
            let mut diagnostic = Diagnostic::new(
                &RULE,
                output.place,
                format!("stage `{producer}` sends flow `{name}` on {servers}, where nothing receives it"),
            )
            .label(format!("no consumer on {servers}"));
            for consumer in &consumers {
                if let Some(stage) = whole.topology.stages.get(*consumer) {
                    let place = stage.on.as_ref().map_or(stage.place, |on| on.place);
                    diagnostic = diagnostic.also(place, format!("`{consumer}` runs elsewhere"));
                }
            }
            diagnostics.push(diagnostic.note("a flow without a `guide` stays on its server").help(format!(
                "place {} on {servers} too, or give flow `{name}` a `guide` so that it crosses servers",
                listed(&consumers)
            )));
        }
    }
}
