//! What is done about each process, and why.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use waldo_sdk::wiring::{Carried, Consumer, Doors, Output, Wiring};

use super::{Action, Because, GuideChange, PortalChange, ProcessChange, because::quoted};
use crate::plan::{Plan, ProcessPlan, Program, StageProgram};

/// What has changed outside of a process that it must know of: by flow, and by portal.
struct Elsewhere<'p> {
    guides: BTreeSet<&'p str>,
    /// The portals that are reached elsewhere, by the flows that they carry.
    moved: BTreeMap<&'p str, Vec<String>>,
}

/// All processes of both plans.
pub(super) fn changes<'p>(
    old: &'p Plan,
    new: &'p Plan,
    guide: &[GuideChange<'p>],
    portals: &[PortalChange<'p>],
) -> Vec<ProcessChange<'p>> {
    let elsewhere = Elsewhere::of(new, guide, portals);
    let mut changes = Vec::new();
    let servers: BTreeSet<&String> = old.servers.keys().chain(new.servers.keys()).collect();
    for server in servers {
        let processes = |plan: &'p Plan| plan.servers.get(server).map_or(&[][..], |server| &server.processes);
        let (before, after) = (processes(old), processes(new));
        let known: HashMap<&str, &ProcessPlan> =
            before.iter().map(|process| (process.name.as_str(), process)).collect();
        let mut wanted = BTreeSet::new();
        for process in after {
            wanted.insert(process.name.as_str());
            let (action, because) = match known.get(process.name.as_str()) {
                Some(before) => compare(before, process, &elsewhere),
                None if before.is_empty() => (Action::Start, vec![Because::ServerNew]),
                None => (Action::Start, vec![Because::New]),
            };
            changes.push(ProcessChange { server, process: &process.name, action, because, new: Some(process) });
        }
        let gone = before.iter().filter(|process| !wanted.contains(process.name.as_str()));
        let why = || if after.is_empty() { Because::ServerGone } else { Because::Gone };
        changes.extend(gone.map(|process| ProcessChange {
            server,
            process: &process.name,
            action: Action::Stop,
            because: vec![why()],
            new: None,
        }));
    }
    changes
}

impl<'p> Elsewhere<'p> {
    fn of(new: &'p Plan, guide: &[GuideChange<'p>], portals: &[PortalChange<'p>]) -> Self {
        let mut moved: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let by_portal = portals.iter().filter(|change| change.from.is_some() && change.to.is_some());
        for change in by_portal {
            for (flow, _) in new.guide.flows.iter().filter(|(_, flow)| flow.portal == change.portal) {
                moved.entry(flow).or_default().push(format!("{}/{}", change.server, change.portal));
            }
        }
        Self { guides: guide.iter().map(|change| change.flow).collect(), moved }
    }

