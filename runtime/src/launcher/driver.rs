//! The launcher's rim: one loop that waits for signals, messages, ends of processes and time, asks the machine what to
//! do, and does it.

use std::{
    collections::{HashMap, VecDeque},
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::wait::WaitStatus,
};
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM},
    low_level::pipe,
};
use waldo_compiler::plan::{Plan, ProcessPlan, ServerPlan};
use waldo_sdk::{
    control::{Envelope, FromProcess},
    page::Page,
};

use super::{
    Incarnations, LaunchError, LivePlan, Options,
    adopted::Adopted,
    kept::{self, Keeper, Kept},
    limits::Limits,
    lines::Lines,
    logs,
    machine::{Effect, Event, Machine},
    owners,
    pause::Paused,
    spawn::Spawner,
    state::{Ended, Moment, Phase, ProcessIndex, State},
    status, takeover,
};
use crate::{
    control::{Answer, Command, Request, ServerStatus, Stand},
    idle::{Pages, Scope},
    paths::{Paths, ServerPaths},
    rollout::Stage,
    sys::{self, service::ServiceManager},
};

mod beginning;
mod rebalance;
mod rollout;

pub use self::beginning::Beginning;
use self::rollout::Rollout;

/// The longest wait, so that a lost wake-up costs no more than this. Milliseconds.
const LONGEST_WAIT: u64 = 1_000;
/// How often the pages are read while the stages work off what is there. Milliseconds.
const LOOK_AGAIN: u64 = 5;
/// How often a heartbeat is looked at within the time that it may stand still.
const HEARTBEATS: u64 = 4;
/// How long what is left of an ended process's group may take to be gone once it is killed.
const GONE: Duration = Duration::from_secs(1);
/// How often a proof is tried again while a rollout waits for the stages to be idle. Milliseconds.
const PROVE_AGAIN: u64 = 1;
/// The longest that [`Command::Await`] waits for its answer. Milliseconds.
const AWAITS: u64 = 1_000;
/// How often logs are looked at and rates taken. Milliseconds.
const CHORES: u64 = 1_000;

/// An iteration that takes so much longer than the longest wait was no iteration: this process, or the machine, was
/// stopped for a while.
const STANDSTILL: Duration = Duration::from_secs(1);

/// A launcher at work.
pub struct Driver {
    /// When its clock was 0.
    began: Instant,
    /// The same for the next launcher.
    kept_clock: i64,
    /// When it went round last.
    went_round: Instant,
    options: Options,
    machine: Machine,
    plans: Vec<ProcessPlan>,
    pages: Vec<Page>,
    idle: Pages,
    spawner: Spawner,
    places: ServerPaths,
    running: HashMap<i32, ProcessIndex>,
    /// Those that run and are another launcher's children.
    adopted: Adopted,
    /// Those that ended while there was no launcher, if there was one before.
    ended_unseen: Option<Vec<(ProcessIndex, Ended)>>,
    keeper: Keeper,
    commands: UnixListener,
    processes: UnixListener,
    callers: Vec<Caller>,
    members: Vec<(Lines, Option<ProcessIndex>)>,
    ends: UnixStream,
    stops: UnixStream,
    /// Whether the launcher stops when the command that started it ends.
    attached: bool,
    /// What a person holds.
    paused: Paused,
    /// Whether it was started for a rollout that brings the server in.
    joining: bool,
    /// Whether nobody leads, so that the sources are for this launcher to start.
    alone: bool,
    manager: ServiceManager,
    asked_to_stop: bool,
    /// Whether it stops as soon as the rollout that is under way is over.
    stop_is_due: bool,
    draining: bool,
    leaving: bool,
    chores_at: Moment,
    /// When it was last looked whether other weights would be better.
    rebalanced_at: Moment,
    received: Vec<u64>,
    /// How long each log was at the beginning.
    log_from: Vec<u64>,
    rates: Vec<u64>,
    /// What is remembered for when the machine is started again, if it is.
    remembered: Option<Remembered>,
    paths: Paths,
    server: String,
    /// The plan that is live.
    plan: Plan,
    rollout: Rollout,
}

struct Remembered {
    incarnations: Incarnations,
    /// See [`LivePlan::begun_with`].
    begun_with: String,
}

