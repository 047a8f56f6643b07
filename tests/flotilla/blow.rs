//! Blows to a rollout: a process that takes part in it is killed, stopped for a while, or asked to end.

use std::{
    fs,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::Flotilla;
use crate::playground::{Outcome, Running, comes_about};

/// For how long a process is stopped.
const STOPPED: Duration = Duration::from_secs(5);

/// The phases of a rollout, as a deployer calls them.
pub const PHASES: [&str; 11] =
    ["prepare", "hold", "idle", "drain", "decide", "adopt", "switch", "flush", "re-guide", "settle", "release"];

/// Who is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// `waldo deploy`.
    Deployer,
    /// The launcher of s1.
    Launcher,
    /// The portal of s1.
    Portal,
    /// A stage of s1 that the rollout rewires.
    Stage,
    /// A source of s1.
    Source,
}

/// By what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
    /// SIGSTOP, and SIGCONT after a while.
    Stop,
}

impl Victim {
    /// All.
    pub const ALL: [Self; 5] = [Self::Deployer, Self::Launcher, Self::Portal, Self::Stage, Self::Source];
}

impl Blow {
    /// Whether what the victim has in hand may be lost.
    pub fn may_lose(self, victim: Victim) -> bool {
        match self {
            Self::Kill => matches!(victim, Victim::Portal | Victim::Stage | Victim::Source),
            Self::Term | Self::Stop => false,
        }
    }
}

/// A deployer that waits at a phase.
pub struct Halted<'f> {
    flotilla: &'f Flotilla,
    deployer: Running,
}

impl Flotilla {
    /// Starts a rollout of the topology as it is now, and waits until it has come to this phase.
    #[track_caller]
    pub fn deploy_halted_at(&self, phase: &str) -> Halted<'_> {
        fs::create_dir_all(self.halt_directory()).expect("a directory");
        let file = self.halt_directory().join("halt");
        let mut deploy = self.deploy(&[]);
        deploy.env("WALDO_HALT_AT", phase).env("WALDO_HALT_FILE", &file);
        let mut deployer = self.playground.start(deploy);
        let came = comes_about(|| file.exists() || !deployer.runs());
        assert!(came && file.exists(), "the rollout doesn't come to {phase}: {:?}", {
            if deployer.runs() {
                deployer.signal(Signal::SIGTERM);
            }
            let outcome = deployer.end();
            outcome.stdout + &outcome.stderr
        });
        Halted { flotilla: self, deployer }
    }

    /// Where a deployer says that it has halted. Without it, it doesn't.
    fn halt_directory(&self) -> PathBuf {
        self.playground.path().join("halted")
    }

    fn pid_of(&self, victim: Victim, deployer: &Running) -> Pid {
        let process = |name: &str| {
            let pid = self.playground.status()["servers"]["s1"]["processes"][name]["pid"].as_i64();
            pid.unwrap_or_else(|| panic!("{name} doesn't run")) as i32
        };
        Pid::from_raw(match victim {
            Victim::Deployer => deployer.pid(),
            Victim::Launcher => *self.playground.launchers_of("s1").first().expect("it has a launcher"),
            Victim::Portal => process("relay"),
            Victim::Stage => process("lap.0"),
            Victim::Source => process("feed.0"),
        })
    }
}

impl Halted<'_> {
    /// Lets the rollout go on while, or after, the victim is hit; answers how the deployer ended.
    pub fn hit(self, victim: Victim, blow: Blow) -> Outcome {
        let pid = self.flotilla.pid_of(victim, &self.deployer);
        let send = |signal| kill(pid, signal).unwrap_or_else(|error| panic!("{victim:?} {pid}: {error}"));
        match blow {
            Blow::Kill => send(Signal::SIGKILL),
            Blow::Term => send(Signal::SIGTERM),
            Blow::Stop => send(Signal::SIGSTOP),
        }
        let until = Instant::now() + STOPPED;
        let Self { flotilla, deployer } = self;
        let _ = fs::remove_dir_all(flotilla.halt_directory());
        if blow == Blow::Stop {
            // This is the blow itself, not a wait for something.
            while Instant::now() < until {
                sleep(Duration::from_millis(50));
            }
            send(Signal::SIGCONT);
        }
        deployer.end()
    }

    /// The deployer.
    pub fn deployer(&self) -> &Running {
        &self.deployer
    }

    /// Lets the rollout go on.
    pub fn go_on(self) -> Outcome {
        let _ = fs::remove_dir_all(self.flotilla.halt_directory());
        self.deployer.end()
    }
}