    fn concerns(&self, process: &ProcessPlan, reasons: &mut Vec<Because>) {
        let sent = process.wiring.outputs.iter().filter(|output| output.key.is_some()).map(|output| &output.flow);
        let carried = process.wiring.portal.iter().flat_map(|doors| &doors.flows).map(|carried| &carried.flow);
        for flow in sent.chain(carried) {
            if self.guides.contains(flow.as_str()) {
                reasons.push(Because::GuideOf(flow.clone()));
            }
            let portals = self.moved.get(flow.as_str()).into_iter().flatten();
            for portal in portals {
                let reason = Because::PortalMoved(portal.clone());
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
    }
}

/// What a kept process is when only what concerns its launcher is taken from the new plan.
pub(super) fn with_policy_of(kept: &ProcessPlan, new: &ProcessPlan) -> ProcessPlan {
    ProcessPlan { program: kept.program.clone(), wiring: kept.wiring.clone(), ..new.clone() }
}

fn compare(old: &ProcessPlan, new: &ProcessPlan, elsewhere: &Elsewhere<'_>) -> (Action, Vec<Because>) {
    let mut reasons = Vec::new();
    let mut action = Action::Keep;
    if old != new {
        policy(old, new, &mut reasons);
        if old.wiring != new.wiring {
            action = Action::Rewire;
            let before = reasons.len();
            wiring(&old.wiring, &new.wiring, &mut reasons);
            told(&mut reasons, before, "wiring");
        }
        if old.program != new.program || old.is_source() != new.is_source() {
            action = Action::Restart;
            let before = reasons.len();
            program(&old.program, &new.program, &mut reasons);
            told(&mut reasons, before, "program");
        }
        told(&mut reasons, 0, "settings");
    }
    let before = reasons.len();
    elsewhere.concerns(new, &mut reasons);
    if reasons.len() > before {
        action = action.max(Action::Rewire);
    }
    (action, reasons)
}

/// Sees to it that a difference is never without a reason.
fn told(reasons: &mut Vec<Because>, before: usize, what: &str) {
    if reasons.len() == before {
        reasons.push(Because::Added(format!("other {what}")));
    }
}

fn policy(old: &ProcessPlan, new: &ProcessPlan, reasons: &mut Vec<Because>) {
    if old.restart != new.restart {
        let words = |process: &ProcessPlan| {
            let restart = &process.restart;
            let policy = serde_json::to_value(restart.policy).unwrap_or_default();
            let max = restart.max.map_or_else(String::new, |max| format!(", at most {max} in {} ms", restart.window));
            format!("{}, pauses up to {} ms{max}", policy.as_str().unwrap_or_default(), restart.backoff)
        };
        reasons.push(Because::changed("restart", words(old), words(new)));
    }
    if old.stop != new.stop {
        let words = |process: &ProcessPlan| format!("{} and {} ms", process.stop.signal, process.stop.grace);
        reasons.push(Because::changed("stop", words(old), words(new)));
    }
    if old.alive != new.alive {
        let words = |process: &ProcessPlan| {
            process
                .alive
                .map_or_else(|| "none".to_owned(), |alive| format!("{} ms, then {}", alive.within, word(&alive.then)))
        };
        reasons.push(Because::changed("alive within", words(old), words(new)));
    }
    if old.ready_timeout != new.ready_timeout {
        reasons.push(Because::changed("ready timeout in ms", old.ready_timeout, new.ready_timeout));
    }
}

fn program(old: &Program, new: &Program, reasons: &mut Vec<Because>) {
    let (Program::Stage(old), Program::Stage(new)) = (old, new) else { return };
    if old.argv != new.argv {
        let words = |program: &StageProgram| program.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        reasons.push(Because::changed("run", words(old), words(new)));
    }
    if old.speaks != new.speaks {
        reasons.push(Because::changed("speaks", word(&old.speaks), word(&new.speaks)));
    }
    if old.cwd != new.cwd {
        reasons.push(Because::changed("cwd", quoted(&old.cwd), quoted(&new.cwd)));
    }
    let variables: BTreeSet<&String> = old.env.keys().chain(new.env.keys()).collect();
    for name in variables {
        let (from, to) = (old.env.get(name), new.env.get(name));
        if from != to {
            reasons.push(Because::variable(name, from.map(String::as_str), to.map(String::as_str)));
        }
    }
    if old.user != new.user {
        let words = |program: &StageProgram| program.user.clone().unwrap_or_else(|| "the launcher's".to_owned());
        reasons.push(Because::changed("user", words(old), words(new)));
    }
    let limits = [
        ("limits.nofile", old.nofile, new.nofile),
        ("limits.memory in bytes", old.memory, new.memory),
        ("limits.cpu in millionths", old.cpu, new.cpu),
    ];
    reasons.extend(limits.into_iter().filter(|(_, from, to)| from != to).map(|(what, from, to)| limit(what, from, to)));
}

fn limit(what: &str, from: Option<u64>, to: Option<u64>) -> Because {
    let words = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    Because::changed(what, words(from), words(to))
}

/// The plan's own word for a value that is one.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

fn wiring(old: &Wiring, new: &Wiring, reasons: &mut Vec<Because>) {
    let by_flow = |wiring: &Wiring| -> BTreeMap<String, Vec<String>> {
        wiring.inputs.iter().map(|input| (input.flow.clone(), input.from.clone())).collect()
    };
    each(
        &by_flow(old),
        &by_flow(new),
        reasons,
        |flow| format!("input {flow}"),
        |flow, from, to, reasons| {
            reasons.push(Because::changed(format!("{flow} comes from"), from.join(", "), to.join(", ")));
        },
    );
    let by_flow = |wiring: &'_ Wiring| -> BTreeMap<String, Output> {
        wiring.outputs.iter().map(|output| (output.flow.clone(), output.clone())).collect()
    };
    each(
        &by_flow(old),
        &by_flow(new),
        reasons,
        |flow| format!("output {flow}"),
        |flow, from, to, reasons| {
            if from.key != to.key {
                reasons.push(Because::changed(format!("key of {flow}"), word(&from.key), word(&to.key)));
            }
            if from.max_record != to.max_record {
                reasons.push(Because::changed(format!("max_record of {flow}"), from.max_record, to.max_record));
            }
            if from.loops != to.loops {
                let words = |output: &Output| {
                    let passes = output.loops.iter().map(|step| format!("{} {}", step.name, step.passes));
                    let words: Vec<String> = passes.collect();
                    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
                };
                reasons.push(Because::changed(format!("passes of {flow}"), words(from), words(to)));
            }
            consumers(flow, &from.consumers, &to.consumers, reasons);
        },
    );
    match (&old.portal, &new.portal) {
        (Some(old), Some(new)) => doors(old, new, reasons),
        (None, None) => {}
        _ => reasons.push(Because::Added("other doors".to_owned())),
    }
}

/// Compares two maps: what is added, what is removed, and for what differs whatever `changed` finds.
fn each<T: PartialEq>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    reasons: &mut Vec<Because>,
    what: impl Fn(&str) -> String,
    changed: impl Fn(&str, &T, &T, &mut Vec<Because>),
) {
    for (name, after) in new {
        match old.get(name) {
            None => reasons.push(Because::Added(what(name))),
            Some(before) if before != after => changed(name, before, after, reasons),
            Some(_) => {}
        }
    }
    reasons.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| Because::Removed(what(name))));
}

