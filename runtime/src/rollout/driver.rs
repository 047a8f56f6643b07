//! The deployer's rim: one connection to each launcher, the store, and the clock. It asks what the machine says, and tells
//! it what it hears.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    halt,
    machine::{Effect, Event, Machine, Moment, Outcome, Phase},
    step::{Progress, Stage, StepName},
    store::{Decision, Ready, Store},
};
use crate::{
    cluster,
    control::{Answer, Client, Command, ServerStatus},
    ledger,
    paths::Paths,
};

/// How long a launcher may take for an answer that it has begun to send.
const ANSWERS: Duration = Duration::from_secs(5);
/// The longest wait, so that whoever watches is asked whether to go on. Milliseconds.
const LONGEST_WAIT: u64 = 100;
/// How often it is looked whether flows are drained, and whether a launcher is back. Milliseconds.
const LOOK_AGAIN: u64 = 2;
/// How soon a launcher is asked again that has nothing to wait for: it mustn't take its deployer for gone. Milliseconds.
const KEEPS_IN_TOUCH: u64 = 250;
/// How long a launcher that was started may take until it listens, before another is. Milliseconds.
const REVIVE_AGAIN: u64 = 2_000;

/// Whoever follows a rollout.
pub trait Watcher {
    /// A phase has begun, or servers have come to its end: these haven't yet.
    fn stands(&mut self, phase: Phase, waiting_for: &[&str]);

    /// What a server waits for has changed.
    fn waits(&mut self, server: &str, step: StepName, for_what: &[String]);

    /// Whether it is to be given up, as far as that is still possible.
    fn wants_to_stop(&mut self) -> bool;
}

/// How a rollout went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// How it ended.
    pub outcome: Outcome,
    /// How long each phase took, in their order. Milliseconds.
    pub phases: Vec<(Phase, u64)>,
    /// For how long each server held. Milliseconds.
    pub paused: BTreeMap<String, u64>,
    /// How many records of each flow portals held when they released.
    pub held: BTreeMap<String, u64>,
}

/// A launcher as the deployer sees it.
struct Server {
    name: String,
    client: Option<Client>,
    /// How many answers it owes. It is asked how things go on when it owes none, or each would call for the next.
    owes: usize,
    /// When it is asked so again.
    await_at: Moment,
    /// Whether it is looked for, and when it is started again.
    lost_until: Option<Moment>,
    /// Whether what its portals held has been counted: it says so as often as it is asked.
    is_counted: bool,
}

/// Flows that are delivered before the switch.
struct Drains {
    flows: Vec<String>,
    /// The last reading of all pages.
    first: Option<Vec<ServerStatus>>,
    /// When they are read again.
    look_at: Moment,
}

/// A rollout under way.
pub struct Driver<'a> {
    began: Instant,
    generation: u64,
    machine: Machine,
    paths: &'a Paths,
    store: &'a Store,
    /// Written before anything holds: every write to the disk would lengthen the pause.
    commit: Option<Ready>,
    servers: Vec<Server>,
    events: VecDeque<Event>,
    drains: Option<Drains>,
    course: Course,
    phase_began: Instant,
    outcome: Option<Outcome>,
    /// A decision that the store couldn't be asked for.
    undecided: Option<Decision>,
}

impl<'a> Driver<'a> {
    /// For these servers; asks nobody yet.
    pub fn new(generation: u64, machine: Machine, servers: &[String], paths: &'a Paths, store: &'a Store) -> Self {
        let server = |name: &String| Server {
            name: name.clone(),
            client: None,
            owes: 0,
            await_at: 0,
            lost_until: None,
            is_counted: false,
        };
        Self {
            began: Instant::now(),
            generation,
            machine,
            paths,
            store,
            // If it can't be written now it is tried again when it is due.
            commit: store.ready(generation, Decision::Commit).ok(),
            servers: servers.iter().map(server).collect(),
            events: VecDeque::new(),
            drains: None,
            course: Course {
                outcome: Outcome::Done,
                phases: Vec::new(),
                paused: BTreeMap::new(),
                held: BTreeMap::new(),
            },
            phase_began: Instant::now(),
            outcome: None,
            undecided: None,
        }
    }

