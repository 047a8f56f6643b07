//! What differs of a plan as a whole, of its flows, and of what is said about its servers.

use std::collections::BTreeSet;

use super::{
    Because,
    words::{duration, or_none, processors, size},
};
use crate::{
    place::ports::BASE,
    plan::{FlowPlan, Plan, Rebalance, ServerPlan},
    topology::literal::Weight,
};

pub(super) fn changes(old: &Plan, new: &Plan) -> Vec<Because> {
    let mut settings = Vec::new();
    if old.idle_timeout != new.idle_timeout {
        settings.push(Because::changed("idle_timeout", duration(old.idle_timeout), duration(new.idle_timeout)));
    }
    if old.rebalance != new.rebalance {
        settings.push(Because::changed("rebalance", rebalance(old.rebalance), rebalance(new.rebalance)));
    }
    if old.port_base != new.port_base {
        let words = |plan: &Plan| match plan.port_base {
            Some(base) => format!("all from {base}"),
            None => format!("as written, others from {BASE}"),
        };
        settings.push(Because::changed("ports", words(old), words(new)));
    }
    if old.local != new.local {
        settings.push(Because::changed("local", old.local, new.local));
    }
    if old.files != new.files {
        settings.push(Because::changed("files", old.files.join(", "), new.files.join(", ")));
    }
    for (name, after) in &new.flows {
        match old.flows.get(name) {
            None => settings.push(Because::Added(format!("flow {name}"))),
            Some(before) if before != after => flow(name, before, after, &mut settings),
            Some(_) => {}
        }
    }
    let gone = old.flows.keys().filter(|name| !new.flows.contains_key(*name));
    settings.extend(gone.map(|name| Because::Removed(format!("flow {name}"))));
    for (name, after) in &new.servers {
        if let Some(before) = old.servers.get(name) {
            server(name, before, after, &mut settings);
        }
    }
    if common_order(old, new) != common_order(new, old) {
        settings.push(Because::Reordered("stages, as they are started and stopped,"));
    }
    settings
}

fn rebalance(rebalance: Option<Rebalance>) -> String {
    let Some(Rebalance { auto, every, slots, lowest, highest }) = rebalance else {
        return "only when asked for".to_owned();
    };
    let mut words = vec![if auto { format!("every {}", duration(every)) } else { "only when asked for".to_owned() }];
    words.extend(slots.map(|slots| format!("{slots} slots")));
    words.extend(lowest.map(|lowest| format!("from {}", Weight(lowest))));
    words.extend(highest.map(|highest| format!("to {}", Weight(highest))));
    words.join(", ")
}

fn flow(name: &str, before: &FlowPlan, after: &FlowPlan, settings: &mut Vec<Because>) {
    if before.keyed != after.keyed {
        let words = |flow: &FlowPlan| if flow.keyed { "portals, by key" } else { "one server" };
        settings.push(Because::changed(format!("flow {name} goes through"), words(before), words(after)));
    }
    if before.from_clients != after.from_clients {
        let words = |flow: &FlowPlan| if flow.from_clients { "clients and stages" } else { "stages" };
        settings.push(Because::changed(format!("flow {name} comes from"), words(before), words(after)));
    }
    for (what, before, after) in
        [("consumed by", &before.consumers, &after.consumers), ("sent by", &before.producers, &after.producers)]
    {
        if before != after {
            let words = |stages: &[String]| if stages.is_empty() { "none".to_owned() } else { stages.join(", ") };
            settings.push(Because::changed(format!("flow {name} is {what}"), words(before), words(after)));
        }
    }
}

fn server(name: &str, before: &ServerPlan, after: &ServerPlan, settings: &mut Vec<Because>) {
    if before.address != after.address {
        settings.push(Because::changed(format!("address of {name}"), &before.address, &after.address));
    }
    if before.ssh != after.ssh {
        let login = |server: &ServerPlan| server.ssh.clone().unwrap_or_else(|| server.address.clone());
        settings.push(Because::changed(format!("ssh of {name}"), login(before), login(after)));
    }
    if before.memory != after.memory {
        let words = |server: &ServerPlan| or_none(server.memory, size);
        settings.push(Because::changed(format!("memory of {name}"), words(before), words(after)));
    }
    if before.cpu != after.cpu {
        let words = |server: &ServerPlan| or_none(server.cpu, processors);
        settings.push(Because::changed(format!("cpu of {name}"), words(before), words(after)));
    }
}

/// The order of the stages that both plans have.
fn common_order<'p>(of: &'p Plan, with: &Plan) -> Vec<&'p str> {
    let known: BTreeSet<&str> = with.order.iter().map(String::as_str).collect();
    of.order.iter().map(String::as_str).filter(|stage| known.contains(stage)).collect()
}
