//! What a launcher decides: (state, event) → effects. No clock, no process, no socket.
//!
//! ```text
//! StartingPortals → StartingStages → Standing → Flowing
//!        └───────────────┴──────────────┴──────────┴─→ Gating → Draining → StagesLeaving
//!                                                        → PortalsHolding → PortalsLeaving → Gone
//! ```
//!
//! Every state that waits has a deadline: [`Machine::next_deadline`] says when to come with [`Event::Tick`]. A rollout
//! ([`change`]) happens while the server flows.

pub mod change;

use serde::{Deserialize, Serialize};
use waldo_compiler::plan::{RestartPolicy, Stalled};
use waldo_sdk::control::{FromProcess, ToProcess};

use self::change::{Change, Concluded};
use super::state::{Ended, Finish, GateTold, Moment, Overdue, Phase, Process, ProcessIndex, Role, State, Step};
use crate::rollout::{Failure, StepName};

/// The first pause before a start, after a start that was made at once. Milliseconds.
const FIRST_PAUSE: u64 = 50;
/// A process that has been ready for so long has its next restart at once again. Milliseconds.
const STEADY: u64 = 10_000;
/// How long a process may take to leave when asked, before its stop signal follows. Milliseconds.
const ASKED: u64 = 200;
/// How long sources and portals may take to close their gates. Milliseconds.
const GATING: u64 = 1_000;
/// How long portals stay for the other servers after the stages have left, beside what those may take to drain and
/// leave. Milliseconds.
const HOLDING: u64 = 30_000;
/// How long a killed process may take to be gone before it is left behind. Milliseconds.
const KILLED: u64 = 2_000;
/// How long the processes of a launcher that died may take to come to the one that takes over. Milliseconds.
const RETURNING: u64 = 10_000;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The launcher is set up.
    Begin,
    /// The launcher has taken over what another one has left; followed by [`Event::Ended`] for each process that has ended
    /// while there was none.
    TakenOver,
    /// A process was started.
    Started {
        /// Which.
        process: ProcessIndex,
        /// As this process of the system.
        pid: i32,
    },
    /// A process couldn't be started.
    NotStarted {
        /// Which.
        process: ProcessIndex,
        /// What the system says.
        why: String,
    },
    /// A process has ended, and what else was in its group has been killed and, but for what the kernel keeps, is gone.
    Ended {
        /// Which.
        process: ProcessIndex,
        /// How.
        ended: Ended,
    },
    /// A process has said something.
    Said {
        /// Which.
        process: ProcessIndex,
        /// The incarnation that said it.
        incarnation: u64,
        /// The generation that it lives by.
        generation: u64,
        /// What.
        message: FromProcess,
    },
    /// Everything else on every server is ready: sources may start.
    StartSources,
    /// Close or open the gates of sources and portals.
    Gate {
        /// Whether to close.
        closed: bool,
    },
    /// These portals and sources are paused, whoever else wants their gates open; all others aren't.
    Pause {
        /// Which.
        paused: Vec<ProcessIndex>,
    },
    /// No more input will come to this stage.
    Finish {
        /// Its name.
        stage: String,
    },
    /// Stop sources and stages; the portals hold, and stay.
    StopStages,
    /// Stop everything. A second time, or with `now`: kill what is left.
    Stop {
        /// Whether to kill at once.
        now: bool,
    },
    /// The stages have nothing more to work off.
    Drained,
    /// What a process's heartbeat is now.
    Heartbeat {
        /// Which.
        process: ProcessIndex,
        /// Its number: it moves with every progress, and while there is nothing to do.
        beat: u64,
    },
    /// A rollout has been verified.
    Prepared(Change),
    /// A step of it was asked for.
    Step {
        /// Which.
        step: StepName,
        /// The flows that portals deliver though they hold.
        but: Vec<String>,
    },
    /// The stages have been proved idle, or why they can't be.
    JudgedIdle(Option<Failure>),
    /// What a process is to live by couldn't be put in place.
    NotInstalled {
        /// Which.
        process: ProcessIndex,
        /// Why.
        why: String,
    },
    /// Time has passed.
    Tick,
}

