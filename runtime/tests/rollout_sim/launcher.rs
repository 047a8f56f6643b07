//! Launchers of the model: each drives the real machine, and outlives its deployer.

use std::sync::LazyLock;

use waldo_compiler::plan::{ProcessPlan, Program as PlanProgram};
use waldo_runtime::{
    launcher::{
        Effect, Ended, Event as Happens, Machine, Phase, Process as Known, ProcessIndex, Role, State,
        change::{Asked, Change, Order, Part},
    },
    rollout::{Decision, Failure, Stage, Step, StepName},
};
use waldo_sdk::control::{FromProcess, ToProcess};

use crate::{
    plan::{Live, Placed, Plan, Program},
    process::who,
    world::{Event, Moment, World, Wrong},
};

pub const ROLES: [Role; 3] = [Role::Portal, Role::Stage, Role::Source];

/// How long a launcher goes without hearing of its deployer before it asks the store.
const LEASE: Moment = 5_000;
/// How long a process may take to get ready, and how long it may take to leave.
const READY: Moment = 1_000;
const GRACE: Moment = 5_000;
/// How long stages may take to be idle.
pub const IDLE: Moment = 4_000;

pub struct Launcher {
    pub up: bool,
    pub incarnation: u64,
    pub frozen_until: Moment,
    pub machine: Machine,
    /// What it wrote down last: before it answers to anybody, and now and then.
    kept: Machine,
    /// Until when stages must be idle. It is written down with the machine.
    idle_until: Moment,
    /// When it last heard of a deployer of its rollout.
    heard: Moment,
    /// Whoever asked last, and what he was told last.
    asker: Option<usize>,
    told: Option<(u64, StepName, bool)>,
    ticks_at: Option<Moment>,
}

/// What the real plan says of a portal, a stage, and a source.
static PLANS: LazyLock<[ProcessPlan; 3]> = LazyLock::new(|| {
    let text = "topology: t\nflows: {f: {key: sender, guide: hash}}\n\
                stages:\n  work: {run: work, in: [f]}\n  feed: {run: feed, out: [f]}\n";
    let sources = waldo_compiler::Sources::of("t.yaml", text);
    let plan = waldo_compiler::compile(&sources, waldo_compiler::Choice::Only, None).expect("a topology").plan;
    let processes = &plan.servers["here"].processes;
    let of = |role: Role| {
        let found = processes.iter().find(|process| Known::new(process).role == role).expect("all three are there");
        let mut found = found.clone();
        found.ready_timeout = READY;
        found.stop.grace = GRACE;
        found
    };
    ROLES.map(of)
});

fn plan_of(role: Role, program: Program) -> ProcessPlan {
    let mut plan = PLANS[role as usize].clone();
    if let PlanProgram::Stage(stage) = &mut plan.program {
        stage.argv.push(program.edition.to_string());
    }
    plan
}

fn role_of(name: &str) -> Role {
    ROLES.into_iter().find(|&role| PLANS[role as usize].name == name).expect("a process of the model's")
}

fn program(placed: &Placed, role: Role) -> Option<Program> {
    match role {
        Role::Portal => Some(Program { edition: 0, works: true }),
        Role::Stage => placed.stage,
        Role::Source => placed.source,
    }
}

/// What each process has to do on a server, as `runtime/src/launcher/rollout.rs` has it from real plans.
fn change(server: usize, before: &Plan, next: &Live) -> Change {
    let guides_differ = before.flows != next.plan.flows;
    let mut parts = Vec::new();
    for role in ROLES {
        let before = program(&before.servers[server], role);
        let after = program(&next.plan.servers[server], role);
        let order = match (before, after) {
            (None, None) => continue,
            (None, Some(_)) => Order::Start,
            (Some(_), None) => Order::Leave,
            (before, after) if before != after => Order::Restart,
            _ if guides_differ => Order::Adopt,
            _ => Order::Keep,
        };
        let plan = after.map(|program| plan_of(role, program));
        parts.push((PLANS[role as usize].name.clone(), Part { order, plan, after: Vec::new() }));
    }
    Change::new(next.generation, parts)
}

