//! W019: a guide sends keys only to servers that can own them.

use std::collections::HashSet;

use super::{Rule, Whole, listed};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    guide::owners,
    source::{Located, Place},
    topology::{Guide, TableDefault},
};

pub(crate) static RULE: Rule = Rule {
    code: "W019",
    severity: Severity::Error,
    title: "a guide names a server that can't own the key",
    explanation: "\
A server can own keys of a flow if it runs all the flow's consumers, isn't drained and has a weight above 0. A guide that
names another one would send records to a server where nobody receives them.

  wrong   guide: {table: {vip: s2}, default: s1}          # the consumer has `on: [s1]`
  right   guide: {table: {}, default: s1}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, flow) in &whole.topology.flows {
        if whole.topology.consumers(name).next().is_none() {
            continue;
        }
        let able = owners::able(whole.topology, &whole.placement, name);
        let known: HashSet<&str> = able.iter().map(|server| server.as_str()).collect();
        let mut named = |server: &str, place: Place| {
            if known.contains(server) {
                return;
            }
            let reason = reason(whole, name, server);
            let mut diagnostic = Diagnostic::new(
                &RULE,
                place,
                format!("the guide of flow `{name}` names server `{server}`, which {reason}"),
            )
            .label(format!("`{server}` {reason}"));
            if let Some(declared) = whole.topology.servers.get(server) {
                let why = declared.drained.or(declared.weight_place.filter(|_| declared.weight.0 == 0));
                diagnostic = diagnostic.also(why.unwrap_or(declared.place), "this server");
            }
            let help = if able.is_empty() {
                "no server can own its keys: place all its consumers on one that isn't drained".to_owned()
            } else {
                format!("name a server that can own its keys: {}", listed(&able))
            };
            diagnostics.push(diagnostic.help(help));
        };
        match flow.guide.as_ref().map(|guide| &guide.value) {
            Some(Guide::Ranges(ranges)) => ranges.iter().for_each(|(_, used)| named(&used.value, used.place)),
            Some(Guide::Table { keys, default }) => {
                for (_, used) in keys {
                    named(&used.value, used.place);
                }
                if let Some(Located { value: TableDefault::Server(used), place }) = default {
                    named(used, *place);
                }
            }
            Some(Guide::Hash) | None => {}
        }
    }
}

fn reason(whole: &Whole<'_>, flow: &str, server: &str) -> String {
    if !whole.topology.is_active(server) {
        return "is drained".to_owned();
    }
    let missing: Vec<_> = whole
        .topology
        .consumers(flow)
        .map(|(consumer, _)| consumer)
        .filter(|consumer| !whole.placement.runs(consumer, server))
        .collect();
    if missing.is_empty() { "has weight 0".to_owned() } else { format!("doesn't run its consumer {}", listed(missing)) }
}
