//! Where a test can halt a deployer, to disturb a rollout at a known place, and take its disk away. Only in debug builds.
//!
//! With `WALDO_HALT_AT=PHASE` and `WALDO_HALT_FILE=PATH` in its environment a deployer makes that file when it comes to that
//! phase for the first time, and goes on when the file is gone, or after [`BOUND`]. Phases are called as in `docs/rollout.md`.
//! As long as there is a file at the path `WALDO_DISK_FULL_FILE`, a deployer has no room on the disk.

use std::{
    env, fs, io,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

/// A test that has died doesn't halt a rollout for ever.
const BOUND: Duration = Duration::from_secs(10);
/// How often it is looked whether the file is gone.
const LOOK: Duration = Duration::from_millis(1);

/// Halts if a test wants it here.
pub fn at(phase: &str) {
    if !cfg!(debug_assertions) || env::var("WALDO_HALT_AT").as_deref() != Ok(phase) {
        return;
    }
    let Some(file) = env::var_os("WALDO_HALT_FILE").map(PathBuf::from) else { return };
    let again = file.with_extension("done");
    if again.exists() || fs::write(&again, "").and_then(|()| fs::write(&file, "")).is_err() {
        return;
    }
    let until = Instant::now() + BOUND;
    while file.exists() && Instant::now() < until {
        sleep(LOOK);
    }
}

/// Fails if a test wants the disk to be full.
pub fn need_room_on_disk() -> io::Result<()> {
    let is_full = || env::var_os("WALDO_DISK_FULL_FILE").is_some_and(|file| PathBuf::from(file).exists());
    if cfg!(debug_assertions) && is_full() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}
