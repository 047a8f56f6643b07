//! The world: a clock, what is due, what goes wrong, and a script of rollouts.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    rc::Rc,
};

use fastrand::Rng;
use waldo_runtime::{
    launcher::Role,
    rollout::{Decision, Outcome, Part, Stage, Step, StepName, machine::Phase},
};
use waldo_sdk::control::{FromProcess, ToProcess};

use crate::{
    account::Account,
    deployer::{Deployer, Exit},
    faults::{Fault, Faults},
    launcher::{Launcher, ROLES},
    plan::{Live, Plan, Program, parts},
    process::{Process, who},
    store::Store,
    weather::Weather,
};

/// Virtual milliseconds.
pub type Moment = u64;

/// How long it may take until everything flows again once nothing goes wrong any more.
const CALM: Moment = 120_000;
/// Records that a source sends when a rollout or one of its phases begins.
const BUDGET: u32 = 6;
/// More happenings than this and the world goes round in circles.
const MOST_EVENTS: u64 = 300_000;
/// … and for each server.
const MOST_EVENTS_EACH: u64 = 2_000;

/// A protocol that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Nothing,
    /// Stages adopt a plan before portals do, and these take what was sent by a guide that they don't know.
    SendersFirst,
    /// What is aside is delivered before former owners have handed over.
    SettleBeforeHandOver,
    /// New owners deliver what is sent to them at once.
    NothingAside,
    /// Servers are said to be idle without a look.
    DecideWithoutIdle,
    /// A launcher whose deployer is gone waits for it for ever.
    NoLease,
    /// A launcher whose deployer is gone opens its gates without asking the store.
    ReleasesOnItsOwn,
    /// A deployer that goes on for another commits what wasn't decided.
    ResumeCommits,
}

#[derive(Debug)]
pub enum Event {
    Pump { who: usize, to: u16 },
    Handled { who: usize, incarnation: u64 },
    Emit { who: usize },
    Told { who: usize, incarnation: u64, message: ToProcess },
    Heard { who: usize, incarnation: u64, launcher: u64, generation: u64, message: FromProcess },
    StartSources { server: usize },
    Ready { who: usize, incarnation: u64 },
    Ended { who: usize, incarnation: u64 },
    Greets { who: usize, incarnation: u64 },
    Asked { server: usize, asker: usize, generation: u64, step: Step },
    Pinged { server: usize, generation: u64 },
    Answered { id: usize, server: usize, generation: u64, step: StepName, stage: Stage },
    LauncherTick { server: usize, launcher: u64 },
    Revived { server: usize },
    DeployerTick { id: usize },
    Decide { id: usize, generation: u64, decision: Decision },
    Fault { fault: Fault },
    Script,
}

struct Due {
    at: Moment,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Found {
    pub broken: Option<String>,
    pub events: u64,
    pub servers: usize,
    pub records: u64,
    pub lost: u64,
    pub faults: u64,
    pub down_when_judged: u64,
    pub exits: BTreeMap<Exit, u64>,
    pub phases: BTreeMap<Phase, u64>,
}

pub struct World {
    pub now: Moment,
    pub rng: Rng,
    pub weather: Weather,
    pub wrong: Wrong,
    queue: BinaryHeap<Reverse<Due>>,
    numbers: u64,
    pub slots: u16,
    pub most_records: usize,
    pub store: Store,
    pub processes: Vec<Process>,
    pub launchers: Vec<Launcher>,
    pub deployers: Vec<Deployer>,
    pub account: Account,
    parts: BTreeMap<u64, Rc<Vec<Part>>>,
    pub faults: Faults,
    /// How often a server was proved idle but for what waited for a stage that was down.
    pub down_when_judged: u64,
    /// Rollouts that the script still begins.
    to_do: u32,
    may_fail: bool,
    is_tracing: bool,
    found: Found,
}

impl World {
    pub fn new(seed: u64, wrong: Wrong, is_tracing: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let servers = match rng.u32(..10_000) {
            0..5 => rng.usize(200..=1000),
            5..60 => rng.usize(20..=100),
            60..500 => rng.usize(6..20),
            _ => rng.usize(1..=5),
        };
        let slots = servers.max(8);
        let plan = Rc::new(Plan::first(&mut rng, servers, slots));
        let live = Live { generation: 1, plan: Rc::clone(&plan) };
        let process = |at: usize| Process::new(ROLES[at % 3], live.clone());
        let faults = Faults::new(&mut rng);
        let mut world = Self {
            now: 0,
            weather: Weather::new(&mut rng),
            wrong,
            queue: BinaryHeap::new(),
            numbers: 0,
            slots: slots as u16,
            most_records: 500 + servers * 10,
            store: Store::new(plan),
            processes: (0..servers * 3).map(process).collect(),
            launchers: (0..servers).map(|server| Launcher::new(&live, server)).collect(),
            deployers: Vec::new(),
            account: Account::new(slots),
            parts: BTreeMap::new(),
            faults,
            down_when_judged: 0,
            to_do: if servers > 20 { 1 } else { rng.u32(1..=3) },
            may_fail: rng.u8(..) < 80,
            is_tracing,
            found: Found { servers, ..Found::default() },
            rng,
        };
        for server in 0..servers {
            world.server_begins(server);
        }
        world.feed();
        world.later(2_000, Event::Script);
        world
    }

