//! What a launcher knows of its processes: each is in one state, and the server in one phase.

use std::{collections::VecDeque, fmt};

use serde::{Deserialize, Serialize};
use waldo_compiler::plan::{Alive, ProcessPlan, Program, Restart};

use crate::control::{Condition, Stand};

/// A moment on the launcher's monotonic clock. Milliseconds.
pub type Moment = u64;

/// A process of the server: its place in the plan's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessIndex(pub usize);

/// Where a process stands.
///
/// ```text
/// Waiting ─→ Launching ─→ Starting ─→ Ready ─→ Leaving ─→ Stopped
///                ↑            │         │
///                └ BackingOff ┴─────────┴─→ Finished, GivenUp
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum State {
    /// Its turn hasn't come: others must be ready first, or it is a source and not asked for yet.
    Waiting,
    /// The driver has been told to start it and will say how that went.
    Launching,
    /// It runs and hasn't said that it is ready.
    Starting {
        /// Its process id.
        pid: i32,
        /// When it must be ready.
        deadline: Moment,
    },
    /// It runs and has said that it is ready.
    Ready {
        /// Its process id.
        pid: i32,
        /// Since when.
        since: Moment,
    },
    /// It wasn't ready in time, or made no progress, and has been killed; its end hasn't been seen yet.
    Overdue {
        /// Its process id.
        pid: i32,
        /// How it will be said to have ended.
        ended: Overdue,
    },
    /// It runs and has been asked to leave.
    Leaving {
        /// Its process id.
        pid: i32,
        /// How it was asked last.
        step: Step,
        /// When the next step follows.
        deadline: Moment,
        /// When it is killed.
        kill: Moment,
    },
    /// It has ended and will be started again.
    BackingOff {
        /// When.
        until: Moment,
    },
    /// It ended with success and won't be started again.
    Finished,
    /// It failed and won't be started again.
    GivenUp,
    /// It has left, as it was asked to.
    Stopped,
}

/// Why a process was killed by its launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overdue {
    /// It didn't get ready in time.
    NotReady,
    /// It made no progress.
    Stalled,
    /// It didn't come to the launcher that took it over.
    Unheard,
}

/// How a process was asked to leave, each step sterner than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// By a message on its control connection.
    Asked,
    /// By its stop signal.
    Signalled,
    /// By SIGKILL, to its whole group.
    Killed,
}

/// Where the server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Phase {
    /// The portals have been started; not all are ready.
    StartingPortals,
    /// Portals are ready; the stages, but no sources, have been started; not all are ready.
    StartingStages,
    /// All but the sources are ready. The sources wait for the other servers.
    Standing,
    /// Everything has been started.
    Flowing,
    /// Sources have been asked to leave and portals to hold; they haven't all said so.
    Gating {
        /// When it goes on without them.
        deadline: Moment,
    },
    /// Nothing new comes in; the stages haven't worked off yet what is there.
    Draining {
        /// When it goes on though they haven't.
        deadline: Moment,
    },
    /// The stages have been asked to leave.
    StagesLeaving,
    /// The stages are gone. The portals wait for the other servers.
    PortalsHolding {
        /// When they leave on their own.
        deadline: Moment,
    },
    /// The portals have been asked to leave.
    PortalsLeaving,
    /// No process is left.
    Gone,
}

impl Phase {
    /// Whether the server is on its way down.
    pub fn is_leaving(self) -> bool {
        !matches!(self, Self::StartingPortals | Self::StartingStages | Self::Standing | Self::Flowing)
    }

    /// The same for those who ask from outside.
    pub fn stand(self) -> Stand {
        match self {
            Self::StartingPortals | Self::StartingStages => Stand::Starting,
            Self::Standing => Stand::Standing,
            Self::Flowing => Stand::Flowing,
            Self::Gating { .. } | Self::Draining { .. } => Stand::Draining,
            Self::StagesLeaving | Self::PortalsLeaving => Stand::Stopping,
            Self::PortalsHolding { .. } => Stand::Holding,
            Self::Gone => Stand::Stopped,
        }
    }
}

/// What a process is to the launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A portal: started first, leaves last.
    Portal,
    /// A stage with an input.
    Stage,
    /// A stage without: started last, leaves first.
    Source,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// It exited with this status.
    Status(i32),
    /// A signal killed it.
    Signal(String),
    /// It was killed because it didn't get ready within so many milliseconds.
    NotReady(u64),
    /// It was killed because it made no progress for so many milliseconds.
    Stalled(u64),
    /// It was killed because it didn't come, within so many milliseconds, to the launcher that took it over.
    Unheard(u64),
    /// It ended while there was no launcher, or as the child of a former one, and left no word.
    Unseen,
    /// It could not be started at all.
    NotStarted(String),
}

