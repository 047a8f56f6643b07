//! What a command (`up`, `status`, `down`) and a launcher say to each other: JSON lines on the launcher's Unix socket.
//! Every request is answered by one answer, in order.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use waldo_sdk::page::Entry;

use crate::{
    idle::{FirstReading, Verdict},
    launcher::{Ended, Role},
    rollout::{Progress, Step},
    sys::process::Identity,
};

/// Who holds a namespace or a server: stands in its lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub identity: Identity,
    /// What it is: `waldo up`, `waldo down`, `launcher`.
    pub what: String,
    /// The directory of its topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
}

/// A request to a launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The plan that it is meant for: another one's launcher refuses. `None` for whichever is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// What is wanted.
    pub command: Command,
}

/// What a launcher can be asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub enum Command {
    /// Say how the server is. Answered by [`Answer::Status`].
    Status,
    /// Say where the server stands, and no more. Answered by [`Answer::Stands`].
    Stand,
    /// The first reading of an idle proof. Answered by [`Answer::Done`].
    ReadDone,
    /// The second reading, after the first readings of all servers. Answered by [`Answer::Judged`].
    ReadSent {
        /// This server's first reading.
        first: FirstReading,
    },
    /// Start the sources.
    StartSources,
    /// Close or open the gates of sources and portals.
    Gate {
        /// Whether to close.
        closed: bool,
    },
    /// Keep these portals and sources from delivering and sending until they are resumed, whatever else opens gates.
    Pause {
        /// Portals, and stages that are sources; `None` for all, also those that a later plan brings.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        names: Option<Vec<String>>,
    },
    /// Take a pause back.
    Resume {
        /// As in [`Command::Pause`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        names: Option<Vec<String>>,
    },
    /// No more input will come to this stage.
    Finish {
        /// Its name.
        stage: String,
    },
    /// Stop sources and stages. The portals hold, and stay until `Stop`.
    StopStages,
    /// Stop everything.
    Stop {
        /// Whether to kill at once.
        now: bool,
    },
    /// Go on when the command that started this launcher ends.
    Detach,
    /// A step of a rollout. Answered by [`Answer::Progress`] at once; [`Command::Await`] tells how it goes on.
    Rollout {
        /// The generation that the rollout leads to.
        generation: u64,
        /// What is to be done.
        step: Step,
    },
    /// How the rollout stands: answered by [`Answer::Progress`] when its step is done or can't be done, or after a second,
    /// or when something else is asked.
    Await,
}

/// What a launcher answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer", content = "of")]
pub enum Answer {
    /// It will be done.
    Accepted,
    /// It won't: why.
    Refused(String),
    /// How the server is.
    Status(Box<ServerStatus>),
    /// Where the server stands.
    Stands(Stand),
    /// The first reading.
    Done(FirstReading),
    /// What both readings show.
    Judged(Verdict),
    /// How the rollout stands; `None` if there is none.
    Progress(Option<Progress>),
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The topology's name.
    pub topology: String,
    /// The namespace's name.
    pub namespace: String,
    /// The server's name.
    pub server: String,
    /// The number of the live plan.
    pub generation: u64,
    /// The live plan's digest.
    pub digest: String,
    /// The launcher's own process id.
    pub pid: i32,
    /// Where it stands.
    pub phase: Stand,
    /// Whether it stops with the command that started it.
    pub attached: bool,
    /// Its processes, in the order of the plan.
    pub processes: Vec<ProcessStatus>,
    /// Records taken in per second by each portal, over the last second.
    pub rates: BTreeMap<String, u64>,
    /// Whether its portals and sources are to hold.
    #[serde(default)]
    pub holds: bool,
    /// The rollout that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Progress>,
}

/// Where a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stand {
    /// Not all portals and stages are ready.
    Starting,
    /// All but the sources are ready.
    Standing,
    /// The sources have been started.
    Flowing,
    /// Nothing new comes in; what is there is being worked off.
    Draining,
    /// Processes have been asked to leave.
    Stopping,
    /// Only portals are left, and they hold.
    Holding,
    /// No process is left.
    Stopped,
}

impl fmt::Display for Stand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Starting => "starting",
            Self::Standing => "standing",
            Self::Flowing => "flowing",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Holding => "holding",
            Self::Stopped => "stopped",
        })
    }
}

/// What state a process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Others must be ready first.
    Waiting,
    /// It runs, or is about to, and isn't ready.
    Starting,
    /// It is ready.
    Ready,
    /// It has been asked to leave.
    Leaving,
    /// It has ended and will be started again.
    #[serde(rename = "backing off")]
    BackingOff,
    /// It has done what it was to do.
    Finished,
    /// It failed and won't be started again.
    #[serde(rename = "given up")]
    GivenUp,
    /// It has left, as it was asked to.
    Stopped,
    /// It has ended, and there is no launcher to decide what becomes of it.
    Ended,
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Leaving => "leaving",
            Self::BackingOff => "backing off",
            Self::Finished => "finished",
            Self::GivenUp => "given up",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
        })
    }
}

