//! What a launcher does in a rollout, step by step as its deployer asks: (state, event) → effects, as for the rest.
//!
//! ```text
//! Prepare → Hold → Idle → (Drain → HoldAgain → IdleAgain) → AdoptPortals → Switch → Flush → HandOver → Settle → Release
//!     └───────┴──────┴────────┴──────────┴───────────┴→ Abort
//! ```
//!
//! Every process has an [`Order`]. A step may be asked for again, by the same deployer or by one that goes on for it:
//! what has been done is seen from the generation that a process lives by, and isn't done twice. A process that dies
//! meanwhile is started again by its own policy, with what is in place for it then, and is told again what it missed.

mod down;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use waldo_compiler::plan::{ProcessPlan, RestartPolicy};
use waldo_sdk::control::ToProcess;

use super::{Effect, Machine};
use crate::{
    launcher::state::{Ended, Finish, Moment, Phase, Process, ProcessIndex, Role, State},
    rollout::{Failure, Progress, Stage, StepName},
};

/// What a rollout does with a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Nothing; its settings may change.
    Keep,
    /// It reads a new wiring, and goes on.
    Adopt,
    /// It leaves, and is started anew.
    Restart,
    /// It is started; the plan before didn't have it.
    Start,
    /// It leaves; the new plan doesn't have it.
    Leave,
}

/// A process's part in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What is done with it.
    pub order: Order,
    /// What it is under the new plan, unless it leaves.
    pub plan: Option<ProcessPlan>,
    /// Processes that must have left before it may: what they say last, it still hears.
    pub after: Vec<String>,
}

/// A rollout, as far as it concerns this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The generation that it leads to.
    pub generation: u64,
    /// The parts of the processes by their names, those that leave included.
    pub parts: BTreeMap<String, Part>,
    /// Names in the order of the plan.
    order: Vec<String>,
    step: StepName,
    /// What portals deliver though they hold: flows, and flows for one consumer.
    but: Vec<String>,
    done: bool,
    failure: Option<Failure>,
    /// What failed in the switch: whoever leads now has to know.
    failed_switch: Option<Failure>,
    /// The one before, if it isn't over here: one that was decided and failed, so that this one leads back from it; or one
    /// of which this server hasn't heard the end, as it had nothing to do for it.
    before: Option<Box<Change>>,
    /// New processes that have been ready once: if they end later, they are started again like any other.
    proved: BTreeSet<ProcessIndex>,
    /// The orders by the places of the processes that the machine knows, as an event must not cost a search by names.
    orders: Vec<(ProcessIndex, Order)>,
    /// Those for which nothing could be put in place: it is tried again when the step is asked for again.
    not_installed: BTreeSet<ProcessIndex>,
}

impl Change {
    /// To a generation: nothing of it has been done.
    pub fn new(generation: u64, parts: Vec<(String, Part)>) -> Self {
        Self {
            generation,
            order: parts.iter().map(|(name, _)| name.clone()).collect(),
            parts: parts.into_iter().collect(),
            step: StepName::Prepare,
            but: Vec::new(),
            done: true,
            failure: None,
            failed_switch: None,
            before: None,
            proved: BTreeSet::new(),
            orders: Vec::new(),
            not_installed: BTreeSet::new(),
        }
    }

    /// The step that was asked for last.
    pub fn step(&self) -> StepName {
        self.step
    }

    /// What an earlier step came to, for a deployer that goes on for another and asks for it again.
    pub fn came_to(&self, step: StepName) -> Stage {
        match &self.failed_switch {
            Some(failure) if step == StepName::Switch => Stage::Failed(failure.clone()),
            _ => Stage::Done,
        }
    }

    /// The flows that portals deliver though they hold.
    pub fn delivered(&self) -> &[String] {
        &self.but
    }

    /// Whether portals and stages may live by the new plan already: there is no way back but another rollout.
    pub fn is_decided(&self) -> bool {
        self.step >= StepName::AdoptPortals && self.step != StepName::Abort
    }

    fn part(&self, name: &str) -> Option<&Part> {
        self.parts.get(name)
    }
}

/// A rollout that is over here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concluded {
    /// The generation that it led to.
    pub generation: u64,
    /// Whether it was released or aborted.
    pub step: StepName,
    /// What is wrong with it all the same.
    pub failure: Option<Failure>,
}