    /// Runs it to its end; answers what was found.
    pub fn run(mut self) -> Found {
        while self.account.broken.is_none() {
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now = due.at;
            self.found.events += 1;
            if self.found.events > MOST_EVENTS + MOST_EVENTS_EACH * self.found.servers as u64 {
                self.account.breaks(|| "it never comes to rest".to_owned());
            }
            self.happens(due.event);
        }
        self.found.broken = self.account.broken.take();
        self.found.records = self.account.sent_count() as u64;
        self.found.lost = self.account.lost;
        self.found.down_when_judged = self.down_when_judged;
        for exit in self.deployers.iter().filter_map(|deployer| deployer.exit) {
            *self.found.exits.entry(exit).or_default() += 1;
        }
        self.found
    }

    pub fn trace(&self, what: impl FnOnce() -> String) {
        if self.is_tracing {
            println!("{:>8} {}", self.now, what());
        }
    }

    pub fn later(&mut self, delay: Moment, event: Event) {
        self.numbers += 1;
        self.queue.push(Reverse(Due { at: self.now + delay, number: self.numbers, event }));
    }

    /// Whether whom it concerns has been stopped by a signal; then it happens to him afterwards.
    pub fn put_off(&mut self, until: Moment, event: impl FnOnce() -> Event) -> bool {
        if until <= self.now {
            return false;
        }
        self.later(until - self.now, event());
        true
    }

    /// Something is said between deployer and launcher: it may be late, lost, or heard twice.
    pub fn over_the_net(&mut self, event: impl Fn() -> Event) {
        for _ in 0..self.weather.copies(&mut self.rng) {
            let delay = self.weather.control(&mut self.rng);
            self.later(delay, event());
        }
    }

    pub fn answer(&mut self, server: usize, id: usize, generation: u64, step: StepName, stage: &Stage) {
        self.over_the_net(|| Event::Answered { id, server, generation, step, stage: stage.clone() });
    }

    /// A launcher says something to a process, a process to its launcher: in order, while both are there.
    pub fn tell(&mut self, server: usize, role: Role, message: ToProcess) {
        let who = who(server, role);
        let delay = self.weather.control(&mut self.rng);
        let launcher = self.launchers[server].incarnation;
        let process = &mut self.processes[who];
        if process.connected != launcher {
            return;
        }
        process.told_at = process.told_at.max(self.now + delay);
        let (delay, incarnation) = (process.told_at - self.now, process.incarnation);
        self.later(delay, Event::Told { who, incarnation, message });
    }

    pub fn say(&mut self, who: usize, message: FromProcess) {
        let delay = self.weather.control(&mut self.rng);
        let launcher = self.launchers[who / 3].incarnation;
        let process = &mut self.processes[who];
        process.heard_at = process.heard_at.max(self.now + delay);
        let (incarnation, generation) = (process.incarnation, process.lives.generation);
        let delay = process.heard_at - self.now;
        self.later(delay, Event::Heard { who, incarnation, launcher, generation, message });
    }

