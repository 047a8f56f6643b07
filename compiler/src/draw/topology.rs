//! Stages and flows.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    loops::Loops,
    picture::{Edge, Kind, Panel, counted},
};
use crate::plan::{Plan, ProcessPlan, ServerPlan};

/// The stages of a plan, and the flows between them. Flows are marked that servers in `holds` would keep back.
pub fn panel(plan: &Plan, loops: &Loops<'_>, holds: &BTreeSet<&str>) -> Panel {
    let mut panel = Panel::default();
    let mut boxes = BTreeMap::new();
    let clients = plan.flows.values().any(|flow| flow.from_clients);
    let outside = clients.then(|| panel.node(Kind::Clients, vec!["clients".to_owned()], false));
    for stage in &plan.order {
        let (count, servers) = instances(plan, stage);
        let source = processes_of(plan, stage).any(ProcessPlan::is_source);
        let kind = if source { Kind::Source } else { Kind::Stage };
        let on = counted(servers, "server", "servers");
        let mut lines = vec![stage.clone()];
        if count > servers {
            lines.push(format!("{} on {on}", counted(count, "process", "processes")));
        } else if plan.servers.len() > 1 {
            lines.push(format!("on {on}"));
        }
        // Where records leave.
        let egress = processes_of(plan, stage).find_map(|process| process.wiring.egress.as_ref());
        lines.extend(egress.map(|egress| format!("to {}", egress.endpoint())));
        let number = panel.node(kind, lines, false);
        panel.nodes[number].is_several = count > 1;
        boxes.insert(stage.as_str(), number);
    }
    for (flow, ends) in &plan.flows {
        let label = match plan.guide.flows.get(flow) {
            Some(guide) if guide.portal != "relay" => format!("{flow} via {}", guide.portal),
            _ => flow.clone(),
        };
        for (consumer, to) in ends.consumers.iter().filter_map(|name| Some((name, *boxes.get(name.as_str())?))) {
            let held = |(name, server): (&String, &ServerPlan)| {
                let has = server.processes.iter().any(|process| process.wiring.stage == *consumer);
                (has && holds.contains(name.as_str())).then(|| name.clone())
            };
            let held: Vec<String> =
                if ends.keyed { plan.servers.iter().filter_map(held).collect() } else { Vec::new() };
            let mut arrow = |from, loops| {
                panel.edge(Edge { from, to, label: label.clone(), keyed: ends.keyed, loops, held: held.clone() });
            };
            if let Some(from) = outside.filter(|_| ends.from_clients) {
                arrow(from, Vec::new());
            }
            for producer in &ends.producers {
                if let Some(from) = boxes.get(producer.as_str()) {
                    arrow(*from, loops.between(producer, flow, consumer));
                }
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