/// What is to be done about a step that a deployer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It is to be taken.
    Take,
    /// Nothing: how it stands is known.
    Known(Stage),
    /// It is of the rollout before the one that is under way here. If the store says that this one was given up, it is to be
    /// aborted, and the question asked anew; if not, the question is a late one, and this is how it stood.
    Former(Stage),
}

impl Machine {
    /// What is to be done about a step of a rollout to this generation. The question may be late, or asked for the second
    /// time: by a deployer that has slept, or by one that goes on for another. No step is taken twice, and none back.
    pub fn asked(&self, generation: u64, step: StepName) -> Asked {
        let refused = |why: String| Asked::Known(Stage::Failed(Failure::Other(why)));
        let done = Asked::Known(Stage::Done);
        if let Some(change) = self.change.as_ref().filter(|change| change.generation == generation) {
            return match step {
                StepName::Prepare => done,
                StepName::Abort if change.is_decided() => {
                    refused("it has been decided: the rollout goes on".to_owned())
                }
                _ if step < change.step => Asked::Known(change.came_to(step)),
                _ => Asked::Take,
            };
        }
        let former = self.change.as_ref().and_then(|change| change.before.as_deref());
        if let Some(former) = former.filter(|former| former.generation == generation) {
            return Asked::Former(former.came_to(step));
        }
        let concluded = self.concluded.as_ref().filter(|concluded| concluded.generation == generation);
        if let Some(Concluded { step: StepName::Release, failure: Some(failure), .. }) = concluded
            && step == StepName::Release
        {
            return Asked::Known(Stage::Failed(failure.clone()));
        }
        match (concluded.map(|concluded| concluded.step), step) {
            (Some(StepName::Abort), StepName::Abort) => done,
            (Some(StepName::Abort), _) => refused("it has been given up".to_owned()),
            (Some(_), StepName::Abort) => refused("it has been decided, and is over".to_owned()),
            (Some(_), _) | (None, StepName::Abort) => done,
            (None, StepName::Prepare) => {
                let live = self.change.as_ref().map_or(self.generation, |change| change.generation);
                if generation > live {
                    return Asked::Take;
                }
                refused(format!("plan {live} is live already, or about to be"))
            }
            // Long done: another deployer goes on for one that has seen it.
            (None, _) if generation <= self.generation => done,
            (None, _) => refused(format!("it knows of no rollout to plan {generation}")),
        }
    }

    /// The rollout that is under way.
    pub fn change(&self) -> Option<&Change> {
        self.change.as_ref()
    }

    /// How far the rollout has come with the step that was asked for last.
    pub fn progress(&self) -> Option<Progress> {
        let Some(change) = &self.change else {
            let Concluded { generation, step, failure } = self.concluded.clone()?;
            let state = failure.map_or(Stage::Done, Stage::Failed);
            return Some(Progress { generation, step, state, paused: 0, held: BTreeMap::new() });
        };
        let state = match &change.failure {
            // A release tells what is wrong once all else is as it should be: nobody asks after that.
            Some(failure) if change.step != StepName::Release => Stage::Failed(failure.clone()),
            _ if change.done => Stage::Done,
            _ => Stage::Working(self.waiting_for(change)),
        };
        Some(Progress { generation: change.generation, step: change.step, state, paused: 0, held: BTreeMap::new() })
    }

    /// Whether gates are closed and the driver is to find out whether the stages are idle.
    pub fn wants_idle_proof(&self) -> bool {
        let waits = |change: &Change| {
            matches!(change.step, StepName::Idle | StepName::IdleAgain) && !change.done && change.failure.is_none()
        };
        self.change.as_ref().is_some_and(waits) && self.is_gated()
    }

    /// A rollout has been verified. One that went before and failed after its decision stays as it is, gates closed:
    /// this one leads back from there.
    pub(super) fn prepared(&mut self, change: Change) {
        let former = self.change.take_if(|former| former.generation != change.generation);
        if let Some(former) = former.as_ref().filter(|former| former.is_decided()) {
            self.settle_for(former);
        }
        self.change.get_or_insert(Change { before: former.map(Box::new), ..change });
        self.give_orders();
    }