impl Launcher {
    pub fn new(live: &Live, server: usize) -> Self {
        let placed = live.plan.servers[server];
        let process = |role: Role| Some(Known::new(&plan_of(role, program(&placed, role)?)));
        let machine = Machine::new(live.generation, ROLES.into_iter().filter_map(process).collect(), IDLE, GRACE);
        Self {
            up: true,
            incarnation: 1,
            frozen_until: 0,
            kept: machine.clone(),
            machine,
            idle_until: 0,
            heard: 0,
            asker: None,
            told: None,
            ticks_at: None,
        }
    }

    fn index(&self, role: Role) -> Option<ProcessIndex> {
        let name = &PLANS[role as usize].name;
        self.machine.processes().iter().position(|process| process.name == *name).map(ProcessIndex)
    }

    fn known(&self, role: Role) -> Option<&Known> {
        self.index(role).map(|index| &self.machine.processes()[index.0])
    }

    /// Whether a process won't be started again by itself.
    pub fn has_given_up(&self, role: Role) -> bool {
        self.known(role).is_some_and(|process| !process.removed && process.state == State::GivenUp)
    }
}

impl World {
    /// Everything on a server is started.
    pub fn server_begins(&mut self, server: usize) {
        self.takes_in(server, Happens::Begin);
        self.later(100, Event::StartSources { server });
    }

    /// Whoever leads the start lets sources start once everything else is ready.
    pub fn start_sources(&mut self, server: usize) {
        if self.launchers[server].machine.phase() != Phase::Flowing {
            self.later(100, Event::StartSources { server });
            if self.launchers[server].up {
                self.takes_in(server, Happens::StartSources);
                self.keeps(server);
            }
        }
    }

    /// A launcher's machine takes in an event; what it wants is done.
    fn takes_in(&mut self, server: usize, event: Happens) {
        let now = self.now;
        let effects = self.launchers[server].machine.handle(now, event);
        let mut next = Vec::new();
        for effect in effects {
            match effect {
                Effect::Start { process, incarnation } => {
                    let role = self.role(server, process);
                    let gated = self.launchers[server].machine.is_to_be_gated(process);
                    self.process_starts(server, role, incarnation, gated);
                    next.push(Happens::Started { process, pid: (incarnation * 10 + role as u64) as i32 });
                }
                Effect::Tell { process, message } => {
                    let role = self.role(server, process);
                    self.tell(server, role, message);
                }
                Effect::Signal { process } => {
                    let process = who(server, self.role(server, process));
                    let incarnation = self.processes[process].incarnation;
                    self.later(1, Event::Told { who: process, incarnation, message: ToProcess::Stop });
                }
                Effect::Kill { process } => {
                    let process = who(server, self.role(server, process));
                    self.killed(process);
                }
                Effect::Install { process } => {
                    let process = who(server, self.role(server, process));
                    let generation = self.launchers[server].machine.change().map_or(1, |change| change.generation);
                    let plan = self.store.plans[&generation].clone();
                    self.installs(process, &Live { generation, plan });
                }
                Effect::Report { .. } | Effect::WatchDrain | Effect::Leave => {}
            }
        }
        for event in next {
            self.takes_in(server, event);
        }
        if self.rng.u8(..) < 200 {
            self.keeps(server);
        }
        self.reports(server);
        self.wake_launcher(server);
    }

    fn role(&self, server: usize, process: ProcessIndex) -> Role {
        role_of(&self.launchers[server].machine.processes()[process.0].name)
    }

    fn keeps(&mut self, server: usize) {
        let launcher = &mut self.launchers[server];
        launcher.kept = launcher.machine.clone();
    }