impl Remembered {
    fn read(places: &ServerPaths) -> Result<Self, LaunchError> {
        let begun_with = LivePlan::read(places)?.map(|live| live.begun_with).unwrap_or_default();
        Ok(Self { incarnations: Incarnations::read(places)?, begun_with })
    }
}

/// Somebody who asks for things.
struct Caller {
    lines: Lines,
    /// Until when an answer to [`Command::Await`] may wait.
    awaits: Option<Moment>,
}

impl Driver {
    /// Binds the sockets and catches the signals; starts nothing.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new(
        options: &Options,
        plan: &Plan,
        server: &ServerPlan,
        paths: &Paths,
        beginning: Beginning,
    ) -> Result<Self, LaunchError> {
        let places = &paths.server(&options.server);
        let listen = |path: std::path::PathBuf| {
            let listener = UnixListener::bind(&path).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            listener.map_err(LaunchError::io(format!("listen at {}", path.display())))
        };
        let Beginning { began, kept_clock, mut machine, plans, pages, log_from, living, ended, rollout, keeper } =
            beginning;
        let own = sys::process::Identity::own().map_err(LaunchError::io("read /proc"))?;
        let mut idle = Pages::new(&options.server).seen_by(own);
        for (process, page) in plans.iter().zip(&pages) {
            idle.watch(&process.name, page.clone());
        }
        let paused =
            Paused::read(&places.paused()).map_err(LaunchError::io(format!("read {}", places.paused().display())))?;
        let held = paused.among(machine.processes());
        for (index, process) in machine.processes_mut().iter_mut().enumerate() {
            process.paused = held.contains(&ProcessIndex(index));
        }
        let mut spawner = Spawner::new(options, plan, places, Limits::of(plan, &options.server, server))
            .map_err(LaunchError::io("find this program"))?;
        if let Some(next) = rollout.plan_in_place() {
            spawner.follow(next, &super::rollout::server_of(next, &options.server));
        }
        let processes_socket = listen(places.processes())?;
        owners::open_to_group(plan, &places.processes())
            .map_err(LaunchError::io(format!("open {} to the group", places.processes().display())))?;
        Ok(Self {
            began,
            kept_clock,
            went_round: Instant::now(),
            options: options.clone(),
            received: pages.iter().map(received).collect(),
            log_from,
            rates: vec![0; pages.len()],
            asked_to_stop: machine.phase().is_leaving(),
            stop_is_due: false,
            machine,
            adopted: Adopted::new(living),
            ended_unseen: ended,
            keeper,
            plans,
            pages,
            idle,
            spawner,
            places: places.clone(),
            remembered: options.remembers().then(|| Remembered::read(places)).transpose()?,
            paths: paths.clone(),
            server: options.server.clone(),
            plan: plan.clone(),
            rollout,
            running: HashMap::new(),
            processes: processes_socket,
            commands: listen(places.commands())?,
            callers: Vec::new(),
            members: Vec::new(),
            ends: signals(&[SIGCHLD])?,
            stops: signals(&[SIGTERM, SIGINT, SIGHUP])?,
            attached: options.attached,
            paused,
            joining: options.joining,
            // A server that is brought back, by a deployer who wants no more than that it runs.
            alone: options.alone || options.joining && !server.processes.is_empty(),
            manager: ServiceManager::of_this_process(),
            draining: false,
            leaving: false,
            chores_at: began.elapsed().as_millis() as Moment + CHORES,
            rebalanced_at: began.elapsed().as_millis() as Moment,
        })
    }

    /// Runs the server until nothing of it runs any more; answers how all ended.
    ///
    /// # Errors
    /// If waiting fails.
    pub fn run(mut self) -> Result<ServerStatus, LaunchError> {
        self.begin();
        while !self.leaving {
            self.wait()?;
            self.mind_standstill();
            self.hear_signals();
            self.hear_ends();
            self.hear_ends_of_adopted();
            self.hear_commander();
            self.hear_callers();
            self.hear_members();
            if self.draining && self.idle.prove(Scope::Stages).is_idle() {
                self.draining = false;
                self.take_in(Event::Drained);
            }
            self.hear_heartbeats();
            self.tend_rollout();
            if self.stop_is_due && self.machine.change().is_none() {
                self.stop_is_due = false;
                self.note("stops, as the rollout is over");
                self.take_in(Event::Stop { now: false });
            }
            if self.machine.next_deadline().is_some_and(|deadline| deadline <= self.now()) {
                self.take_in(Event::Tick);
            }
            if self.alone && self.machine.phase() == Phase::Standing {
                self.take_in(Event::StartSources);
            }
            if self.chores_at <= self.now() {
                self.do_chores();
            }
            self.tell_manager();
            self.answer_those_who_wait();
            if self.keeper.due().is_some_and(|due| due <= self.now()) {
                self.keep();
            }
        }
        for caller in &mut self.callers {
            caller.lines.flush();
        }
        self.note("stopped");
        Ok(self.status())
    }

    fn begin(&mut self) {
        let Some(ended) = self.ended_unseen.take() else {
            self.keep();
            self.take_in(Event::Begin);
            return;
        };
        let living = self.adopted.descriptors().count();
        self.note(&format!("taken over: {living} processes go on, {} have ended", ended.len()));
        self.take_in(Event::TakenOver);
        for (process, ended) in ended {
            self.note(&format!("{}: {ended}", self.plans[process.0].name));
            self.take_in(Event::Ended { process, ended });
        }
        self.keep();
    }

    /// Time during which this process was stopped (SIGSTOP, a machine that slept) doesn't count: what processes have said
    /// meanwhile hasn't been heard yet, and nobody is late for it.
    fn mind_standstill(&mut self) {
        let now = Instant::now();
        let longest = Duration::from_millis(LONGEST_WAIT);
        let took = now.duration_since(std::mem::replace(&mut self.went_round, now));
        if took > longest + STANDSTILL {
            self.began += took.saturating_sub(longest);
            self.kept_clock = kept::began(self.began);
            self.keeper.mark();
            self.note(&format!("stood still for {} ms", took.as_millis()));
        }
    }

    /// Writes what the next launcher must know.
    fn keep(&mut self) {
        let live = super::rollout::server_of(&self.plan, &self.server).processes;
        let others = self
            .plans
            .iter()
            .enumerate()
            .filter(|(place, plan)| live.get(*place) != Some(*plan) && live.iter().all(|live| live != *plan));
        let kept = Kept {
            version: kept::VERSION,
            boot: sys::process::boot(),
            server: self.server.clone(),
            plan: self.places.plan_of(self.machine.generation()),
            digest: self.plan.digest.clone(),
            root: self.options.root.clone(),
            run_root: self.options.run_root.clone(),
            kept: self.options.kept.clone(),
            alone: self.alone,
            joining: self.options.joining,
            attached: self.attached,
            began: self.kept_clock,
            machine: self.machine.clone(),
            plans: others.map(|(_, plan)| (plan.name.clone(), plan.clone())).collect(),
            log_from: self.log_from.clone(),
            rollout: self.rollout.keep(),
        };
        if let Err(error) = self.keeper.keep(self.now(), kept) {
            self.note(&format!("cannot write {}: {error}", self.places.launcher().display()));
        }
    }

    fn tell_manager(&mut self) {
        match self.machine.phase().stand() {
            Stand::Standing | Stand::Flowing => self.manager.ready(),
            Stand::Starting => {}
            Stand::Draining | Stand::Stopping | Stand::Holding | Stand::Stopped => self.manager.stopping(),
        }
        let processes = self.machine.processes();
        let ready = processes.iter().filter(|process| matches!(process.state, State::Ready { .. })).count();
        let phase = self.machine.phase().stand();
        self.manager.status(&format!("{phase}: {ready} of {} processes ready", processes.len()));
        self.manager.sign_of_life();
    }

    fn hear_heartbeats(&mut self) {
        for process in self.machine.watched() {
            let beat = self.pages[process.0].heartbeat();
            self.take_in(Event::Heartbeat { process, beat });
        }
    }

    fn now(&self) -> Moment {
        self.began.elapsed().as_millis() as Moment
    }

    /// A line for the launcher's own log.
    fn note(&self, what: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        // In one piece, as stderr has no buffer. A log that can't be written is no reason to stop a server.
        let _ = std::io::stderr().write_all(format!("[{seconds:9.3}] {what}\n").as_bytes());
    }

    fn wait(&self) -> Result<(), LaunchError> {
        let now = self.now();
        let due = self.machine.next_deadline().map_or(LONGEST_WAIT, |deadline| deadline.saturating_sub(now));
        let due = due.min(self.chores_at.saturating_sub(now)).min(LONGEST_WAIT);
        let due = if self.draining { due.min(LOOK_AGAIN) } else { due };
        let due = if self.machine.wants_idle_proof() { due.min(PROVE_AGAIN) } else { due };
        let due = self.keeper.due().map_or(due, |at| due.min(at.saturating_sub(now)));
        let due = self.manager.patience().map_or(due, |patience| due.min(patience.as_millis() as u64));
        // A heartbeat can't be waited for: it is looked at a few times within the time that it may stand still.
        let shortest = self.machine.watched().into_iter().filter_map(|process| self.plans[process.0].alive);
        let due = shortest.map(|alive| (alive.within / HEARTBEATS).max(LOOK_AGAIN)).fold(due, u64::min);
        let stdin = std::io::stdin();
        let mut watched: Vec<BorrowedFd> =
            vec![self.ends.as_fd(), self.stops.as_fd(), self.commands.as_fd(), self.processes.as_fd()];
        if self.attached && !self.asked_to_stop {
            watched.push(stdin.as_fd());
        }
        watched.extend(self.adopted.descriptors());
        let mut watched: Vec<PollFd> = watched.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let callers = self.callers.iter().map(|caller| &caller.lines);
        let connections = callers.chain(self.members.iter().map(|(lines, _)| lines));
        watched.extend(connections.map(|lines| {
            let writing = if lines.wants_to_write() { PollFlags::POLLOUT } else { PollFlags::empty() };
            PollFd::new(lines.as_fd(), PollFlags::POLLIN | writing)
        }));
        let timeout = PollTimeout::try_from(Duration::from_millis(due)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut watched, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(LaunchError::io("wait for events")(error)),
        }
    }

    /// Lets the machine decide about an event, and about all that follows from doing what it says.
    fn take_in(&mut self, event: Event) {
        if !matches!(event, Event::Heartbeat { .. }) {
            self.keeper.mark();
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let effects = self.machine.handle(self.now(), event);
            if self.give_room() {
                // What a person has paused may be among them.
                events.push_back(Event::Pause { paused: self.paused.among(self.machine.processes()) });
            }
            events.extend(effects.into_iter().filter_map(|effect| self.perform(effect)));
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Start { process, incarnation } => return Some(self.start(process, incarnation)),
            Effect::Tell { process, message } => {
                let envelope = Envelope {
                    generation: self.machine.generation(),
                    incarnation: self.machine.processes()[process.0].incarnation,
                    message,
                };
                for (lines, _) in self.members.iter_mut().filter(|(_, member)| *member == Some(process)) {
                    lines.write(&envelope);
                }
            }
            Effect::Signal { process } => self.signal(process),
            Effect::Kill { process } => {
                if let Some(pid) = self.machine.processes()[process.0].pid() {
                    self.note(&format!("{}: killed", self.plans[process.0].name));
                    if !self.adopted.kill(process) {
                        let _ = sys::process::kill_group(pid);
                    }
                }
            }
            Effect::Report { process } => {
                let within = self.plans[process.0].alive.map_or(0, |alive| alive.within);
                self.note(&format!("{}: no progress for {within} ms", self.plans[process.0].name));
            }
            Effect::Install { process } => return self.install(process),
            Effect::WatchDrain => self.draining = true,
            Effect::Leave => self.leaving = true,
        }
        None
    }

    fn start(&mut self, process: ProcessIndex, incarnation: u64) -> Event {
        let remember = |remembered: &mut Remembered| remembered.incarnations.remember(incarnation);
        if let Some(Err(error)) = self.remembered.as_mut().map(remember) {
            self.note(&format!("{}: not started: {error}", self.plans[process.0].name));
            return Event::NotStarted { process, why: error.to_string() };
        }
        let plan = &self.plans[process.0];
        self.pages[process.0].begin_incarnation(incarnation);
        // A portal that comes back must not deliver before it can be told not to.
        self.pages[process.0].set_gate(self.machine.is_to_be_gated(process));
        match self.spawner.start(plan, incarnation) {
            Ok(pid) => {
                self.note(&format!("{}: started as process {pid}, incarnation {incarnation}", plan.name));
                self.running.insert(pid, process);
                Event::Started { process, pid }
            }
            Err(error) => {
                self.note(&format!("{}: not started: {error}", plan.name));
                Event::NotStarted { process, why: error.to_string() }
            }
        }
    }

    fn signal(&self, process: ProcessIndex) {
        let plan = &self.plans[process.0];
        let signal = sys::signal_named(&plan.stop.signal).unwrap_or(nix::sys::signal::Signal::SIGTERM);
        if let Some(pid) = self.machine.processes()[process.0].pid() {
            self.note(&format!("{}: sent {signal}", plan.name));
            if !self.adopted.signal(process, signal) {
                let _ = sys::process::signal(pid, signal);
            }
        }
    }

    fn hear_signals(&mut self) {
        for _ in 0..drain(&mut self.stops) {
            let again = std::mem::replace(&mut self.asked_to_stop, true);
            // In its middle it would leave others waiting for what only this server has.
            if !again && self.machine.change().is_some() {
                self.note("asked to stop by a signal: once the rollout is over");
                self.stop_is_due = true;
                continue;
            }
            self.note(if again { "asked to stop again: killing" } else { "asked to stop by a signal" });
            self.take_in(Event::Stop { now: again });
        }
    }

    fn hear_ends(&mut self) {
        drain(&mut self.ends);
        let ends = self.reap_all();
        let strays = self.end_strays(&ends);
        for ((pid, process, ended), strays) in ends.into_iter().zip(strays) {
            if !sys::process::await_group_end(pid, &strays, GONE) {
                self.note(&format!("{}: not all of its group has ended, though killed", self.plans[process.0].name));
            }
            self.members.retain(|(_, member)| *member != Some(process));
            self.note(&format!("{}: {ended}", self.plans[process.0].name));
            self.take_in(Event::Ended { process, ended });
        }
    }

    fn hear_ends_of_adopted(&mut self) {
        for (process, watched) in self.adopted.take_ended() {
            let name = self.plans[process.0].name.clone();
            let (run, state) = (self.places.process(&name), self.places.state(&name));
            if !watched.end_what_is_left(sys::process::Marks { run: &run, state: &state }, GONE) {
                self.note(&format!("{name}: not all of its group has ended, though killed"));
            }
            self.members.retain(|(_, member)| *member != Some(process));
            let incarnation = self.machine.processes()[process.0].incarnation;
            let ended = takeover::how_it_ended(&self.pages[process.0], incarnation);
            self.note(&format!("{name}: {ended}"));
            self.take_in(Event::Ended { process, ended });
        }
    }

    /// Reaps all that have ended, having killed what is left of their groups. Answers which of the server's processes are
    /// among them, and how they ended.
    fn reap_all(&mut self) -> Vec<(i32, ProcessIndex, Ended)> {
        let mut ends = Vec::new();
        while let Some(pid) = sys::process::ended_child() {
            let process = self.running.remove(&pid);
            if process.is_some() {
                // While it is a zombie its group is still its own, so this hits nobody else.
                let _ = sys::process::kill_group(pid);
            }
            let Some(status) = sys::process::reap(pid) else { break };
            let Some(process) = process else { continue };
            let ended = match status {
                WaitStatus::Exited(_, status) => Ended::Status(status),
                WaitStatus::Signaled(_, signal, _) => Ended::Signal(signal.as_str().to_owned()),
                _ => continue,
            };
            ends.push((pid, process, ended));
        }
        ends
    }

    /// Kills what ended processes started outside their groups: the next incarnation must be alone. Answers for each of
    /// them who that is.
    fn end_strays(&self, ends: &[(i32, ProcessIndex, Ended)]) -> Vec<Vec<i32>> {
        let mut orphans = if ends.is_empty() { Vec::new() } else { sys::process::own_children() };
        orphans.retain(|pid| !self.running.contains_key(pid));
        let strays_of = |process: ProcessIndex| {
            let name = &self.plans[process.0].name;
            let (run, state) = (self.places.process(name), self.places.state(name));
            let marks = sys::process::Marks { run: &run, state: &state };
            let strays: Vec<i32> = orphans.iter().copied().filter(|&pid| marks.are_on(pid)).collect();
            for &pid in &strays {
                let _ = sys::process::signal(pid, nix::sys::signal::Signal::SIGKILL);
            }
            strays
        };
        ends.iter().map(|&(_, process, _)| strays_of(process)).collect()
    }

    /// The command that started this launcher holds the other end of stdin; nothing is ever written there.
    fn hear_commander(&mut self) {
        if !self.attached || self.asked_to_stop {
            return;
        }
        let stdin = std::io::stdin();
        let mut watched = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            self.asked_to_stop = true;
            self.note("the command that started this launcher has ended: stopping");
            self.take_in(Event::Stop { now: false });
        }
    }

    fn hear_callers(&mut self) {
        while let Some(lines) = Lines::accept(&self.commands) {
            self.callers.push(Caller { lines, awaits: None });
        }
        let mut callers = std::mem::take(&mut self.callers);
        for caller in &mut callers {
            caller.lines.flush();
            for line in caller.lines.read() {
                if caller.awaits.take().is_some() {
                    caller.lines.write(&Answer::Progress(self.progress()));
                }
                let answer = match serde_json::from_slice::<Request>(&line) {
                    Ok(Request { command: Command::Await, .. }) => {
                        self.rollout.led_at = self.now();
                        caller.awaits = Some(self.now() + AWAITS);
                        continue;
                    }
                    Ok(request) => self.answer(request),
                    Err(error) => Answer::Refused(format!("not a request: {error}")),
                };
                caller.lines.write(&answer);
            }
        }
        callers.retain(|caller| !caller.lines.is_broken());
        self.callers.append(&mut callers);
    }

    /// Answers those who wait for a step of the rollout to be done, if it is, or they have waited long enough.
    fn answer_those_who_wait(&mut self) {
        if self.callers.iter().all(|caller| caller.awaits.is_none()) {
            return;
        }
        let (now, progress) = (self.now(), self.progress());
        let is_news = !progress.as_ref().is_some_and(|progress| matches!(progress.state, Stage::Working(_)));
        for caller in &mut self.callers {
            if caller.awaits.is_some_and(|until| is_news || until <= now) {
                caller.awaits = None;
                caller.lines.write(&Answer::Progress(progress.clone()));
            }
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        let live = self.machine.generation();
        if request.generation.is_some_and(|generation| generation != live) {
            return Answer::Refused(format!("plan {live} is live here"));
        }
        let event = match request.command {
            Command::Status => return Answer::Status(Box::new(self.status())),
            Command::Stand => return Answer::Stands(self.machine.phase().stand()),
            Command::ReadDone => return Answer::Done(self.idle.read_done()),
            Command::ReadSent { first } => {
                let second = self.idle.read_sent();
                return Answer::Judged(self.idle.verdict(&first, &second, Scope::All));
            }
            Command::Rollout { generation, step } => {
                let answer = self.asked_for_step(generation, step);
                self.keep();
                return answer;
            }
            Command::Await => return Answer::Progress(self.progress()),
            Command::Detach => {
                self.attached = false;
                self.keep();
                return Answer::Accepted;
            }
            Command::StartSources => Event::StartSources,
            Command::Gate { closed } => Event::Gate { closed },
            Command::Pause { names } => return self.pause(names.as_deref(), true),
            Command::Resume { names } => return self.pause(names.as_deref(), false),
            Command::Finish { stage } => Event::Finish { stage },
            Command::StopStages => Event::StopStages,
            Command::Stop { now } => {
                self.asked_to_stop = true;
                Event::Stop { now }
            }
        };
        self.note(&format!("asked for: {event:?}"));
        self.take_in(event);
        // Whoever asked must be able to rely on it, also if this launcher is killed now.
        self.keep();
        Answer::Accepted
    }

    /// Pauses or resumes; what holds is kept before it is done, so that it outlives this launcher.
    fn pause(&mut self, names: Option<&[String]>, paused: bool) -> Answer {
        let next = self.paused.with(names, paused);
        let file = self.places.paused();
        if let Err(error) = next.write(&file) {
            return Answer::Refused(format!("{} can't be written: {error}", file.display()));
        }
        let said = names.map_or_else(|| "everything".to_owned(), |names| names.join(", "));
        self.note(&format!("{} {said}", if paused { "paused" } else { "resumed" }));
        self.paused = next;
        self.take_in(Event::Pause { paused: self.paused.among(self.machine.processes()) });
        Answer::Accepted
    }

    fn hear_members(&mut self) {
        while let Some(lines) = Lines::accept(&self.processes) {
            self.members.push((lines, None));
        }
        let mut said = Vec::new();
        for (lines, member) in &mut self.members {
            lines.flush();
            for line in lines.read() {
                let Ok(envelope) = serde_json::from_slice::<Envelope<FromProcess>>(&line) else { continue };
                if let FromProcess::Hello { process, .. } = &envelope.message {
                    *member = self.plans.iter().position(|plan| plan.name == *process).map(ProcessIndex);
                }
                if let Some(process) = *member {
                    let Envelope { generation, incarnation, message } = envelope;
                    said.push(Event::Said { process, incarnation, generation, message });
                }
            }
        }
        self.members.retain(|(lines, _)| !lines.is_broken());
        for event in said {
            if let Event::Said { process, message: FromProcess::Trouble { text }, .. } = &event {
                self.note(&format!("{}: {text}", self.plans[process.0].name));
            }
            self.take_in(event);
        }
    }

    fn do_chores(&mut self) {
        let now = self.now();
        let elapsed = (now + CHORES).saturating_sub(self.chores_at).max(1);
        self.chores_at = now + CHORES;
        self.rebalance_if_due(now);
        for index in self.portals() {
            let received = received(&self.pages[index]);
            self.rates[index] = received.saturating_sub(self.received[index]) * 1_000 / elapsed;
            self.received[index] = received;
        }
        let names = self.plans.iter().map(|plan| plan.name.as_str()).chain(["launcher"]);
        for log in names.map(|name| self.places.log(name)) {
            if let Err(error) = logs::rotate(&log, logs::LARGEST) {
                self.note(&format!("cannot rotate {}: {error}", log.display()));
            }
        }
    }

    fn portals(&self) -> Vec<usize> {
        let processes = self.machine.processes().iter().enumerate();
        processes.filter(|(_, process)| process.role == super::Role::Portal).map(|(index, _)| index).collect()
    }

    fn status(&self) -> ServerStatus {
        let processes = self.machine.processes();
        let portals = processes.iter().zip(&self.rates).filter(|(process, _)| process.role == super::Role::Portal);
        ServerStatus {
            topology: self.plan.topology.clone(),
            namespace: self.plan.namespace.clone(),
            server: self.server.clone(),
            generation: self.machine.generation(),
            digest: self.plan.digest.clone(),
            pid: nix::unistd::getpid().as_raw(),
            phase: self.machine.phase().stand(),
            attached: self.attached,
            holds: self.machine.gate_closed(),
            rollout: self.machine.change().and_then(|_| self.progress()),
            rates: portals.map(|(process, &rate)| (process.name.clone(), rate)).collect(),
            processes: processes
                .iter()
                .zip(&self.pages)
                .zip(&self.log_from)
                .zip(&self.plans)
                .map(|(((process, page), &log_from), plan)| {
                    let limits = self.spawner.limits().kept(plan);
                    status::of_process(process, page, &self.places, limits, log_from, self.now())
                })
                .collect(),
        }
    }
}

/// The length of a file that may not be there yet. Bytes.
fn length(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Records that a portal has taken in, as its page says.
fn received(page: &Page) -> u64 {
    let counts = page.entries().into_iter();
    counts
        .filter(|entry| entry.kind == waldo_sdk::page::Kind::Count && entry.name.starts_with("received "))
        .map(|entry| entry.done)
        .sum()
}

/// A stream that gets a byte for each of these signals.
fn signals(numbers: &[i32]) -> Result<UnixStream, LaunchError> {
    let catch = || {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        for &number in numbers {
            pipe::register(number, write.try_clone()?)?;
        }
        Ok(read)
    };
    catch().map_err(LaunchError::io::<std::io::Error>("catch signals"))
}

/// Takes all bytes that are there; answers how many.
fn drain(stream: &mut UnixStream) -> usize {
    let mut buffer = [0; 64];
    let mut count = 0;
    while let Ok(more @ 1..) = stream.read(&mut buffer) {
        count += more;
    }
    count
}