    /// A step was asked for.
    pub(super) fn step(&mut self, now: Moment, step: StepName, but: Vec<String>) {
        if step == StepName::Abort
            && let Some((generation, former)) =
                self.change.as_mut().and_then(|it| Some((it.generation, it.before.take()?)))
        {
            let is_decided = former.is_decided();
            let holds = !matches!(former.step, StepName::Prepare | StepName::Abort);
            self.change = Some(*former);
            self.give_orders();
            self.concluded = Some(Concluded { generation, step, failure: None });
            if is_decided {
                // There is no way back from what failed after its decision: it goes on.
                self.step(now, StepName::Release, but);
            } else {
                // Whether it was decided, the store knows. Nobody else does, if it doesn't concern this server.
                self.gate(holds);
            }
            return;
        }
        let Some(change) = &mut self.change else { return };
        let again = change.step == step;
        if !again {
            change.failure = None;
        }
        change.step = step;
        change.done = false;
        match step {
            StepName::Hold => {
                change.but.clear();
                self.gate(true);
            }
            // What was to be delivered has been, and nothing more of it is taken in: there is nothing to be closed.
            StepName::HoldAgain => self.gate(true),
            StepName::Drain => {
                change.but = but;
                self.gate(true);
            }
            StepName::AdoptPortals | StepName::Switch => {
                change.but.clear();
                self.admit();
                self.install_again();
                self.bring_all(now, step, true);
            }
            StepName::HandOver => self.tell_portals(|generation| ToProcess::HandOver { generation }),
            StepName::Settle => self.tell_portals(|generation| ToProcess::Settle { generation }),
            StepName::Release => self.release(now),
            StepName::Abort => {
                change.but.clear();
                self.gate(false);
            }
            StepName::Prepare | StepName::Idle | StepName::IdleAgain | StepName::Flush => {}
        }
    }

    /// The stages have been proved idle, or it has taken too long.
    pub(super) fn judged_idle(&mut self, failure: Option<Failure>) {
        let proves = |change: &&mut Change| matches!(change.step, StepName::Idle | StepName::IdleAgain);
        if let Some(change) = self.change.as_mut().filter(proves) {
            change.done = failure.is_none();
            change.failure = failure;
        }
    }

    /// Something of the new plan can't be put in place.
    pub(super) fn not_installed(&mut self, process: ProcessIndex, why: &str) {
        if let Some(change) = &mut self.change {
            change.not_installed.insert(process);
        }
        let name = self.processes[process.0].name.clone();
        self.fail_change(format!("{name}: {why}"));
    }

    /// What couldn't be put in place is to be tried again.
    fn install_again(&mut self) {
        let Some(change) = &mut self.change else { return };
        for process in std::mem::take(&mut change.not_installed) {
            self.processes[process.0].installed = 0;
        }
    }

    fn fail_change(&mut self, why: String) {
        if let Some(change) = &mut self.change {
            let failure = change.failure.get_or_insert(Failure::Other(why));
            if change.step == StepName::Switch {
                change.failed_switch.get_or_insert(failure.clone());
            }
        }
    }

    /// Makes room for the processes that the plan before didn't have.
    fn admit(&mut self) {
        let Some(change) = &self.change else { return };
        let known: BTreeSet<&str> = self.processes.iter().map(|process| process.name.as_str()).collect();
        let new: Vec<Process> = change
            .order
            .iter()
            .filter(|name| !known.contains(name.as_str()))
            .filter_map(|name| change.parts[name].plan.as_ref())
            .map(|plan| Process { removed: true, incarnation: self.begins_behind, ..Process::new(plan) })
            .collect();
        self.processes.extend(new);
        self.give_orders();
    }

    /// Finds the processes' parts by their names.
    fn give_orders(&mut self) {
        let Some(change) = &mut self.change else { return };
        let order = |(index, process): (usize, &Process)| {
            change.parts.get(&process.name).map(|part| (ProcessIndex(index), part.order))
        };
        change.orders = self.processes.iter().enumerate().filter_map(order).collect();
    }

    fn parts(&self) -> Vec<(ProcessIndex, Order)> {
        self.change.as_ref().map_or_else(Vec::new, |change| change.orders.clone())
    }

    /// Brings the processes that this step is about to the new plan, as far as they can go now. Those that adopt it are told
    /// so if the step has just been `asked` for.
    fn bring_all(&mut self, now: Moment, step: StepName, asked: bool) {
        for (index, order) in self.parts() {
            match (step, self.processes[index.0].role) {
                (StepName::AdoptPortals, Role::Portal) | (StepName::Switch, Role::Stage | Role::Source) => {
                    self.bring(now, index, order, asked);
                }
                (StepName::Release, Role::Portal | Role::Source) => self.see_off(now, index, order),
                _ => {}
            }
        }
    }

