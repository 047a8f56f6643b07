//! What a deployer decides: (state, event) → effects. No clock, no file, no socket.
//!
//! ```text
//! Prepare → Hold → Idle → (Drain → HoldAgain → IdleAgain) → Deciding
//!    └────────┴──────┴────────┴──────────┴───────────┴─────────┤ abort                  ┌→ GoBack
//!                         Over ← Aborting ←────────────────────┤                        │
//!                                       commit: AdoptPortals → Switch → Flush → HandOver → Settle → Release → Over
//! ```
//!
//! In every phase each server that takes part is asked for one step; the next phase begins when all have done it. A
//! launcher that is lost is asked again when it is back, as every step may be asked for twice. A step that fails, or
//! takes too long, leads to [`Phase::Aborting`] before the decision. After it the rollout goes on: what was sent by the
//! new guide must come to its place, and only then, with everything still holding, another rollout leads back
//! ([`Outcome::GoBack`]).
//!
//! No step is asked for in two phases, and the phases come in the order of their steps: so an answer, or a question, that
//! arrives late can't be taken for that of another phase.

mod event;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use event::{Effect, Event, Outcome, Reason};

use super::{
    step::{Failure, Stage, Step, StepName},
    store::Decision,
};

/// A moment on the deployer's monotonic clock. Milliseconds.
pub type Moment = u64;

/// How long launchers may take to verify a plan, to close gates, to let portals adopt and settle, and to open gates.
/// Milliseconds.
const SHORT: u64 = 10_000;
/// How much longer than its own bound a launcher may take to tell the deployer that it has run out. Milliseconds.
const GRACE: u64 = 5_000;

/// A server's part in a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub server: String,
    /// Whether its portals hold.
    pub holds: bool,
    /// Whether anything of it changes.
    pub changes: bool,
    /// The flows that its portals deliver before the switch, as the new plan doesn't have them there.
    pub drains: Vec<String>,
    /// Its processes whose programs are others than when they were started.
    pub rebuilt: Vec<String>,
}

/// Where the rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Servers verify the new plan.
    Prepare,
    /// Portals and sources of servers that must hold close their gates.
    Hold,
    /// Those servers prove themselves idle.
    Idle,
    /// Their portals deliver what nobody will want any more under the new plan.
    Drain,
    /// After that they close their gates again.
    HoldAgain,
    /// And prove themselves idle again.
    IdleAgain,
    /// The store is asked to take `commit`.
    Deciding,
    /// Portals live by the new plan.
    AdoptPortals,
    /// Stages do.
    Switch,
    /// What was sent by older guides arrives at portals.
    Flush,
    /// Portals hand over what they don't own any more.
    HandOver,
    /// New owners put in order what they were handed over and what came meanwhile.
    Settle,
    /// Gates open.
    Release,
    /// Everything goes back to how it was.
    Aborting,
    /// Nothing more is to be done.
    Over,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Prepare => "prepare",
            Self::Hold => "hold",
            Self::Idle => "idle",
            Self::Drain => "drain",
            Self::HoldAgain => "hold again",
            Self::IdleAgain => "idle again",
            Self::Deciding => "decide",
            Self::AdoptPortals => "adopt",
            Self::Switch => "switch",
            Self::Flush => "flush",
            Self::HandOver => "re-guide",
            Self::Settle => "settle",
            Self::Release => "release",
            Self::Aborting => "abort",
            Self::Over => "over",
        })
    }
}

/// How long things may take. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Until a server is idle.
    pub idle: u64,
    /// Until new processes are ready and old ones have left.
    pub switch: u64,
}

#[derive(Debug, Clone)]
struct Server {
    part: Part,
    asked: Option<StepName>,
    done: bool,
    lost: bool,
    /// The furthest step that it was ever asked for, but for an abort, which concerns whom anything was asked of.
    furthest: Option<StepName>,
    /// What it waits for, as it said last.
    working: Vec<String>,
    /// What it said last that keeps it from doing the step.
    trouble: Option<Failure>,
}

impl Server {
    /// Whether it may have closed a gate.
    fn may_hold(&self) -> bool {
        self.furthest.is_some_and(|step| step > StepName::Prepare)
    }
}

