//! What a deployer decides: (state, event) → effects. No clock, no file, no socket.
//!
//! ```text
//! Prepare → Hold → Idle → (Drain → Hold → Idle) → Deciding ─commit→ AdoptPortals → Switch → Flush → HandOver → Settle → Release → Over
//!    └────────┴──────┴────────────────┴──────────────┴─abort→ Aborting → Over
//! ```
//!
//! In every phase each server that takes part is asked for one step; the next phase begins when all have done it. A
//! launcher that is lost is asked again when it is back, as every step may be asked for twice. A step that fails, or
//! takes too long, leads to [`Phase::Aborting`] before the decision. After it the rollout goes on: what was sent by the
//! new guide must come to its place, and only then, with everything still holding, another rollout leads back
//! ([`Outcome::GoBack`]).

use std::path::PathBuf;

use super::step::{Failure, Stage, Step, StepName};
use crate::rollout::store::Decision;

/// A moment on the deployer's monotonic clock. Milliseconds.
pub type Moment = u64;

/// How long launchers may take to verify a plan, to close gates, to let portals adopt and settle, and to open gates.
/// Milliseconds.
const SHORT: u64 = 10_000;
/// How much longer than its own bound a launcher may take to tell the deployer that it has run out. Milliseconds.
const GRACE: u64 = 5_000;

/// A server's part in a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub server: String,
    /// Whether its portals hold.
    pub holds: bool,
    /// Whether anything of it changes.
    pub changes: bool,
    /// The flows that its portals deliver before the switch, as the new plan doesn't have them there.
    pub drains: Vec<String>,
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

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The new plan is live everywhere.
    Done,
    /// The old plan goes on, nothing has changed: why.
    Aborted(Reason),
    /// The new plan is in place, held, and doesn't work: the old one is to be rolled out on top. Why.
    GoBack(Reason),
    /// Servers are at different steps, and these don't answer or can't go on: who, and why.
    Mixed(Vec<String>, Reason),
}

/// Why a rollout didn't come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A server can't do a step.
    Failed {
        /// Which.
        server: String,
        /// Which step.
        step: StepName,
        /// Why.
        failure: Failure,
    },
    /// Servers take too long, or their launchers are away.
    Late {
        /// Which.
        servers: Vec<String>,
        /// For which step.
        step: StepName,
    },
    /// Somebody has asked to stop.
    Cancelled,
    /// The decision had been taken by others: by a launcher whose deployer seemed to be gone.
    OtherDecision,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Begin.
    Begin,
    /// A launcher says how it stands with a step.
    Stands {
        /// Which server's.
        server: String,
        /// For which generation.
        generation: u64,
        /// With which step.
        step: StepName,
        /// How.
        stage: Stage,
    },
    /// A launcher has gone, and what it was asked for may not have been done.
    Lost {
        /// Which server's.
        server: String,
    },
    /// It, or its successor, answers again.
    Back {
        /// Which server's.
        server: String,
    },
    /// All servers together have nothing left of the flows that are drained.
    Drained,
    /// The store holds this decision.
    Decided(Decision),
    /// Somebody wants it to end.
    Cancel,
    /// Time has passed.
    Tick,
}

/// Something to be done by the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask a launcher for a step.
    Ask {
        /// Which server's.
        server: String,
        /// Which.
        step: Step,
    },
    /// See to it that this server has a launcher; answered by [`Event::Back`].
    Revive {
        /// Which server.
        server: String,
    },
    /// Prove over all holding servers that nothing of these flows is under way or held; answered by [`Event::Drained`].
    ProveDrained {
        /// The flows.
        flows: Vec<String>,
    },
    /// Ask the store; answered by [`Event::Decided`].
    Decide(Decision),
    /// It is over.
    Finish(Outcome),
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
    /// Whether it has ever been asked for anything, so that an abort concerns it.
    involved: bool,
}

/// What a deployer knows, and how it goes on from there.
#[derive(Debug, Clone)]
pub struct Machine {
    generation: u64,
    plan: PathBuf,
    digest: String,
    bounds: Bounds,
    servers: Vec<Server>,
    phase: Phase,
    drained: bool,
    deadline: Moment,
    failed: Option<Reason>,
    effects: Vec<Effect>,
}

impl Machine {
    /// A rollout to a plan, kept in this file, as `generation`.
    pub fn new(generation: u64, plan: PathBuf, digest: String, parts: Vec<Part>, bounds: Bounds) -> Self {
        let server = |part| Server { part, asked: None, done: false, lost: false, involved: false };
        Self {
            generation,
            plan,
            digest,
            bounds,
            servers: parts.into_iter().map(server).collect(),
            phase: Phase::Prepare,
            drained: false,
            deadline: Moment::MAX,
            failed: None,
            effects: Vec::new(),
        }
    }

