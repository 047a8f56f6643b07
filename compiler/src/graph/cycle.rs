//! Cycles: found, told, and recognised.

use std::collections::{BTreeSet, VecDeque};

use super::{Edge, Graph};

/// A cycle of as few edges as possible on which records pass a flow; it begins with that flow.
pub fn shortest_through<'t>(graph: &Graph<'t>, flow: &str) -> Option<Vec<Edge<'t>>> {
    let sends = graph.sends();
    let channels = (0..graph.channels.len()).filter(|channel| graph.channels[*channel].flow == flow);
    channels.filter_map(|channel| from_channel(graph, &sends, channel)).min_by_key(Vec::len)
}

/// From a channel back into it, in breadth.
fn from_channel<'t>(graph: &Graph<'t>, sends: &[Vec<usize>], start: usize) -> Option<Vec<Edge<'t>>> {
    // By which channel a stage is reached first, and by which stage a channel.
    let mut reached_by = vec![None; graph.stages.len()];
    let mut entered_by = vec![None; graph.channels.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(channel) = queue.pop_front() {
        for &stage in &graph.channels[channel].receivers {
            if reached_by[stage].is_some() {
                continue;
            }
            reached_by[stage] = Some(channel);
            for &next in &sends[stage] {
                if next == start {
                    return Some(back_to(graph, start, stage, &reached_by, &entered_by));
                }
                if entered_by[next].is_none() {
                    entered_by[next] = Some(stage);
                    queue.push_back(next);
                }
            }
        }
    }
    None
}

fn back_to<'t>(
    graph: &Graph<'t>,
    start: usize,
    last: usize,
    reached_by: &[Option<usize>],
    entered_by: &[Option<usize>],
) -> Vec<Edge<'t>> {
    let mut cycle = Vec::new();
    let mut to = last;
    while let Some(channel) = reached_by[to] {
        let from = if channel == start { last } else { entered_by[channel].unwrap_or(last) };
        cycle.push(Edge { from: graph.stages[from], flow: graph.channels[channel].flow, to: graph.stages[to] });
        if channel == start {
            break;
        }
        to = from;
    }
    cycle.reverse();
    cycle
}

/// Whether records can go round on these flows, in this order, and be back where they began.
pub fn is_closed(graph: &Graph<'_>, flows: &[&str]) -> bool {
    let channels_of: Vec<Vec<usize>> = flows
        .iter()
        .map(|flow| (0..graph.channels.len()).filter(|channel| graph.channels[*channel].flow == *flow).collect())
        .collect();
    let Some(first) = channels_of.first() else { return false };
    let starts: BTreeSet<usize> = first.iter().flat_map(|channel| graph.channels[*channel].senders.clone()).collect();
    starts.into_iter().any(|start| {
        let mut here = vec![false; graph.stages.len()];
        here[start] = true;
        for channels in &channels_of {
            let mut next = vec![false; graph.stages.len()];
            for &channel in channels {
                let channel = &graph.channels[channel];
                if channel.senders.iter().any(|sender| here[*sender]) {
                    channel.receivers.iter().for_each(|receiver| next[*receiver] = true);
                }
            }
            here = next;
        }
        here[start]
    })
}

/// A cycle in words: `score --suspect--> score`.
pub fn path(cycle: &[Edge<'_>]) -> String {
    let start = cycle.first().map(|edge| edge.from).unwrap_or_default();
    let steps = cycle.iter().map(|edge| format!(" --{}--> {}", edge.flow, edge.to));
    std::iter::once(start.to_owned()).chain(steps).collect()
}