    pub fn parts_to(&mut self, generation: u64) -> Rc<Vec<Part>> {
        if let Some(known) = self.parts.get(&generation) {
            return Rc::clone(known);
        }
        let from = self.store.intents[&generation].from;
        let parts = Rc::new(parts(&self.store.plans[&from], &self.store.plans[&generation]));
        self.parts.insert(generation, Rc::clone(&parts));
        parts
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Pump { who, to } => self.pump(who, to),
            Event::Handled { who, incarnation } => {
                let until = self.processes[who].frozen_until;
                if !self.put_off(until, || Event::Handled { who, incarnation }) {
                    self.handled(who, incarnation);
                }
            }
            Event::Emit { who } => self.emit(who),
            Event::Told { who, incarnation, message } => {
                let until = self.processes[who].frozen_until;
                if !self.put_off(until, || Event::Told { who, incarnation, message: message.clone() }) {
                    self.trace(|| format!("server {} {:?} is told {message:?}", who / 3, ROLES[who % 3]));
                    self.told(who, incarnation, &message);
                }
            }
            Event::Heard { who, incarnation, launcher, generation, message } => {
                self.trace(|| format!("server {} {:?} says {message:?}", who / 3, ROLES[who % 3]));
                self.heard(who, incarnation, launcher, generation, &message);
            }
            Event::StartSources { server } => self.start_sources(server),
            Event::Ready { who, incarnation } => self.gets_ready(who, incarnation),
            Event::Ended { who, incarnation } => {
                self.trace(|| format!("server {} {:?} has ended", who / 3, ROLES[who % 3]));
                self.ended(who, incarnation);
            }
            Event::Greets { who, incarnation } => {
                let until = self.processes[who].frozen_until;
                if !self.put_off(until, || Event::Greets { who, incarnation }) {
                    self.greets(who, incarnation);
                }
            }
            Event::Asked { server, asker, generation, step } => self.asked(server, asker, generation, &step),
            Event::Pinged { server, generation } => self.pinged(server, generation),
            Event::Answered { id, server, generation, step, stage } => {
                self.answered(id, server, generation, step, stage);
            }
            Event::LauncherTick { server, launcher } => self.launcher_tick(server, launcher),
            Event::Revived { server } => self.launcher_revived(server),
            Event::DeployerTick { id } => self.deployer_tick(id),
            Event::Decide { id, generation, decision } => self.decides(id, generation, decision),
            Event::Fault { fault } => self.goes_wrong(fault),
            Event::Script => self.script(),
        }
    }

    /// Sources get something to send.
    fn feed(&mut self) {
        if self.account.sent_count() < self.most_records {
            for server in 0..self.launchers.len() {
                let source = who(server, Role::Source);
                self.processes[source].budget = BUDGET;
                self.wake_source(source);
            }
        }
    }

    /// A deployer comes to a phase: records are on their way, and something may go wrong.
    pub fn phase_begins(&mut self, id: usize, phase: Phase) {
        *self.found.phases.entry(phase).or_default() += 1;
        self.feed();
        let servers = self.launchers.len();
        for (delay, fault) in self.faults.at(&mut self.rng, phase, id, servers) {
            self.later(delay, Event::Fault { fault });
        }
    }

    pub fn cancels(&mut self, id: usize) -> bool {
        self.faults.cancelled.take_if(|cancelled| *cancelled == id).is_some()
    }

    fn goes_wrong(&mut self, fault: Fault) {
        self.trace(|| format!("fault: {fault:?}"));
        self.found.faults += 1;
        let now = self.now;
        let freeze = |until: &mut Moment, time: Moment| *until = if *until > now { *until } else { time };
        match fault {
            Fault::KillDeployer(id) => self.deployer_killed(id),
            Fault::StopDeployer(id, time) => freeze(&mut self.deployers[id].frozen_until, self.now + time),
            Fault::Cancel(id) => self.faults.cancelled = Some(id),
            Fault::KillLauncher(server) => self.launcher_killed(server),
            Fault::StopLauncher(server, time) => freeze(&mut self.launchers[server].frozen_until, self.now + time),
            Fault::KillProcess(who) => {
                self.faults.on_data_path = true;
                self.killed(who);
            }
            Fault::Crashes(who, more, pause) => {
                self.faults.on_data_path = true;
                self.killed(who);
                if more > 0 && !self.faults.are_over {
                    self.later(pause, Event::Fault { fault: Fault::Crashes(who, more - 1, pause) });
                }
            }
            Fault::StopProcess(who, time) => freeze(&mut self.processes[who].frozen_until, self.now + time),
        }
    }