    /// One process's way to the new plan: nothing if it is there, or on its way.
    fn bring(&mut self, now: Moment, index: ProcessIndex, order: Order, asked: bool) {
        let Some(generation) = self.change.as_ref().map(|change| change.generation) else { return };
        let process = &self.processes[index.0];
        let is_there = process.installed == generation;
        let adopts = match order {
            Order::Adopt => true,
            // It lives by the new plan until it is empty.
            Order::Leave => process.role == Role::Portal,
            // The plan before that one had it, and it hasn't been asked to leave yet.
            Order::Start => process.is_alive() && !process.is_leaving(),
            Order::Keep | Order::Restart => false,
        };
        match order {
            _ if adopts => {
                if asked && !is_there {
                    self.install(index, generation);
                }
                if asked {
                    self.tell_to_adopt(index);
                }
            }
            Order::Keep | Order::Adopt => {}
            Order::Start | Order::Restart if is_there => {}
            Order::Start | Order::Restart | Order::Leave if process.is_alive() => self.let_go(now, index),
            // It waits for the end of the rollout, and isn't started again by what it was.
            Order::Start | Order::Restart if process.role == Role::Source => self.processes[index.0].cancel_start(),
            Order::Start | Order::Restart => {
                self.install(index, generation);
                self.start_new(index);
            }
            Order::Leave => self.processes[index.0].state = State::Stopped,
        }
    }

    /// What is left of a process's way once gates open: portals that leave do, and sources come.
    fn see_off(&mut self, now: Moment, index: ProcessIndex, order: Order) {
        let Some(generation) = self.change.as_ref().map(|change| change.generation) else { return };
        let process = &self.processes[index.0];
        match (order, process.role) {
            (Order::Leave, _) if process.is_alive() => self.ask_to_leave(now, index),
            (Order::Leave, _) => self.processes[index.0].state = State::Stopped,
            (Order::Start | Order::Restart, Role::Source) if process.installed != generation => {
                if process.is_alive() {
                    self.ask_to_leave(now, index);
                } else {
                    self.install(index, generation);
                    self.start_new(index);
                }
            }
            _ => {}
        }
    }

    fn install(&mut self, index: ProcessIndex, generation: u64) {
        let plan = self.change.as_ref().and_then(|change| change.part(&self.processes[index.0].name)?.plan.clone());
        let process = &mut self.processes[index.0];
        process.installed = generation;
        if let Some(plan) = plan {
            process.follow(&plan);
            process.removed = false;
        }
        self.effects.push(Effect::Install { process: index });
    }

    fn start_new(&mut self, index: ProcessIndex) {
        let process = &mut self.processes[index.0];
        process.failures = 0;
        process.pauses = 0;
        process.restarted.clear();
        process.finish = Finish::Open;
        process.ended = None;
        self.start(index);
    }

    fn tell_to_adopt(&mut self, index: ProcessIndex) {
        let process = &self.processes[index.0];
        if matches!(process.state, State::Ready { .. }) && process.lives_by != process.installed {
            let generation = process.installed;
            self.tell(index, ToProcess::Adopt { generation });
        }
    }

    /// Asks a process to leave, once those have left that it must still hear.
    fn let_go(&mut self, now: Moment, index: ProcessIndex) {
        let Some(change) = &self.change else { return };
        let process = &self.processes[index.0];
        if process.is_leaving() {
            return;
        }
        let waits = change.part(&process.name).is_some_and(|part| {
            part.after.iter().any(|name| {
                let before = self.processes.iter().find(|process| process.name == *name);
                before.is_some_and(|before| before.is_alive() && before.installed != change.generation)
            })
        });
        if !waits {
            self.ask_to_leave(now, index);
        }
    }

    fn tell_portals(&mut self, message: impl Fn(u64) -> ToProcess) {
        for (index, order) in self.parts() {
            self.tell_portal(index, order, &message);
        }
    }

    fn tell_portal(&mut self, index: ProcessIndex, order: Order, message: &impl Fn(u64) -> ToProcess) {
        let Some(change) = &self.change else { return };
        let process = &self.processes[index.0];
        if process.role == Role::Portal && order != Order::Keep && matches!(process.state, State::Ready { .. }) {
            let message = message(change.generation);
            self.tell(index, message);
        }
    }

