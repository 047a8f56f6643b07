//! What runs in a namespace now, whoever started it: found by its run directory, asked through its launchers, ended.

use std::{
    io,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use waldo_compiler::plan::Plan;

use super::revive;
use crate::{
    control::{Answer, Client, Command, Holder, Stand},
    launcher::clear_leftovers,
    paths::Paths,
    sys::{lock, process},
};

/// How long a launcher may take to answer.
pub const ANSWERS: Duration = Duration::from_secs(5);
/// The same for a question that costs it nothing.
const SAYS_WHERE_IT_STANDS: Duration = Duration::from_secs(1);
/// How long a launcher that was told to kill may take to be gone.
const KILLS: Duration = Duration::from_secs(10);
/// What a clean stop takes beside [`stop_takes`]'s graces: gates, killing, and the portals' farewell.
const BESIDE_GRACE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What was ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Servers whose launcher stopped as it should.
    pub stopped: Vec<String>,
    /// Servers whose launcher or processes had to be killed.
    pub killed: Vec<String>,
    /// Servers of which an earlier launcher had left something, with how many processes.
    pub cleared: Vec<(String, usize)>,
}

/// Why something could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// Processes are still there.
    #[error("{server}: processes {pids:?} don't end, even killed")]
    Undead {
        /// On which server.
        server: String,
        /// Which.
        pids: Vec<i32>,
    },
    /// The lock can't be read.
    #[error("{server}: cannot read the launcher's lock: {why}")]
    Lock {
        /// On which server.
        server: String,
        /// What the system says.
        why: io::Error,
    },
}

impl Ended {
    /// Whether there was nothing at all.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a clean stop of a plan takes at most: stages work off what is there, for `idle_timeout`, and leave within their
/// grace; then the portals do.
pub fn stop_takes(plan: &Plan) -> Duration {
    let processes = plan.servers.values().flat_map(|server| &server.processes);
    let grace = processes.map(|process| process.stop.grace).max().unwrap_or(0);
    let graces = grace.saturating_mul(2).saturating_add(plan.idle_timeout);
    BESIDE_GRACE.saturating_add(Duration::from_millis(graces))
}

/// Whether this server's launcher lives, and who it is if it has said so.
///
/// # Errors
/// If its lock can't be read.
pub fn is_running(paths: &Paths, server: &str) -> Result<Option<Option<Holder>>, EndError> {
    lock::holder(&paths.server(server).lock()).map_err(|why| EndError::Lock { server: server.to_owned(), why })
}

/// Connections to all launchers that can be reached. One that is about to leave, or hangs, can't.
pub fn connect(paths: &Paths) -> Vec<Client> {
    let connect = |server: String| Client::connect(&server, &paths.server(&server).commands(), None, ANSWERS).ok();
    paths.servers_running().into_iter().filter_map(connect).collect()
}

/// Whether everything on this server has been started, as its launcher says.
pub fn is_flowing(paths: &Paths, server: &str) -> bool {
    let client = Client::connect(server, &paths.server(server).commands(), None, SAYS_WHERE_IT_STANDS);
    let answer = client.and_then(|mut client| client.call(Command::Stand));
    matches!(answer, Ok(Answer::Stands(Stand::Flowing)))
}

/// Ends everything that runs in the namespace: asks the launchers to stop and gives them `patience`, has them kill what
/// is left then, kills those that don't hear, and clears what killed ones left behind. The run directory is empty then.
///
/// # Errors
/// If something can't be ended.
pub fn end(paths: &Paths, now: bool, patience: Duration) -> Result<Ended, EndError> {
    let mut ended = Ended::default();
    let servers = paths.servers_running();
    let mut asked = Vec::new();
    for server in &servers {
        if !now {
            let_another_take_over(paths, server);
        }
        if is_running(paths, server)?.is_some() {
            asked.push((server, tell_to_stop(paths, server, now)));
        }
    }
    let until = Instant::now() + if now { KILLS } else { patience };
    let mut obeyed = Vec::new();
    for (server, heard) in asked {
        let mut killed = now;
        if !wait_gone(paths, server, until)? {
            killed = true;
            tell_to_stop(paths, server, true);
            if !wait_gone(paths, server, Instant::now() + KILLS)? {
                kill_launcher(paths, server)?;
            }
        } else if !heard {
            // It was killed a moment ago, or hung and then was.
            continue;
        }
        obeyed.push(server);
        if killed { &mut ended.killed } else { &mut ended.stopped }.push(server.clone());
    }
    for server in &servers {
        let places = paths.server(server);
        if !places.run.exists() {
            continue;
        }
        let found =
            clear_leftovers(&places, false).map_err(|pids| EndError::Undead { server: server.clone(), pids })?;
        let _ = std::fs::remove_dir(&places.run);
        if !obeyed.contains(&server) {
            ended.cleared.push((server.clone(), found.processes));
        }
    }
    Ok(ended)
}

/// A launcher that has died is followed by one that can stop what it left as it should: stages work off what is there, and
/// portals keep what they hold. Where that can't be done, what is left is killed.
fn let_another_take_over(paths: &Paths, server: &str) {
    let places = paths.server(server);
    let Some(kept) = revive::left(paths, server).filter(|kept| revive::lives(&places, kept)) else { return };
    if revive::is_led(paths, &kept) {
        let _ = revive::connected(server, &places);
    } else {
        let _ = revive::take_over(paths, server);
    }
}

/// Answers whether the launcher took the message; one that didn't is killed later.
fn tell_to_stop(paths: &Paths, server: &str, now: bool) -> bool {
    let client = Client::connect(server, &paths.server(server).commands(), None, ANSWERS);
    client.and_then(|mut client| client.call(Command::Stop { now })).is_ok()
}

fn wait_gone(paths: &Paths, server: &str, until: Instant) -> Result<bool, EndError> {
    loop {
        if is_running(paths, server)?.is_none() {
            return Ok(true);
        }
        if Instant::now() > until {
            return Ok(false);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Kills a launcher and waits until it is gone.
pub(super) fn kill_launcher(paths: &Paths, server: &str) -> Result<(), EndError> {
    let Some(holder) = is_running(paths, server)? else { return Ok(()) };
    if let Some(Holder { identity, .. }) = &holder
        && identity.lives()
    {
        let _ = process::signal(identity.pid, Signal::SIGKILL);
    }
    if wait_gone(paths, server, Instant::now() + KILLS)? {
        return Ok(());
    }
    let pids = holder.map(|holder| holder.identity.pid).into_iter().collect();
    Err(EndError::Undead { server: server.to_owned(), pids })
}
