//! What `/proc` and the kernel show of processes that others have started.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::{AsFd, OwnedFd},
    thread::sleep,
    time::{Duration, Instant},
};

use super::supervisors::Started;
use crate::{Trouble, process::Running};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// How many processes are killed in a run.
pub const KILLS: usize = 10;
/// How many if a replacement takes long.
const FEWER_KILLS: usize = 3;
/// What is long.
const LONG: f64 = 500.0;
/// The shortest pause between two looks at how many processes run; looking takes a part of it only.
const LOOK: Duration = Duration::from_millis(5);
/// How long a look may take of the pause after it.
const SPARING: u32 = 4;
/// How often to look for a replacement.
const LOOK_CLOSELY: Duration = Duration::from_micros(50);
/// How long supervisors have between two kills.
const BETWEEN: Duration = Duration::from_millis(100);
/// How long all processes together may take to end.
const END: Duration = Duration::from_secs(60);

/// What a process costs while nothing happens.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Of a processor's time. Per cent.
    pub share: f64,
    /// Resident. MB.
    pub memory: f64,
}

/// How long ago it was. Milliseconds.
pub fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

/// Allows as many open files as the system does: each process that is watched takes one.
pub fn allow_many_files() -> Result<(), Trouble> {
    let raise =
        || getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    raise().map_err(|error| Trouble::io("raise the limit of open files", error.into()))
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn sleeps(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"sleep\n")
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse().ok()
}

/// Waits until so many `sleep`s run below it. Answers how long after its start that was, in milliseconds, and which.
pub fn start(supervisor: &mut Started, processes: usize) -> Result<(f64, Vec<i32>), Trouble> {
    let root = supervisor.running.pid().as_raw();
    let mut found = BTreeSet::new();
    loop {
        let look = Instant::now();
        let mut below = vec![root];
        while let Some(pid) = below.pop() {
            for child in children(pid) {
                if found.contains(&child) {
                    continue;
                }
                if sleeps(child) {
                    found.insert(child);
                } else {
                    below.push(child);
                }
            }
        }
        if found.len() >= processes {
            return Ok((milliseconds(supervisor.begun), found.into_iter().collect()));
        }
        supervisor.running.must_run()?;
        sleep(LOOK.max(look.elapsed() * SPARING));
    }
}

/// Kills some of these processes, one after the other, each once. Answers how long each took until its replacement ran, in
/// milliseconds; the replacements take their places.
pub fn kill_some(running: &mut Running, pids: &mut [i32]) -> Result<Vec<f64>, Trouble> {
    let mut took = Vec::new();
    // Evenly spread over all.
    let step = (pids.len() / KILLS).max(1);
    for place in (0..pids.len()).step_by(step).take(KILLS) {
        let victim = pids[place];
        let Some(parent) = parent(victim) else { return Err(running.failed("lost a process")) };
        let before: BTreeSet<i32> = children(parent).into_iter().collect();
        let begun = Instant::now();
        kill(Pid::from_raw(victim), Signal::SIGKILL).map_err(|error| Trouble::io("kill a process", error.into()))?;
        let replacement = loop {
            let new = children(parent).into_iter().find(|pid| !before.contains(pid) && sleeps(*pid));
            if let Some(pid) = new {
                break pid;
            }
            running.must_run()?;
            sleep(LOOK_CLOSELY);
        };
        took.push(milliseconds(begun));
        pids[place] = replacement;
        if took.len() >= FEWER_KILLS && took.iter().all(|&took| took > LONG) {
            break;
        }
        sleep(BETWEEN);
    }
    Ok(took)
}

/// Descriptors by which the ends of processes are heard of, whoever their parent is.
pub struct Ends(Vec<OwnedFd>);

impl Ends {
    /// Of these.
    pub fn of(pids: &[i32]) -> Result<Self, Trouble> {
        let open = |&pid: &i32| {
            let pid = rustix::process::Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        };
        let descriptors = pids.iter().map(open).collect::<Result<_, _>>();
        Ok(Self(descriptors.map_err(|error| Trouble::io("watch a process", error.into()))?))
    }

    /// Waits until all have ended, and answers when that was.
    pub fn wait(&self) -> Result<Instant, Trouble> {
        let until = Instant::now() + END;
        for descriptor in &self.0 {
            let left = until.saturating_duration_since(Instant::now());
            let mut watched = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let heard = poll(&mut watched, timeout).map_err(|error| Trouble::io("watch a process", error.into()))?;
            if heard == 0 {
                return Err(Trouble::io("see all processes end", std::io::ErrorKind::TimedOut.into()));
            }
        }
        Ok(Instant::now())
    }
}

/// What a process costs, over this time.
pub fn cost(pid: Pid, over: Duration) -> Result<Cost, Trouble> {
    let used = || {
        let time = clock_getcpuclockid(pid).and_then(clock_gettime);
        time.map(Duration::from).map_err(|error| Trouble::io("read a process's time", error.into()))
    };
    let (begun, before) = (Instant::now(), used()?);
    sleep(over);
    let share = used()?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| Trouble::io(format!("read {path}"), error))?;
    let resident =
        text.lines().find_map(|line| line.strip_prefix("Rss:")?.split_whitespace().next()?.parse::<f64>().ok());
    Ok(Cost { share, memory: resident.unwrap_or(f64::NAN) * 1_024.0 / 1e6 })
}
