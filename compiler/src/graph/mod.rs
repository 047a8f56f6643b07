//! Who sends to whom: stages, and the channels between them.
//!
//! A channel is where the records of a flow meet: for a keyed flow there is one, as its portals reach every server; for an
//! unkeyed flow there is one on each server. So a flow that a thousand stages send and receive takes two thousand arcs,
//! not a million.

mod counts;
mod cycle;
mod mend;
mod order;

use std::collections::{BTreeMap, BTreeSet};

pub use counts::Counts;
pub use cycle::{is_closed, path, shortest_through};
pub use mend::{Mend, mend};
pub use order::order;
use petgraph::{algo::kosaraju_scc, graph::DiGraph, unionfind::UnionFind};

use crate::{place::Placement, topology::Topology};

/// A flow, the stages that send it, and those that receive it.
type Ends<'t> = (&'t str, Vec<&'t str>, Vec<&'t str>);

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

/// Stages, and the channels by which they reach each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph<'t> {
    /// By name.
    stages: Vec<&'t str>,
    channels: Vec<Channel<'t>>,
}

/// Where a flow's records meet: whoever sends there reaches all who receive there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Channel<'t> {
    flow: &'t str,
    /// Indexes of stages.
    senders: Vec<usize>,
    receivers: Vec<usize>,
}