/// Something to be done by the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start it; answered by [`Event::Started`] or [`Event::NotStarted`].
    Start {
        /// Which.
        process: ProcessIndex,
        /// Its new incarnation.
        incarnation: u64,
    },
    /// Say something to it.
    Tell {
        /// Which.
        process: ProcessIndex,
        /// What.
        message: ToProcess,
    },
    /// Send it its stop signal.
    Signal {
        /// Which.
        process: ProcessIndex,
    },
    /// Kill its whole group.
    Kill {
        /// Which.
        process: ProcessIndex,
    },
    /// Say that it makes no progress.
    Report {
        /// Which.
        process: ProcessIndex,
    },
    /// Put in place what it lives by under the new plan: its wiring, and what else it needs. If that can't be done,
    /// answered by [`Event::NotInstalled`].
    Install {
        /// Which. One that hasn't been heard of is the next in order.
        process: ProcessIndex,
    },
    /// Watch whether the stages still have something to work off; answered by [`Event::Drained`].
    WatchDrain,
    /// Nothing runs any more: leave.
    Leave,
}

/// What a launcher knows, and how it goes on from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    processes: Vec<Process>,
    phase: Phase,
    drain: u64,
    holding: u64,
    gate_closed: bool,
    stop_portals: bool,
    /// Whether sources may start, as soon as all else is ready.
    sources_wanted: bool,
    generation: u64,
    change: Option<Change>,
    concluded: Option<Concluded>,
    /// Every process is of a higher incarnation than this.
    begins_behind: u64,
    #[serde(skip)]
    effects: Vec<Effect>,
}

impl Machine {
    /// A server whose processes have not been started. `drain` is how long its stages may take to work off what is
    /// there when it stops, and `grace` the longest grace of a process on any server, in milliseconds.
    pub fn new(generation: u64, mut processes: Vec<Process>, drain: u64, grace: u64) -> Self {
        for process in &mut processes {
            process.installed = generation;
        }
        Self {
            processes,
            phase: Phase::StartingPortals,
            drain,
            holding: HOLDING.saturating_add(drain).saturating_add(grace),
            gate_closed: false,
            stop_portals: false,
            generation,
            change: None,
            sources_wanted: false,
            concluded: None,
            begins_behind: 0,
            effects: Vec::new(),
        }
    }

    /// The same for a server that was there before: the incarnations of its processes go on behind this one.
    #[must_use]
    pub fn behind(mut self, incarnation: u64) -> Self {
        self.begins_behind = incarnation;
        for process in &mut self.processes {
            process.incarnation = incarnation;
        }
        self
    }

    /// The generation that is live here.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether gates are to be closed.
    pub fn gate_closed(&self) -> bool {
        self.gate_closed
    }

    /// The same, to be set right where another launcher had it.
    pub fn processes_mut(&mut self) -> &mut [Process] {
        &mut self.processes
    }

