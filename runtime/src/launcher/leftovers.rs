//! What a launcher that was killed left behind: processes that go on without it, and stale files.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::kept::Recorded;
use crate::{
    paths::ServerPaths,
    sys::process::{self, Identity},
};

/// How long killed processes may take to be gone.
const BOUND: Duration = Duration::from_secs(5);

/// What was there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// How many processes were ended.
    pub processes: usize,
    /// How many files and directories were removed.
    pub files: usize,
}

/// Ends the processes and removes the files that are left in a server's run directory. Only for whoever holds the
/// launcher's lock, or knows that no launcher lives. Processes are found by what was recorded when they were started
/// (pid and start time, never a pid alone), and by their environment. The lock file itself stays if `keep_lock`.
///
/// # Errors
/// If some processes don't end: their pids.
pub fn clear(places: &ServerPaths, keep_lock: bool) -> Result<Leftovers, Vec<i32>> {
    let mut ended = Leftovers { processes: end_processes(places)?, files: 0 };
    let Ok(entries) = fs::read_dir(&places.run) else { return Ok(ended) };
    for entry in entries.flatten() {
        let path = entry.path();
        if keep_lock && path == places.lock() {
            continue;
        }
        let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        ended.files += usize::from(removed.is_ok());
    }
    Ok(ended)
}

/// Ends the processes alone.
///
/// # Errors
/// If some don't end: their pids.
pub fn end_processes(places: &ServerPaths) -> Result<usize, Vec<i32>> {
    let until = Instant::now() + BOUND;
    let mut count = 0;
    for identity in recorded(places) {
        if identity.lives() {
            count += 1;
            // It leads a group of its own unless it has changed that itself.
            if process::group_of(identity.pid) == Some(identity.pid) {
                let _ = process::kill_group(identity.pid);
            }
            gone(&[identity])?;
        }
    }
    // Again, until there is none: a process may have forked just before it was killed.
    loop {
        let left = places.marks().bearers();
        if left.is_empty() {
            return Ok(count);
        }
        if Instant::now() > until {
            return Err(left.iter().map(|identity| identity.pid).collect());
        }
        count += left.len();
        gone(&left)?;
    }
}

fn gone(processes: &[Identity]) -> Result<(), Vec<i32>> {
    process::end(processes, BOUND).map_err(|left| left.iter().map(|identity| identity.pid).collect())
}

fn recorded(places: &ServerPaths) -> Vec<Identity> {
    let Ok(entries) = fs::read_dir(&places.run) else { return Vec::new() };
    entries.flatten().filter_map(|entry| Some(Recorded::read(places, entry.file_name().to_str()?)?.identity)).collect()
}
