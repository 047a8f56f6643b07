//! Deployers of the model: each drives the real machine, as `waldo deploy` does.

use std::rc::Rc;

use waldo_runtime::rollout::{
    Decision, Effect, Event as Heard, Failure, Machine, Outcome, Stage, Step, StepName,
    machine::{Bounds, Phase, Reason},
};

use crate::{
    launcher::IDLE,
    plan::{Plan, name, number},
    store::Intent,
    world::{Event, Moment, World, Wrong},
};

/// How often a deployer asks again, and says that it is there.
const ASKS: Moment = 100;
const SAYS: Moment = 1_000;
const BOUNDS: Bounds = Bounds { idle: IDLE, switch: 3_000 };

/// How a command ended: its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Done = 0,
    Nothing = 1,
    RolledBack = 3,
    Unhealthy = 4,
    Locked = 5,
    NotIdle = 7,
    Cancelled = 8,
    Mixed = 9,
}

/// What it is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A rollout of its own.
    Forward,
    /// One that somebody else had begun.
    Resuming,
    /// Back to the plan before, as the new one doesn't work.
    Back,
    /// On with what doesn't work, as there is no way back.
    On,
}

pub struct Deployer {
    pub up: bool,
    pub frozen_until: Moment,
    /// What it is to roll out, unless it only goes on for another.
    wants: Option<Plan>,
    at: At,
    generation: u64,
    machine: Option<Machine>,
    /// What each server was asked for last.
    steps: Vec<Option<Step>>,
    lost: Vec<bool>,
    drains: Option<Vec<usize>>,
    said: Moment,
    /// Why it goes back.
    back: Option<Reason>,
    pub exit: Option<Exit>,
    pub finished_at: Moment,
}

impl World {
    /// Somebody runs `waldo deploy`, or with no plan a launcher `__resume`.
    pub fn deploy(&mut self, wants: Option<Plan>) -> usize {
        let count = self.launchers.len();
        let mut deployer = Deployer {
            up: true,
            frozen_until: 0,
            wants,
            at: At::Forward,
            generation: 0,
            machine: None,
            steps: vec![None; count],
            lost: vec![false; count],
            drains: None,
            said: 0,
            back: None,
            exit: None,
            finished_at: 0,
        };
        let id = self.deployers.len();
        if self.store.lock.is_some() {
            deployer.up = false;
            deployer.exit = Some(Exit::Locked);
            self.deployers.push(deployer);
            return id;
        }
        self.store.lock = Some(id);
        self.deployers.push(deployer);
        self.goes_on(id, None);
        self.later(ASKS, Event::DeployerTick { id });
        id
    }

    /// A launcher has found that somebody's commit is to be carried on.
    pub fn resume(&mut self) {
        self.deploy(None);
    }

    /// The next thing that this deployer has to do, or the end of it.
    fn goes_on(&mut self, id: usize, exit: Option<Exit>) {
        if let Some((generation, _)) = self.store.unfinished() {
            self.leads(id, At::Resuming, generation);
        } else if let Some(plan) = self.deployers[id].wants.take() {
            let from = self.store.live;
            let before = Rc::clone(&self.store.plans[&from]);
            if plan.equals(&before) {
                self.exits(id, Exit::Done);
            } else {
                self.begins(id, At::Forward, from, plan);
            }
        } else {
            self.exits(id, exit.unwrap_or(Exit::Done));
        }
    }

    fn begins(&mut self, id: usize, at: At, from: u64, plan: Plan) {
        let generation = self.store.newest() + 1;
        let plan = plan.versioned(&self.store.plans[&from], generation);
        self.store.plans.insert(generation, Rc::new(plan));
        self.store.intents.insert(generation, Intent { from, is_over: false });
        self.leads(id, at, generation);
    }

    fn leads(&mut self, id: usize, at: At, generation: u64) {
        let parts = self.parts_to(generation).to_vec();
        let make = if matches!(at, At::Resuming | At::On) { Machine::resume } else { Machine::new };
        let mut machine = make(generation, "plan".into(), String::new(), parts, BOUNDS);
        if matches!(at, At::Back | At::On) {
            machine = machine.without_way_back();
        }
        self.trace(|| format!("deployer {id} leads to {generation} ({at:?})"));
        let deployer = &mut self.deployers[id];
        deployer.at = at;
        deployer.generation = generation;
        deployer.machine = Some(machine);
        deployer.steps.iter_mut().for_each(|step| *step = None);
        deployer.lost.iter_mut().for_each(|lost| *lost = false);
        deployer.drains = None;
        self.hears(id, Heard::Begin);
    }

    fn exits(&mut self, id: usize, exit: Exit) {
        self.trace(|| format!("deployer {id} exits: {exit:?}"));
        self.store.lock = None;
        let now = self.now;
        let deployer = &mut self.deployers[id];
        deployer.up = false;
        deployer.machine = None;
        deployer.exit = Some(exit);
        deployer.finished_at = now;
    }

    /// It is killed: its lock is free.
    pub fn deployer_killed(&mut self, id: usize) {
        if self.deployers[id].up {
            self.trace(|| format!("deployer {id} is killed"));
            self.deployers[id].up = false;
            self.deployers[id].machine = None;
            self.store.lock = None;
        }
    }

