//! Which servers can own keys of a flow, and which do.

use std::collections::BTreeSet;

use crate::{
    place::Placement,
    topology::{Guide, TableDefault, Topology},
};

/// The servers that can own keys of a flow: they run all its consumers, aren't drained and have a weight above 0.
pub fn able<'t>(topology: &'t Topology, placement: &Placement, flow: &str) -> Vec<&'t String> {
    let consumers: Vec<_> = topology.consumers(flow).map(|(name, _)| name).collect();
    if consumers.is_empty() {
        return Vec::new();
    }
    topology
        .servers
        .iter()
        .filter(|(server, declared)| declared.weight.0 > 0 && topology.is_active(server))
        .map(|(server, _)| server)
        .filter(|server| consumers.iter().all(|consumer| placement.runs(consumer, server)))
        .collect()
}

/// The servers that own any keys of a flow.
pub fn of<'t>(topology: &'t Topology, placement: &Placement, flow: &str) -> BTreeSet<&'t str> {
    let guide = topology.flows.get(flow).and_then(|flow| flow.guide.as_ref()).map(|guide| &guide.value);
    let able = || able(topology, placement, flow).into_iter().map(String::as_str);
    match guide {
        None => BTreeSet::new(),
        Some(Guide::Hash) => able().collect(),
        Some(Guide::Ranges(ranges)) => ranges.iter().map(|(_, server)| server.value.as_str()).collect(),
        Some(Guide::Table { keys, default }) => {
            let mut owners: BTreeSet<_> = keys.iter().map(|(_, server)| server.value.as_str()).collect();
            match default.as_ref().map(|default| &default.value) {
                Some(TableDefault::Server(server)) => drop(owners.insert(server)),
                Some(TableDefault::Hash) | None => owners.extend(able()),
            }
            owners
        }
    }
}
