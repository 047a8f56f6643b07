//! The floor: a bare loop over `posix_spawn`, with nothing kept of what was started but its pid.

use std::{ffi::CString, thread::sleep, time::Instant};

use nix::{
    errno::Errno,
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn},
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};

use super::{REST, Times, watch};
use crate::Trouble;

/// Starts, kills and stops so many processes.
pub fn measure(processes: usize, times: &mut Times) -> Result<(), Trouble> {
    let mut pids = Vec::with_capacity(processes);
    let measured = start_kill_stop(processes, &mut pids);
    // Whatever went wrong: nothing stays. Those that have ended were reaped, and are no longer listed.
    for &pid in &pids {
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
    let (up, replaced, gone) = measured?;
    times.add(up, &replaced, gone);
    Ok(())
}

fn start_kill_stop(processes: usize, pids: &mut Vec<Pid>) -> Result<(f64, Vec<f64>, f64), Trouble> {
    let refused = |error: Errno| Trouble::io("start sleep", error.into());
    let begun = Instant::now();
    for _ in 0..processes {
        pids.push(spawn().map_err(refused)?);
    }
    let up = watch::milliseconds(begun);
    sleep(REST);
    let mut replaced = Vec::new();
    for pid in pids.iter_mut().take(watch::KILLS) {
        let begun = Instant::now();
        kill(*pid, Signal::SIGKILL).and_then(|()| waitpid(*pid, None)).map_err(refused)?;
        *pid = spawn().map_err(refused)?;
        replaced.push(watch::milliseconds(begun));
    }
    let all: Vec<i32> = pids.iter().map(|pid| pid.as_raw()).collect();
    let ends = watch::Ends::of(&all)?;
    for &pid in pids.iter() {
        kill(pid, Signal::SIGTERM).map_err(refused)?;
    }
    let last = ends.wait()?;
    for pid in pids.drain(..) {
        waitpid(pid, None).map_err(refused)?;
    }
    Ok((up, replaced, watch::milliseconds(last)))
}

/// Starts one in a group of its own, as supervisors do. It runs its program when this returns.
fn spawn() -> nix::Result<Pid> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETPGROUP)?;
    let actions = PosixSpawnFileActions::init()?;
    let environment: Vec<CString> =
        std::env::vars().filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok()).collect();
    posix_spawn(c"/bin/sleep", &actions, &attributes, &[c"sleep", c"1000"], &environment)
}