    /// Its machine takes in an event; what it wants is done.
    pub fn hears(&mut self, id: usize, event: Heard) {
        let now = self.now;
        let Some(machine) = &mut self.deployers[id].machine else { return };
        let before = machine.phase();
        let effects = machine.handle(now, event);
        let after = machine.phase();
        if after != before {
            self.trace(|| format!("deployer {id}: {after:?}"));
            self.phase_begins(id, after);
        }
        for effect in effects {
            match effect {
                Effect::Ask { server, step } => {
                    let server = number(&server);
                    self.deployers[id].steps[server] = Some(step);
                    self.ask(id, server);
                }
                Effect::Revive { server } => {
                    let delay = self.weather.start(&mut self.rng);
                    self.later(delay, Event::Revived { server: number(&server) });
                }
                Effect::ProveDrained { flows } => {
                    let flows = flows.iter().map(|flow| flow.parse().expect("a flow's number")).collect();
                    self.deployers[id].drains = Some(flows);
                }
                Effect::Decide(decision) => {
                    let commits = self.wrong == Wrong::ResumeCommits && self.deployers[id].at == At::Resuming;
                    let decision = if commits { Decision::Commit } else { decision };
                    let delay = self.weather.store(&mut self.rng);
                    let generation = self.deployers[id].generation;
                    self.later(delay, Event::Decide { id, generation, decision });
                }
                Effect::Finish(outcome) => self.finishes(id, outcome),
            }
        }
    }

    fn ask(&mut self, id: usize, server: usize) {
        let deployer = &self.deployers[id];
        let generation = deployer.generation;
        if let Some(step) = deployer.steps[server].clone() {
            self.over_the_net(|| Event::Asked { server, asker: id, generation, step: step.clone() });
        }
    }

    /// The store is asked, and answers.
    pub fn decides(&mut self, id: usize, generation: u64, decision: Decision) {
        // What was handed to the store is done, also if who asked has gone.
        if self.put_off(self.deployers[id].frozen_until, || Event::Decide { id, generation, decision }) {
            return;
        }
        if !self.deployers[id].up {
            return;
        }
        let holds = self.store.decide(generation, decision);
        self.trace(|| format!("the store has {holds:?} for {generation}"));
        if self.deployers[id].generation == generation {
            self.hears(id, Heard::Decided(holds));
        }
    }

    pub fn answered(&mut self, id: usize, server: usize, generation: u64, step: StepName, stage: Stage) {
        if !self.deployers[id].up {
            return;
        }
        if self.put_off(self.deployers[id].frozen_until, || Event::Answered {
            id,
            server,
            generation,
            step,
            stage: stage.clone(),
        }) {
            return;
        }
        self.hears(id, Heard::Stands { server: name(server), generation, step, stage });
    }

    /// It asks again who hasn't done what he was asked for, and lets everybody know that it is there.
    pub fn deployer_tick(&mut self, id: usize) {
        if !self.deployers[id].up {
            return;
        }
        if self.put_off(self.deployers[id].frozen_until, || Event::DeployerTick { id }) {
            return;
        }
        self.later(ASKS, Event::DeployerTick { id });
        self.hears(id, Heard::Tick);
        // The way back can't be cancelled.
        if !matches!(self.deployers[id].at, At::Back | At::On) && self.cancels(id) {
            self.hears(id, Heard::Cancel);
        }
        if let Some(flows) = self.deployers[id].drains.clone()
            && self.deployers[id].machine.as_ref().is_some_and(|machine| machine.phase() == Phase::Drain)
            && flows.iter().all(|&flow| self.processes.iter().all(|process| !process.holds_of(flow)))
        {
            self.deployers[id].drains = None;
            self.hears(id, Heard::Drained);
        }
        for server in 0..self.launchers.len() {
            let is_up = self.launchers[server].up;
            if self.deployers[id].machine.is_some() && self.deployers[id].lost[server] == is_up {
                self.deployers[id].lost[server] = !is_up;
                let server = name(server);
                self.hears(id, if is_up { Heard::Back { server } } else { Heard::Lost { server } });
            }
        }
        let says = self.now >= self.deployers[id].said + SAYS;
        let Some(machine) = &self.deployers[id].machine else { return };
        let waiting: Vec<usize> = machine.waiting_for().into_iter().map(number).collect();
        for server in waiting {
            self.ask(id, server);
        }
        if says {
            let generation = self.deployers[id].generation;
            self.deployers[id].said = self.now;
            for server in 0..self.launchers.len() {
                self.over_the_net(|| Event::Pinged { server, generation });
            }
        }
    }

    fn finishes(&mut self, id: usize, outcome: Outcome) {
        let (at, generation) = (self.deployers[id].at, self.deployers[id].generation);
        self.trace(|| format!("deployer {id}: to {generation}: {outcome:?}"));
        self.rollout_ends(generation, &outcome);
        let from = self.store.intents[&generation].from;
        match outcome {
            Outcome::Done if at == At::On => {
                self.store.goes_live(generation);
                self.goes_on(id, Some(Exit::Unhealthy));
            }
            Outcome::Done => {
                self.store.goes_live(generation);
                let exit = self.deployers[id].back.take().map(|reason| match reason {
                    Reason::Cancelled => Exit::Cancelled,
                    _ => Exit::RolledBack,
                });
                self.goes_on(id, exit);
            }
            Outcome::Unhealthy(_) => {
                self.store.goes_live(generation);
                self.goes_on(id, Some(Exit::Unhealthy));
            }
            Outcome::Aborted(reason) => {
                self.store.is_over(generation);
                if at == At::Back {
                    // What doesn't work stays, as what was before can't be had either.
                    self.leads(id, At::On, from);
                } else {
                    let exit = match reason {
                        Reason::Cancelled => Exit::Cancelled,
                        Reason::Failed { failure: Failure::NotIdle(_), .. } => Exit::NotIdle,
                        _ => Exit::Nothing,
                    };
                    self.goes_on(id, Some(exit));
                }
            }
            Outcome::GoBack(reason) => {
                self.deployers[id].back = Some(reason);
                let plan = (*self.store.plans[&from]).clone();
                self.begins(id, At::Back, generation, plan);
            }
            Outcome::Mixed(..) => self.exits(id, Exit::Mixed),
        }
    }
}