/// What a deployer knows, and how it goes on from there.
#[derive(Debug, Clone)]
pub struct Machine {
    generation: u64,
    plan: PathBuf,
    digest: String,
    bounds: Bounds,
    /// By name.
    servers: Vec<Server>,
    phase: Phase,
    begun: bool,
    /// What to write if nobody has decided yet.
    decision: Decision,
    /// Whether a failure after the decision leads back.
    may_go_back: bool,
    deadline: Moment,
    failed: Option<Reason>,
    effects: Vec<Effect>,
}

impl Machine {
    /// A rollout to a plan, kept in this file, as `generation`.
    pub fn new(generation: u64, plan: PathBuf, digest: String, parts: Vec<Part>, bounds: Bounds) -> Self {
        let server = |part| Server {
            part,
            asked: None,
            done: false,
            lost: false,
            furthest: None,
            working: Vec::new(),
            trouble: None,
        };
        let mut servers: Vec<Server> = parts.into_iter().map(server).collect();
        servers.sort_by(|one, other| one.part.server.cmp(&other.part.server));
        Self {
            generation,
            plan,
            digest,
            bounds,
            servers,
            phase: Phase::Prepare,
            begun: false,
            decision: Decision::Commit,
            may_go_back: true,
            deadline: Moment::MAX,
            failed: None,
            effects: Vec::new(),
        }
    }

    /// Goes on with a rollout whose deployer has gone. If its commit is on record, every step from the portals' adoption
    /// on is asked for again; if nothing is, it is aborted, as nobody knows any more whether all were idle.
    pub fn resume(generation: u64, plan: PathBuf, digest: String, parts: Vec<Part>, bounds: Bounds) -> Self {
        let mut machine = Self::new(generation, plan, digest, parts, bounds);
        machine.phase = Phase::Deciding;
        machine.decision = Decision::Abort;
        // Nobody knows which servers it had asked for what.
        machine.servers.iter_mut().for_each(|server| server.furthest = Some(StepName::Idle));
        machine
    }

