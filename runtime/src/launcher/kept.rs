//! What a launcher keeps in `launcher.json` in its run directory, so that the next one goes on where it was killed.
//!
//! Some things aren't in it, because others know them better: a process's incarnation, whether it is ready, its gate and
//! how it exited stand in its counters page; which process of the system it is, in its `identity.json`. Both are written
//! before the launcher can be killed with them in hand. What is in this file may be a little older ([`Keeper`]), but
//! nothing is answered to a command before it is kept.
//!
//! The file goes first when a launcher leaves: where there is none, nothing of a launcher is left to be taken over.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use waldo_compiler::plan::ProcessPlan;

use super::{Machine, Options, state::Moment};
use crate::{
    paths::ServerPaths,
    sys::process::{self, Identity},
};

/// The version of the file.
pub const VERSION: u32 = 1;
/// How soon after a change the file may be written again. Milliseconds.
const SOONEST: u64 = 20;
/// The part of its time that a launcher may spend on writing it: one in so many.
const SHARE: u64 = 20;

/// What a launcher knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// [`VERSION`].
    pub version: u32,
    /// Which start of the machine it was.
    pub boot: u64,
    /// The server's name.
    pub server: String,
    /// The plan that is live.
    pub plan: PathBuf,
    /// Its digest.
    pub digest: String,
    /// The topology's directory.
    pub root: PathBuf,
    /// The directory of all run directories.
    pub run_root: PathBuf,
    /// Where what stays is kept, if that was said.
    pub kept: Option<PathBuf>,
    /// Whether nobody leads.
    pub alone: bool,
    /// Whether the plan needn't have the server.
    pub joining: bool,
    /// Whether it stops with the command that started it.
    pub attached: bool,
    /// When the launcher's clock was 0, by the system's monotonic one: the next launcher's clock goes on. Milliseconds.
    pub began: i64,
    /// All that it has decided by.
    pub machine: Machine,
    /// What processes live by where that isn't what the live plan says of them.
    pub plans: BTreeMap<String, ProcessPlan>,
    /// How long each process's log was when the first launcher began. Bytes.
    pub log_from: Vec<u64>,
    /// The rollout that is under way.
    pub rollout: KeptRollout,
}

/// What a launcher's rim knows of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRollout {
    /// What it leads to.
    pub next: Option<KeptNext>,
    /// What those before lead to that aren't over here.
    pub before: Vec<KeptNext>,
    /// When stages must be idle.
    pub idle_until: Moment,
    /// Since when gates are closed.
    pub holds_since: Option<Moment>,
    /// How long they were. Milliseconds.
    pub paused: u64,
    /// How many records of each flow were held.
    pub held: BTreeMap<String, u64>,
}

/// A plan that a rollout leads to: it is in the run directory under its generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNext {
    /// Its number.
    pub generation: u64,
    /// Whether its guide is in place.
    pub has_guide: bool,
    /// The processes that have a page and aren't known to the machine yet.
    pub new: Vec<String>,
}

/// Which process of the system a process is: stands in its `identity.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Who it is.
    pub identity: Identity,
    /// Which start.
    pub incarnation: u64,
}

impl Kept {
    /// What the last launcher of this server has kept, if it left anything that can be gone on with.
    pub fn read(places: &ServerPaths) -> Option<Self> {
        let text = fs::read(places.launcher()).ok()?;
        let kept: Self = serde_json::from_slice(&text).ok()?;
        (kept.version == VERSION && kept.boot == process::boot()).then_some(kept)
    }

    /// What a launcher is started with to go on.
    pub fn options(&self, attached: bool) -> Options {
        Options {
            plan: self.plan.clone(),
            server: self.server.clone(),
            root: self.root.clone(),
            run_root: self.run_root.clone(),
            generation: self.machine.generation(),
            kept: self.kept.clone(),
            alone: self.alone,
            joining: self.joining,
            attached,
        }
    }

    /// The moment at which the launcher's clock was 0.
    pub fn clock(&self) -> Instant {
        let age = u64::try_from(monotonic() - self.began).unwrap_or(0);
        let now = Instant::now();
        now.checked_sub(Duration::from_millis(age)).unwrap_or(now)
    }
}

/// [`Kept::began`] of a clock that was 0 at `began`.
pub fn began(began: Instant) -> i64 {
    monotonic() - i64::try_from(began.elapsed().as_millis()).unwrap_or(0)
}

/// The system's clock that only goes forward, which all processes share. Milliseconds.
fn monotonic() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

impl Recorded {
    /// What was recorded when this process was started last.
    pub fn read(places: &ServerPaths, process: &str) -> Option<Self> {
        let text = fs::read(places.identity(process)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Writes `launcher.json`: not too often, for a server may have a thousand processes that get ready one after the other.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    last: Option<Kept>,
    changed: bool,
    not_before: Moment,
}

impl Keeper {
    /// For this server; `last` is what the file says.
    pub fn new(places: &ServerPaths, last: Option<Kept>) -> Self {
        Self { path: places.launcher(), last, changed: true, not_before: 0 }
    }

    /// Something may have changed.
    pub fn mark(&mut self) {
        self.changed = true;
    }

    /// When the file is to be written, if it is.
    pub fn due(&self) -> Option<Moment> {
        self.changed.then_some(self.not_before)
    }

    /// Writes the file if what it is to say has changed.
    ///
    /// # Errors
    /// If it can't be written; it is tried again.
    pub fn keep(&mut self, now: Moment, kept: Kept) -> io::Result<()> {
        self.changed = false;
        if self.last.as_ref() == Some(&kept) {
            return Ok(());
        }
        let began = Instant::now();
        let written = replace(&self.path, &serde_json::to_vec(&kept)?);
        let took = began.elapsed().as_millis() as Moment;
        self.not_before = now + SOONEST.max(took.saturating_mul(SHARE));
        match written {
            Ok(()) => self.last = Some(kept),
            Err(_) => self.changed = true,
        }
        written
    }
}

/// Replaces a file in one step: whoever reads it, and a launcher that is killed meanwhile, finds the old text or the new.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let written = path.with_extension("new");
    fs::write(&written, text)?;
    fs::rename(&written, path)
}
