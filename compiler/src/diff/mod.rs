//! What has to happen for a plan to become another: each process's action and why, which keys move, who must hold.
//!
//! Pure, and made from the two plans alone, so that deployer and launchers work it out alike. Guide versions don't
//! matter here: they are given when a plan goes live ([`succession`]).

mod because;
mod disturbance;
mod guide;
mod process;
pub mod succession;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use because::Because;
pub use guide::{GuideChange, Keys};

use crate::plan::{FlowPlan, Plan, ProcessPlan};

/// What is done about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It goes on, untouched.
    Keep,
    /// It goes on, with its pid and all that it remembers, and adopts another wiring or guide in place.
    Rewire,
    /// It leaves and is started again.
    Restart,
    /// It is started.
    Start,
    /// It leaves.
    Stop,
}

/// What a plan's change means for one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessChange<'p> {
    /// Its server.
    pub server: &'p str,
    /// Its name.
    pub process: &'p str,
    /// What is done about it.
    pub action: Action,
    /// Why. Empty if nothing at all has changed; a kept process has reasons if only what concerns its launcher has.
    pub because: Vec<Because>,
    /// What the new plan says of it; `None` if it has to stop.
    pub new: Option<&'p ProcessPlan>,
}

/// A portal that is reached elsewhere than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortalChange<'p> {
    /// Its server.
    pub server: &'p str,
    /// Its name.
    pub portal: &'p str,
    /// Where links reached it; `None` if there was none.
    pub from: Option<&'p str>,
    /// Where links reach it; `None` if there is none any more.
    pub to: Option<&'p str>,
}

/// The difference between two plans of one topology and namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff<'p> {
    /// All processes of both plans, by server and, on it, in the order of the new plan, then those that stop.
    pub processes: Vec<ProcessChange<'p>>,
    /// The flows whose keys move.
    pub guide: Vec<GuideChange<'p>>,
    /// Portals that come, go or move.
    pub portals: Vec<PortalChange<'p>>,
    /// Servers whose portals hold until they have proved themselves idle.
    pub hold: BTreeSet<&'p str>,
    /// Servers of which something changes, or adopts another guide, while records flow; also those that are new.
    pub rewire: BTreeSet<&'p str>,
    /// Servers that hear nothing of it but the number of the new plan.
    pub untouched: BTreeSet<&'p str>,
    /// Flows that a server's portals must have delivered before the switch, as the new plan doesn't have them there, or
    /// has fewer consumers: server → flows.
    pub drain: BTreeMap<&'p str, BTreeSet<&'p str>>,
    /// What else differs, of the plan as a whole.
    pub settings: Vec<Because>,
    /// Why it can't be rolled out in one step.
    pub refusals: Vec<String>,
    new: &'p Plan,
}

/// The plans are of different things.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these are plans of different namespaces: {old} and {new}")]
pub struct Unrelated {
    old: String,
    new: String,
}

/// Works out what has to happen for `old` to become `new`. Linear in the size of both.
///
/// # Errors
/// If they aren't plans of the same topology and namespace.
pub fn diff<'p>(old: &'p Plan, new: &'p Plan) -> Result<Diff<'p>, Unrelated> {
    if (&old.topology, &old.namespace) != (&new.topology, &new.namespace) {
        let name = |plan: &Plan| format!("{}/{}", plan.topology, plan.namespace);
        return Err(Unrelated { old: name(old), new: name(new) });
    }
    let guide = guide::changes(old, new);
    let portals = moved_portals(old, new);
    let processes = process::changes(old, new, &guide, &portals);
    let disturbance = disturbance::of(old, new, &guide, &processes);
    Ok(Diff {
        drain: disturbance.drain,
        hold: disturbance.hold,
        rewire: disturbance.rewire,
        untouched: disturbance.untouched,
        settings: settings(old, new),
        refusals: refusals(old, new),
        processes,
        guide,
        portals,
        new,
    })
}