    /// A process has connected and is ready: it is told what it has missed.
    pub(super) fn catch_up(&mut self, index: ProcessIndex) {
        let Some(change) = &self.change else { return };
        let Some(order) = change.part(&self.processes[index.0].name).map(|part| part.order) else { return };
        let step = change.step;
        if self.processes[index.0].installed == change.generation {
            if let Some(change) = &mut self.change {
                change.proved.insert(index);
            }
            self.tell_to_adopt(index);
        }
        if (StepName::HandOver..=StepName::Release).contains(&step) {
            self.tell_portal(index, order, &|generation| ToProcess::HandOver { generation });
        }
        if (StepName::Settle..=StepName::Release).contains(&step) {
            self.tell_portal(index, order, &|generation| ToProcess::Settle { generation });
        }
    }

    /// A process couldn't adopt what is in place for it.
    pub(super) fn refused(&mut self, index: ProcessIndex, generation: u64, text: &str) {
        if self.change.as_ref().is_some_and(|change| change.generation == generation) {
            let name = &self.processes[index.0].name;
            self.fail_change(format!("{name} can't go on with the new plan: {text}"));
        }
    }

    /// Whether a process that ended is one that the rollout started, and was never ready: then the rollout has failed, and
    /// it isn't started again.
    pub(super) fn is_failed_start(&mut self, index: ProcessIndex, ended: &Ended) -> bool {
        let Some(change) = &self.change else { return false };
        let process = &self.processes[index.0];
        let started =
            change.part(&process.name).is_some_and(|part| matches!(part.order, Order::Start | Order::Restart))
                && process.installed == change.generation;
        // A source may be done at once.
        let is_done = process.role == Role::Source && ended.is_success();
        if !started || is_done || change.proved.contains(&index) {
            return false;
        }
        let why = format!("{} ended before it was ready: {ended}", process.name);
        // A portal is needed whatever happens, as others have records for it in hand: it is tried again. Once everything flows
        // again it is for each process's own policy to say what comes next.
        let is_final = process.role != Role::Portal && change.step < StepName::Release;
        self.fail_change(why);
        is_final
    }

