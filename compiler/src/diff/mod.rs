//! What has to happen for a plan to become another: each process's action and why, which keys move, who must hold.
//!
//! Pure, and made from the two plans alone, so that deployer and launchers work it out alike. Guide versions don't
//! matter here: they are given when a plan goes live ([`succession`]). The rules, with their reasons, are in
//! `docs/rollout.md`.

mod apply;
mod because;
mod disturbance;
mod draining;
mod elsewhere;
mod guide;
mod holding;
mod portal;
mod process;
mod server;
mod settings;
pub mod succession;
mod wiring;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use because::Because;
pub use draining::Drain;
pub use guide::{GuideChange, Keys};
pub use holding::Hold;
pub use portal::{PortalChange, Refusal};
pub use server::{ServerChange, ServerFate};

use crate::plan::{Plan, ProcessPlan};

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

/// The difference between two plans of one topology and namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff<'p> {
    /// Servers that come and go.
    pub servers: Vec<ServerChange<'p>>,
    /// All processes of both plans, by server and, on it, in the order of the new plan, then those that stop.
    pub processes: Vec<ProcessChange<'p>>,
    /// The flows whose guide changes.
    pub guide: Vec<GuideChange<'p>>,
    /// Portals that come, go, are reached elsewhere, or carry something else.
    pub portals: Vec<PortalChange<'p>>,
    /// Servers whose portals hold until they have proved themselves idle, and why.
    pub hold: BTreeMap<&'p str, Vec<Hold<'p>>>,
    /// Servers of which something changes, or adopts another guide, while records flow; also those that are new, and those
    /// that leave without having to be idle.
    pub rewire: BTreeSet<&'p str>,
    /// Servers that hear nothing of it but the number of the new plan.
    pub untouched: BTreeSet<&'p str>,
    /// What a server's portals must have delivered before the switch, as the new plan has no place for it. All of these
    /// servers hold.
    pub drain: BTreeMap<&'p str, BTreeSet<Drain<'p>>>,
    /// What else differs: of the plan as a whole, its flows, its servers.
    pub settings: Vec<Because>,
    /// Why it can't be rolled out in one step.
    pub refusals: Vec<Refusal>,
    new: &'p Plan,
}

/// The plans are of different things.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these are plans of different namespaces: {old} and {new}")]
pub struct Unrelated {
    old: String,
    new: String,
}

/// Works out what has to happen for `old` to become `new`. Near-linear in the size of both.
///
/// # Errors
/// If they aren't plans of the same topology and namespace.
pub fn diff<'p>(old: &'p Plan, new: &'p Plan) -> Result<Diff<'p>, Unrelated> {
    diff_with_programs(old, new, &|_, _| false)
}

/// The same where more is known than the plans say: `is_rebuilt` is asked whether the file of a stage's program on a server
/// isn't the one any more that its process of the old plan was started from. Such a process is restarted.
///
/// # Errors
/// If they aren't plans of the same topology and namespace.
pub fn diff_with_programs<'p>(
    old: &'p Plan,
    new: &'p Plan,
    is_rebuilt: &dyn Fn(&str, &ProcessPlan) -> bool,
) -> Result<Diff<'p>, Unrelated> {
    if (&old.topology, &old.namespace) != (&new.topology, &new.namespace) {
        let name = |plan: &Plan| format!("{}/{}", plan.topology, plan.namespace);
        return Err(Unrelated { old: name(old), new: name(new) });
    }
    let servers = server::changes(old, new);
    let guide = guide::changes(old, new);
    let portals = portal::changes(old, new);
    let elsewhere = elsewhere::Elsewhere::of(new, &guide, &portals);
    let processes = process::changes(old, new, &elsewhere, is_rebuilt);
    let disturbance = disturbance::of((old, new), &guide, &servers, &processes);
    let mut settings = settings::changes(old, new);
    settings.extend(guide::rewritten(old, new, &guide));
    Ok(Diff {
        drain: disturbance.drain,
        hold: disturbance.hold,
        rewire: disturbance.rewire,
        untouched: disturbance.untouched,
        settings,
        refusals: portal::refusals(old, new),
        servers,
        processes,
        guide,
        portals,
        new,
    })
}

impl Diff<'_> {
    /// Whether there is nothing to do and nothing to say: the plans are equal but for the versions of guides.
    pub fn is_empty(&self) -> bool {
        self.processes.iter().all(|change| change.because.is_empty())
            && self.servers.is_empty()
            && self.guide.is_empty()
            && self.portals.is_empty()
            && self.settings.is_empty()
    }

    /// How many processes there are of an action.
    pub fn count(&self, action: Action) -> usize {
        self.processes.iter().filter(|change| change.action == action).count()
    }
}

#[cfg(test)]
mod tests;