/// How a process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its name on the server.
    pub name: String,
    /// Its stage's name, or the portal's.
    pub stage: String,
    /// What it is.
    pub role: Role,
    /// Its state.
    pub state: Condition,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// By what it is kept to its limits of memory and processors.
    #[serde(default, skip_serializing_if = "KeptLimits::is_none")]
    pub limits: KeptLimits,
    /// Its process id, while it runs.
    pub pid: Option<i32>,
    /// Which start this is.
    pub incarnation: u64,
    /// How often it has been started again.
    pub restarts: u64,
    /// How many starts in a row have ended in failure, none having been ready for long.
    pub failures: u32,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Whether it said last that its gate is closed.
    pub gate_closed: bool,
    /// Whether that holds: it has been told nothing since that it hasn't answered.
    #[serde(default)]
    pub gate_known: bool,
    /// For how long its gate has been closed. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated_for: Option<u64>,
    /// Whether a person has paused it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Whether it has sent all its output after `Finish`.
    pub finish_done: bool,
    /// What its counters page says.
    pub entries: Vec<Entry>,
    /// Whether the live plan doesn't have it any more; what it has counted still counts.
    #[serde(default)]
    pub removed: bool,
    /// Its log.
    pub log: PathBuf,
    /// How long its log was when the launcher began. Bytes.
    pub log_from: u64,
}

/// By what a process is kept to its limits; `None` for a limit that it hasn't.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLimits {
    /// Its limit of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Keeper>,
    /// Its limit of processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Keeper>,
}

impl KeptLimits {
    /// Whether it has no such limit.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What keeps a process to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeper {
    /// A control group: all that the stage's process starts is counted together.
    ControlGroup,
    /// A limit that each process of the stage has on its own.
    Process,
    /// Nothing: this machine doesn't let the launcher do it.
    Nothing,
}

/// Why a launcher could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Nobody listens, or the connection broke.
    #[error("no answer from the launcher of {server}: {why}")]
    Connection {
        /// Whose.
        server: String,
        /// What the system says.
        why: io::Error,
    },
    /// It answered something else than was asked.
    #[error("the launcher of {server} gave an answer that makes no sense here: {what}")]
    Strange {
        /// Whose.
        server: String,
        /// What.
        what: String,
    },
    /// It said no.
    #[error("the launcher of {server} refused: {why}")]
    Refused {
        /// Whose.
        server: String,
        /// Why.
        why: String,
    },
}

/// A connection to a launcher.
#[derive(Debug)]
pub struct Client {
    server: String,
    generation: Option<u64>,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the launcher whose socket is at `path`. Each answer may take up to `patience`.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(server: &str, path: &Path, generation: Option<u64>, patience: Duration) -> Result<Self, Unanswered> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            Ok(stream)
        };
        let stream = connect().map_err(|why| Unanswered::Connection { server: server.to_owned(), why })?;
        Ok(Self { server: server.to_owned(), generation, stream: BufReader::new(stream) })
    }

    /// The server's name.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Asks without waiting for the answer: [`Client::answer`].
    ///
    /// # Errors
    /// If the connection broke.
    pub fn ask(&mut self, command: Command) -> Result<(), Unanswered> {
        let request = Request { generation: self.generation, command };
        let sent = serde_json::to_vec(&request).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.stream.get_mut().write_all(&line)
        });
        sent.map_err(|why| self.broken(why))
    }

    /// The answer to what was asked first and not answered yet.
    ///
    /// # Errors
    /// If the connection broke, none came in time, or the launcher refused.
    pub fn answer(&mut self) -> Result<Answer, Unanswered> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).map_err(|why| self.broken(why))?;
        if count == 0 {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line) {
            Ok(Answer::Refused(why)) => Err(Unanswered::Refused { server: self.server.clone(), why }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.strange(&error.to_string())),
        }
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// As [`Client::ask`] and [`Client::answer`].
    pub fn call(&mut self, command: Command) -> Result<Answer, Unanswered> {
        self.ask(command)?;
        self.answer()
    }

    /// How the server is.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn status(&mut self) -> Result<ServerStatus, Unanswered> {
        match self.call(Command::Status)? {
            Answer::Status(status) => Ok(*status),
            other => Err(self.strange(&format!("{other:?}"))),
        }
    }

    /// The connection, to wait for an answer.
    pub fn connection(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }

    /// Whether a part of an answer at least has been read already.
    pub fn has_more(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// Whether an answer has come, or its beginning, or the end of the connection.
    pub fn is_readable(&self) -> bool {
        let mut watched = [PollFd::new(self.connection(), PollFlags::POLLIN)];
        self.has_more() || poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// The error for an answer of the wrong kind.
    pub fn strange(&self, what: &str) -> Unanswered {
        Unanswered::Strange { server: self.server.clone(), what: what.to_owned() }
    }

    fn broken(&self, why: io::Error) -> Unanswered {
        Unanswered::Connection { server: self.server.clone(), why }
    }
}