impl Ended {
    /// Whether it did what it was to do.
    pub fn is_success(&self) -> bool {
        *self == Self::Status(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "exit status {status}"),
            Self::Signal(name) => write!(formatter, "killed by {name}"),
            Self::NotReady(milliseconds) => write!(formatter, "not ready within {milliseconds} ms"),
            Self::Stalled(milliseconds) => write!(formatter, "no progress for {milliseconds} ms"),
            Self::Unheard(milliseconds) => {
                write!(formatter, "not heard of within {milliseconds} ms by the launcher that took it over")
            }
            Self::Unseen => formatter.write_str("nobody saw how"),
            Self::NotStarted(why) => write!(formatter, "not started: {why}"),
        }
    }
}

/// Whether a process has been told that no more input will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    /// No.
    Open,
    /// It has, and hasn't answered yet.
    Asked,
    /// It has, and has sent all its output.
    Done,
}

/// A process as the launcher knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its name on the server.
    pub name: String,
    /// Its stage's name, or the portal's.
    pub stage: String,
    /// What it is.
    pub role: Role,
    /// When it is started again.
    pub restart: Restart,
    /// How long it may take to leave. Milliseconds.
    pub grace: u64,
    /// How long it may take to get ready. Milliseconds.
    pub ready_timeout: u64,
    /// How long it may go without progress.
    pub alive: Option<Alive>,
    /// What its heartbeat was when it last moved, and when that was seen.
    #[serde(skip)]
    pub heartbeat: (u64, Moment),
    /// Since when it has made no progress, if for longer than it may.
    pub stalled: Option<Moment>,
    /// Where it stands.
    pub state: State,
    /// Which start this is; 0 before the first.
    pub incarnation: u64,
    /// How many starts in a row have ended in failure, none having been ready for long.
    pub failures: u32,
    /// How many pauses have grown in a row.
    pub pauses: u32,
    /// When it was started again, within the restart window.
    pub restarted: VecDeque<Moment>,
    /// Whether it has connected to the launcher.
    #[serde(skip)]
    pub connected: bool,
    /// When it must have connected, if another launcher has started it.
    #[serde(skip)]
    pub returns_by: Option<Moment>,
    /// What it said last of its gate. It may have been told otherwise since: see [`Process::has_gate`].
    pub gate_closed: bool,
    /// What it was told of its gate, and hasn't answered yet.
    #[serde(default)]
    pub gate_told: GateTold,
    /// When it said last that its gate is closed, having been open.
    pub gated_at: Moment,
    /// Whether a person has paused it: then its gate is closed whatever else wants it open.
    pub paused: bool,
    /// Whether no more input will come.
    pub finish: Finish,
    /// How it ended last.
    pub ended: Option<Ended>,
    /// What it said last that a person should read.
    pub trouble: Option<String>,
    /// The generation of the wiring that is in place for it.
    pub installed: u64,
    /// The generation that it lives by, as it said last.
    pub lives_by: u64,
    /// The generation by whose guide all that it ever sent has receipts, at least.
    pub flushed: u64,
    /// The generation that it has handed over for, as a portal.
    pub handed_over: u64,
    /// The generation that it has settled for, as a portal.
    pub settled: u64,
    /// What it has delivered, as a portal, because the plan to come has no place for it, as it said last.
    #[serde(default)]
    pub drained: Vec<String>,
    /// Whether the plan doesn't have it, or not any more.
    pub removed: bool,
}

/// What a process was told of its gate, on this connection. It answers each time, in order; so what it said last holds
/// only once it has answered what it was told since: an `open` that it hasn't read yet would open what was closed before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateTold {
    /// What it was told last.
    closed: bool,
    /// How often it was told and hasn't answered.
    unanswered: u32,
    /// After how many answers it has answered the last that was another than the one before.
    known_after: u32,
}

impl GateTold {
    /// Of a process that begins with its gate so.
    pub fn begins(closed: bool) -> Self {
        Self { closed, ..Self::default() }
    }

    /// It is told so. The same may be said again as often as one likes: its answer to the first counts.
    pub fn tell(&mut self, closed: bool) {
        self.unanswered = self.unanswered.saturating_add(1);
        if self.closed != closed {
            self.closed = closed;
            self.known_after = self.unanswered;
        }
    }