    fn process_starts(&mut self, server: usize, role: Role, incarnation: u64, gated: bool) {
        let process = who(server, role);
        self.starts(process, incarnation, gated);
        let works = program(&self.processes[process].installed.plan.servers[server], role).is_some_and(|it| it.works);
        if works {
            let delay = self.weather.start(&mut self.rng);
            self.later(delay, Event::Ready { who: process, incarnation });
        }
    }

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
        let name = step.name();
        let launcher = &mut self.launchers[server];
        launcher.heard = self.now;
        launcher.asker = Some(asker);
        launcher.told = None;
        let mut asked = launcher.machine.asked(generation, name);
        let later = launcher.machine.change().map(|change| change.generation);
        if matches!(asked, Asked::Former(_))
            && later.is_some_and(|later| self.store.decision(later) == Some(Decision::Abort))
        {
            self.takes_step(server, &Step::Abort);
            asked = self.launchers[server].machine.asked(generation, name);
        }
        let launcher = &self.launchers[server];
        let stage = match asked {
            Asked::Known(stage) | Asked::Former(stage) => stage,
            Asked::Take if name == StepName::Prepare && launcher.machine.phase() != Phase::Flowing => {
                Stage::Failed(Failure::Other("not everything has been started yet".to_owned()))
            }
            Asked::Take if name == StepName::Prepare => {
                self.prepares(server, generation);
                Stage::Done
            }
            Asked::Take => {
                self.takes_step(server, step);
                let progress = self.launchers[server].machine.progress();
                progress.filter(|progress| progress.generation == generation).map_or(Stage::Done, |it| it.state)
            }
        };
        self.keeps(server);
        let stage = self.wrongly(server, name, stage);
        self.answer(server, asker, generation, name, &stage);
    }

    /// A protocol that is broken on purpose does something else besides.
    fn wrongly(&mut self, server: usize, step: StepName, stage: Stage) -> Stage {
        match (self.wrong, step) {
            (Wrong::SendersFirst, StepName::AdoptPortals) => Stage::Done,
            (Wrong::DecideWithoutIdle, StepName::Idle | StepName::IdleAgain) => {
                self.takes_in(server, Happens::JudgedIdle(None));
                Stage::Done
            }
            _ => stage,
        }
    }

    fn prepares(&mut self, server: usize, generation: u64) {
        let machine = &self.launchers[server].machine;
        // What failed after its decision is what this one leads back from.
        let decided = machine.change().filter(|change| change.is_decided()).map(|change| change.generation);
        let live = decided.unwrap_or(machine.generation());
        let next = Live { generation, plan: self.store.plans[&generation].clone() };
        let change = change(server, &self.store.plans[&live].clone(), &next);
        self.takes_in(server, Happens::Prepared(change));
    }

    fn takes_step(&mut self, server: usize, step: &Step) {
        let name = step.name();
        if matches!(name, StepName::Idle | StepName::IdleAgain) {
            self.launchers[server].idle_until = self.now + IDLE;
        }
        if self.wrong == Wrong::SendersFirst {
            match name {
                StepName::AdoptPortals => return,
                StepName::Flush => {
                    self.takes_in(server, Happens::Step { step: StepName::AdoptPortals, but: Vec::new() });
                }
                _ => {}
            }
        }
        if self.wrong == Wrong::SettleBeforeHandOver && name == StepName::HandOver {
            let generation = self.launchers[server].machine.change().map_or(0, |change| change.generation);
            self.tell(server, Role::Portal, ToProcess::Settle { generation });
        }
        let but = if let Step::Drain { flows } = step { flows.clone() } else { Vec::new() };
        self.takes_in(server, Happens::Step { step: name, but });
    }

    /// A deployer says that it is there.
    pub fn pinged(&mut self, server: usize, generation: u64) {
        let launcher = &mut self.launchers[server];
        if launcher.machine.change().is_some_and(|change| change.generation == generation) {
            launcher.heard = self.now;
        }
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
        let role = ROLES[process % 3];
        let Some(index) = self.launchers[server].index(role) else { return };
        let known = &self.launchers[server].machine.processes()[index.0];
        if known.incarnation == incarnation && known.is_alive() {
            let ended = self.how_it_ended(process);
            self.takes_in(server, Happens::Ended { process: index, ended });
        }
    }

    fn how_it_ended(&self, process: usize) -> Ended {
        if self.processes[process].was_killed { Ended::Signal("SIGKILL".to_owned()) } else { Ended::Status(0) }
    }

    /// A process has said something to its launcher.
    pub fn heard(&mut self, process: usize, incarnation: u64, launcher: u64, generation: u64, message: &FromProcess) {
        let server = process / 3;
        if !self.launchers[server].up || self.launchers[server].incarnation != launcher {
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
        if let Some(index) = self.launchers[server].index(ROLES[process % 3]) {
            let message = message.clone();
            self.takes_in(server, Happens::Said { process: index, incarnation, generation, message });
        }
    }

    /// Tells who asked last, once a step is done or has failed.
    fn reports(&mut self, server: usize) {
        let launcher = &mut self.launchers[server];
        let Some(asker) = launcher.asker else { return };
        let Some(progress) = launcher.machine.progress() else { return };
        let state = (progress.generation, progress.step, matches!(progress.state, Stage::Failed(_)));
        if !matches!(progress.state, Stage::Working(_)) && launcher.told != Some(state) {
            launcher.told = Some(state);
            self.keeps(server);
            self.answer(server, asker, progress.generation, progress.step, &progress.state);
        }
    }

    /// A launcher sleeps until something is due.
    fn wake_launcher(&mut self, server: usize) {
        let launcher = &mut self.launchers[server];
        let mut due = launcher.machine.next_deadline();
        if let Some(change) = launcher.machine.change() {
            let proves = matches!(change.step(), StepName::Idle | StepName::IdleAgain);
            let look = self.now + if proves { 10 } else { 500 };
            due = Some(due.map_or(look, |due| due.min(look)));
        }
        let Some(due) = due.map(|due| due.max(self.now + 1)) else { return };
        if launcher.ticks_at.is_none_or(|at| due < at) {
            launcher.ticks_at = Some(due);
            let incarnation = launcher.incarnation;
            self.later(due - self.now, Event::LauncherTick { server, launcher: incarnation });
        }
    }

    /// Time passes for a launcher.
    pub fn launcher_tick(&mut self, server: usize, incarnation: u64) {
        if !self.launchers[server].up || self.launchers[server].incarnation != incarnation {
            return;
        }
        if self.put_off(self.launchers[server].frozen_until, || Event::LauncherTick { server, launcher: incarnation }) {
            return;
        }
        if self.launchers[server].ticks_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.launchers[server].ticks_at = None;
        self.takes_in(server, Happens::Tick);
        self.proves_idle(server);
        let now = self.now;
        let launcher = &mut self.launchers[server];
        if launcher.machine.change().is_some() && now >= launcher.heard + LEASE && self.wrong != Wrong::NoLease {
            launcher.heard = now;
            self.deployer_has_vanished(server);
        }
        self.wake_launcher(server);
    }

    fn proves_idle(&mut self, server: usize) {
        let launcher = &self.launchers[server];
        let Some(change) = launcher.machine.change() else { return };
        if !matches!(change.step(), StepName::Idle | StepName::IdleAgain) {
            return;
        }
        let waits = matches!(launcher.machine.progress().map(|it| it.state), Some(Stage::Working(_)));
        let is_late = self.now >= launcher.idle_until;
        let is_down = !launcher.machine.left_out().is_empty();
        if launcher.machine.wants_idle_proof() && (is_down || self.is_idle(server)) {
            self.down_when_judged += u64::from(is_down);
            self.takes_in(server, Happens::JudgedIdle(None));
        } else if waits && is_late {
            let failure = Failure::NotIdle("a handler is at it".to_owned());
            self.takes_in(server, Happens::JudgedIdle(Some(failure)));
        }
    }

    /// Nobody leads any more, it seems: the store knows what holds.
    fn deployer_has_vanished(&mut self, server: usize) {
        let Some(change) = self.launchers[server].machine.change() else { return };
        let generation = change.generation;
        let decision = if self.wrong == Wrong::ReleasesOnItsOwn {
            Decision::Abort
        } else if change.is_decided() {
            Decision::Commit
        } else {
            self.store.decide(generation, Decision::Abort)
        };
        match decision {
            Decision::Abort => self.takes_step(server, &Step::Abort),
            Decision::Commit => self.resume(),
        }
    }

    /// It is killed. Its processes go on.
    pub fn launcher_killed(&mut self, server: usize) {
        if self.launchers[server].up {
            self.launchers[server].up = false;
            // Whoever keeps launchers running starts another one, if nobody does so before.
            let pause = self.rng.u64(1_000..10_000);
            self.later(pause, Event::Revived { server });
        }
    }

    /// Another launcher takes over what is there, as `runtime/src/launcher/takeover.rs` does.
    pub fn launcher_revived(&mut self, server: usize) {
        if self.launchers[server].up {
            return;
        }
        let (now, launcher) = (self.now, &mut self.launchers[server]);
        launcher.up = true;
        launcher.incarnation += 1;
        launcher.frozen_until = 0;
        launcher.machine = launcher.kept.clone();
        launcher.heard = now;
        (launcher.asker, launcher.told, launcher.ticks_at) = (None, None, None);
        let mut news = Vec::new();
        for place in 0..self.launchers[server].machine.processes().len() {
            let role = self.role(server, ProcessIndex(place));
            let found = &self.processes[who(server, role)];
            let (page_incarnation, up, gate_closed) = (found.incarnation, found.up, found.gate_closed);
            let ended = self.how_it_ended(who(server, role));
            let known = &mut self.launchers[server].machine.processes_mut()[place];
            let was_alive = known.is_alive() || page_incarnation > known.incarnation;
            known.incarnation = known.incarnation.max(page_incarnation);
            known.gate_closed = gate_closed;
            let pid = (page_incarnation * 10 + role as u64) as i32;
            if up {
                if known.pid() != Some(pid) {
                    known.state = State::Starting { pid, deadline: now + READY };
                }
            } else if was_alive {
                if known.pid().is_none() {
                    known.state = State::Launching;
                }
                news.push((ProcessIndex(place), ended));
            }
        }
        self.takes_in(server, Happens::TakenOver);
        for (process, ended) in news {
            self.takes_in(server, Happens::Ended { process, ended });
        }
        for role in ROLES {
            let process = &self.processes[who(server, role)];
            let (incarnation, told) = (process.incarnation, process.told_at.saturating_sub(now));
            self.later(told + 1, Event::Greets { who: who(server, role), incarnation });
        }
    }

    /// Why `status` wouldn't say that a server flows by the live plan; nothing if it does.
    pub fn why_not_flowing(&self, server: usize, live: &Live) -> Option<String> {
        let launcher = &self.launchers[server];
        if !launcher.up {
            return Some("no launcher".to_owned());
        }
        if let Some(change) = launcher.machine.change() {
            let waits = launcher.machine.progress();
            return Some(format!("in a rollout to {} at {}: {waits:?}", change.generation, change.step()));
        }
        if launcher.machine.gate_closed() {
            return Some("gates are to be closed".to_owned());
        }
        if launcher.machine.generation() > live.generation {
            return Some(format!("lives by {}, and {} is live", launcher.machine.generation(), live.generation));
        }
        for role in ROLES {
            let process = &self.processes[who(server, role)];
            let wanted = program(&live.plan.servers[server], role);
            let works = wanted.is_none_or(|program| program.works);
            if wanted.is_some() != process.up && works && !launcher.has_given_up(role) {
                let state = launcher.known(role).map(|known| known.state.clone());
                return Some(format!("{role:?} runs: {}, wanted: {}, {state:?}", process.up, wanted.is_some()));
            }
            if !process.up || !works {
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
}
