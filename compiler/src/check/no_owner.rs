//! W020: the keys of every keyed flow have a server.

use super::{Rule, Whole, listed};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    guide::owners,
    topology::{Guide, TableDefault},
};

pub(crate) static RULE: Rule = Rule {
    code: "W020",
    severity: Severity::Error,
    title: "a keyed flow whose keys no server can own",
    explanation: "\
The guide of a keyed flow ranges over the servers that run all its consumers, aren't drained and have a weight above 0.
With none left its records have nowhere to go. Place the consumers on a common server, remove `state: drained`
from a server, or give one a weight.

  wrong   stages: {parse: {in: [call], \"on\": [s1], ...}, count: {in: [call], \"on\": [s2], ...}}
  right   stages: {parse: {in: [call], \"on\": [s1], ...}, count: {in: [call], \"on\": [s1], ...}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, flow) in &whole.topology.flows {
        let Some(guide) = &flow.guide else { continue };
        let consumers: Vec<_> = whole.topology.consumers(name).map(|(consumer, _)| consumer).collect();
        // Servers that the guide names are looked at one by one.
        let by_slots = match &guide.value {
            Guide::Hash => true,
            Guide::Ranges(_) => false,
            Guide::Table { default, .. } => default.as_ref().is_some_and(|default| default.value == TableDefault::Hash),
        };
        // A consumer that runs nowhere is another rule's.
        let is_nowhere = |stage: &&String| whole.placement.servers_of(stage).next().is_none();
        if !by_slots
            || consumers.is_empty()
            || consumers.iter().any(is_nowhere)
            || !owners::able(whole.topology, &whole.placement, name).is_empty()
        {
            continue;
        }
        let runs_all = |server: &&String| consumers.iter().all(|consumer| whole.placement.runs(consumer, server));
        let candidates: Vec<_> = whole.topology.servers.keys().filter(runs_all).collect();
        let (label, help) = if candidates.is_empty() {
            let names = listed(&consumers);
            (
                format!("no server in action runs {}{names}", if consumers.len() > 1 { "all of " } else { "" }),
                format!("place {names} on a common server that isn't drained"),
            )
        } else {
            let names = listed(&candidates);
            let one_of = if candidates.len() > 1 { "one of " } else { "" };
            (format!("weight 0 on {names}"), format!("give {one_of}{names} a `weight` above 0"))
        };
        diagnostics.push(
            Diagnostic::new(&RULE, guide.place, format!("no server can own the keys of flow `{name}`"))
                .label(label)
                .help(help),
        );
    }
}
