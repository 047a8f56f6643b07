//! Who sends to whom: the graph of stages and flows, and its cycles.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::{algo::tarjan_scc, graph::DiGraph};

use crate::{place::Placement, topology::Topology};

/// A flow from one stage to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge<'t> {
    /// The stage that sends.
    pub from: &'t str,
    /// What it sends.
    pub flow: &'t str,
    /// The stage that receives.
    pub to: &'t str,
}

/// All edges: keyed flows from every producer to every consumer, unkeyed ones where a server runs both.
pub fn edges<'t>(topology: &'t Topology, placement: &Placement) -> Vec<Edge<'t>> {
    let mut edges = Vec::new();
    for (flow, declared) in &topology.flows {
        for (from, _) in topology.producers(flow) {
            for (to, _) in topology.consumers(flow) {
                let meet = declared.is_keyed() || placement.servers_of(from).any(|server| placement.runs(to, server));
                if meet {
                    edges.push(Edge { from, flow, to });
                }
            }
        }
    }
    edges
}

/// One shortest cycle for each group of edges that lie on cycles; none if there is no cycle.
pub fn cycles<'t>(edges: &[Edge<'t>]) -> Vec<Vec<Edge<'t>>> {
    components(edges).iter().filter_map(|component| shortest_cycle(component)).collect()
}

/// The groups of edges within which every stage reaches every other.
pub fn components<'t>(edges: &[Edge<'t>]) -> Vec<Vec<Edge<'t>>> {
    let mut graph: DiGraph<&str, ()> = DiGraph::new();
    let mut nodes = BTreeMap::new();
    for edge in edges {
        let from = *nodes.entry(edge.from).or_insert_with(|| graph.add_node(edge.from));
        let to = *nodes.entry(edge.to).or_insert_with(|| graph.add_node(edge.to));
        graph.add_edge(from, to, ());
    }
    let mut component_of = BTreeMap::new();
    for (number, component) in tarjan_scc(&graph).into_iter().enumerate() {
        component_of.extend(component.into_iter().map(|node| (graph[node], number)));
    }
    let mut components: BTreeMap<usize, Vec<Edge<'t>>> = BTreeMap::new();
    for edge in edges {
        if component_of.get(edge.from) == component_of.get(edge.to) {
            components.entry(component_of[edge.from]).or_default().push(*edge);
        }
    }
    let mut components: Vec<_> = components.into_values().collect();
    components.sort();
    components
}

fn shortest_cycle<'t>(edges: &[Edge<'t>]) -> Option<Vec<Edge<'t>>> {
    let mut outgoing: BTreeMap<&str, Vec<Edge<'t>>> = BTreeMap::new();
    for edge in edges {
        outgoing.entry(edge.from).or_default().push(*edge);
    }
    outgoing.keys().filter_map(|start| cycle_through(start, &outgoing)).min_by_key(Vec::len)
}

fn cycle_through<'t>(start: &str, outgoing: &BTreeMap<&str, Vec<Edge<'t>>>) -> Option<Vec<Edge<'t>>> {
    let mut reached_by: BTreeMap<&str, Edge<'t>> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(stage) = queue.pop_front() {
        for edge in outgoing.get(stage).into_iter().flatten() {
            if edge.to == start {
                let mut cycle = vec![*edge];
                let mut at = edge.from;
                while at != start {
                    let edge = reached_by.get(at)?;
                    cycle.push(*edge);
                    at = edge.from;
                }
                cycle.reverse();
                return Some(cycle);
            }
            if !reached_by.contains_key(edge.to) {
                reached_by.insert(edge.to, *edge);
                queue.push_back(edge.to);
            }
        }
    }
    None
}

/// A cycle in words: `score --suspect--> score`.
pub fn path(cycle: &[Edge<'_>]) -> String {
    let start = cycle.first().map(|edge| edge.from).unwrap_or_default();
    let steps = cycle.iter().map(|edge| format!(" --{}--> {}", edge.flow, edge.to));
    std::iter::once(start.to_owned()).chain(steps).collect()
}

/// The stages in an order in which each comes after those that it receives from. Within a cycle, what it sends on the
/// first flow of a loop goes back and doesn't count.
pub fn order<'t>(topology: &'t Topology, edges: &[Edge<'t>]) -> Vec<&'t str> {
    let counted = counted_flows(topology);
    let on_cycles: BTreeSet<Edge<'_>> = components(edges).into_iter().flatten().collect();
    let goes_back = |edge: &&Edge<'t>| counted.contains(edge.flow) && on_cycles.contains(*edge);
    let mut before: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut after: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| !goes_back(edge) && edge.from != edge.to) {
        before.entry(edge.to).or_default().insert(edge.from);
        after.entry(edge.from).or_default().insert(edge.to);
    }
    let mut waiting: BTreeSet<&str> = topology.stages.keys().map(String::as_str).collect();
    let mut ready: BTreeSet<&str> = waiting.iter().filter(|stage| !before.contains_key(*stage)).copied().collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    // Without a cycle one is always ready; with one, checked elsewhere, the first by name is as good as any.
    while let Some(stage) = ready.pop_first().or_else(|| waiting.first().copied()) {
        waiting.remove(stage);
        ordered.push(stage);
        for next in after.get(stage).into_iter().flatten().filter(|next| waiting.contains(*next)) {
            let missing = before.entry(next).or_default();
            missing.remove(stage);
            if missing.is_empty() {
                ready.insert(next);
            }
        }
    }
    ordered
}

/// The flows whose sending counts a pass of some loop: taken away, no cycle remains.
pub fn counted_flows(topology: &Topology) -> BTreeSet<&str> {
    topology.loops.values().filter_map(|declared| declared.flows.first()).map(|flow| flow.value.as_str()).collect()
}
