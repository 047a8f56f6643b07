//! The exec shim: limits, working directory and signals of a process, set in the process itself before it becomes the
//! program. Doing this between fork and exec (`pre_exec`) would make each start from a large launcher slow.

use std::{ffi::OsString, os::unix::process::CommandExt, path::PathBuf, process::Command};

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::SigSet,
};

use crate::sys;

/// How a process is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// How many files it may have open.
    pub nofile: Option<u64>,
    /// Where it runs.
    pub cwd: Option<PathBuf>,
    /// The program and its arguments; not empty.
    pub argv: Vec<OsString>,
}

/// Why a process could not become its program.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// No program was named.
    #[error("no program to run")]
    Nothing,
    /// The limit could not be set.
    #[error("cannot allow {wanted} open files (limits.nofile): the hard limit here is {hard}")]
    Files {
        /// What the topology asks for.
        wanted: u64,
        /// What the system allows.
        hard: u64,
    },
    /// The working directory can't be entered.
    #[error("cannot run in {}: {why}", path.display())]
    Directory {
        /// Where it was to run.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The signal mask can't be set.
    #[error("cannot reset signals: {0}")]
    Signals(nix::Error),
    /// The program can't be run.
    #[error("cannot run {}: {why}", program.display())]
    Program {
        /// What was to run.
        program: OsString,
        /// What the system says.
        why: std::io::Error,
    },
}

/// Sets the process up and becomes the program. Comes back only with the reason why that failed.
pub fn become_program(setup: &Setup) -> NotStarted {
    match set_up(setup) {
        Err(why) => why,
        Ok(program) => {
            let why = Command::new(program).args(&setup.argv[1..]).exec();
            NotStarted::Program { program: program.clone(), why }
        }
    }
}

fn set_up(setup: &Setup) -> Result<&OsString, NotStarted> {
    let program = setup.argv.first().ok_or(NotStarted::Nothing)?;
    if let Some(wanted) = setup.nofile {
        let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
        if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard)).is_err() {
            return Err(NotStarted::Files { wanted, hard });
        }
    }
    if let Some(path) = &setup.cwd {
        std::env::set_current_dir(path).map_err(|why| NotStarted::Directory { path: path.clone(), why })?;
    }
    sys::default_signals().map_err(NotStarted::Signals)?;
    SigSet::all().thread_unblock().map_err(NotStarted::Signals)?;
    Ok(program)
}