    /// A rollout is over, as its deployer sees it.
    pub fn rollout_ends(&mut self, generation: u64, outcome: &Outcome) {
        let aborted = match outcome {
            Outcome::Done | Outcome::Unhealthy(_) => false,
            Outcome::Aborted(_) => true,
            _ => return,
        };
        for server in 0..self.launchers.len() {
            let machine = &self.launchers[server].machine;
            let is_under_way = machine.change().is_some_and(|change| change.generation == generation);
            if !aborted && machine.generation() < generation {
                self.account.breaks(|| format!("{outcome:?} to {generation}, and server {server} isn't there"));
            } else if aborted && machine.generation() >= generation {
                self.account.breaks(|| format!("{outcome:?} to {generation}, and it is live on server {server}"));
            } else if is_under_way && !aborted {
                self.account.breaks(|| format!("{outcome:?} to {generation}, and server {server} is still at it"));
            }
        }
    }

    /// Whoever runs `waldo deploy`, again and again; in the end he waits, and looks whether all is well.
    fn script(&mut self) {
        let is_leading = self.store.lock.is_some();
        if self.to_do > 0 {
            if is_leading && self.rng.u8(..) < 250 {
                let pause = self.rng.u64(200..3_000);
                self.later(pause, Event::Script);
                return;
            }
            self.to_do -= 1;
            let newest = Rc::clone(&self.store.plans[&self.store.live]);
            let plan = self.mended(&newest).changed(&mut self.rng, self.may_fail);
            self.feed();
            self.deploy(Some(plan));
            let pause = if self.rng.bool() { self.rng.u64(100..2_000) } else { self.rng.u64(2_000..15_000) };
            self.later(pause, Event::Script);
            return;
        }
        if !self.faults.are_over {
            if is_leading && self.faults.patience > 0 {
                self.faults.patience -= 1;
                self.later(1_000, Event::Script);
                return;
            }
            self.faults.are_over = true;
            self.weather.clears();
            self.later(CALM, Event::Script);
            return;
        }
        self.look(false);
        if self.faults.last_deploy.is_none() {
            // Running it again converges, whatever was before.
            let live = Rc::clone(&self.store.plans[&self.store.newest_committed()]);
            let mended = self.mended(&live);
            // What a stage that was given up holds can't be delivered before it works.
            let plan = if mended.equals(&live) { live.changed(&mut self.rng, false) } else { mended };
            self.faults.last_deploy = Some(self.deploy(Some(plan)));
            self.later(CALM, Event::Script);
            return;
        }
        let exit = self.faults.last_deploy.and_then(|id| self.deployers[id].exit);
        if exit != Some(Exit::Done) {
            self.account.breaks(|| format!("nothing goes wrong any more, and the last deploy ends with {exit:?}"));
        }
        self.look(true);
        self.account.close();
    }

    /// The same plan with new programs for those that were given up.
    fn mended(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        for (placed, launcher) in plan.servers.iter_mut().zip(&self.launchers) {
            for (program, role) in [(&mut placed.stage, Role::Stage), (&mut placed.source, Role::Source)] {
                if let Some(program) = program
                    && (launcher.has_given_up(role) || !program.works)
                {
                    *program = Program { edition: program.edition + 1, works: true };
                }
            }
        }
        plan
    }

    /// Whether everything flows by the live plan, and nothing is left to be delivered.
    fn look(&mut self, is_last: bool) {
        let generation = self.store.newest_committed();
        if generation != self.store.live && (is_last || !self.store.unfinished_commit()) {
            self.account.breaks(|| format!("{generation} was decided, and the store says another is live"));
        }
        let live = Live { generation, plan: Rc::clone(&self.store.plans[&generation]) };
        for server in 0..self.launchers.len() {
            if let Some(why) = self.why_not_flowing(server, &live) {
                self.account.breaks(|| format!("all is calm, and server {server} doesn't flow by {generation}: {why}"));
            }
        }
        let gives_up = |server: usize| {
            let works = live.plan.servers[server].stage.is_none_or(|program| program.works);
            !works || self.launchers[server].has_given_up(Role::Stage)
        };
        for process in 0..self.processes.len() {
            if self.processes[process].holds_something() && !gives_up(process / 3) {
                self.account.breaks(|| {
                    format!("all is calm, and {:?} of server {} still holds records", ROLES[process % 3], process / 3)
                });
            }
        }
    }
}