    /// Leads the rollout to its end.
    pub fn run(mut self, watcher: &mut dyn Watcher) -> Course {
        for place in 0..self.servers.len() {
            if !self.connect(place) {
                self.events.push_back(Event::Lost { server: self.servers[place].name.clone() });
            }
        }
        self.events.push_back(Event::Begin);
        let mut has_cancelled = false;
        loop {
            if !has_cancelled && watcher.wants_to_stop() {
                has_cancelled = true;
                self.events.push_back(Event::Cancel);
            }
            self.events.push_back(Event::Tick);
            while let Some(event) = self.events.pop_front() {
                self.take_in(event, watcher);
            }
            if let Some(outcome) = self.outcome.take() {
                self.course.outcome = outcome;
                return self.course;
            }
            self.wait();
            self.hear(watcher);
            self.look_for_the_lost();
            self.look_whether_drained();
            if let Some(decision) = self.undecided.take() {
                self.decide(decision);
            }
        }
    }

    fn now(&self) -> Moment {
        self.began.elapsed().as_millis() as Moment
    }

    fn take_in(&mut self, event: Event, watcher: &mut dyn Watcher) {
        let before = self.machine.phase();
        let begins = event == Event::Begin;
        let effects = self.machine.handle(self.now(), event);
        let phase = self.machine.phase();
        let enters = begins || phase != before;
        if phase != before || effects.iter().any(|effect| matches!(effect, Effect::Ask { .. })) {
            if phase != before {
                let took = self.phase_began.elapsed().as_millis() as u64;
                self.course.phases.push((before, took));
                self.phase_began = Instant::now();
            }
            watcher.stands(phase, &self.machine.waiting_for());
        }
        if enters && phase == Phase::Deciding {
            halt::at(&phase.to_string());
        }
        for effect in effects {
            self.perform(effect);
        }
        if enters && phase == Phase::AdoptPortals {
            self.put_live_plan();
        }
        if enters && phase != Phase::Deciding {
            halt::at(&phase.to_string());
        }
    }

