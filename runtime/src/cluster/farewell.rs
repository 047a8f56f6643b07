//! How portals ended at a stop: what one held that didn't end well may not be in its spool, and what one had sent on to another
//! portal, which never confirmed it, is in nobody's.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use waldo_sdk::page::{Entry, Kind};

use crate::{
    control::{ProcessStatus, ServerStatus},
    launcher::Role,
    paths::Paths,
};

/// A portal that left records behind which may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// On which server.
    pub server: String,
    /// Its name.
    pub portal: String,
    /// How it ended, if not well.
    pub ended: Option<String>,
    /// How many records may be lost: if it ended badly all that it held, each consumer's copy, else what it had sent on and nobody
    /// has confirmed.
    pub records: u64,
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

/// Writes off what portals in `servers` left behind when they ended, as the launchers say who have left: all that they held if
/// they didn't end well, else what they had sent on without having it confirmed. Answers which did.
pub fn write_off(paths: &Paths, servers: &mut [ServerStatus]) -> Vec<Failed> {
    let mut failed = Vec::new();
    for server in servers {
        let left = last_status(paths, &server.server);
        for portal in server.processes.iter_mut().filter(|process| process.role == Role::Portal) {
            let left = left.as_ref().and_then(|left| left.processes.iter().find(|process| process.name == portal.name));
            let ended = match left.map(|process| &process.ended) {
                Some(Some(ended)) if ended.is_success() => None,
                Some(Some(ended)) => Some(ended.to_string()),
                _ => Some("nobody saw how".to_owned()),
            };
            let records = match (&ended, left) {
                (None, Some(left)) => write_off_unconfirmed(portal, left),
                _ => write_off_all(portal),
            };
            if records > 0 {
                let (log, log_from) = (portal.log.clone(), portal.log_from);
                let portal = portal.name.clone();
                failed.push(Failed { server: server.server.clone(), portal, ended, records, log, log_from });
            }
        }
    }
    failed
}

fn write_off_all(portal: &mut ProcessStatus) -> u64 {
    let kept = portal.entries.iter_mut().filter(|entry| matches!(entry.kind, Kind::Spool | Kind::Link));
    kept.map(write_off_entry).sum()
}

/// Receipts may have come since the portal was asked last: what counts is how it `left`.
fn write_off_unconfirmed(portal: &mut ProcessStatus, left: &ProcessStatus) -> u64 {
    let links = portal.entries.iter_mut().filter(|entry| entry.kind == Kind::Link);
    let records = links.map(|entry| {
        if let Some(last) = left.entries.iter().find(|last| last.kind == Kind::Link && last.name == entry.name) {
            entry.clone_from(last);
        }
        write_off_entry(entry)
    });
    records.sum()
}

fn write_off_entry(entry: &mut Entry) -> u64 {
    let under_way = entry.sent.saturating_sub(entry.done + entry.written_off);
    entry.written_off += under_way;
    under_way
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::{Condition, KeptLimits, Stand},
        launcher::Ended,
    };

    fn link(done: u64) -> Entry {
        Entry { kind: Kind::Link, name: "turn>s2/relay".to_owned(), sent: 9, done, written_off: 0 }
    }

    fn spool() -> Entry {
        Entry { kind: Kind::Spool, name: "turn@lap".to_owned(), sent: 5, done: 3, written_off: 0 }
    }

    fn server(ended: Option<Ended>, entries: Vec<Entry>) -> ServerStatus {
        let portal = ProcessStatus {
            limits: KeptLimits::default(),
            name: "relay".to_owned(),
            stage: "relay".to_owned(),
            role: Role::Portal,
            state: Condition::Stopped,
            detail: None,
            pid: None,
            incarnation: 1,
            restarts: 0,
            failures: 0,
            ended,
            gate_closed: true,
            gate_known: true,
            gated_for: None,
            paused: false,
            finish_done: false,
            removed: false,
            log: PathBuf::new(),
            log_from: 0,
            entries,
        };
        ServerStatus {
            topology: "t".to_owned(),
            namespace: "n".to_owned(),
            server: "s1".to_owned(),
            generation: 1,
            digest: String::new(),
            pid: 1,
            phase: Stand::Stopped,
            attached: false,
            holds: true,
            rollout: None,
            rates: std::collections::BTreeMap::new(),
            processes: vec![portal],
        }
    }

    /// What is written off of a portal that was asked last when it had these entries, and left like this.
    fn written_off(asked: Vec<Entry>, left: &ServerStatus) -> Vec<(Option<String>, u64)> {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(&directory.path().join("run"), directory.path(), "t", "n");
        let file = paths.last_status("s1");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, serde_json::to_vec(left).unwrap()).unwrap();
        let failed = write_off(&paths, &mut [server(None, asked)]);
        failed.into_iter().map(|failed| (failed.ended, failed.records)).collect()
    }

    #[test]
    fn what_a_portal_sent_on_and_nobody_confirmed_is_lost_though_it_ended_well_and_what_it_holds_is_on_disk() {
        let well = |done| server(Some(Ended::Status(0)), vec![link(done), spool()]);
        assert_eq!(written_off(vec![link(4), spool()], &well(7)), [(None, 2)]);
        assert_eq!(written_off(vec![link(4), spool()], &well(9)), []);
    }

    #[test]
    fn all_that_a_portal_held_may_be_lost_if_it_ended_badly() {
        let badly = server(Some(Ended::Status(1)), vec![link(9), spool()]);
        assert_eq!(written_off(vec![link(4), spool()], &badly), [(Some("exit status 1".to_owned()), 7)]);
    }
}
