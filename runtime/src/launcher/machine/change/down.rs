//! Stages that are down while a rollout wants their server to be idle: given up, or ending again and again. Nobody can work off
//! what waits for them, so the server would never be idle, and the fix of just such a stage could never be rolled out.
//!
//! What waits for them is with those who sent it: in their sockets, or in the hands of stages that can't go on. That may stay
//! there if the rollout changes nothing around it. So there is a *region*: the stages that are down, the stages and sources
//! that may be blocked by them, and all that get records from any of these. A region through which nothing goes but one
//! of these stages that is started anew needs no proof: its processes are kept, with what they have in hand; no portal's
//! guide changes; and whatever begins to move in it, once the stage is back, stays in it or goes to a portal. What is
//! outside of it gets nothing from it, and is proved idle as ever.
//!
//! A stage of a region isn't started by its old plan any more from then on until the switch, or until the rollout is given up.

use std::collections::BTreeSet;

use super::{Change, Machine, Order};
use crate::{
    launcher::state::{Moment, Process, Role, State},
    rollout::StepName,
};

/// When a stage is started again that is left alone: not by itself.
const LEFT_ALONE: State = State::BackingOff { until: Moment::MAX };

impl Machine {
    /// The processes whose records need not be worked off for the server to count as idle.
    pub fn left_out(&self) -> BTreeSet<String> {
        self.change.as_ref().map_or_else(BTreeSet::new, |change| self.region(change))
    }

    /// Leaves stages alone that are down, or lets them be started again.
    pub(super) fn mind_the_down(&mut self, now: Moment) {
        let is_between =
            |change: &&Change| (StepName::Idle..=StepName::Switch).contains(&change.step) && change.failure.is_none();
        let Some(change) = self.change.as_ref().filter(is_between) else {
            for process in self.processes.iter_mut().filter(|process| process.state == LEFT_ALONE) {
                process.state = State::BackingOff { until: now };
            }
            return;
        };
        let backs_off =
            |process: &Process| matches!(process.state, State::BackingOff { .. }) && process.state != LEFT_ALONE;
        if !self.processes.iter().any(backs_off) {
            return;
        }
        let region = self.region(change);
        // Once it lives by the new plan it is started again like any other.
        let is_old = |process: &Process| process.installed != change.generation;
        let is_restarted =
            |name: &str| change.part(name).is_some_and(|part| part.order == Order::Restart) && region.contains(name);
        let waits: Vec<usize> = (0..self.processes.len())
            .filter(|&index| {
                let process = &self.processes[index];
                backs_off(process) && is_old(process) && is_restarted(&process.name)
            })
            .collect();
        for index in waits {
            self.processes[index].state = LEFT_ALONE;
        }
    }

    /// The region around the stages that are down; empty if there are none, or if more than they is changed in it.
    fn region(&self, change: &Change) -> BTreeSet<String> {
        let is_kept = |name: &str| change.part(name).is_some_and(|part| part.order == Order::Keep);
        let is_down = |process: &&Process| {
            process.role == Role::Stage && matches!(process.state, State::BackingOff { .. } | State::GivenUp)
        };
        let may_wait =
            |name: &str| change.part(name).is_some_and(|part| matches!(part.order, Order::Keep | Order::Restart));
        let down: BTreeSet<&str> = self
            .processes
            .iter()
            .filter(is_down)
            .map(|process| process.name.as_str())
            .filter(|name| may_wait(name))
            .collect();
        let portals: BTreeSet<&str> = self.names_of(Role::Portal);
        if down.is_empty() || !portals.iter().all(|portal| is_kept(portal)) {
            return BTreeSet::new();
        }
        let senders = |name: &str| {
            let inputs = change.part(name).and_then(|part| part.plan.as_ref()).map(|plan| &plan.wiring.inputs);
            let from = inputs.into_iter().flatten().flat_map(|input| &input.from).map(String::as_str);
            from.filter(|sender| change.parts.contains_key(*sender) && !portals.contains(sender))
        };
        let mut region = down.clone();
        let mut to_look_at: Vec<&str> = down.iter().copied().collect();
        while let Some(name) = to_look_at.pop() {
            to_look_at.extend(senders(name).filter(|sender| region.insert(sender)));
        }
        loop {
            let gets = |name: &&str| !region.contains(name) && senders(name).any(|sender| region.contains(sender));
            let more: Vec<&str> = change.parts.keys().map(String::as_str).filter(gets).collect();
            if more.is_empty() {
                break;
            }
            region.extend(more);
        }
        if region.iter().all(|name| is_kept(name) || down.contains(name)) {
            region.into_iter().map(str::to_owned).collect()
        } else {
            BTreeSet::new()
        }
    }

    fn names_of(&self, role: Role) -> BTreeSet<&str> {
        let of_role = self.processes.iter().filter(|process| process.role == role && !process.removed);
        of_role.map(|process| process.name.as_str()).collect()
    }
}
