//! What a command costs as a whole: its time, and the memory that it had at most.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::{Trouble, process::Running, programs::Programs};

/// A command that is measured by a process which has no other children: `getrusage` tells the greatest of all.
#[derive(Debug, Args)]
pub struct Measured {
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    argv: Vec<OsString>,
}

/// What it cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cost {
    /// From start to end.
    pub seconds: f64,
    /// Resident memory at most. MiB.
    pub peak: f64,
}

impl Measured {
    /// Runs it, and prints a [`Cost`].
    pub fn run(&self) -> Result<(), Trouble> {
        let Some((program, arguments)) = self.argv.split_first() else { return Ok(()) };
        let failed = |error| Trouble::io(format!("run {}", program.display()), error);
        let begun = Instant::now();
        let status = Command::new(program).args(arguments).stdout(Stdio::null()).status().map_err(failed)?;
        let seconds = begun.elapsed().as_secs_f64();
        if !status.success() {
            let name = program.to_string_lossy().into_owned();
            return Err(Trouble::Process { name, how: format!("failed ({status})"), said: String::new() });
        }
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|error| failed(error.into()))?;
        // Linux counts in KiB.
        let cost = Cost { seconds, peak: usage.max_rss() as f64 / 1_024.0 };
        println!("{}", serde_json::to_string(&cost)?);
        Ok(())
    }
}

/// What a command costs.
pub fn of(programs: &Programs, name: &str, command: &Command) -> Result<Cost, Trouble> {
    let mut measured = Command::new(&programs.own);
    measured.arg("cost").arg(command.get_program()).args(command.get_args());
    measured.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok(serde_json::from_str(&Running::start(name, &mut measured)?.end()?)?)
}

/// What a process that runs has used so far.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Of the processors' time. Seconds.
    pub seconds: f64,
    /// Resident memory at most. MiB.
    pub peak: f64,
}

impl Used {
    /// By the process with this id; `None` if there is none.
    pub fn by_process(pid: i32) -> Option<Self> {
        let directory = Path::new("/proc").join(pid.to_string());
        let mut nanoseconds = 0.0;
        for thread in fs::read_dir(directory.join("task")).ok()?.flatten() {
            let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            nanoseconds += times.split(' ').next()?.parse::<f64>().ok()?;
        }
        let status = fs::read_to_string(directory.join("status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB");
        Some(Self { seconds: nanoseconds / 1e9, peak: peak.parse::<f64>().ok()? / 1_024.0 })
    }

    /// By the process that this `identity.json` of waldo's names.
    pub fn by(identity: &Path) -> Option<Self> {
        let identity: serde_json::Value = serde_json::from_slice(&fs::read(identity).ok()?).ok()?;
        let find = |value: &serde_json::Value| value.get("pid").and_then(serde_json::Value::as_i64);
        let pid = find(&identity).or_else(|| identity.get("identity").and_then(find))?;
        Self::by_process(i32::try_from(pid).ok()?)
    }
}
