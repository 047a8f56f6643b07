//! Launchers of the model: each does on its server what a deployer asks, step by step, and outlives it.

use waldo_runtime::{
    launcher::Role,
    rollout::{Decision, Failure, Part, Stage, Step, StepName},
};
use waldo_sdk::control::{FromProcess, ToProcess};

use crate::{
    plan::{FLOWS, Live, Placed, Program},
    process::who,
    world::{Event, Moment, World, Wrong},
};

pub const ROLES: [Role; 3] = [Role::Portal, Role::Stage, Role::Source];

/// How long a launcher goes without hearing of its deployer before it asks the store.
const LEASE: Moment = 5_000;
/// How long a new process may take to get ready.
const READY: Moment = 1_000;
/// How long stages may take to be idle.
pub const IDLE: Moment = 4_000;

/// A rollout as a launcher keeps it on disk: it is written before anything is done.
#[derive(Debug, Clone)]
pub struct Change {
    pub next: Live,
    pub step: StepName,
    part: Part,
    but: [bool; FLOWS],
    since: Moment,
    is_idle: bool,
    failure: Option<Failure>,
    /// Whether stages could not be switched: whoever asks for the switch again is told again.
    failed_switch: Option<Failure>,
}

/// What outlives a launcher.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The generation that is live here.
    pub live: u64,
    /// Whether gates are to be closed.
    pub closed: bool,
    pub change: Option<Change>,
    /// The newest rollout that was taken back here.
    aborted: u64,
    /// Processes that never got ready, by role.
    pub given_up: [bool; 3],
}

/// What a launcher has heard of a process.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    ready: bool,
    generation: u64,
    /// Gates that it was told of and hasn't answered for.
    gates_told: u32,
    flushed: u64,
    handed: u64,
    settled: u64,
    /// Since when it has been starting.
    starting: Option<Moment>,
}

pub struct Launcher {
    pub up: bool,
    pub incarnation: u64,
    pub frozen_until: Moment,
    pub kept: Kept,
    known: [Known; 3],
    /// When it last heard of a deployer of its rollout.
    heard: Moment,
    /// Whoever asked last.
    asker: Option<usize>,
    /// What that one was told last.
    told: Option<(u64, StepName, bool)>,
    ticks: bool,
}

impl Launcher {
    pub fn new(live: u64) -> Self {
        Self {
            up: true,
            incarnation: 1,
            frozen_until: 0,
            kept: Kept { live, ..Kept::default() },
            known: [Known::default(); 3],
            heard: 0,
            asker: None,
            told: None,
            ticks: false,
        }
    }

    /// Whether portals and stages may live by a new plan already.
    fn is_decided(&self) -> bool {
        self.kept.change.as_ref().is_some_and(|change| change.step >= StepName::AdoptPortals)
    }
}

fn program(placed: &Placed, role: Role) -> Option<Program> {
    match role {
        Role::Portal => Some(Program { edition: 0, works: true }),
        Role::Stage => placed.stage,
        Role::Source => placed.source,
    }
}

impl World {
    /// What a launcher was asked.
    pub fn asked(&mut self, server: usize, asker: usize, generation: u64, step: &Step) {
        if !self.launchers[server].up {
            return;
        }
        if self.put_off(self.launchers[server].frozen_until, || Event::Asked {
            server,
            asker,
            generation,
            step: step.clone(),
        }) {
            return;
        }
        let stage = self.does(server, asker, generation, step);
        if let Some(stage) = stage {
            self.answer(server, asker, generation, step.name(), stage);
        }
        self.tick_launcher(server);
    }

    /// A deployer says that it is there.
    pub fn pinged(&mut self, server: usize, generation: u64) {
        let launcher = &mut self.launchers[server];
        if launcher.kept.change.as_ref().is_some_and(|change| change.next.generation == generation) {
            launcher.heard = self.now;
        }
    }

