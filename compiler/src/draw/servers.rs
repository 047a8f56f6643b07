//! Servers, what runs on them, and the flows between them.

use std::collections::{BTreeMap, BTreeSet};

use waldo_sdk::guide::{Map, Otherwise, SLOTS};

use super::{
    loops::Loops,
    picture::{Edge, Kind, Panel},
};
use crate::plan::{Plan, ServerPlan};

/// What flows have in common that are drawn as one: who sends them, and who owns how much of them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Way<'p> {
    from_clients: bool,
    senders: Vec<&'p str>,
    owners: Vec<(&'p str, String)>,
}

/// The servers of a plan, and the flows that cross them. Flows with the same senders and owners share a box.
pub fn panel(plan: &Plan, loops: &Loops<'_>, holds: &BTreeSet<&str>) -> Panel {
    let mut panel = Panel::default();
    let clients = plan.flows.values().any(|flow| flow.from_clients);
    let outside = clients.then(|| panel.node(Kind::Clients, vec!["clients".to_owned()], false));
    let mut boxes = BTreeMap::new();
    for (name, server) in &plan.servers {
        let number = panel.node(Kind::Server, contents(name, server), holds.contains(name.as_str()));
        boxes.insert(name.as_str(), number);
    }
    let names = loops.named();
    let mut ways: BTreeMap<Way<'_>, Vec<String>> = BTreeMap::new();
    for (flow, guide) in &plan.guide.flows {
        let Some(ends) = plan.flows.get(flow) else { continue };
        let round = loops.of_flow(flow).into_iter().filter_map(|at| names.get(at));
        let words = std::iter::once(flow.clone()).chain(round.map(|(name, passes)| format!("↻ {name} ≤{passes}")));
        let line = words.collect::<Vec<_>>().join(" ");
        let way = Way {
            from_clients: ends.from_clients,
            senders: senders(plan, flow),
            owners: shares(plan, &guide.map).into_iter().collect(),
        };
        ways.entry(way).or_default().push(line);
    }
    for (way, lines) in ways {
        let middle = panel.node(Kind::Flow, lines, false);
        if let Some(outside) = outside.filter(|_| way.from_clients) {
            panel.edge(Edge::keyed(outside, middle, "", Vec::new()));
        }
        for from in way.senders.into_iter().filter_map(|sender| boxes.get(sender)) {
            panel.edge(Edge::keyed(*from, middle, "", Vec::new()));
        }
        for (owner, share) in way.owners {
            if let Some(owner) = boxes.get(owner) {
                panel.edge(Edge::keyed(middle, *owner, &share, Vec::new()));
            }
        }
    }
    panel
}

/// What is written into a server's box.
fn contents(name: &str, server: &ServerPlan) -> Vec<String> {
    let mut lines = vec![name.to_owned()];
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
    lines.extend(
        stages.into_iter().map(|(stage, count)| if count > 1 { format!("{stage} ×{count}") } else { stage.to_owned() }),
    );
    if server.processes.is_empty() {
        lines.push("nothing runs here".to_owned());
    }
    lines
}

fn senders<'p>(plan: &'p Plan, flow: &str) -> Vec<&'p str> {
    let sends = |server: &ServerPlan| {
        server.processes.iter().flat_map(|process| &process.wiring.outputs).any(|output| output.flow == flow)
    };
    plan.servers.iter().filter(|(_, server)| sends(server)).map(|(name, _)| name.as_str()).collect()
}

/// Who owns keys, and how many, in words.
fn shares<'p>(plan: &'p Plan, map: &Map) -> BTreeMap<&'p str, String> {
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
            let rest: Vec<(&str, String)> = match default {
                Otherwise::Server(owner) if keys.is_empty() => vec![(name(*owner), "all keys".to_owned())],
                Otherwise::Server(owner) => vec![(name(*owner), "the rest".to_owned())],
                Otherwise::Hash(table) => of_table(*table).collect(),
            };
            for (owner, share) in rest {
                shares.entry(owner).and_modify(|named| *named = format!("{named}, {share}")).or_insert(share);
            }
        }
    }
    shares
}
