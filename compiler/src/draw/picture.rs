//! What a picture shows: panels of boxes and arrows, whatever they are drawn with.

use std::collections::{BTreeMap, BTreeSet};

use waldo_sdk::guide::{Map, Otherwise, SLOTS};

use crate::plan::{Plan, ProcessPlan, Program, ServerPlan};

/// How much a picture shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// Stages and flows.
    #[default]
    Topology,
    /// Servers, what runs on them, and the flows between them.
    Servers,
    /// Every process of every server, and who sends to whom inside.
    Processes,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its heading.
    pub title: String,
    /// Its parts; each stands for itself.
    pub panels: Vec<Panel>,
    /// The loops that arrows belong to, with the passes that each allows.
    pub loops: Vec<(String, u16)>,
}

/// A part of a picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Panel {
    /// Its heading; empty if the picture has only this one.
    pub title: String,
    /// Boxes.
    pub nodes: Vec<Node>,
    /// Arrows.
    pub edges: Vec<Edge>,
}

/// A box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it stands for.
    pub kind: Kind,
    /// What is written into it; the first line is its name, and no other box of its panel has the same.
    pub lines: Vec<String>,
    /// Whether a change would make it hold.
    pub holds: bool,
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A stage, or a process of one.
    Stage,
    /// A stage without inputs, or a process of one.
    Source,
    /// A portal.
    Portal,
    /// Programs outside the topology.
    Clients,
    /// A server.
    Server,
    /// A flow that crosses servers.
    Flow,
}

/// An arrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// From which box of the panel.
    pub from: usize,
    /// To which.
    pub to: usize,
    /// What is written at it.
    pub label: String,
    /// Whether it crosses servers through portals, which spool.
    pub keyed: bool,
    /// Which of the picture's loops it belongs to.
    pub in_loop: Option<usize>,
}

impl Picture {
    /// A picture of a plan. What `holds` names (servers) is marked.
    pub fn of(plan: &Plan, level: Level, holds: &BTreeSet<&str>) -> Self {
        let loops = loops(plan);
        let panels = match level {
            Level::Topology => vec![topology(plan, &loops)],
            Level::Servers => vec![servers(plan, holds)],
            Level::Processes => plan
                .servers
                .iter()
                .filter(|(_, server)| !server.processes.is_empty())
                .map(|(name, server)| inside(name, server, &loops, holds.contains(name.as_str())))
                .collect(),
        };
        let title = format!("{}/{}", plan.topology, plan.namespace);
        Self { title, panels, loops: loops.into_iter().map(|(name, (passes, _))| (name, passes)).collect() }
    }
}

/// Loop → passes and flows.
type Loops = BTreeMap<String, (u16, BTreeSet<String>)>;

fn loops(plan: &Plan) -> Loops {
    let mut loops = Loops::new();
    let processes = plan.servers.values().flat_map(|server| &server.processes);
    for output in processes.flat_map(|process| &process.wiring.outputs) {
        for step in &output.loops {
            let (_, flows) = loops.entry(step.name.clone()).or_insert((step.passes, BTreeSet::new()));
            flows.insert(output.flow.clone());
        }
    }
    loops
}

fn loop_of(loops: &Loops, flow: &str) -> Option<usize> {
    loops.values().position(|(_, flows)| flows.contains(flow))
}

impl Panel {
    fn node(&mut self, kind: Kind, lines: Vec<String>, holds: bool) -> usize {
        self.nodes.push(Node { kind, lines, holds });
        self.nodes.len() - 1
    }

    fn edge(&mut self, from: usize, to: usize, label: &str, keyed: bool, in_loop: Option<usize>) {
        let edge = Edge { from, to, label: label.to_owned(), keyed, in_loop };
        if !self.edges.contains(&edge) {
            self.edges.push(edge);
        }
    }
}

fn topology(plan: &Plan, loops: &Loops) -> Panel {
    let mut panel = Panel::default();
    let mut boxes = BTreeMap::new();
    let clients = plan.flows.values().any(|flow| flow.from_clients);
    let outside = clients.then(|| panel.node(Kind::Clients, vec!["clients".to_owned()], false));
    for stage in &plan.order {
        let (count, servers) = instances(plan, stage);
        let source = processes_of(plan, stage).any(ProcessPlan::is_source);
        let kind = if source { Kind::Source } else { Kind::Stage };
        let mut lines = vec![stage.clone()];
        if count > servers {
            lines.push(format!("{} on {}", counted(count, "process"), counted(servers, "server")));
        } else if plan.servers.len() > 1 {
            lines.push(format!("on {}", counted(servers, "server")));
        }
        boxes.insert(stage.as_str(), panel.node(kind, lines, false));
    }
    for (flow, ends) in &plan.flows {
        let label = match plan.guide.flows.get(flow) {
            Some(guide) if guide.portal != "relay" => format!("{flow} via {}", guide.portal),
            _ => flow.clone(),
        };
        let producers = ends.producers.iter().filter_map(|producer| boxes.get(producer.as_str()).copied());
        let producers: Vec<usize> = outside.filter(|_| ends.from_clients).into_iter().chain(producers).collect();
        for from in producers {
            for to in ends.consumers.iter().filter_map(|consumer| boxes.get(consumer.as_str())) {
                panel.edge(from, *to, &label, ends.keyed, loop_of(loops, flow));
            }
        }
    }
    panel
}

fn processes_of<'p>(plan: &'p Plan, stage: &'p str) -> impl Iterator<Item = &'p ProcessPlan> {
    plan.servers.values().flat_map(|server| &server.processes).filter(move |process| process.wiring.stage == stage)
}