    /// Goes on with a rollout whose commit is on record, for a deployer that has gone: every step from the portals'
    /// adoption on is asked for again.
    pub fn resume(generation: u64, plan: PathBuf, digest: String, parts: Vec<Part>, bounds: Bounds) -> Self {
        Self { phase: Phase::Deciding, ..Self::new(generation, plan, digest, parts, bounds) }
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
        match event {
            Event::Begin if self.phase == Phase::Deciding => self.enter(now, Phase::Deciding),
            Event::Begin => self.enter(now, Phase::Prepare),
            Event::Stands { server, generation, step, stage } => {
                if generation == self.generation {
                    self.stands(now, &server, step, stage);
                }
            }
            Event::Lost { server } => {
                if let Some(known) = self.server(&server)
                    && !known.lost
                {
                    known.lost = true;
                    self.effects.push(Effect::Revive { server });
                }
            }
            Event::Back { server } => self.back(&server),
            Event::Drained => {
                if self.phase == Phase::Drain {
                    self.drained = true;
                    self.enter(now, Phase::Hold);
                }
            }
            Event::Decided(decision) => self.decided(now, decision),
            Event::Cancel => {
                if self.phase < Phase::Deciding {
                    self.fail(now, Reason::Cancelled);
                }
            }
            Event::Tick => {}
        }
        if self.deadline <= now {
            self.late(now);
        }
        std::mem::take(&mut self.effects)
    }

    fn server(&mut self, name: &str) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.part.server == name)
    }

    fn step(&self, phase: Phase, part: &Part) -> Option<Step> {
        let changes = |step| part.changes.then_some(step);
        match phase {
            Phase::Prepare => Some(Step::Prepare { plan: self.plan.clone(), digest: self.digest.clone() }),
            Phase::Hold => part.holds.then_some(Step::Hold),
            Phase::Idle => part.holds.then_some(Step::Idle),
            Phase::Drain => part.holds.then(|| Step::Drain { flows: part.drains.clone() }),
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
            Phase::Prepare | Phase::Hold | Phase::AdoptPortals | Phase::Settle | Phase::Release | Phase::Aborting => {
                SHORT
            }
            Phase::Idle | Phase::Drain | Phase::Flush | Phase::HandOver => self.bounds.idle.saturating_add(GRACE),
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
            let concerned = phase != Phase::Aborting || server.involved;
            server.asked = None;
            server.done = true;
            if let (Some(step), true) = (step, concerned) {
                server.asked = Some(step.name());
                server.done = false;
                server.involved = true;
                if !server.lost {
                    self.effects.push(Effect::Ask { server: server.part.server.clone(), step });
                }
            }
        }
        match phase {
            Phase::Deciding => self.effects.push(Effect::Decide(Decision::Commit)),
            Phase::Drain => self.effects.push(Effect::ProveDrained { flows: self.flows_to_drain() }),
            _ => self.go_on_if_done(now),
        }
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
        let Some(server) = self.server(name) else { return };
        if server.asked != Some(step) || server.done {
            return;
        }
        match stage {
            Stage::Working(_) => {}
            Stage::Done => {
                server.done = true;
                self.go_on_if_done(now);
            }
            Stage::Failed(failure) => {
                let reason = Reason::Failed { server: name.to_owned(), step, failure };
                if phase < Phase::Deciding {
                    self.fail(now, reason);
                } else {
                    // The others' records must come to their places all the same.
                    server.done = true;
                    self.failed.get_or_insert(reason);
                    self.go_on_if_done(now);
                }
            }
        }
    }

    fn back(&mut self, name: &str) {
        let phase = self.phase;
        let Some(place) = self.servers.iter().position(|server| server.part.server == name) else { return };
        let step = self.step(phase, &self.servers[place].part);
        let server = &mut self.servers[place];
        server.lost = false;
        if let (Some(step), false) = (step, server.done) {
            self.effects.push(Effect::Ask { server: name.to_owned(), step });
        }
    }

    fn go_on_if_done(&mut self, now: Moment) {
        if !self.servers.iter().all(|server| server.done) {
            return;
        }
        let drains = self.servers.iter().any(|server| !server.part.drains.is_empty());
        match self.phase {
            Phase::Prepare => self.enter(now, Phase::Hold),
            Phase::Hold => self.enter(now, Phase::Idle),
            Phase::Idle if drains && !self.drained => self.enter(now, Phase::Drain),
            Phase::Idle => self.enter(now, Phase::Deciding),
            Phase::AdoptPortals => self.enter(now, Phase::Switch),
            Phase::Switch => self.enter(now, Phase::Flush),
            Phase::Flush => self.enter(now, Phase::HandOver),
            Phase::HandOver => self.enter(now, Phase::Settle),
            // Still holding, so that the old plan can be put back on top.
            Phase::Settle => match self.failed.take() {
                Some(reason) => self.finish(Outcome::GoBack(reason)),
                None => self.enter(now, Phase::Release),
            },
            Phase::Release => match self.failed.take() {
                Some(reason) => self.finish(Outcome::Mixed(Vec::new(), reason)),
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

    /// Before the decision: back.
    fn fail(&mut self, now: Moment, reason: Reason) {
        self.failed.get_or_insert(reason);
        self.effects.push(Effect::Decide(Decision::Abort));
        self.enter(now, Phase::Aborting);
    }

    fn late(&mut self, now: Moment) {
        let servers: Vec<String> = self.waiting_for().into_iter().map(str::to_owned).collect();
        let step = self.servers.iter().find_map(|server| if server.done { None } else { server.asked });
        let step = step.unwrap_or(StepName::Drain);
        let reason = Reason::Late { servers: servers.clone(), step };
        match self.phase {
            Phase::Prepare | Phase::Hold | Phase::Idle | Phase::Drain => self.fail(now, reason),
            Phase::Over => {}
            _ => self.finish(Outcome::Mixed(servers, self.failed.clone().unwrap_or(reason))),
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        self.phase = Phase::Over;
        self.deadline = Moment::MAX;
        self.effects.push(Effect::Finish(outcome));
    }
}