    /// Answers how it stands with a step; nothing about what is stale.
    fn does(&mut self, server: usize, asker: usize, generation: u64, step: &Step) -> Option<Stage> {
        let name = step.name();
        let refused = |why: &str| Some(Stage::Failed(Failure::Other(why.to_owned())));
        if generation <= self.launchers[server].kept.live {
            return if name == StepName::Abort { refused("live already") } else { Some(Stage::Done) };
        }
        if generation <= self.launchers[server].kept.aborted {
            return if name == StepName::Abort { Some(Stage::Done) } else { refused("taken back") };
        }
        let known = self.launchers[server].kept.change.as_ref().map(|change| change.next.generation);
        match known {
            Some(known) if generation < known => return None,
            Some(known) if generation == known => {}
            _ if name == StepName::Abort => return Some(Stage::Done),
            _ if name != StepName::Prepare => return refused("not prepared"),
            Some(known) => {
                if let Some(why) = self.leaves_behind(server, known) {
                    return refused(why);
                }
                self.prepares(server, generation);
            }
            None => self.prepares(server, generation),
        }
        let launcher = &mut self.launchers[server];
        launcher.heard = self.now;
        launcher.asker = Some(asker);
        launcher.told = None;
        let now = self.now;
        let is_decided = launcher.is_decided();
        let change = launcher.kept.change.as_mut()?;
        if name == StepName::Abort {
            if is_decided {
                return refused("decided");
            }
            self.takes_back(server);
            return Some(Stage::Done);
        }
        if change.step > name {
            return match &change.failed_switch {
                Some(failure) if name == StepName::Switch => Some(Stage::Failed(failure.clone())),
                _ => Some(Stage::Done),
            };
        }
        if change.step != name {
            change.step = name;
            change.since = now;
            change.is_idle = false;
            change.failure = None;
            if let Step::Drain { flows } = step {
                change.but = [flows.iter().any(|flow| flow == "0"), flows.iter().any(|flow| flow == "1")];
            }
            self.begins_step(server);
        }
        self.brings(server);
        // A release is over as soon as it is begun.
        if self.launchers[server].kept.change.is_none() { Some(Stage::Done) } else { self.progress(server) }
    }

