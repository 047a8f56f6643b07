//! Every process of every server, and who sends to whom inside.

use std::collections::{BTreeMap, BTreeSet};

use waldo_sdk::wiring::{Consumer, Spread};

use super::{
    loops::Loops,
    picture::{Edge, Kind, Panel},
};
use crate::{
    diff::words,
    plan::{Plan, ProcessPlan, Program, ServerPlan},
};

/// A panel for each server that runs anything. The instances of a stage share a box, as they have the same wiring.
pub fn panels(plan: &Plan, loops: &Loops<'_>, holds: &BTreeSet<&str>) -> Vec<Panel> {
    let busy = plan.servers.iter().filter(|(_, server)| !server.processes.is_empty());
    busy.map(|(name, server)| inside(plan, name, server, loops, holds.contains(name.as_str()))).collect()
}

fn inside(plan: &Plan, name: &str, server: &ServerPlan, loops: &Loops<'_>, holds: bool) -> Panel {
    let mut panel = Panel { title: format!("{name} · {}", server.address), ..Panel::default() };
    let mut groups: BTreeMap<&str, Vec<&ProcessPlan>> = BTreeMap::new();
    for process in &server.processes {
        groups.entry(group(process)).or_default().push(process);
    }
    let mut boxes = BTreeMap::new();
    for (group, processes) in &groups {
        let [first, ..] = processes[..] else { continue };
        let (kind, lines) = match &first.program {
            Program::Portal => (Kind::Portal, door(first)),
            Program::Stage(_) if first.is_source() => (Kind::Source, vec![names(processes)]),
            Program::Stage(_) => (Kind::Stage, vec![names(processes)]),
        };
        let number = panel.node(kind, lines, holds && kind == Kind::Portal);
        panel.nodes[number].is_several = processes.len() > 1;
        boxes.insert(*group, number);
    }
    let mut exits: BTreeMap<&str, usize> = BTreeMap::new();
    for (group, processes) in &groups {
        let ([first, ..], Some(&from)) = (&processes[..], boxes.get(group)) else { continue };
        let mut inner = |flow: &str, consumer: &Consumer, loops| {
            if let Some(&to) = boxes.get(consumer.stage.as_str()) {
                panel.edge(Edge { from, to, label: spread(flow, consumer), keyed: false, loops, held: Vec::new() });
            }
        };
        for output in &first.wiring.outputs {
            for consumer in &output.consumers {
                inner(&output.flow, consumer, loops.between(group, &output.flow, &consumer.stage));
            }
        }
        for carried in first.wiring.portal.iter().flat_map(|doors| &doors.flows) {
            for consumer in &carried.consumers {
                inner(&carried.flow, consumer, loops.towards(&carried.flow, &consumer.stage));
            }
        }
        for output in first.wiring.outputs.iter().filter(|output| output.key.is_some()) {
            let exit = *exits.entry(&output.flow).or_insert_with(|| {
                let portal = plan.guide.flows.get(&output.flow).map_or("portals", |guide| &guide.portal);
                panel.node(Kind::Flow, vec![format!("{} → {portal}", output.flow)], false)
            });
            panel.edge(Edge::keyed(from, exit, "", loops.onwards(group, &output.flow)));
        }
    }
    panel
}

/// Processes with the same wiring: the instances of a stage, or a portal.
fn group(process: &ProcessPlan) -> &str {
    if process.wiring.portal.is_some() { &process.name } else { &process.wiring.stage }
}

fn names(processes: &[&ProcessPlan]) -> String {
    match processes {
        [first, second] => format!("{}, {}", first.name, second.name),
        [first, .., last] => format!("{} … {}", first.name, last.name),
        _ => processes.iter().map(|only| only.name.as_str()).collect(),
    }
}

/// What is written into a portal's box.
fn door(process: &ProcessPlan) -> Vec<String> {
    let mut lines = vec![process.name.clone()];
    if let Some(doors) = &process.wiring.portal {
        match &doors.clients {
            Some(clients) => lines.extend([format!("clients {clients}"), format!("links {}", doors.links)]),
            None => lines.push(doors.links.clone()),
        }
        let (memory, disk) = (words::size(doors.spool.memory), words::size(doors.spool.disk));
        lines.push(if doors.spool.disk == 0 {
            format!("spool {memory} in memory")
        } else {
            format!("spool {memory}, then {disk} on disk")
        });
    }
    lines
}

/// A flow's name, and how it is spread among several receivers.
fn spread(flow: &str, consumer: &Consumer) -> String {
    match consumer.spread {
        _ if consumer.receivers.len() < 2 => flow.to_owned(),
        // To any is the default.
        Spread::Any => flow.to_owned(),
        Spread::Key => format!("{flow}, by key"),
        Spread::All => format!("{flow}, to all"),
    }
}
