//! Does to a plan what a diff says is to be done.

use std::collections::{BTreeMap, HashMap};

use super::{Action, Diff, ProcessChange};
use crate::plan::{Plan, ProcessPlan, ServerPlan};

impl Diff<'_> {
    /// Does to the old plan what this says is to be done: processes are started, stopped, replaced and rewired; kept ones
    /// stay as they are but for what concerns their launcher; untouched servers stay as they are. What comes out is the
    /// new plan, if this is right.
    pub fn apply(&self, old: &Plan) -> Plan {
        if self.is_empty() {
            return old.clone();
        }
        let mut by_server: BTreeMap<&str, Vec<&ProcessChange<'_>>> = BTreeMap::new();
        for change in &self.processes {
            by_server.entry(change.server).or_default().push(change);
        }
        let server = |(name, new): (&String, &ServerPlan)| {
            let changes = by_server.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let server = match old.servers.get(name) {
                None => new.clone(),
                Some(before) if self.untouched.contains(name.as_str()) => {
                    ServerPlan { ssh: new.ssh.clone(), memory: new.memory, cpu: new.cpu, ..before.clone() }
                }
                Some(before) => ServerPlan { processes: processes(&before.processes, changes), ..new.clone() },
            };
            (name.clone(), server)
        };
        Plan { servers: self.new.servers.iter().map(server).collect(), ..self.new.clone() }
    }
}

fn processes(before: &[ProcessPlan], changes: &[&ProcessChange<'_>]) -> Vec<ProcessPlan> {
    let known: HashMap<&str, &ProcessPlan> = before.iter().map(|process| (process.name.as_str(), process)).collect();
    let wanted = changes.iter().filter_map(|change| Some((change, change.new?)));
    let process = |(change, new): (&&ProcessChange<'_>, &ProcessPlan)| match known.get(change.process) {
        Some(&kept) => match change.action {
            Action::Keep if change.because.is_empty() => kept.clone(),
            Action::Keep => with_policy_of(kept, new),
            Action::Rewire => ProcessPlan { wiring: new.wiring.clone(), ..with_policy_of(kept, new) },
            Action::Restart | Action::Start | Action::Stop => new.clone(),
        },
        None => new.clone(),
    };
    wanted.map(process).collect()
}

/// What a kept process is when only what concerns its launcher is taken from the new plan.
fn with_policy_of(kept: &ProcessPlan, new: &ProcessPlan) -> ProcessPlan {
    ProcessPlan { program: kept.program.clone(), wiring: kept.wiring.clone(), ..new.clone() }
}