    /// Another rollout comes while one isn't over here: why that can't be.
    fn leaves_behind(&mut self, server: usize, known: u64) -> Option<&'static str> {
        match self.store.decision(known) {
            Some(Decision::Abort) => {
                self.takes_back(server);
                None
            }
            // In place, and held, or none of its business: the other one leads back from here.
            Some(Decision::Commit) => {
                let change = self.launchers[server].kept.change.as_ref()?;
                if change.part.changes && change.step < StepName::Settle {
                    return Some("another rollout isn't over");
                }
                self.finishes_installing(server);
                let kept = &mut self.launchers[server].kept;
                kept.live = known;
                kept.change = None;
                self.starts_what_is_missing(server);
                None
            }
            _ => Some("another rollout isn't over"),
        }
    }

    fn prepares(&mut self, server: usize, generation: u64) {
        let next = Live { generation, plan: self.store.plans[&generation].clone() };
        let part = self.part_of(server, generation);
        self.launchers[server].kept.change = Some(Change {
            next,
            step: StepName::Prepare,
            part,
            but: [false; FLOWS],
            since: self.now,
            is_idle: false,
            failure: None,
            failed_switch: None,
        });
    }

    /// Back to how it was before anything was asked.
    fn takes_back(&mut self, server: usize) {
        let kept = &mut self.launchers[server].kept;
        if let Some(change) = kept.change.take() {
            kept.aborted = change.next.generation;
        }
        self.gate(server, false);
    }

    fn gate(&mut self, server: usize, closed: bool) {
        self.launchers[server].kept.closed = closed;
        for role in [Role::Portal, Role::Source] {
            self.tell_gate(server, role);
        }
    }

    fn tell_gate(&mut self, server: usize, role: Role) {
        let launcher = &mut self.launchers[server];
        let but = launcher.kept.change.as_ref().map_or([false; FLOWS], |change| change.but);
        let but = (0..FLOWS).filter(|&flow| but[flow]).map(|flow| flow.to_string()).collect();
        let closed = launcher.kept.closed;
        let process = &self.processes[who(server, role)];
        if process.up && process.connected == self.launchers[server].incarnation {
            self.launchers[server].known[role as usize].gates_told += 1;
            self.tell(server, role, ToProcess::Gate { closed, but });
        }
    }

    fn begins_step(&mut self, server: usize) {
        let Some(change) = &mut self.launchers[server].kept.change else { return };
        let generation = change.next.generation;
        match change.step {
            StepName::Hold | StepName::HoldAgain => {
                change.but = [false; FLOWS];
                self.gate(server, true);
            }
            StepName::Drain => self.gate(server, true),
            StepName::HandOver if self.wrong == Wrong::SettleBeforeHandOver => {
                self.tell(server, Role::Portal, ToProcess::Settle { generation });
            }
            StepName::HandOver => self.tell(server, Role::Portal, ToProcess::HandOver { generation }),
            StepName::Settle => self.tell(server, Role::Portal, ToProcess::Settle { generation }),
            StepName::Release => {
                self.finishes_installing(server);
                let kept = &mut self.launchers[server].kept;
                kept.live = generation;
                kept.change = None;
                self.gate(server, false);
                self.starts_what_is_missing(server);
            }
            _ => {}
        }
    }

    /// What waits for the end of a rollout gets what it is to live by.
    fn finishes_installing(&mut self, server: usize) {
        let Some(change) = self.launchers[server].kept.change.clone() else { return };
        if change.part.changes {
            let source = who(server, Role::Source);
            if !self.processes[source].up {
                self.installs(source, &change.next);
                self.launchers[server].kept.given_up[Role::Source as usize] = false;
            }
        }
    }

    /// Brings processes to the new plan as far as they can go now.
    fn brings(&mut self, server: usize) {
        let Some(change) = self.launchers[server].kept.change.clone() else { return };
        if !change.part.changes || change.failed_switch.is_some() {
            return;
        }
        let portals_first = self.wrong != Wrong::SendersFirst;
        let portals_from = if portals_first { StepName::AdoptPortals } else { StepName::Switch };
        let stages_from = if portals_first { StepName::Switch } else { StepName::AdoptPortals };
        if change.step >= portals_from {
            self.adopts(server, Role::Portal, &change.next);
        }
        if change.step >= stages_from {
            self.switches(server, Role::Stage, &change);
            self.switches(server, Role::Source, &change);
        }
    }

    fn adopts(&mut self, server: usize, role: Role, next: &Live) {
        let process = who(server, role);
        if self.processes[process].installed.generation < next.generation {
            self.installs(process, next);
            let generation = next.generation;
            if self.processes[process].up {
                self.tell(server, role, ToProcess::Adopt { generation });
            }
        }
    }

    fn switches(&mut self, server: usize, role: Role, change: &Change) {
        let process = who(server, role);
        let installed = &self.processes[process].installed;
        if installed.generation >= change.next.generation {
            return;
        }
        let before = program(&installed.plan.servers[server], role);
        let after = program(&change.next.plan.servers[server], role);
        if before == after {
            self.adopts(server, role, &change.next);
        } else if self.processes[process].up {
            self.tell(server, role, ToProcess::Stop);
        } else if role == Role::Stage {
            self.installs(process, &change.next);
            self.launchers[server].kept.given_up[role as usize] = false;
            self.starts_what_is_missing(server);
        }
    }

    /// Starts what is to run and doesn't.
    fn starts_what_is_missing(&mut self, server: usize) {
        for role in ROLES {
            let process = who(server, role);
            let known = self.launchers[server].known[role as usize];
            let wanted = program(&self.processes[process].installed.plan.servers[server], role);
            let given_up = self.launchers[server].kept.given_up[role as usize];
            // What a rollout takes away or replaces isn't started again before.
            let is_leaving = self.launchers[server].kept.change.as_ref().is_some_and(|change| {
                change.step >= StepName::Switch
                    && change.part.changes
                    && program(&change.next.plan.servers[server], role) != wanted
            });
            if wanted.is_some() && !given_up && !is_leaving && !self.processes[process].up && known.starting.is_none() {
                self.launchers[server].known[role as usize] = Known { starting: Some(self.now), ..Known::default() };
                let incarnation = self.processes[process].incarnation + 1;
                let delay = self.weather.start(&mut self.rng);
                let launcher = self.launchers[server].incarnation;
                self.later(delay, Event::Started { who: process, incarnation, launcher });
            }
        }
    }

    /// A launcher has started a process: it begins with a closed gate where it must be.
    pub fn started(&mut self, process: usize, incarnation: u64, launcher: u64) {
        let server = process / 3;
        if self.launchers[server].incarnation != launcher || !self.launchers[server].up || self.processes[process].up {
            return;
        }
        let gated = self.launchers[server].kept.closed;
        self.starts(process, incarnation, gated);
        let role = self.processes[process].role;
        let works = program(&self.processes[process].installed.plan.servers[server], role).is_some_and(|it| it.works);
        if works {
            let delay = self.weather.start(&mut self.rng);
            self.later(delay, Event::Ready { who: process, incarnation });
        }
        self.later(READY, Event::Overdue { who: process, incarnation, launcher });
        self.tick_launcher(server);
    }

    /// A process has had its time to get ready.
    pub fn overdue(&mut self, process: usize, incarnation: u64, launcher: u64) {
        let server = process / 3;
        let role = ROLES[process % 3];
        if !self.launchers[server].up || self.launchers[server].incarnation != launcher {
            return;
        }
        if self.put_off(self.launchers[server].frozen_until, || Event::Overdue { who: process, incarnation, launcher })
        {
            return;
        }
        // One that was ready before this launcher came, and can't say so now, is ready all the same.
        let is_ready = self.processes[process].ready;
        if self.processes[process].incarnation != incarnation || !self.processes[process].up || is_ready {
            return;
        }
        let installed = self.processes[process].installed.generation;
        let kept = &mut self.launchers[server].kept;
        // A portal is never given up.
        kept.given_up[role as usize] = role != Role::Portal;
        if let Some(change) = &mut kept.change
            && change.step >= StepName::Switch
            && installed == change.next.generation
            && role == Role::Stage
        {
            change.failed_switch = Some(Failure::Other("not ready in time".to_owned()));
        }
        self.killed(process);
        self.reports(server);
    }

    /// A process has ended.
    pub fn ended(&mut self, process: usize, incarnation: u64) {
        let server = process / 3;
        if !self.launchers[server].up || self.processes[process].incarnation != incarnation {
            return;
        }
        if self.put_off(self.launchers[server].frozen_until, || Event::Ended { who: process, incarnation }) {
            return;
        }
        let role = self.processes[process].role;
        self.launchers[server].known[role as usize] = Known::default();
        self.brings(server);
        self.starts_what_is_missing(server);
        self.reports(server);
    }

    /// A process has said something to its launcher.
    pub fn heard(&mut self, process: usize, incarnation: u64, launcher: u64, generation: u64, message: &FromProcess) {
        let server = process / 3;
        if !self.launchers[server].up
            || self.launchers[server].incarnation != launcher
            || self.processes[process].incarnation != incarnation
        {
            return;
        }
        if self.put_off(self.launchers[server].frozen_until, || Event::Heard {
            who: process,
            incarnation,
            launcher,
            generation,
            message: message.clone(),
        }) {
            return;
        }
        let role = self.processes[process].role;
        let known = &mut self.launchers[server].known[role as usize];
        known.generation = known.generation.max(generation);
        match message {
            FromProcess::Ready => {
                known.ready = true;
                known.starting = None;
                self.catches_up(server, role);
            }
            FromProcess::Gate { .. } => known.gates_told = known.gates_told.saturating_sub(1),
            FromProcess::Flushed { generation } => known.flushed = *generation,
            FromProcess::HandedOver { generation } => known.handed = *generation,
            FromProcess::Settled { generation } => known.settled = *generation,
            _ => {}
        }
        self.reports(server);
    }

    /// A process is ready: it is told what it has missed.
    fn catches_up(&mut self, server: usize, role: Role) {
        if role != Role::Stage {
            self.tell_gate(server, role);
        }
        let process = who(server, role);
        let installed = self.processes[process].installed.generation;
        if self.launchers[server].known[role as usize].generation < installed {
            self.tell(server, role, ToProcess::Adopt { generation: installed });
        }
        self.brings(server);
        let Some(change) = &self.launchers[server].kept.change else { return };
        let (generation, step) = (change.next.generation, change.step);
        if role == Role::Portal && installed == generation {
            if step >= StepName::HandOver {
                self.tell(server, role, ToProcess::HandOver { generation });
            }
            if step >= StepName::Settle {
                self.tell(server, role, ToProcess::Settle { generation });
            }
        }
    }

    /// Whether portals and sources have closed their gates, or will begin with closed ones.
    fn is_gated(&self, server: usize) -> bool {
        let launcher = &self.launchers[server];
        let settled = |role: Role| {
            let known = launcher.known[role as usize];
            !self.processes[who(server, role)].up || (known.ready && known.gates_told == 0)
        };
        launcher.kept.closed && settled(Role::Portal) && settled(Role::Source)
    }

    /// How it stands with the step that was asked for last.
    fn progress(&self, server: usize) -> Option<Stage> {
        let launcher = &self.launchers[server];
        let change = launcher.kept.change.as_ref()?;
        let done = |done: bool| Some(if done { Stage::Done } else { Stage::Working(Vec::new()) });
        if let Some(failure) = &change.failure {
            return Some(Stage::Failed(failure.clone()));
        }
        let portal = launcher.known[Role::Portal as usize];
        let generation = change.next.generation;
        let portal_lives_by_it = portal.ready && portal.generation >= generation;
        let stages_live_by_it =
            || [Role::Stage, Role::Source].into_iter().all(|role| self.is_switched(server, role, change));
        match change.step {
            StepName::Prepare => done(true),
            StepName::Hold | StepName::HoldAgain | StepName::Drain => done(self.is_gated(server)),
            StepName::Idle | StepName::IdleAgain => done(change.is_idle || self.wrong == Wrong::DecideWithoutIdle),
            StepName::AdoptPortals if self.wrong == Wrong::SendersFirst => done(stages_live_by_it()),
            StepName::Switch if self.wrong == Wrong::SendersFirst => done(portal_lives_by_it),
            StepName::AdoptPortals => done(portal_lives_by_it),
            StepName::Switch => match &change.failed_switch {
                Some(failure) => Some(Stage::Failed(failure.clone())),
                None => done(stages_live_by_it()),
            },
            StepName::Flush => done(ROLES.into_iter().all(|role| {
                let process = &self.processes[who(server, role)];
                let known = launcher.known[role as usize];
                let waits = program(&process.installed.plan.servers[server], role).is_some()
                    && process.installed.generation == generation
                    && (process.up || known.starting.is_some());
                !waits || (known.ready && known.flushed >= generation)
            })),
            StepName::HandOver if self.wrong == Wrong::SettleBeforeHandOver => done(portal.settled >= generation),
            StepName::HandOver => done(portal.handed >= generation),
            StepName::Settle => done(portal.settled >= generation),
            StepName::Release | StepName::Abort => done(true),
        }
    }

    fn is_switched(&self, server: usize, role: Role, change: &Change) -> bool {
        let process = &self.processes[who(server, role)];
        let known = self.launchers[server].known[role as usize];
        let wanted = program(&change.next.plan.servers[server], role);
        if role == Role::Source && !process.up && known.starting.is_none() {
            // One that comes anew waits for the end, and one that is away has nothing to adopt.
            return true;
        }
        if process.installed.generation < change.next.generation {
            return false;
        }
        // What was given up has nothing to adopt. A new process that is says so otherwise.
        let given_up = self.launchers[server].kept.given_up[role as usize];
        wanted.is_none() || given_up || (known.ready && known.generation >= change.next.generation)
    }

    /// Tells who asked last, once a step is done or has failed.
    fn reports(&mut self, server: usize) {
        let Some(stage) = self.progress(server) else { return };
        let launcher = &mut self.launchers[server];
        let Some(change) = &launcher.kept.change else { return };
        let (generation, step) = (change.next.generation, change.step);
        let state = (generation, step, matches!(stage, Stage::Failed(_)));
        if let Some(asker) = launcher.asker
            && !matches!(stage, Stage::Working(_))
            && launcher.told != Some(state)
        {
            launcher.told = Some(state);
            self.answer(server, asker, generation, step, stage);
        }
    }

    pub fn tick_launcher(&mut self, server: usize) {
        let launcher = &mut self.launchers[server];
        let Some(change) = &launcher.kept.change else { return };
        if !std::mem::replace(&mut launcher.ticks, true) {
            let quick = matches!(change.step, StepName::Idle | StepName::IdleAgain);
            let incarnation = launcher.incarnation;
            self.later(if quick { 10 } else { 500 }, Event::LauncherTick { server, launcher: incarnation });
        }
    }

    /// Time passes for a launcher whose server is in a rollout.
    pub fn launcher_tick(&mut self, server: usize, incarnation: u64) {
        if !self.launchers[server].up || self.launchers[server].incarnation != incarnation {
            return;
        }
        if self.put_off(self.launchers[server].frozen_until, || Event::LauncherTick { server, launcher: incarnation }) {
            return;
        }
        self.launchers[server].ticks = false;
        let is_gated = self.is_gated(server);
        let is_idle = self.is_idle(server);
        let now = self.now;
        let heard = self.launchers[server].heard;
        let Some(change) = &mut self.launchers[server].kept.change else { return };
        let generation = change.next.generation;
        match change.step {
            StepName::Idle | StepName::IdleAgain if change.failure.is_none() => {
                change.is_idle |= is_gated && is_idle;
                if !change.is_idle && now > change.since + IDLE {
                    change.failure = Some(Failure::NotIdle("a handler is at it".to_owned()));
                }
            }
            _ => {}
        }
        self.reports(server);
        if now > heard + LEASE && self.wrong != Wrong::NoLease {
            self.launchers[server].heard = now;
            self.lease_is_over(server, generation);
        }
        self.tick_launcher(server);
    }

    /// Nobody leads any more, it seems: the store knows what holds.
    fn lease_is_over(&mut self, server: usize, generation: u64) {
        if self.wrong == Wrong::ReleasesOnItsOwn {
            self.takes_back(server);
            return;
        }
        match self.store.decide(generation, Decision::Abort) {
            Decision::Abort => {
                self.takes_back(server);
                // It may have led back from one that is in place and that nobody has brought to its end.
                if self.store.unfinished_commit() {
                    self.resume();
                }
            }
            Decision::Commit => self.resume(),
        }
    }

    /// It is killed. Its processes go on.
    pub fn launcher_killed(&mut self, server: usize) {
        let launcher = &mut self.launchers[server];
        if launcher.up {
            launcher.up = false;
            // Whoever keeps launchers running starts another one, if nobody does so before.
            let pause = self.rng.u64(1_000..10_000);
            self.later(pause, Event::Revived { server });
        }
    }

    /// Another launcher takes over what is there.
    pub fn launcher_revived(&mut self, server: usize) {
        let launcher = &mut self.launchers[server];
        if launcher.up {
            return;
        }
        let kept = std::mem::take(&mut launcher.kept);
        let incarnation = launcher.incarnation + 1;
        *launcher = Launcher { incarnation, heard: self.now, kept, ..Launcher::new(0) };
        for role in ROLES {
            let process = who(server, role);
            let (incarnation, launcher) = (self.processes[process].incarnation, self.launchers[server].incarnation);
            let told = self.processes[process].told_at.saturating_sub(self.now);
            self.later(told + 1, Event::Greets { who: process, incarnation });
            self.later(READY, Event::Overdue { who: process, incarnation, launcher });
        }
        self.brings(server);
        self.starts_what_is_missing(server);
        self.tick_launcher(server);
    }

    /// Why `status` wouldn't say that a server flows by the live plan; nothing if it does.
    pub fn why_not_flowing(&self, server: usize, live: &Live) -> Option<String> {
        let launcher = &self.launchers[server];
        if !launcher.up {
            return Some("no launcher".to_owned());
        }
        if let Some(change) = &launcher.kept.change {
            return Some(format!("in a rollout to {} at {}", change.next.generation, change.step));
        }
        if launcher.kept.closed {
            return Some("gates are to be closed".to_owned());
        }
        if launcher.kept.live > live.generation {
            return Some(format!("lives by {}, and {} is live", launcher.kept.live, live.generation));
        }
        for role in ROLES {
            let process = &self.processes[who(server, role)];
            let wanted = program(&live.plan.servers[server], role);
            let given_up = launcher.kept.given_up[role as usize];
            if wanted.is_some() != process.up && !given_up {
                return Some(format!("{role:?} runs: {}, wanted: {}", process.up, wanted.is_some()));
            }
            if !process.up {
                continue;
            }
            if role != Role::Stage && process.gate_closed {
                return Some(format!("{role:?} has its gate closed"));
            }
            if process.former.is_some() {
                return Some("its portal isn't settled".to_owned());
            }
            if process.lives.plan.flows != live.plan.flows
                || program(&process.lives.plan.servers[server], role) != wanted
            {
                return Some(format!(
                    "{role:?} lives by {}, not as {} says",
                    process.lives.generation, live.generation
                ));
            }
        }
        None
    }

    fn part_of(&mut self, server: usize, generation: u64) -> Part {
        self.parts_to(generation)[server].clone()
    }
}