    /// The new plan is live here: gates open, sources start, and portals that leave do.
    fn release(&mut self, now: Moment) {
        if let Some(change) = self.change.clone() {
            self.settle_for(&change);
            if let Some(change) = &mut self.change {
                change.but.clear();
            }
            // A server that the rollout has brought in.
            self.phase = Phase::Flowing;
            self.gate(false);
            self.bring_all(now, StepName::Release, true);
            for (index, order) in self.parts() {
                let process = &self.processes[index.0];
                let has_failed = process.state == State::GivenUp && process.installed == change.generation;
                match order {
                    Order::Leave if !process.is_alive() => self.processes[index.0].state = State::Stopped,
                    // It was given up so that the rollout could go back, which it doesn't: its own policy holds again.
                    Order::Start | Order::Restart if has_failed && process.restart.policy != RestartPolicy::Never => {
                        self.start_again(now, index);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Takes the new plan for the one that this server lives by.
    fn settle_for(&mut self, change: &Change) {
        for process in &mut self.processes {
            let Some(part) = change.part(&process.name) else { continue };
            match &part.plan {
                Some(plan) if part.order == Order::Keep => process.follow(plan),
                Some(_) => {}
                None => process.removed = true,
            }
        }
        self.generation = change.generation;
    }

    /// Goes on with the step that was asked for last, as far as the processes' states allow.
    pub(super) fn advance_change(&mut self, now: Moment) {
        if self.phase.is_leaving() {
            self.change = None;
            return;
        }
        self.go_on_with_change(now);
        self.mind_the_down(now);
    }

    fn go_on_with_change(&mut self, now: Moment) {
        let Some(change) = &self.change else { return };
        if change.done {
            return;
        }
        let step = change.step;
        self.bring_all(now, step, false);
        let Some(change) = &self.change else { return };
        let waits = change.orders.iter().any(|(index, order)| self.waits(change, *index, *order).is_some());
        if waits || matches!(step, StepName::Idle | StepName::IdleAgain) {
            return;
        }
        let Some(change) = &mut self.change else { return };
        match step {
            // Whoever leads has to hear of it, and goes on or back.
            StepName::Switch if change.failure.is_some() => return,
            StepName::Release => {}
            // It has come to it after all.
            _ => change.failure = None,
        }
        change.done = true;
        if matches!(step, StepName::Abort | StepName::Release) {
            let concluded = |change: Change| Concluded { generation: change.generation, step, failure: change.failure };
            self.concluded = self.change.take().map(concluded);
            // A server that the plan doesn't have, or not any more.
            if self.processes.iter().all(|process| process.removed) {
                self.effects.push(Effect::Leave);
            }
        }
    }

    /// Whom the step that was asked for last waits for: nobody when it is done.
    fn waiting_for(&self, change: &Change) -> Vec<String> {
        let described = self.parts().into_iter().filter_map(|(index, order)| {
            let what = self.waits(change, index, order)?;
            Some(format!("{} {what}", self.processes[index.0].name))
        });
        described.collect()
    }

    /// What a process has still to do for the step that was asked for last.
    fn waits(&self, change: &Change, index: ProcessIndex, order: Order) -> Option<&'static str> {
        let generation = change.generation;
        let process = &self.processes[index.0];
        let is_ready = |process: &Process| matches!(process.state, State::Ready { .. });
        let is_there = |process: &Process| process.lives_by == generation && is_ready(process);
        match change.step {
            StepName::Hold | StepName::Drain | StepName::HoldAgain | StepName::Abort | StepName::Release
                if process.role != Role::Stage
                    && is_ready(process)
                    && !process.has_gate(self.is_to_be_gated(index)) =>
            {
                Some(if self.is_to_be_gated(index) { "to close its gate" } else { "to open its gate" })
            }
            StepName::Drain if process.role == Role::Portal && process.drained != change.but => {
                Some("to deliver what the new plan has no place for")
            }
            StepName::Idle | StepName::IdleAgain => (process.role == Role::Stage).then_some("to be idle"),
            StepName::AdoptPortals if process.role == Role::Portal => match order {
                Order::Keep => None,
                _ if is_there(process) => None,
                Order::Start => Some("to be ready"),
                _ => Some("to adopt the new plan"),
            },
            StepName::Switch if process.role != Role::Portal => match order {
                Order::Keep => None,
                Order::Leave => process.is_alive().then_some("to leave"),
                // What has finished has nothing to adopt, and what is away starts with the new wiring.
                Order::Adopt if !process.is_alive() || is_there(process) => None,
                Order::Adopt => Some("to adopt the new plan"),
                _ if process.is_alive() && process.installed != generation => Some("to leave"),
                _ if process.role == Role::Source || is_there(process) => None,
                // A filter that has nothing to do ends well.
                _ if process.state == State::Finished && process.installed == generation => None,
                _ => Some("to be ready"),
            },
            StepName::Flush => {
                let counts = match process.role {
                    Role::Portal => matches!(order, Order::Adopt | Order::Leave | Order::Start),
                    Role::Stage | Role::Source => order == Order::Adopt && process.is_alive(),
                };
                (counts && process.flushed < generation).then_some("for receipts of what it sent by the old guide")
            }
            StepName::HandOver if process.role == Role::Portal && order != Order::Keep => {
                (process.handed_over < generation).then_some("to hand over what it doesn't own any more")
            }
            StepName::Settle if process.role == Role::Portal && order != Order::Keep => {
                (process.settled < generation).then_some("to put what it has set aside in order")
            }
            StepName::Release => match order {
                Order::Leave => process.is_alive().then_some("to leave"),
                // Where everything flows, what fails is told, and is for its own policy to mend.
                Order::Start | Order::Restart if change.failure.is_some() && process.installed == generation => None,
                Order::Start | Order::Restart if process.is_alive() && !is_there(process) => Some("to be ready"),
                _ => None,
            },
            // A portal that is about to come back holds as soon as it does. The others aren't concerned.
            StepName::Prepare
            | StepName::Hold
            | StepName::Drain
            | StepName::HoldAgain
            | StepName::Abort
            | StepName::AdoptPortals
            | StepName::Switch
            | StepName::HandOver
            | StepName::Settle => None,
        }
    }

    /// Whether every portal and source that runs has closed its gate.
    fn is_gated(&self) -> bool {
        let injects = |process: &Process| process.role != Role::Stage && process.is_alive() && !process.removed;
        self.gate_closed
            && self.processes.iter().filter(|process| injects(process)).all(|process| process.has_gate(true))
    }
}

#[cfg(test)]
mod tests;