    /// It is told so on a connection on which it has been told nothing.
    pub fn tell_anew(&mut self, closed: bool) {
        *self = Self { closed, unanswered: 1, known_after: 1 };
    }

    /// Its connection is another launcher's, who may have told it anything: nothing is known until it is told anew.
    pub fn forget(&mut self) {
        self.known_after = u32::MAX;
    }

    /// It has answered.
    pub fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.known_after < u32::MAX {
            self.known_after = self.known_after.saturating_sub(1);
        }
    }

    /// Whether what it said last still holds.
    pub fn is_answered(&self) -> bool {
        self.known_after == 0
    }
}

impl Process {
    /// A process that has never been started.
    pub fn new(plan: &ProcessPlan) -> Self {
        let role = match plan.program {
            Program::Portal => Role::Portal,
            Program::Stage(_) if plan.is_source() => Role::Source,
            Program::Stage(_) => Role::Stage,
        };
        Self {
            name: plan.name.clone(),
            stage: plan.wiring.stage.clone(),
            role,
            restart: plan.restart.clone(),
            grace: plan.stop.grace,
            ready_timeout: plan.ready_timeout,
            alive: plan.alive,
            heartbeat: (0, 0),
            stalled: None,
            state: State::Waiting,
            incarnation: 0,
            failures: 0,
            pauses: 0,
            restarted: VecDeque::new(),
            connected: false,
            returns_by: None,
            gate_closed: false,
            gate_told: GateTold::default(),
            gated_at: 0,
            paused: false,
            finish: Finish::Open,
            ended: None,
            trouble: None,
            installed: 0,
            lives_by: 0,
            flushed: 0,
            handed_over: 0,
            settled: 0,
            drained: Vec::new(),
            removed: false,
        }
    }

    /// Whether its gate is known to be so, and to stay so unless it is told otherwise.
    pub fn has_gate(&self, closed: bool) -> bool {
        self.gate_closed == closed && self.gate_told.is_answered()
    }

    /// Takes over what another plan says of it: what is heeded without its doing.
    pub fn follow(&mut self, plan: &ProcessPlan) {
        let new = Self::new(plan);
        self.stage = new.stage;
        self.role = new.role;
        self.restart = new.restart;
        self.grace = new.grace;
        self.ready_timeout = new.ready_timeout;
        self.alive = new.alive;
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        match self.state {
            State::Starting { pid, .. }
            | State::Ready { pid, .. }
            | State::Overdue { pid, .. }
            | State::Leaving { pid, .. } => Some(pid),
            _ => None,
        }
    }

    /// Whether something of it runs or is about to.
    pub fn is_alive(&self) -> bool {
        self.pid().is_some() || self.state == State::Launching
    }

    /// A process that was yet to be started, or started again, won't be.
    pub fn cancel_start(&mut self) {
        if matches!(self.state, State::Waiting | State::BackingOff { .. }) {
            self.state = State::Stopped;
        }
    }

    /// Whether it has been asked to leave.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// How often it has been started again.
    pub fn restarts(&self) -> u64 {
        self.incarnation.saturating_sub(1)
    }

    /// Its state, for those who ask from outside.
    pub fn condition(&self) -> Condition {
        match self.state {
            State::Waiting => Condition::Waiting,
            State::Launching | State::Starting { .. } | State::Overdue { .. } => Condition::Starting,
            State::Ready { .. } => Condition::Ready,
            State::Leaving { .. } => Condition::Leaving,
            State::BackingOff { .. } => Condition::BackingOff,
            State::Finished => Condition::Finished,
            State::GivenUp => Condition::GivenUp,
            State::Stopped => Condition::Stopped,
        }
    }

    /// What else there is to say of its state.
    pub fn detail(&self) -> Option<String> {
        match (&self.state, &self.ended) {
            (State::BackingOff { .. }, Some(ended)) => Some(format!("{} restart, {ended}", nth(self.restarts() + 1))),
            (State::GivenUp, Some(ended)) => Some(ended.to_string()),
            _ if self.stalled.is_some() => Some("makes no progress".to_owned()),
            _ => self.trouble.clone(),
        }
    }
}

/// 1st, 2nd, 3rd, …
fn nth(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (1, hundred) if hundred != 11 => "st",
        (2, hundred) if hundred != 12 => "nd",
        (3, hundred) if hundred != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::nth;

    #[test]
    fn restarts_are_numbered_as_people_do() {
        let numbers = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111];
        let expected = ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"];
        assert_eq!(numbers.map(nth), expected.map(str::to_owned));
    }
}
