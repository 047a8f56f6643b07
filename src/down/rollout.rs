//! A rollout that is under way when everything is to end: whoever leads it ends first, or it would start again what is ended.

use std::{
    io::Write,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use waldo_runtime::{
    control::Holder,
    paths::Paths,
    rollout::Store,
    sys::{
        lock::{Lock, Taken},
        process::{self, Identity},
    },
};

use crate::exit::{Exit, Failure};

/// How long who leads may take to give the rollout up.
const GIVES_UP: Duration = Duration::from_secs(10);
/// How long who was killed may take to be gone.
const KILLED: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Nobody leads a rollout as long as this lives.
pub struct NoRollouts {
    _lock: Option<Lock>,
    /// Who led one, and has been ended.
    pub ended: Option<Holder>,
}

/// Ends whoever leads a rollout: by a signal first, which gives it up; with `now`, or if that takes too long, by force.
pub fn end(paths: &Paths, now: bool) -> Result<NoRollouts, Failure> {
    if !paths.store().exists() {
        return Ok(NoRollouts { _lock: None, ended: None });
    }
    let failed = |error: String| Failure::new(format!("cannot lock {}: {error}", paths.store().display()));
    let store = Store::open(&paths.store()).map_err(|error| Failure::new(error.to_string()))?;
    let identity = Identity::own().map_err(|error| failed(error.to_string()))?;
    let holder = Holder { identity, what: "waldo down".to_owned(), root: Some(paths.root().to_owned()) };
    let mut ended: Option<Holder> = None;
    let mut until = Instant::now();
    let mut signals = if now { vec![Signal::SIGKILL] } else { vec![Signal::SIGKILL, Signal::SIGTERM] };
    loop {
        let by = match Lock::take(&store.lock(), &holder).map_err(|error| failed(error.to_string()))? {
            Taken::Ours(lock) => return Ok(NoRollouts { _lock: Some(lock), ended }),
            Taken::Held(by) => by,
        };
        // Somebody looks at the lock, or is about to say who he is.
        if let Some(by) = by.filter(|by: &Holder| by.identity.lives()) {
            if by.what == holder.what {
                return Err(Failure::new(format!("another `waldo down` is at it (process {})", by.identity.pid))
                    .exit(Exit::Locked));
            }
            if ended.as_ref().is_none_or(|known| known.identity != by.identity) || Instant::now() > until {
                let Some(signal) = signals.pop() else {
                    return Err(Failure::new(format!(
                        "process {} ({}) leads a rollout and doesn't end",
                        by.identity.pid, by.what
                    )));
                };
                let _ = process::signal(by.identity.pid, signal);
                // It may take a while. Nobody is left to tell if the terminal is gone.
                let _ = writeln!(
                    std::io::stderr(),
                    "ending the rollout that process {} ({}) leads",
                    by.identity.pid,
                    by.what
                );
                until = Instant::now() + if signal == Signal::SIGTERM { GIVES_UP } else { KILLED };
                ended = Some(by);
            }
        } else if ended.is_none() {
            until = Instant::now() + KILLED;
        }
        sleep(LOOK_AGAIN);
    }
}
