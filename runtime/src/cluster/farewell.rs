//! How portals ended at a stop: what one held that didn't end well may not be in its spool.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use waldo_sdk::page::Kind;

use crate::{
    control::{ProcessStatus, ServerStatus},
    launcher::Role,
    paths::Paths,
};

/// A portal that held records and didn't end well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// On which server.
    pub server: String,
    /// Its name.
    pub portal: String,
    /// How it ended.
    pub ended: String,
    /// How many records it held, each consumer's copy.
    pub held: u64,
    /// Its log.
    pub log: PathBuf,
    /// Where in it this run begins. Bytes.
    pub log_from: u64,
}

/// How a server was when its launcher left, if it said so.
pub fn last_status(paths: &Paths, server: &str) -> Option<ServerStatus> {
    let text = fs::read(paths.last_status(server)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Writes off what portals held in `servers` that, as the launchers say who have left, didn't end well; answers which.
pub fn write_off(paths: &Paths, servers: &mut [ServerStatus]) -> Vec<Failed> {
    let mut failed = Vec::new();
    for server in servers {
        let left = last_status(paths, &server.server);
        for portal in server.processes.iter_mut().filter(|process| process.role == Role::Portal) {
            let left = left.as_ref().map(|left| left.processes.iter().find(|process| process.name == portal.name));
            let ended = match left.flatten().map(|process| &process.ended) {
                Some(Some(ended)) if ended.is_success() => continue,
                Some(Some(ended)) => ended.to_string(),
                _ => "nobody saw how".to_owned(),
            };
            let held = write_off_held(portal);
            if held > 0 {
                let (log, log_from) = (portal.log.clone(), portal.log_from);
                let portal = portal.name.clone();
                failed.push(Failed { server: server.server.clone(), portal, ended, held, log, log_from });
            }
        }
    }
    failed
}

fn write_off_held(portal: &mut ProcessStatus) -> u64 {
    let kept = portal.entries.iter_mut().filter(|entry| matches!(entry.kind, Kind::Spool | Kind::Link));
    kept.fold(0, |held, entry| {
        let under_way = entry.sent.saturating_sub(entry.done + entry.written_off);
        entry.written_off += under_way;
        held + under_way
    })
}
