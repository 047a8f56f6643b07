//! Processes as `/proc` shows them: who is who, who descends from whom, who belongs to a run directory.
//!
//! A pid alone names nobody: it may have been given to another process since. An [`Identity`] adds the start time,
//! which makes it unique until the machine restarts, and which start of the machine that is.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// How often to look again while waiting for processes to go.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A process that can't be mistaken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub pid: i32,
    /// When it began: clock ticks since the machine's start (field 22 of `/proc/<pid>/stat`).
    pub started: u64,
    /// A number for the machine's start.
    #[serde(default)]
    pub boot: u64,
}

impl Identity {
    /// The process with this id now, unless there is none or it is a zombie.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        (!stat.zombie).then_some(Self { pid, started: stat.started, boot: boot() })
    }

    /// This process.
    ///
    /// # Errors
    /// If `/proc` can't be read.
    pub fn own() -> io::Result<Self> {
        Self::of(nix::unistd::getpid().as_raw()).ok_or_else(|| io::Error::other("/proc shows no process of our own"))
    }

    /// Whether this very process still runs.
    pub fn lives(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }
}

/// A number for this start of the machine: files from before it speak of processes that are no more.
pub fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| fs::read("/proc/sys/kernel/random/boot_id").map_or(0, |id| xxh3_64(&id)))
}

struct Stat {
    zombie: bool,
    group: i32,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        // The name of the program stands in parentheses and may hold anything, also parentheses.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        Some(Self {
            zombie: matches!(*fields.first()?, "Z" | "X"),
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The process group of a process.
pub fn group_of(pid: i32) -> Option<i32> {
    Stat::read(pid).map(|stat| stat.group)
}

/// The living processes of a process group.
pub fn members_of_group(group: i32) -> Vec<Identity> {
    let members = all_pids().filter(|&pid| group_of(pid) == Some(group));
    members.filter_map(Identity::of).collect()
}

fn all_pids() -> impl Iterator<Item = i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Makes this process the one to which orphans among its descendants fall, so that none can get away.
pub fn become_subreaper() -> nix::Result<()> {
    prctl::set_child_subreaper(true)
}

/// Sends a signal to one process. That it has ended already is no error.
pub fn signal(pid: i32, signal: Signal) -> nix::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Err(Errno::ESRCH) => Ok(()),
        other => other,
    }
}

/// Kills a process group. That it is empty is no error.
pub fn kill_group(group: i32) -> nix::Result<()> {
    match killpg(Pid::from_raw(group), Signal::SIGKILL) {
        Err(Errno::ESRCH) => Ok(()),
        other => other,
    }
}

/// A child of ours that has ended and hasn't been reaped, if there is one. It stays a zombie, so that its pid and
/// process group can't be given to others until [`reap`].
pub fn ended_child() -> Option<i32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    match waitid(Id::All, flags) {
        Ok(status) => status.pid().map(Pid::as_raw),
        Err(_) => None,
    }
}

/// Reaps a child that has ended; answers how.
pub fn reap(pid: i32) -> Option<WaitStatus> {
    waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).ok()
}

