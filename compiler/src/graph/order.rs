//! The order in which stages end: each after those that it receives from.

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, counted_flows};
use crate::topology::Topology;

/// The stages in an order in which each comes after those that it receives from. Within a cycle, what it sends on the
/// first flow of a loop goes back and doesn't count.
pub fn order<'t>(topology: &'t Topology, graph: &Graph<'t>) -> Vec<&'t str> {
    let counted = counted_flows(topology);
    let mut tangle_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, tangle) in graph.tangles().iter().enumerate() {
        tangle_of.extend(tangle.stages.iter().map(|stage| (*stage, number)));
    }
    let tangle_of: Vec<Option<usize>> = graph.stages.iter().map(|stage| tangle_of.get(stage).copied()).collect();
    // A gate opens once all its senders are done; then its receivers wait no longer for it.
    let mut gates = Vec::new();
    for channel in &graph.channels {
        // A stage in several of a channel's roles doesn't wait for itself.
        let mut gate = |senders: Vec<usize>, receivers: Vec<usize>| gates.push((senders, receivers));
        if !counted.contains(channel.flow) {
            gate(channel.senders.clone(), channel.receivers.clone());
            continue;
        }
        let tangles: BTreeSet<usize> = channel.receivers.iter().filter_map(|stage| tangle_of[*stage]).collect();
        for tangle in tangles {
            let outside = channel.senders.iter().filter(|stage| tangle_of[**stage] != Some(tangle)).copied().collect();
            let inside = channel.receivers.iter().filter(|stage| tangle_of[**stage] == Some(tangle)).copied().collect();
            gate(outside, inside);
        }
        let free = channel.receivers.iter().filter(|stage| tangle_of[**stage].is_none()).copied().collect();
        gate(channel.senders.clone(), free);
    }
    sorted(&graph.stages, &gates).into_iter().map(|stage| graph.stages[stage]).collect()
}

/// Stages by name as far as the gates let them.
fn sorted(stages: &[&str], gates: &[(Vec<usize>, Vec<usize>)]) -> Vec<usize> {
    let mut missing: Vec<usize> = gates.iter().map(|(senders, _)| senders.len()).collect();
    let mut shut = vec![0; stages.len()];
    let mut gates_of = vec![Vec::new(); stages.len()];
    for (gate, (senders, receivers)) in gates.iter().enumerate() {
        for sender in senders {
            gates_of[*sender].push(gate);
        }
        if !senders.is_empty() {
            for receiver in receivers {
                shut[*receiver] += 1;
            }
        }
    }
    let mut waiting: BTreeSet<usize> = (0..stages.len()).collect();
    let mut ready: BTreeSet<usize> = waiting.iter().filter(|stage| shut[**stage] == 0).copied().collect();
    let mut ordered = Vec::with_capacity(stages.len());
    // Without a cycle one is always ready; with one, checked elsewhere, the first by name is as good as any.
    while let Some(stage) = ready.pop_first().or_else(|| waiting.first().copied()) {
        waiting.remove(&stage);
        ordered.push(stage);
        for &gate in &gates_of[stage] {
            missing[gate] -= 1;
            if missing[gate] == 0 {
                for receiver in &gates[gate].1 {
                    shut[*receiver] -= 1;
                    if shut[*receiver] == 0 && waiting.contains(receiver) {
                        ready.insert(*receiver);
                    }
                }
            }
        }
    }
    ordered
}