fn consumers(flow: &str, old: &[Consumer], new: &[Consumer], reasons: &mut Vec<Because>) {
    let by_stage = |consumers: &[Consumer]| -> BTreeMap<String, Consumer> {
        consumers.iter().map(|consumer| (consumer.stage.clone(), consumer.clone())).collect()
    };
    each(
        &by_stage(old),
        &by_stage(new),
        reasons,
        |stage| format!("{flow} to {stage}"),
        |stage, from, to, reasons| {
            if from.spread != to.spread {
                reasons.push(Because::changed(
                    format!("spread of {flow} in {stage}"),
                    word(&from.spread),
                    word(&to.spread),
                ));
            }
            if from.receivers.len() != to.receivers.len() {
                let what = format!("instances of {stage} for {flow}");
                reasons.push(Because::changed(what, from.receivers.len(), to.receivers.len()));
            } else if let (Some(before), Some(after)) = (from.receivers.first(), to.receivers.first())
                && from.receivers != to.receivers
            {
                reasons.push(Because::changed(
                    format!("share of {flow} in {stage}'s queue"),
                    before.share,
                    after.share,
                ));
            }
        },
    );
}

fn doors(old: &Doors, new: &Doors, reasons: &mut Vec<Because>) {
    if old.links != new.links {
        reasons.push(Because::changed("links", &old.links, &new.links));
    }
    if old.clients != new.clients {
        let words = |doors: &Doors| doors.clients.clone().unwrap_or_else(|| "none".to_owned());
        reasons.push(Because::changed("clients", words(old), words(new)));
    }
    if old.spool != new.spool {
        let words = |doors: &Doors| format!("{} in memory, {} on disk", doors.spool.memory, doors.spool.disk);
        reasons.push(Because::changed("spool in bytes", words(old), words(new)));
    }
    let by_flow = |doors: &Doors| -> BTreeMap<String, Carried> {
        doors.flows.iter().map(|carried| (carried.flow.clone(), carried.clone())).collect()
    };
    each(
        &by_flow(old),
        &by_flow(new),
        reasons,
        |flow| format!("flow {flow}"),
        |flow, from, to, reasons| {
            if from.key != to.key {
                reasons.push(Because::changed(format!("key of {flow}"), word(&from.key), word(&to.key)));
            }
            if from.max_record != to.max_record {
                reasons.push(Because::changed(format!("max_record of {flow}"), from.max_record, to.max_record));
            }
            if from.from_clients != to.from_clients {
                reasons.push(Because::changed(format!("{flow} from clients"), from.from_clients, to.from_clients));
            }
            consumers(flow, &from.consumers, &to.consumers, reasons);
        },
    );
}
