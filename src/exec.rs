//! `waldo __exec`: what a launcher starts in place of a program, to set up the process that the program then becomes.

use std::{ffi::OsString, path::PathBuf};

use waldo_runtime::exec::{self, Setup};

use crate::exit::{Exit, Failure};

/// How the process is set up, and what it becomes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whom it runs as.
    #[arg(long)]
    user: Option<String>,
    /// The number of the group that all processes of the namespace have.
    #[arg(long)]
    group: Option<u32>,
    /// How many files it may have open.
    #[arg(long)]
    nofile: Option<u64>,
    /// How much memory it may have written to. Bytes.
    #[arg(long)]
    memory: Option<u64>,
    /// A control group to join.
    #[arg(long = "cgroup", value_name = "DIR")]
    cgroups: Vec<PathBuf>,
    /// Where it runs.
    #[arg(long)]
    cwd: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

/// Becomes the program; comes back only if that failed.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let setup = Setup {
        user: arguments.user.clone(),
        group: arguments.group,
        nofile: arguments.nofile,
        memory: arguments.memory,
        cgroups: arguments.cgroups.clone(),
        cwd: arguments.cwd.clone(),
        argv: arguments.argv.clone(),
    };
    Err(Failure::new(exec::become_program(&setup).to_string()))
}