    /// The processes, in the order of the plan.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Where the server stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes in an event; answers what is to be done about it, in order.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        match event {
            Event::Begin => self.start_all(Role::Portal),
            Event::TakenOver => self.taken_over(now),
            Event::Started { process, pid } => self.started(now, process, pid),
            Event::NotStarted { process, why } => self.ended(now, process, Ended::NotStarted(why)),
            Event::Ended { process, ended } => self.ended(now, process, ended),
            Event::Said { process, incarnation, generation, message } => {
                if self.processes[process.0].incarnation == incarnation {
                    self.processes[process.0].lives_by = generation;
                    self.said(now, process, message);
                }
            }
            Event::StartSources => {
                // A launcher that has taken over may hear it before its processes have come to it.
                self.sources_wanted = true;
            }
            Event::Gate { closed } => self.gate(closed),
            Event::Pause { paused } => self.pause(&paused),
            Event::Finish { stage } => self.finish(&stage),
            Event::StopStages => self.begin_stop(now),
            Event::Stop { now: false } => {
                self.begin_stop(now);
                self.stop_portals = true;
            }
            Event::Stop { now: true } => self.kill_all(now),
            Event::Drained => {
                if matches!(self.phase, Phase::Draining { .. }) {
                    self.stop_stages(now);
                }
            }
            Event::Heartbeat { process, beat } => self.heard_heartbeat(now, process, beat),
            Event::Prepared(change) => self.prepared(change),
            Event::Step { step, but } => self.step(now, step, but),
            Event::JudgedIdle(failure) => self.judged_idle(failure),
            Event::NotInstalled { process, why } => self.not_installed(process, &why),
            Event::Tick => {}
        }
        self.tick(now);
        self.advance(now);
        self.advance_change(now);
        std::mem::take(&mut self.effects)
    }

    /// The processes whose heartbeats matter now: their driver tells of them by [`Event::Heartbeat`].
    pub fn watched(&self) -> Vec<ProcessIndex> {
        let is_watched = |process: &Process| process.alive.is_some() && matches!(process.state, State::Ready { .. });
        let processes = self.processes.iter().enumerate();
        processes.filter(|(_, process)| is_watched(process)).map(|(index, _)| ProcessIndex(index)).collect()
    }

    /// A process that makes no progress is reported once, or killed; what holds its gate or its input back isn't its fault.
    fn heard_heartbeat(&mut self, now: Moment, index: ProcessIndex, beat: u64) {
        let process = &mut self.processes[index.0];
        let (Some(alive), State::Ready { pid, .. }) = (process.alive, process.state.clone()) else { return };
        if beat != process.heartbeat.0 {
            process.heartbeat = (beat, now);
            process.stalled = None;
            return;
        }
        let since = process.heartbeat.1;
        if now.saturating_sub(since) < alive.within || process.stalled.is_some() {
            return;
        }
        process.stalled = Some(since);
        self.effects.push(Effect::Report { process: index });
        if alive.then == Stalled::Restart && !self.phase.is_leaving() {
            self.processes[index.0].state = State::Overdue { pid, ended: Overdue::Stalled };
            self.effects.push(Effect::Kill { process: index });
        }
    }

    /// When something is due, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Moment> {
        let processes = self.processes.iter().filter_map(|process| match process.state {
            State::Starting { deadline, .. } | State::Leaving { deadline, .. } => Some(deadline),
            State::BackingOff { until } => Some(until),
            State::Ready { .. } => process.returns_by,
            _ => None,
        });
        let phase = match self.phase {
            Phase::Gating { deadline } | Phase::Draining { deadline } | Phase::PortalsHolding { deadline } => {
                Some(deadline)
            }
            _ => None,
        };
        processes.chain(phase).min()
    }

    fn of_role(&self, role: Role) -> Vec<ProcessIndex> {
        (0..self.processes.len()).filter(|&index| self.processes[index].role == role).map(ProcessIndex).collect()
    }

    fn any(&self, role: Role, holds: impl Fn(&Process) -> bool) -> bool {
        self.processes.iter().any(|process| process.role == role && holds(process))
    }

    fn start_all(&mut self, role: Role) {
        for process in self.of_role(role) {
            // What a rollout brings has its time.
            if self.processes[process.0].state == State::Waiting && !self.processes[process.0].removed {
                self.start(process);
            }
        }
    }

    fn start(&mut self, index: ProcessIndex) {
        let begins_gated = self.is_to_be_gated(index);
        let process = &mut self.processes[index.0];
        process.incarnation += 1;
        process.lives_by = process.installed;
        process.connected = false;
        process.returns_by = None;
        process.gate_closed = begins_gated;
        process.gate_told = GateTold::begins(begins_gated);
        process.trouble = None;
        process.stalled = None;
        process.state = State::Launching;
        self.effects.push(Effect::Start { process: index, incarnation: process.incarnation });
    }

    fn started(&mut self, now: Moment, index: ProcessIndex, pid: i32) {
        let process = &mut self.processes[index.0];
        assert_eq!(process.state, State::Launching, "{} was started without being asked for", process.name);
        process.state = State::Starting { pid, deadline: now + process.ready_timeout };
        if self.phase.is_leaving() {
            self.ask_to_leave(now, index);
        }
    }

    fn said(&mut self, now: Moment, index: ProcessIndex, message: FromProcess) {
        let process = &mut self.processes[index.0];
        match message {
            FromProcess::Hello { ready, .. } => {
                process.connected = true;
                process.returns_by = None;
                if ready {
                    process.gate_told.forget();
                }
                self.say_again(index);
            }
            FromProcess::Ready => {
                if let State::Starting { pid, .. } = process.state {
                    process.state = State::Ready { pid, since: now };
                    process.heartbeat.1 = now;
                    // It may have begun with a closed gate, and everything been released meanwhile; or another launcher,
                    // of whose words nothing is known, has started it.
                    let is_open = self.processes[index.0].has_gate(false);
                    if self.processes[index.0].role != Role::Stage && (!is_open || self.is_to_be_gated(index)) {
                        self.tell_gate_anew(index);
                    }
                    self.catch_up(index);
                    if self.processes[index.0].finish == Finish::Asked {
                        self.tell(index, ToProcess::Finish);
                    }
                }
            }
            FromProcess::Gate { closed } => {
                if closed && !process.gate_closed {
                    process.gated_at = now;
                }
                process.gate_closed = closed;
                process.gate_told.answered();
            }
            FromProcess::Finished => process.finish = Finish::Done,
            FromProcess::Trouble { text } => process.trouble = Some(text),
            FromProcess::Adopted { .. } => {}
            FromProcess::Drained { but } => process.drained = but,
            FromProcess::Refused { generation, text } => self.refused(index, generation, &text),
            FromProcess::Flushed { generation } => process.flushed = generation,
            FromProcess::HandedOver { generation } => process.handed_over = generation,
            FromProcess::Settled { generation } => process.settled = generation,
        }
    }

    /// What a process may have missed that has lost its launcher, or its connection.
    fn say_again(&mut self, index: ProcessIndex) {
        let process = &self.processes[index.0];
        match process.state {
            State::Ready { .. } => {
                if process.role != Role::Stage {
                    self.tell_gate_anew(index);
                }
                self.catch_up(index);
                if self.processes[index.0].finish == Finish::Asked {
                    self.tell(index, ToProcess::Finish);
                }
            }
            State::Leaving { step: Step::Asked, .. } => self.tell(index, ToProcess::Stop),
            _ => {}
        }
    }

    /// Goes on where the launcher was that has died: what it may not have got to is done, and done again.
    fn taken_over(&mut self, now: Moment) {
        for index in (0..self.processes.len()).map(ProcessIndex) {
            let process = &mut self.processes[index.0];
            match process.state {
                State::Ready { .. } => {
                    process.returns_by = Some(now + RETURNING);
                    process.gate_told.forget();
                }
                State::Overdue { .. } | State::Leaving { step: Step::Killed, .. } => {
                    self.effects.push(Effect::Kill { process: index });
                }
                State::Leaving { step: Step::Signalled, .. } => self.effects.push(Effect::Signal { process: index }),
                _ => {}
            }
        }
        match self.phase {
            Phase::StartingPortals => self.start_all(Role::Portal),
            Phase::StartingStages | Phase::Standing => self.start_all(Role::Stage),
            Phase::Flowing => self.start_all(Role::Source),
            Phase::Draining { .. } => self.effects.push(Effect::WatchDrain),
            _ => {}
        }
    }

    fn tell(&mut self, process: ProcessIndex, message: ToProcess) {
        self.effects.push(Effect::Tell { process, message });
    }

    fn ended(&mut self, now: Moment, index: ProcessIndex, ended: Ended) {
        let leaving = self.phase.is_leaving();
        let process = &mut self.processes[index.0];
        let ended = match process.state {
            State::Overdue { ended: Overdue::NotReady, .. } => Ended::NotReady(process.ready_timeout),
            State::Overdue { ended: Overdue::Stalled, .. } => {
                Ended::Stalled(process.alive.map_or(0, |alive| alive.within))
            }
            State::Overdue { ended: Overdue::Unheard, .. } => Ended::Unheard(RETURNING),
            _ => ended,
        };
        let success = ended.is_success();
        if let State::Ready { since, .. } = process.state
            && now.saturating_sub(since) >= STEADY
        {
            process.pauses = 0;
            process.failures = 0;
        }
        // A stage that is to be started again has not ended well, whatever its status: its input goes on.
        let untimely = process.role == Role::Stage
            && process.finish == Finish::Open
            && process.restart.policy == RestartPolicy::Always;
        if (!success || untimely) && !matches!(process.state, State::Leaving { .. }) {
            process.failures += 1;
        }
        process.ended = Some(ended);
        process.connected = false;
        process.gate_closed = false;
        let wanted_gone = leaving || matches!(process.state, State::Leaving { .. });
        let ended = process.ended.clone();
        if !wanted_gone && ended.is_some_and(|ended| self.is_failed_start(index, &ended)) {
            self.processes[index.0].state = State::GivenUp;
            return;
        }
        let process = &mut self.processes[index.0];
        if wanted_gone {
            process.state = State::Stopped;
        } else if success && process.finish != Finish::Open {
            process.finish = Finish::Done;
            process.state = State::Finished;
        } else if success && process.restart.policy != RestartPolicy::Always {
            process.state = State::Finished;
        } else if process.restart.policy == RestartPolicy::Never || self.is_worn_out(now, index) {
            self.processes[index.0].state = State::GivenUp;
        } else {
            self.start_again(now, index);
        }
    }

    /// Whether the process has been started again as often as it may within its window.
    fn is_worn_out(&mut self, now: Moment, index: ProcessIndex) -> bool {
        let process = &mut self.processes[index.0];
        let Some(max) = process.restart.max else { return false };
        while process.restarted.front().is_some_and(|&at| at + process.restart.window <= now) {
            process.restarted.pop_front();
        }
        if process.restarted.len() >= max as usize {
            return true;
        }
        process.restarted.push_back(now);
        false
    }

    fn start_again(&mut self, now: Moment, index: ProcessIndex) {
        let process = &mut self.processes[index.0];
        let pauses = process.pauses;
        process.pauses += 1;
        if pauses == 0 {
            self.start(index);
        } else {
            let pause = FIRST_PAUSE.saturating_mul(1 << (pauses - 1).min(32)).min(process.restart.backoff);
            process.state = State::BackingOff { until: now + pause };
        }
    }

    /// Whether a process's gate is to be closed, also from its start on.
    pub fn is_to_be_gated(&self, index: ProcessIndex) -> bool {
        let process = &self.processes[index.0];
        process.role != Role::Stage && (self.gate_closed || process.paused)
    }

    fn gate(&mut self, closed: bool) {
        self.gate_closed = closed;
        for index in (0..self.processes.len()).map(ProcessIndex) {
            let process = &self.processes[index.0];
            if process.role != Role::Stage && matches!(process.state, State::Ready { .. }) {
                self.tell_gate(index);
            }
        }
    }

    fn pause(&mut self, paused: &[ProcessIndex]) {
        for index in (0..self.processes.len()).map(ProcessIndex) {
            let before = self.is_to_be_gated(index);
            self.processes[index.0].paused = paused.contains(&index);
            let closed = self.is_to_be_gated(index);
            if closed != before && matches!(self.processes[index.0].state, State::Ready { .. }) {
                self.tell_gate(index);
            }
        }
    }

    fn tell_gate(&mut self, index: ProcessIndex) {
        let closed = self.is_to_be_gated(index);
        self.processes[index.0].gate_told.tell(closed);
        self.say_gate(index, closed);
    }

    fn tell_gate_anew(&mut self, index: ProcessIndex) {
        let closed = self.is_to_be_gated(index);
        self.processes[index.0].gate_told.tell_anew(closed);
        self.say_gate(index, closed);
    }

    fn say_gate(&mut self, index: ProcessIndex, closed: bool) {
        let but = self.change.as_ref().map_or_else(Vec::new, |change| change.delivered().to_vec());
        // What it says of it is an answer to this.
        self.processes[index.0].drained.clear();
        self.tell(index, ToProcess::Gate { closed, but });
    }

    fn finish(&mut self, stage: &str) {
        for index in 0..self.processes.len() {
            let process = &mut self.processes[index];
            if process.stage != stage || process.role == Role::Portal || process.finish != Finish::Open {
                continue;
            }
            match process.state {
                State::Finished | State::GivenUp | State::Stopped => process.finish = Finish::Done,
                State::Ready { .. } => {
                    process.finish = Finish::Asked;
                    self.tell(ProcessIndex(index), ToProcess::Finish);
                }
                // Told as soon as it is ready.
                _ => process.finish = Finish::Asked,
            }
        }
    }

    fn begin_stop(&mut self, now: Moment) {
        if self.phase.is_leaving() {
            return;
        }
        self.phase = Phase::Gating { deadline: now + GATING };
        self.processes.iter_mut().for_each(Process::cancel_start);
        self.gate(true);
        for process in self.of_role(Role::Source) {
            self.ask_to_leave(now, process);
        }
    }

    fn stop_stages(&mut self, now: Moment) {
        self.phase = Phase::StagesLeaving;
        for process in self.of_role(Role::Stage) {
            self.ask_to_leave(now, process);
        }
    }

    /// A running process is asked by a message if it has connected, else by its stop signal at once.
    fn ask_to_leave(&mut self, now: Moment, index: ProcessIndex) {
        let process = &mut self.processes[index.0];
        let (State::Starting { pid, .. } | State::Ready { pid, .. }) = process.state else { return };
        let kill = now + process.grace;
        if process.connected {
            let deadline = kill.min(now + ASKED);
            process.state = State::Leaving { pid, step: Step::Asked, deadline, kill };
            self.tell(index, ToProcess::Stop);
        } else {
            process.state = State::Leaving { pid, step: Step::Signalled, deadline: kill, kill };
            self.effects.push(Effect::Signal { process: index });
        }
    }

    fn kill_all(&mut self, now: Moment) {
        self.stop_portals = true;
        self.phase = Phase::PortalsLeaving;
        for index in 0..self.processes.len() {
            match self.processes[index].pid() {
                Some(pid) => self.kill(now, ProcessIndex(index), pid),
                None => self.processes[index].cancel_start(),
            }
        }
    }

    fn kill(&mut self, now: Moment, index: ProcessIndex, pid: i32) {
        self.processes[index.0].state =
            State::Leaving { pid, step: Step::Killed, deadline: now + KILLED, kill: now + KILLED };
        self.effects.push(Effect::Kill { process: index });
    }

    fn tick(&mut self, now: Moment) {
        for index in (0..self.processes.len()).map(ProcessIndex) {
            match self.processes[index.0].state {
                State::BackingOff { until } if until <= now => self.start(index),
                State::Starting { pid, deadline } if deadline <= now => {
                    self.processes[index.0].state = State::Overdue { pid, ended: Overdue::NotReady };
                    self.effects.push(Effect::Kill { process: index });
                }
                State::Ready { pid, .. } if self.processes[index.0].returns_by.is_some_and(|by| by <= now) => {
                    self.processes[index.0].state = State::Overdue { pid, ended: Overdue::Unheard };
                    self.effects.push(Effect::Kill { process: index });
                }
                State::Leaving { pid, step, deadline, kill } if deadline <= now => match step {
                    Step::Asked => {
                        self.processes[index.0].state =
                            State::Leaving { pid, step: Step::Signalled, deadline: kill.max(now), kill };
                        self.effects.push(Effect::Signal { process: index });
                    }
                    Step::Signalled => self.kill(now, index, pid),
                    // SIGKILL can be put off by the kernel only; whoever hangs there is left to the final sweep.
                    Step::Killed => self.processes[index.0].state = State::Stopped,
                },
                _ => {}
            }
        }
    }

    /// Goes on to the next phase as often as the processes' states allow.
    fn advance(&mut self, now: Moment) {
        let not_up = |process: &Process| {
            !matches!(process.state, State::Ready { .. } | State::Finished | State::GivenUp | State::Stopped)
        };
        loop {
            match self.phase {
                Phase::StartingPortals if !self.any(Role::Portal, not_up) => {
                    self.phase = Phase::StartingStages;
                    self.start_all(Role::Stage);
                }
                Phase::StartingStages if !self.any(Role::Stage, not_up) => self.phase = Phase::Standing,
                Phase::Standing if self.sources_wanted => {
                    self.phase = Phase::Flowing;
                    self.start_all(Role::Source);
                }
                Phase::Gating { deadline } => {
                    let open =
                        |process: &Process| matches!(process.state, State::Ready { .. }) && !process.has_gate(true);
                    let sources = self.any(Role::Source, Process::is_alive);
                    if (sources || self.any(Role::Portal, open)) && now < deadline {
                        return;
                    }
                    if self.any(Role::Stage, Process::is_alive) {
                        self.phase = Phase::Draining { deadline: now.saturating_add(self.drain) };
                        self.effects.push(Effect::WatchDrain);
                        return;
                    }
                    self.stop_stages(now);
                }
                Phase::Draining { deadline } if deadline <= now || !self.any(Role::Stage, Process::is_alive) => {
                    self.stop_stages(now);
                }
                Phase::StagesLeaving
                    if !self.any(Role::Stage, Process::is_alive) && !self.any(Role::Source, Process::is_alive) =>
                {
                    self.phase = Phase::PortalsHolding { deadline: now.saturating_add(self.holding) };
                }
                Phase::PortalsHolding { deadline } if self.stop_portals || deadline <= now => {
                    self.phase = Phase::PortalsLeaving;
                    for process in self.of_role(Role::Portal) {
                        self.ask_to_leave(now, process);
                    }
                }
                Phase::PortalsLeaving if !self.processes.iter().any(Process::is_alive) => {
                    self.phase = Phase::Gone;
                    self.effects.push(Effect::Leave);
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