    /// Says to people and other commands which plan is live. It is decided, and launchers are at work: whatever becomes of
    /// this deployer, they finish it.
    fn put_live_plan(&self) {
        let path = self.paths.live_plan();
        let new = path.with_extension("new");
        // If this fails it is said at the end of the rollout, when it is written again.
        let copy = || fs::copy(self.store.plan_file(self.generation), &new).and_then(|_| fs::rename(&new, &path));
        let _ = halt::need_room_on_disk().and_then(|()| copy());
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { server, step } => {
                let Some(place) = self.place(&server) else { return };
                let known = &mut self.servers[place];
                let Some(client) = &mut known.client else { return };
                known.owes += 1;
                known.await_at = 0;
                if client.ask(Command::Rollout { generation: self.generation, step }).is_err() {
                    self.lose(place);
                }
            }
            Effect::Revive { server } => {
                if let Some(place) = self.place(&server) {
                    self.servers[place].lost_until = Some(self.now());
                }
            }
            Effect::ProveDrained { flows } => self.drains = Some(Drains { flows, first: None, look_at: 0 }),
            Effect::Decide(decision) => self.decide(decision),
            Effect::Finish(outcome) => self.outcome = Some(outcome),
        }
    }

    fn decide(&mut self, decision: Decision) {
        let decided = match self.commit.take().filter(|_| decision == Decision::Commit) {
            Some(ready) => ready.take(self.store),
            None => self.store.decide(self.generation, decision),
        };
        let event = match decided {
            Ok(holds) => Event::Decided(holds),
            // It may stand there though that failed. If not, nobody but this deployer, who holds the lock, would ever write
            // `commit`: so it is as good as aborted.
            Err(why) => match self.store.decision(self.generation) {
                Ok(Some(holds)) => Event::Decided(holds),
                Ok(None) => Event::Undecidable(why.to_string()),
                // Nobody knows. To guess could mean two owners, so it is asked again, for as long as it takes.
                Err(_) => {
                    self.undecided = Some(decision);
                    return;
                }
            },
        };
        self.events.push_back(event);
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.name == name)
    }

    fn connect(&mut self, place: usize) -> bool {
        let server = &mut self.servers[place];
        let socket = self.paths.server(&server.name).commands();
        server.client = Client::connect(&server.name, &socket, None, ANSWERS).ok();
        (server.owes, server.await_at) = (0, 0);
        server.client.is_some()
    }

    fn lose(&mut self, place: usize) {
        let server = &mut self.servers[place];
        server.client = None;
        self.events.push_back(Event::Lost { server: server.name.clone() });
    }

    fn wait(&mut self) {
        if self.servers.iter().any(|server| server.client.as_ref().is_some_and(Client::has_more)) {
            return;
        }
        let now = self.now();
        let mut due = self.machine.deadline().saturating_sub(now).min(LONGEST_WAIT);
        if self.drains.is_some() || self.servers.iter().any(|server| server.lost_until.is_some()) {
            due = due.min(LOOK_AGAIN);
        }
        let connections = self.servers.iter().filter_map(|server| server.client.as_ref());
        let mut watched: Vec<PollFd> =
            connections.map(|client| PollFd::new(client.connection(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(Duration::from_millis(due)).unwrap_or(PollTimeout::ZERO);
        // An interruption is a signal, which the watcher knows of.
        let _ = poll(&mut watched, timeout);
    }

    fn hear(&mut self, watcher: &mut dyn Watcher) {
        let now = self.now();
        for place in 0..self.servers.len() {
            while self.servers[place].client.as_ref().is_some_and(Client::is_readable) {
                let Some(client) = &mut self.servers[place].client else { break };
                match client.answer() {
                    Ok(Answer::Progress(progress)) => self.heard(place, progress, watcher),
                    // An answer that makes no sense here is no better than none.
                    Ok(_) | Err(_) => self.lose(place),
                }
            }
            let server = &mut self.servers[place];
            if let Some(client) = &mut server.client
                && server.owes == 0
                && server.await_at <= now
            {
                server.owes += 1;
                if client.ask(Command::Await).is_err() {
                    self.lose(place);
                }
            }
        }
    }

    fn heard(&mut self, place: usize, progress: Option<Progress>, watcher: &mut dyn Watcher) {
        let server = self.servers[place].name.clone();
        let now = self.now();
        let known = &mut self.servers[place];
        known.owes = known.owes.saturating_sub(1);
        if !progress.as_ref().is_some_and(|progress| matches!(progress.state, Stage::Working(_))) {
            known.await_at = now + KEEPS_IN_TOUCH;
        }
        let Some(Progress { generation, step, state, paused, held }) = progress else { return };
        if generation != self.generation {
            return;
        }
        if let Stage::Working(for_what) = &state {
            watcher.waits(&server, step, for_what);
        }
        if step == StepName::Release || step == StepName::Abort {
            if paused > 0 {
                self.course.paused.insert(server.clone(), paused);
            }
            if state == Stage::Done && !std::mem::replace(&mut self.servers[place].is_counted, true) {
                for (flow, count) in held {
                    *self.course.held.entry(flow).or_default() += count;
                }
            }
        }
        self.events.push_back(Event::Stands { server, generation, step, stage: state });
    }

    fn look_for_the_lost(&mut self) {
        let now = self.now();
        for place in 0..self.servers.len() {
            let Some(until) = self.servers[place].lost_until else { continue };
            let name = self.servers[place].name.clone();
            if self.connect(place) {
                self.servers[place].lost_until = None;
                self.events.push_back(Event::Back { server: name });
                continue;
            }
            let has_left = self.machine.phase() == Phase::Release && !self.paths.server(&name).run.exists();
            if has_left {
                self.servers[place].lost_until = None;
                let (generation, step) = (self.generation, StepName::Release);
                self.events.push_back(Event::Stands { server: name, generation, step, stage: Stage::Done });
            } else if until <= now {
                self.servers[place].lost_until = Some(now + REVIVE_AGAIN);
                // If it can't be, the machine's patience ends.
                let _ = cluster::revive(self.paths, self.store, &name);
            }
        }
    }

    fn look_whether_drained(&mut self) {
        let now = self.now();
        let Some(drains) = &mut self.drains else { return };
        if self.machine.phase() != Phase::Drain {
            self.drains = None;
            return;
        }
        if !self.machine.waiting_for().is_empty() {
            // Not all portals keep clients waiting yet.
            drains.first = None;
            return;
        }
        if now < drains.look_at {
            return;
        }
        let mut clients = cluster::connect(self.paths);
        let statuses: Vec<ServerStatus> = clients.iter_mut().filter_map(|client| client.status().ok()).collect();
        let took = self.began.elapsed().as_millis() as Moment - now;
        drains.look_at = now + took + took.max(LOOK_AGAIN);
        // Nobody knows what is held where no launcher answers.
        let answers = |server: &Server| statuses.iter().any(|status| status.server == server.name);
        if !self.servers.iter().all(answers) {
            drains.first = None;
            return;
        }
        match drains.first.take() {
            Some(first) if ledger::are_drained(&first, &statuses, &drains.flows) => {
                self.drains = None;
                self.events.push_back(Event::Drained);
            }
            _ => drains.first = Some(statuses),
        }
    }
}