/// How many processes a stage has, and on how many servers.
fn instances(plan: &Plan, stage: &str) -> (usize, usize) {
    let on = |server: &ServerPlan| server.processes.iter().filter(|process| process.wiring.stage == stage).count();
    let counts: Vec<usize> = plan.servers.values().map(on).filter(|count| *count > 0).collect();
    (counts.iter().sum(), counts.len())
}

fn counted(count: usize, noun: &str) -> String {
    match (count, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "process") => format!("{count} processes"),
        _ => format!("{count} {noun}s"),
    }
}

fn servers(plan: &Plan, holds: &BTreeSet<&str>) -> Panel {
    let mut panel = Panel::default();
    let mut boxes = BTreeMap::new();
    let clients = plan.flows.values().any(|flow| flow.from_clients);
    let outside = clients.then(|| panel.node(Kind::Clients, vec!["clients".to_owned()], false));
    for (name, server) in &plan.servers {
        let mut lines = vec![name.clone()];
        let portals = server.processes.iter().filter_map(|process| Some((process, process.wiring.portal.as_ref()?)));
        for (process, doors) in portals {
            let endpoint = doors.clients.as_ref().unwrap_or(&doors.links);
            let port = endpoint.rsplit_once(':').map_or("", |(_, port)| port);
            lines.push(format!("portal {} :{port}", process.name));
        }
        let mut stages: BTreeMap<&str, usize> = BTreeMap::new();
        for process in server.processes.iter().filter(|process| process.wiring.portal.is_none()) {
            *stages.entry(&process.wiring.stage).or_default() += 1;
        }
        let stages = stages
            .iter()
            .map(|(stage, count)| if *count > 1 { format!("{stage} ×{count}") } else { (*stage).to_owned() });
        lines.extend(stages);
        if server.processes.is_empty() {
            lines.push("nothing runs here".to_owned());
        }
        boxes.insert(name.as_str(), panel.node(Kind::Server, lines, holds.contains(name.as_str())));
    }
    for (flow, guide) in &plan.guide.flows {
        let Some(ends) = plan.flows.get(flow) else { continue };
        let middle = panel.node(Kind::Flow, vec![flow.clone()], false);
        if let Some(outside) = outside.filter(|_| ends.from_clients) {
            panel.edge(outside, middle, "", true, None);
        }
        for (name, server) in &plan.servers {
            let sends =
                server.processes.iter().flat_map(|process| &process.wiring.outputs).any(|output| output.flow == *flow);
            if sends {
                panel.edge(boxes[name.as_str()], middle, "", true, None);
            }
        }
        for (owner, share) in shares(plan, &guide.map) {
            if let Some(owner) = boxes.get(owner) {
                panel.edge(middle, *owner, &share, true, None);
            }
        }
    }
    panel
}

/// Who owns keys, and how many, in words.
fn shares<'p>(plan: &'p Plan, map: &Map) -> Vec<(&'p str, String)> {
    let name = |index: u16| plan.guide.servers[usize::from(index)].as_str();
    let of_table = |table: usize| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for owner in &plan.guide.tables[table] {
            *counts.entry(name(*owner)).or_default() += 1;
        }
        counts.into_iter().map(|(owner, count)| (owner, format!("{} %", (count * 100 + SLOTS / 2) / SLOTS)))
    };
    let mut shares: BTreeMap<&str, String> = BTreeMap::new();
    match map {
        Map::Hash(table) => shares.extend(of_table(*table)),
        Map::Ranges(ranges) => shares.extend(ranges.iter().map(|(_, owner)| (name(*owner), "ranges".to_owned()))),
        Map::Table { keys, default } => {
            shares.extend(keys.values().map(|owner| (name(*owner), "named keys".to_owned())));
            match default {
                Otherwise::Server(owner) => drop(shares.insert(name(*owner), "the rest".to_owned())),
                Otherwise::Hash(table) => shares.extend(of_table(*table)),
            }
        }
    }
    shares.into_iter().collect()
}

fn inside(name: &str, server: &ServerPlan, loops: &Loops, holds: bool) -> Panel {
    let title = format!("{name} · {}", server.address);
    let mut panel = Panel { title, ..Panel::default() };
    let mut boxes = BTreeMap::new();
    for process in &server.processes {
        let (kind, mut lines) = match &process.program {
            Program::Portal => (Kind::Portal, vec![process.name.clone()]),
            Program::Stage(_) if process.is_source() => (Kind::Source, vec![process.name.clone()]),
            Program::Stage(_) => (Kind::Stage, vec![process.name.clone()]),
        };
        if let Some(doors) = &process.wiring.portal {
            lines.push(doors.clients.as_ref().unwrap_or(&doors.links).clone());
        }
        boxes.insert(process.name.as_str(), panel.node(kind, lines, holds && kind == Kind::Portal));
    }
    let mut exits: BTreeMap<&str, usize> = BTreeMap::new();
    for process in &server.processes {
        let from = boxes[process.name.as_str()];
        let sent = process.wiring.outputs.iter().map(|output| (&output.flow, &output.consumers));
        let carried = process.wiring.portal.iter().flat_map(|doors| &doors.flows);
        for (flow, consumers) in sent.chain(carried.map(|carried| (&carried.flow, &carried.consumers))) {
            let receivers = consumers.iter().flat_map(|consumer| &consumer.receivers);
            for to in receivers.filter_map(|receiver| boxes.get(receiver.process.as_str())) {
                panel.edge(from, *to, flow, false, loop_of(loops, flow));
            }
        }
        for output in process.wiring.outputs.iter().filter(|output| output.key.is_some()) {
            let exit = *exits
                .entry(&output.flow)
                .or_insert_with(|| panel.node(Kind::Flow, vec![format!("to portals: {}", output.flow)], false));
            panel.edge(from, exit, "", true, loop_of(loops, &output.flow));
        }
    }
    panel
}
