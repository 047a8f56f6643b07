//! How all servers of a namespace are, also those whose launcher has died or doesn't answer.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{is_running, running::ANSWERS};
use crate::{
    control::{Client, ServerStatus},
    launcher::{Kept, unlaunched},
    paths::Paths,
};

/// How long a launcher that has just been started may take to listen. One that takes over another's processes is quicker.
const LISTENS: Duration = Duration::from_secs(2);
/// How often to look meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How a server's launcher is. What is more worth telling comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Launcher {
    /// It answers.
    Answers,
    /// It lives, and doesn't answer.
    Silent,
    /// It has died, and nothing that it started lives.
    DeadWithAll,
    /// It has died, and processes that it started go on.
    Dead,
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How its launcher is.
    pub launcher: Launcher,
    /// How the server is: as the launcher says, or as can be seen without.
    pub status: ServerStatus,
}

/// Looks at all servers that have a run directory.
pub fn survey(paths: &Paths) -> Vec<Seen> {
    paths.servers_running().iter().filter_map(|server| look(paths, server)).collect()
}

fn look(paths: &Paths, server: &str) -> Option<Seen> {
    let places = paths.server(server);
    let until = Instant::now() + LISTENS;
    loop {
        let client = Client::connect(server, &places.commands(), None, ANSWERS);
        if let Ok(status) = client.and_then(|mut client| client.status()) {
            return Some(Seen { launcher: Launcher::Answers, status });
        }
        let lives = is_running(paths, server).ok()?.is_some();
        // One that has just been started, or is about to leave, is something else a moment later.
        if (lives || !places.launcher().exists()) && Instant::now() < until {
            if !places.run.exists() {
                return None;
            }
            std::thread::sleep(LOOK_AGAIN);
            continue;
        }
        let status = unlaunched(&Kept::read(&places)?, &places)?;
        let launcher = match (lives, status.processes.iter().any(|process| process.pid.is_some())) {
            (true, _) => Launcher::Silent,
            (false, true) => Launcher::Dead,
            (false, false) => Launcher::DeadWithAll,
        };
        return Some(Seen { launcher, status });
    }
}