impl Diff<'_> {
    /// Whether there is nothing to do and nothing to say.
    pub fn is_empty(&self) -> bool {
        self.processes.iter().all(|change| change.because.is_empty())
            && self.guide.is_empty()
            && self.portals.is_empty()
            && self.settings.is_empty()
    }

    /// Does to a plan what this says is to be done: processes are started, stopped, replaced and rewired; kept ones stay as
    /// they are but for what concerns their launcher. What comes out is the new plan, if this is right.
    pub fn apply(&self, old: &Plan) -> Plan {
        let mut plan = old.clone();
        if self.is_empty() {
            return plan;
        }
        plan.servers.retain(|server, _| self.new.servers.contains_key(server));
        for (name, server) in &self.new.servers {
            let known = plan.servers.entry(name.clone()).or_insert_with(|| server.clone());
            let before = std::mem::take(&mut known.processes);
            let (queued_records, queued_bytes) = (server.queued_records, server.queued_bytes);
            *known = crate::plan::ServerPlan { processes: Vec::new(), queued_records, queued_bytes, ..server.clone() };
            let of_server = self.processes.iter().filter(|change| change.server == name);
            for (change, new) in of_server.filter_map(|change| Some((change, change.new?))) {
                let kept = before.iter().find(|process| process.name == change.process);
                known.processes.push(match (change.action, kept) {
                    (Action::Keep, Some(kept)) if change.because.is_empty() => kept.clone(),
                    (Action::Keep, Some(kept)) => process::with_policy_of(kept, new),
                    _ => new.clone(),
                });
            }
        }
        plan.idle_timeout = self.new.idle_timeout;
        plan.files.clone_from(&self.new.files);
        plan.local = self.new.local;
        plan.flows.clone_from(&self.new.flows);
        plan.order.clone_from(&self.new.order);
        plan.guide.clone_from(&self.new.guide);
        plan.digest.clone_from(&self.new.digest);
        plan
    }
}

fn settings(old: &Plan, new: &Plan) -> Vec<Because> {
    let mut settings = Vec::new();
    if old.idle_timeout != new.idle_timeout {
        settings.push(Because::changed("idle_timeout", old.idle_timeout, new.idle_timeout));
    }
    if old.local != new.local {
        settings.push(Because::changed("local", old.local, new.local));
    }
    if old.files != new.files {
        settings.push(Because::changed("files", old.files.join(", "), new.files.join(", ")));
    }
    for (name, server) in &new.servers {
        let Some(before) = old.servers.get(name) else { continue };
        let number = |value: Option<u64>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
        let login = |server: &crate::plan::ServerPlan| server.ssh.clone().unwrap_or_else(|| server.address.clone());
        if before.ssh != server.ssh {
            settings.push(Because::changed(format!("ssh of {name}"), login(before), login(server)));
        }
        if before.memory != server.memory {
            settings.push(Because::changed(
                format!("memory of {name} in bytes"),
                number(before.memory),
                number(server.memory),
            ));
        }
        if before.cpu != server.cpu {
            settings.push(Because::changed(
                format!("cpu of {name} in millionths"),
                number(before.cpu),
                number(server.cpu),
            ));
        }
    }
    let from_clients = |flow: &FlowPlan| if flow.from_clients { "clients and stages" } else { "stages" };
    for (name, flow) in &new.flows {
        match old.flows.get(name) {
            None => settings.push(Because::Added(format!("flow {name}"))),
            Some(before) if before.from_clients != flow.from_clients => {
                settings.push(Because::changed(
                    format!("flow {name} comes from"),
                    from_clients(before),
                    from_clients(flow),
                ));
            }
            Some(_) => {}
        }
    }
    let gone = old.flows.keys().filter(|name| !new.flows.contains_key(*name));
    settings.extend(gone.map(|name| Because::Removed(format!("flow {name}"))));
    settings
}

fn moved_portals<'p>(old: &'p Plan, new: &'p Plan) -> Vec<PortalChange<'p>> {
    let mut changes = Vec::new();
    let servers: BTreeSet<&String> = old.guide.portals.keys().chain(new.guide.portals.keys()).collect();
    for server in servers {
        let (before, after) = (old.guide.portals.get(server), new.guide.portals.get(server));
        let names: BTreeSet<&String> = [before, after].into_iter().flatten().flat_map(BTreeMap::keys).collect();
        for portal in names {
            let reached = |portals: Option<&'p BTreeMap<String, waldo_sdk::guide::Endpoints>>| portals?.get(portal);
            let (from, to) = (reached(before), reached(after));
            if from != to {
                let links = |endpoints: Option<&'p waldo_sdk::guide::Endpoints>| endpoints.map(|it| it.links.as_str());
                changes.push(PortalChange { server, portal, from: links(from), to: links(to) });
            }
        }
    }
    changes
}

/// A port stays bound until the flush is over: another portal can't have it in the same rollout.
fn refusals(old: &Plan, new: &Plan) -> Vec<String> {
    let bound = |plan: &'_ Plan| -> Vec<(String, String)> {
        let portals = plan.guide.portals.iter().flat_map(|(server, portals)| {
            portals.iter().flat_map(move |(portal, endpoints)| {
                let doors = std::iter::once(&endpoints.links).chain(&endpoints.clients);
                doors.map(move |endpoint| (endpoint.clone(), format!("{server}/{portal}")))
            })
        });
        portals.collect()
    };
    let before: BTreeMap<String, String> = bound(old).into_iter().collect();
    bound(new)
        .into_iter()
        .filter_map(|(endpoint, portal)| {
            let holder = before.get(&endpoint).filter(|holder| **holder != portal)?;
            Some(format!(
                "{endpoint} would go from {holder} to {portal}, but stays bound until the rollout is over: give {portal} \
                 another port first, and this one in a second rollout"
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests;