impl<'t> Graph<'t> {
    /// The graph of a topology.
    pub fn of(topology: &'t Topology, placement: &Placement) -> Self {
        let mut channels = Vec::new();
        for (flow, declared) in &topology.flows {
            let senders: Vec<&str> = topology.producers(flow).map(|(name, _)| name.as_str()).collect();
            let receivers: Vec<&str> = topology.consumers(flow).map(|(name, _)| name.as_str()).collect();
            if declared.is_keyed() {
                channels.push((flow.as_str(), senders, receivers));
                continue;
            }
            // Servers that run the same of them make the same channel.
            let mut meetings = BTreeSet::new();
            for server in placement.used_servers() {
                let here = |stages: &[&'t str]| -> Vec<&'t str> {
                    stages.iter().filter(|stage| placement.runs(stage, server)).copied().collect()
                };
                meetings.insert((here(&senders), here(&receivers)));
            }
            channels.extend(meetings.into_iter().map(|(senders, receivers)| (flow.as_str(), senders, receivers)));
        }
        Self::new(topology.stages.keys().map(String::as_str), channels)
    }

    /// The part of it that stays within one server: what runs there, and the unkeyed flows.
    pub fn within(topology: &'t Topology, placement: &Placement, server: &str) -> Self {
        let here = |stages: &mut dyn Iterator<Item = &'t String>| -> Vec<&'t str> {
            stages.filter(|stage| placement.runs(stage, server)).map(String::as_str).collect()
        };
        let unkeyed = topology.flows.iter().filter(|(_, flow)| !flow.is_keyed());
        let channels = unkeyed.map(|(flow, _)| {
            let senders = here(&mut topology.producers(flow).map(|(name, _)| name));
            (flow.as_str(), senders, here(&mut topology.consumers(flow).map(|(name, _)| name)))
        });
        Self::new(here(&mut topology.stages.keys()), channels)
    }

    /// A graph of stages and of channels: flow, senders, receivers. Stages that aren't among the former are passed over.
    pub fn new(
        stages: impl IntoIterator<Item = &'t str>,
        channels: impl IntoIterator<Item = (&'t str, Vec<&'t str>, Vec<&'t str>)>,
    ) -> Self {
        let stages: Vec<&str> = stages.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let index: BTreeMap<&str, usize> = stages.iter().enumerate().map(|(index, stage)| (*stage, index)).collect();
        let indexes = |names: Vec<&str>| -> Vec<usize> {
            let known: BTreeSet<usize> = names.iter().filter_map(|name| index.get(name)).copied().collect();
            known.into_iter().collect()
        };
        let channels = channels.into_iter().map(|(flow, senders, receivers)| Channel {
            flow,
            senders: indexes(senders),
            receivers: indexes(receivers),
        });
        let channels = channels.filter(|channel| !channel.senders.is_empty() && !channel.receivers.is_empty());
        Self { channels: channels.collect(), stages }
    }

    /// The same without some flows.
    #[must_use]
    pub fn without(&self, is_away: impl Fn(&str) -> bool) -> Self {
        let channels = self.channels.iter().filter(|channel| !is_away(channel.flow)).cloned().collect();
        Self { stages: self.stages.clone(), channels }
    }

    /// Its flows, by name.
    pub fn flows(&self) -> BTreeSet<&'t str> {
        self.channels.iter().map(|channel| channel.flow).collect()
    }

    /// Its stages, by name.
    pub fn stages(&self) -> &[&'t str] {
        &self.stages
    }

    /// The stages that records can come to from some stages, these included.
    pub fn reached_from(&self, start: impl IntoIterator<Item = &'t str>) -> BTreeSet<&'t str> {
        let sends = self.sends();
        let mut is_reached = vec![false; self.stages.len()];
        let mut is_passed = vec![false; self.channels.len()];
        let mut next: Vec<usize> =
            start.into_iter().filter_map(|stage| self.stages.binary_search(&stage).ok()).collect();
        while let Some(stage) = next.pop() {
            if std::mem::replace(&mut is_reached[stage], true) {
                continue;
            }
            for &channel in &sends[stage] {
                if !std::mem::replace(&mut is_passed[channel], true) {
                    next.extend(self.channels[channel].receivers.iter().filter(|receiver| !is_reached[**receiver]));
                }
            }
        }
        self.stages.iter().zip(is_reached).filter(|(_, reached)| *reached).map(|(stage, _)| *stage).collect()
    }

    /// Some of its stages, those together that share a channel.
    pub fn groups(&self, of: &BTreeSet<&'t str>) -> Vec<Vec<&'t str>> {
        let is_in: Vec<bool> = self.stages.iter().map(|stage| of.contains(stage)).collect();
        let mut joined = UnionFind::new(self.stages.len());
        for channel in &self.channels {
            let mut ends = channel.senders.iter().chain(&channel.receivers).filter(|stage| is_in[**stage]);
            if let Some(first) = ends.next() {
                ends.for_each(|other| _ = joined.union(*first, *other));
            }
        }
        let mut groups: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (index, stage) in self.stages.iter().enumerate().filter(|(index, _)| is_in[*index]) {
            groups.entry(joined.find(index)).or_default().push(stage);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort();
        groups
    }

    /// Its tangles: the parts, each a graph of its own, in which every stage reaches every other and a channel takes records
    /// back to their sender. Without a cycle there is none.
    pub fn tangles(&self) -> Vec<Self> {
        let mut graph: DiGraph<(), ()> = DiGraph::new();
        let stages: Vec<_> = self.stages.iter().map(|_| graph.add_node(())).collect();
        let channels: Vec<_> = self.channels.iter().map(|_| graph.add_node(())).collect();
        for (channel, node) in self.channels.iter().zip(&channels) {
            for &sender in &channel.senders {
                graph.add_edge(stages[sender], *node, ());
            }
            for &receiver in &channel.receivers {
                graph.add_edge(*node, stages[receiver], ());
            }
        }
        let mut part_of = vec![usize::MAX; graph.node_count()];
        // Not Tarjan's way: petgraph's recurses, and a chain of stages may be as long as the stack.
        let parts = kosaraju_scc(&graph);
        for (part, nodes) in parts.iter().enumerate() {
            for node in nodes {
                part_of[node.index()] = part;
            }
        }
        let mut tangles: BTreeMap<usize, Vec<Ends<'_>>> = BTreeMap::new();
        for (channel, node) in self.channels.iter().zip(&channels) {
            let part = part_of[node.index()];
            if parts[part].len() == 1 {
                continue;
            }
            let inside = |ends: &[usize]| -> Vec<&'t str> {
                ends.iter()
                    .filter(|stage| part_of[stages[**stage].index()] == part)
                    .map(|stage| self.stages[*stage])
                    .collect()
            };
            tangles.entry(part).or_default().push((channel.flow, inside(&channel.senders), inside(&channel.receivers)));
        }
        let mut tangles: Vec<_> = tangles
            .into_values()
            .map(|channels| {
                let stages: Vec<&str> = channels.iter().flat_map(|(_, senders, _)| senders.clone()).collect();
                Self::new(stages, channels)
            })
            .collect();
        tangles.sort_by(|a, b| a.stages.cmp(&b.stages));
        tangles
    }

    /// For each stage the channels that it sends to.
    fn sends(&self) -> Vec<Vec<usize>> {
        let mut sends = vec![Vec::new(); self.stages.len()];
        for (index, channel) in self.channels.iter().enumerate() {
            channel.senders.iter().for_each(|&sender| sends[sender].push(index));
        }
        sends
    }
}

/// The flows whose sending counts a pass of some loop: taken away, no cycle remains.
pub fn counted_flows(topology: &Topology) -> BTreeSet<&str> {
    topology.loops.values().filter_map(|declared| declared.flows.first()).map(|flow| flow.value.as_str()).collect()
}