    /// Goes on to the new plan whatever fails after the decision, as the way back is barred.
    #[must_use]
    pub fn without_way_back(mut self) -> Self {
        self.may_go_back = false;
        self
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When something is due, if nothing happens before.
    pub fn deadline(&self) -> Moment {
        self.deadline
    }

    /// The servers that haven't done what this phase asks of them.
    pub fn waiting_for(&self) -> Vec<&str> {
        self.servers.iter().filter(|server| !server.done).map(|server| server.part.server.as_str()).collect()
    }

    /// Takes in an event; answers what is to be done about it, in order.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        match event {
            Event::Begin => {
                if !std::mem::replace(&mut self.begun, true) {
                    self.enter(now, self.phase);
                }
            }
            Event::Stands { server, generation, step, stage } => {
                if generation == self.generation {
                    self.stands(now, &server, step, stage);
                }
            }
            Event::Lost { server } => self.lost(now, server),
            Event::Back { server } => self.back(&server),
            Event::Drained => {
                if self.phase == Phase::Drain {
                    self.enter(now, Phase::HoldAgain);
                }
            }
            Event::Decided(decision) => self.decided(now, decision),
            Event::Undecidable(why) => {
                if self.phase == Phase::Deciding {
                    self.failed.get_or_insert(Reason::Undecidable(why));
                    self.enter(now, Phase::Aborting);
                }
            }
            Event::Cancel => match self.phase {
                Phase::Aborting | Phase::Release | Phase::Over => {}
                phase if phase < Phase::Deciding => self.fail(now, Reason::Cancelled),
                _ => drop(self.failed.get_or_insert(Reason::Cancelled)),
            },
            Event::Tick => {}
        }
        if self.deadline <= now {
            self.late(now);
        }
        std::mem::take(&mut self.effects)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.servers.binary_search_by(|server| server.part.server.as_str().cmp(name)).ok()
    }

    fn step(&self, phase: Phase, part: &Part) -> Option<Step> {
        let changes = |step| part.changes.then_some(step);
        match phase {
            Phase::Prepare => Some(Step::Prepare {
                plan: self.plan.clone(),
                digest: self.digest.clone(),
                rebuilt: part.rebuilt.clone(),
            }),
            Phase::Hold => part.holds.then_some(Step::Hold),
            Phase::Idle => part.holds.then_some(Step::Idle),
            Phase::Drain => part.holds.then(|| Step::Drain { flows: part.drains.clone() }),
            Phase::HoldAgain => part.holds.then_some(Step::HoldAgain),
            Phase::IdleAgain => part.holds.then_some(Step::IdleAgain),
            Phase::AdoptPortals => changes(Step::AdoptPortals),
            Phase::Switch => changes(Step::Switch),
            Phase::Flush => changes(Step::Flush),
            Phase::HandOver => changes(Step::HandOver),
            Phase::Settle => changes(Step::Settle),
            Phase::Release => Some(Step::Release),
            Phase::Aborting => Some(Step::Abort),
            Phase::Deciding | Phase::Over => None,
        }
    }

    fn bound(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Prepare
            | Phase::Hold
            | Phase::HoldAgain
            | Phase::AdoptPortals
            | Phase::Settle
            | Phase::Release
            | Phase::Aborting => SHORT,
            Phase::Idle | Phase::Drain | Phase::IdleAgain | Phase::Flush | Phase::HandOver => {
                self.bounds.idle.saturating_add(GRACE)
            }
            Phase::Switch => self.bounds.switch.saturating_add(GRACE),
            Phase::Deciding | Phase::Over => Moment::MAX,
        }
    }

    fn enter(&mut self, now: Moment, phase: Phase) {
        self.phase = phase;
        self.deadline = now.saturating_add(self.bound(phase));
        for place in 0..self.servers.len() {
            let step = self.step(phase, &self.servers[place].part);
            let server = &mut self.servers[place];
            server.asked = None;
            server.done = true;
            server.working.clear();
            server.trouble = None;
            // An abort concerns who was asked for something. Who isn't there and holds nothing needn't hear of it.
            let is_concerned = match phase {
                Phase::Aborting => server.furthest.is_some() && (server.may_hold() || !server.lost),
                _ => true,
            };
            if let (Some(step), true) = (step, is_concerned) {
                server.asked = Some(step.name());
                server.done = false;
                if !server.lost {
                    self.ask(place, step);
                }
            }
        }
        match phase {
            Phase::Deciding => self.effects.push(Effect::Decide(self.decision)),
            Phase::Drain => self.effects.push(Effect::ProveDrained { flows: self.flows_to_drain() }),
            _ => self.go_on_if_done(now),
        }
    }

    fn ask(&mut self, place: usize, step: Step) {
        let server = &mut self.servers[place];
        if step != Step::Abort {
            server.furthest = server.furthest.max(Some(step.name()));
        }
        self.effects.push(Effect::Ask { server: server.part.server.clone(), step });
    }

    fn drains(&self) -> bool {
        self.servers.iter().any(|server| !server.part.drains.is_empty())
    }

    fn flows_to_drain(&self) -> Vec<String> {
        let mut flows: Vec<String> =
            self.servers.iter().flat_map(|server| server.part.drains.iter().cloned()).collect();
        flows.sort();
        flows.dedup();
        flows
    }

    fn stands(&mut self, now: Moment, name: &str, step: StepName, stage: Stage) {
        let phase = self.phase;
        let renewed = now.saturating_add(self.bound(phase));
        let Some(place) = self.place(name) else { return };
        // Its launcher has given it up while this deployer couldn't be heard of.
        if step == StepName::Abort && phase < Phase::Deciding && self.begun {
            self.fail(now, Reason::OtherDecision);
            return;
        }
        let server = &mut self.servers[place];
        if server.asked != Some(step) || server.done {
            return;
        }
        match stage {
            Stage::Working(waits_for) => {
                // What is left of these can only grow less; but it may be much.
                if matches!(phase, Phase::Flush | Phase::HandOver | Phase::Settle) && waits_for != server.working {
                    self.deadline = renewed;
                }
                server.working = waits_for;
                server.trouble = None;
            }
            Stage::Done => {
                server.done = true;
                self.go_on_if_done(now);
            }
            Stage::Failed(failure) => match phase {
                // To go on without it would put records out of order. It may come to it yet.
                Phase::AdoptPortals | Phase::Flush | Phase::HandOver | Phase::Settle => server.trouble = Some(failure),
                // The others' records must come to their places all the same.
                Phase::Switch | Phase::Release | Phase::Aborting => {
                    server.done = true;
                    self.failed.get_or_insert(Reason::Failed { server: name.to_owned(), step, failure });
                    self.go_on_if_done(now);
                }
                _ => self.fail(now, Reason::Failed { server: name.to_owned(), step, failure }),
            },
        }
    }

    fn lost(&mut self, now: Moment, name: String) {
        let Some(place) = self.place(&name) else { return };
        let server = &mut self.servers[place];
        if std::mem::replace(&mut server.lost, true) {
            return;
        }
        if self.phase == Phase::Aborting && !server.may_hold() {
            server.done = true;
            self.go_on_if_done(now);
        } else if server.done && matches!(self.phase, Phase::Release | Phase::Aborting) {
            // Nothing more will be asked of it: it may have left, as it should.
        } else {
            self.effects.push(Effect::Revive { server: name });
        }
    }

    fn back(&mut self, name: &str) {
        let Some(place) = self.place(name) else { return };
        let step = self.step(self.phase, &self.servers[place].part);
        let server = &mut self.servers[place];
        server.lost = false;
        if let (Some(step), false, true) = (step, server.done, self.begun) {
            self.ask(place, step);
        }
    }

    fn go_on_if_done(&mut self, now: Moment) {
        if !self.servers.iter().all(|server| server.done) {
            return;
        }
        match self.phase {
            Phase::Prepare => self.enter(now, Phase::Hold),
            Phase::Hold => self.enter(now, Phase::Idle),
            Phase::Idle if self.drains() => self.enter(now, Phase::Drain),
            Phase::HoldAgain => self.enter(now, Phase::IdleAgain),
            Phase::Idle | Phase::IdleAgain => self.enter(now, Phase::Deciding),
            Phase::AdoptPortals => self.enter(now, Phase::Switch),
            Phase::Switch => self.enter(now, Phase::Flush),
            Phase::Flush => self.enter(now, Phase::HandOver),
            Phase::HandOver => self.enter(now, Phase::Settle),
            // Still holding, so that the old plan can be put back on top.
            Phase::Settle => match self.failed.take_if(|_| self.may_go_back) {
                Some(reason) => self.finish(Outcome::GoBack(reason)),
                None => self.enter(now, Phase::Release),
            },
            Phase::Release => match self.failed.take() {
                Some(reason) => self.finish(Outcome::Unhealthy(reason)),
                None => self.finish(Outcome::Done),
            },
            Phase::Aborting => {
                let reason = self.failed.take().unwrap_or(Reason::OtherDecision);
                self.finish(Outcome::Aborted(reason));
            }
            Phase::Drain | Phase::Deciding | Phase::Over => {}
        }
    }

    fn decided(&mut self, now: Moment, decision: Decision) {
        match (self.phase, decision) {
            (Phase::Deciding, Decision::Commit) => self.enter(now, Phase::AdoptPortals),
            (Phase::Deciding, Decision::Abort) => {
                self.failed.get_or_insert(Reason::OtherDecision);
                self.enter(now, Phase::Aborting);
            }
            _ => {}
        }
    }

    /// Before the decision: back. Nobody else writes `commit`, so there is no need to wait for the store.
    fn fail(&mut self, now: Moment, reason: Reason) {
        self.failed.get_or_insert(reason);
        self.effects.push(Effect::Decide(Decision::Abort));
        self.enter(now, Phase::Aborting);
    }

    fn late(&mut self, now: Moment) {
        let late = |server: &&Server| !server.done;
        let mut servers: Vec<String> =
            self.servers.iter().filter(late).map(|server| server.part.server.clone()).collect();
        if servers.is_empty() {
            // All have been asked to deliver, and together they haven't come to the end of it.
            let draining = self.servers.iter().filter(|server| !server.part.drains.is_empty());
            servers = draining.map(|server| server.part.server.clone()).collect();
        }
        let step = self.servers.iter().find(late).and_then(|server| server.asked).unwrap_or(StepName::Drain);
        let in_trouble = self.servers.iter().filter(late).find_map(|server| {
            let failure = server.trouble.clone()?;
            Some(Reason::Failed { server: server.part.server.clone(), step, failure })
        });
        let reason = in_trouble.unwrap_or_else(|| Reason::Late { servers: servers.clone(), step });
        match self.phase {
            Phase::Prepare | Phase::Hold | Phase::Idle | Phase::Drain | Phase::HoldAgain | Phase::IdleAgain => {
                self.fail(now, reason);
            }
            Phase::Deciding | Phase::Over => {}
            _ => {
                let reason = self.failed.take().unwrap_or(reason);
                self.finish(Outcome::Mixed(servers, reason));
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        self.phase = Phase::Over;
        self.deadline = Moment::MAX;
        self.effects.push(Effect::Finish(outcome));
    }
}

#[cfg(test)]
mod tests;
