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
    let mut components: Vec<Vec<Edge<'t>>> = tarjan_scc(&graph)
        .into_iter()
        .map(|component| {
            let stages: BTreeSet<_> = component.into_iter().map(|node| graph[node]).collect();
            edges.iter().filter(|edge| stages.contains(edge.from) && stages.contains(edge.to)).copied().collect()
        })
        .filter(|edges: &Vec<Edge<'t>>| !edges.is_empty())
        .collect();
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
    let mut text = cycle.first().map(|edge| edge.from.to_owned()).unwrap_or_default();
    for edge in cycle {
        text.push_str(&format!(" --{}--> {}", edge.flow, edge.to));
    }
    text
}

/// The stages in an order in which each comes after those that it receives from. Within a cycle, what it sends on the
/// first flow of a loop goes back and doesn't count.
pub fn order<'t>(topology: &'t Topology, edges: &[Edge<'t>]) -> Vec<&'t str> {
    let counted = counted_flows(topology);
    let on_cycles: BTreeSet<Edge<'_>> = components(edges).into_iter().flatten().collect();
    let goes_back = |edge: &&Edge<'t>| counted.contains(edge.flow) && on_cycles.contains(*edge);
    let mut missing: BTreeMap<&str, BTreeSet<&str>> =
        topology.stages.keys().map(|stage| (stage.as_str(), BTreeSet::new())).collect();
    for edge in edges.iter().filter(|edge| !goes_back(edge) && edge.from != edge.to) {
        missing.entry(edge.to).or_default().insert(edge.from);
    }
    let mut ordered = Vec::with_capacity(missing.len());
    while !missing.is_empty() {
        let ready = missing.iter().find(|(_, before)| before.is_empty()).map(|(stage, _)| *stage);
        // Without a cycle one is always ready; with one, checked elsewhere, the first by name is as good as any.
        let Some(stage) = ready.or_else(|| missing.keys().next().copied()) else { break };
        missing.remove(stage);
        missing.values_mut().for_each(|before| {
            before.remove(stage);
        });
        ordered.push(stage);
    }
    ordered
}

/// The flows whose sending counts a pass of some loop: taken away, no cycle remains.
pub fn counted_flows(topology: &Topology) -> BTreeSet<&str> {
    topology.loops.values().filter_map(|declared| declared.flows.first()).map(|flow| flow.value.as_str()).collect()
}