/// Waits until nothing of a killed process group and of these killed children is left, and reaps what has fallen to us.
/// Answers whether they are gone; gives up after `bound`. This process must be a subreaper.
pub fn await_group_end(group: i32, children: &[i32], bound: Duration) -> bool {
    let until = Instant::now() + bound;
    loop {
        let group_is_gone = killpg(Pid::from_raw(group), None) == Err(Errno::ESRCH);
        let mut left = if group_is_gone && children.is_empty() { Vec::new() } else { own_children() };
        left.retain(|&pid| children.contains(&pid) || group_of(pid) == Some(group));
        if group_is_gone && left.is_empty() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        let reaped = left.into_iter().filter(|&pid| reap(pid).is_some_and(|status| status != WaitStatus::StillAlive));
        if reaped.count() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The children of this process, of all its threads, zombies among them.
pub fn own_children() -> Vec<i32> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

/// Kills everything that descends from this process, also what has changed its group or session, and reaps it.
/// This process must be a subreaper. Answers how many were killed; gives up after `bound`.
///
/// # Errors
/// If some are still there then: their pids.
pub fn end_descendants(bound: Duration) -> Result<usize, Vec<i32>> {
    let until = Instant::now() + bound;
    let mut killed = BTreeSet::new();
    loop {
        while let Some(pid) = ended_child() {
            if reap(pid).is_none() {
                break;
            }
        }
        // Whoever is killed leaves his children to us, so that in the end all are ours.
        let children = own_children();
        if children.is_empty() {
            return Ok(killed.len());
        }
        for &pid in &children {
            if Identity::of(pid).is_some() {
                killed.insert(pid);
                let _ = signal(pid, Signal::SIGKILL);
            }
        }
        if Instant::now() > until {
            return Err(children);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A variable of a process's environment, as it was when it became its program.
pub fn variable(pid: i32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|&byte| byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_owned()).ok()
}

/// Where a process must have been started to belong to a server, or to one process of it: directories that variables in
/// its environment point into.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a> {
    /// Where `WALDO_WIRING` points. Programs that don't use the SDK don't get this one.
    pub run: &'a Path,
    /// Where `WALDO_STATE_DIR` points.
    pub state: &'a Path,
}

impl Marks<'_> {
    /// Whether a process carries one of them.
    pub fn are_on(self, pid: i32) -> bool {
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
        let points_into = |variable: &[u8], name: &str, directory: &Path| {
            let value = variable.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            value.is_some_and(|value| Path::new(OsStr::from_bytes(value)).starts_with(directory))
        };
        environment.split(|&byte| byte == 0).any(|variable| {
            points_into(variable, "WALDO_WIRING", self.run) || points_into(variable, "WALDO_STATE_DIR", self.state)
        })
    }

    /// All processes that carry one of them, but for this one.
    pub fn bearers(self) -> Vec<Identity> {
        let own = nix::unistd::getpid().as_raw();
        all_pids().filter(|&pid| pid != own && self.are_on(pid)).filter_map(Identity::of).collect()
    }
}

/// Kills these processes and waits until they are gone.
///
/// # Errors
/// If some are still there after `bound`: who.
pub fn end(processes: &[Identity], bound: Duration) -> Result<(), Vec<Identity>> {
    for process in processes {
        if process.lives() {
            let _ = signal(process.pid, Signal::SIGKILL);
        }
    }
    let until = Instant::now() + bound;
    loop {
        let left: Vec<Identity> = processes.iter().copied().filter(Identity::lives).collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(left);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt,
        process::{Child, Command},
    };

    use super::*;

    fn sleeper(variable: &str, value: &Path) -> Child {
        Command::new("sleep").arg("60").env(variable, value).process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_process_is_known_by_pid_and_start_and_not_by_pid_alone() {
        let mut child = sleeper("WALDO_WIRING", Path::new("/nowhere"));
        let identity = Identity::of(child.id() as i32).unwrap();
        assert!(identity.lives());
        assert!(!Identity { started: identity.started + 1, ..identity }.lives());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!identity.lives());
    }

    #[test]
    fn a_killed_group_is_waited_for_until_nothing_of_it_is_left() {
        let mut leader =
            Command::new("sh").args(["-c", "sleep 60 & sleep 60 & wait"]).process_group(0).spawn().unwrap();
        let group = leader.id() as i32;
        let members = || {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
            pids.filter(|&pid| group_of(pid) == Some(group)).count()
        };
        let until = Instant::now() + Duration::from_secs(5);
        while members() < 3 && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
        assert!(!await_group_end(group, &[], Duration::from_millis(20)), "nobody has killed it");
        kill_group(group).unwrap();
        leader.wait().unwrap();
        // Whoever reaps orphans here, the group is gone before it says so.
        assert!(await_group_end(group, &[], Duration::from_secs(5)));
        assert_eq!(members(), 0);
    }

    #[test]
    fn a_process_is_found_by_where_its_environment_points() {
        let directory = tempfile::tempdir().unwrap();
        let (run, state) = (directory.path().join("run/s1"), directory.path().join("state/s1"));
        let mut wired = sleeper("WALDO_WIRING", &run.join("a.0/wiring.json"));
        let mut stateful = sleeper("WALDO_STATE_DIR", &state.join("a.0"));
        let mut other = sleeper("WALDO_WIRING", &directory.path().join("run/s10/a.0/wiring.json"));
        let marks = Marks { run: &run, state: &state };
        let expected: BTreeSet<i32> = [wired.id() as i32, stateful.id() as i32].into();
        let found = || marks.bearers().iter().map(|identity| identity.pid).collect::<BTreeSet<i32>>();
        // Until a child has become `sleep`, its environment is ours.
        let until = Instant::now() + Duration::from_secs(5);
        while found() != expected && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
        assert_eq!(found(), expected);
        let identities = marks.bearers();
        let reaper = std::thread::spawn(move || (wired.wait(), stateful.wait()));
        end(&identities, Duration::from_secs(5)).unwrap();
        reaper.join().unwrap().0.unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
