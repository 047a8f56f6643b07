//! What the servers' status lets expect: can the run still end well? Pure.

use std::{path::PathBuf, time::Duration};

use waldo_sdk::page::Kind;

use crate::{
    control::{Condition, ProcessStatus, ServerStatus, Stand},
    launcher::{Ended, Role},
};

/// So many starts in a row that ended in failure soon, and the process is not expected to do better any more.
const HOPELESS: u32 = 5;
/// So many starts in a row that took too long, and the same goes.
const HOPELESSLY_SLOW: u32 = 2;
/// How long nothing may have moved before a process that can't start, or has ended too soon, ends the run.
const STANDSTILL: Duration = Duration::from_secs(1);

/// Why a run can't end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong.
    pub what: String,
    /// The log of the process that it is about.
    pub log: PathBuf,
    /// Where in it this run begins. Bytes.
    pub log_from: u64,
}

/// Watches whether any record gets done.
#[derive(Debug, Default)]
pub struct Movement {
    total: u64,
    since: Duration,
}

impl Movement {
    /// Takes in what the servers say at this time since the start; answers for how long no record has got done.
    pub fn observe(&mut self, servers: &[ServerStatus], now: Duration) -> Duration {
        let entries = servers.iter().flat_map(|server| &server.processes).flat_map(|process| &process.entries);
        // A stage that dies of every record has records sent to it and written off without end: neither is movement.
        let handled = entries.filter(|entry| matches!(entry.kind, Kind::Done | Kind::Program | Kind::Link));
        let total = handled.fold(0_u64, |sum, entry| sum.wrapping_add(entry.done));
        if total != self.total {
            *self = Self { total, since: now };
        }
        now.saturating_sub(self.since)
    }
}

/// The process that keeps the run from ending well, if there is one. `still` is for how long nothing has moved.
pub fn trouble(servers: &[ServerStatus], still: Duration) -> Option<Trouble> {
    let processes = || servers.iter().flat_map(|server| there(server).map(move |process| (server, process)));
    processes().find_map(|(server, process)| {
        let what = if process.state == Condition::GivenUp {
            "has been given up".to_owned()
        } else if process.failures >= hopeless(process) && still >= STANDSTILL {
            format!("fails again and again: {} starts in a row", process.failures)
        } else if process.state == Condition::Finished
            && process.role == Role::Stage
            && !process.finish_done
            && still >= STANDSTILL
            && has_input(server, process)
        {
            "has ended though records wait for it".to_owned()
        } else {
            return None;
        };
        let ended = process.ended.as_ref().map_or_else(String::new, |ended| format!(" ({ended})"));
        let what = format!("{}/{} {what}{ended}", server.server, process.name);
        Some(Trouble { what, log: process.log.clone(), log_from: process.log_from })
    })
}

/// The processes that the live plan has.
fn there(server: &ServerStatus) -> impl Iterator<Item = &ProcessStatus> {
    server.processes.iter().filter(|process| !process.removed)
}

/// How many failed starts in a row are too many.
fn hopeless(process: &ProcessStatus) -> u32 {
    if matches!(process.ended, Some(Ended::NotReady(_))) { HOPELESSLY_SLOW } else { HOPELESS }
}

/// Whether records are on their way to a process.
fn has_input(server: &ServerStatus, process: &ProcessStatus) -> bool {
    let sent = |sender: &ProcessStatus| -> u64 {
        let of_it = sender.entries.iter().filter(|entry| {
            entry.kind == Kind::Sent && entry.name.split_once('>').is_some_and(|(_, to)| to == process.name)
        });
        of_it.map(|entry| entry.sent).sum()
    };
    let sent: u64 = server.processes.iter().map(sent).sum();
    let done = process.entries.iter().filter(|entry| entry.kind == Kind::Done);
    sent > done.map(|entry| entry.done + entry.written_off).sum()
}

/// Whether every server has all but its sources ready.
pub fn is_standing(servers: &[ServerStatus]) -> bool {
    servers.iter().all(|server| server.phase >= Stand::Standing)
}

/// Whether a server is on its way down though nobody here has asked for it.
pub fn is_leaving(servers: &[ServerStatus]) -> bool {
    servers.iter().any(|server| server.phase > Stand::Flowing)
}

/// Whether every source has sent all that it had.
pub fn sources_finished(servers: &[ServerStatus]) -> bool {
    let mut sources = servers.iter().flat_map(there).filter(|process| process.role == Role::Source);
    servers.iter().all(|server| server.phase == Stand::Flowing)
        && sources.all(|process| process.state == Condition::Finished)
}

/// Whether all instances of a stage have sent all their output, after they were told that no more input comes.
pub fn has_finished(servers: &[ServerStatus], stage: &str) -> bool {
    let mut instances = servers.iter().flat_map(there).filter(|process| process.stage == stage);
    instances.all(|process| process.finish_done)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use waldo_sdk::page::Entry;

    use super::*;

    fn server(state: Condition, failures: u32, entries: Vec<Entry>) -> ServerStatus {
        let process = |name: &str, role, state, failures, entries| ProcessStatus {
            limits: crate::control::KeptLimits::default(),
            name: name.to_owned(),
            stage: name.to_owned(),
            role,
            state,
            detail: None,
            pid: None,
            incarnation: 1,
            restarts: 0,
            failures,
            ended: Some(Ended::Status(1)),
            gate_closed: false,
            gate_known: true,
            gated_for: None,
            paused: false,
            finish_done: false,
            removed: false,
            entries,
            log: format!("log/{name}.log").into(),
            log_from: 0,
        };
        ServerStatus {
            topology: "t".to_owned(),
            namespace: "n".to_owned(),
            server: "s1".to_owned(),
            generation: 1,
            digest: String::new(),
            pid: 1,
            phase: Stand::Flowing,
            attached: true,
            processes: vec![
                process("score.0", Role::Stage, state, failures, Vec::new()),
                process("feed.0", Role::Source, Condition::Finished, 0, entries),
            ],
            holds: false,
            rollout: None,
            rates: BTreeMap::new(),
        }
    }

    fn sent(count: u64) -> Vec<Entry> {
        vec![Entry { kind: Kind::Sent, name: "x>score.0".to_owned(), sent: count, done: 0, written_off: 0 }]
    }

    #[test]
    fn a_process_that_was_given_up_ends_the_run_by_name() {
        let trouble = trouble(&[server(Condition::GivenUp, 0, vec![])], Duration::ZERO).unwrap();
        assert_eq!(trouble.what, "s1/score.0 has been given up (exit status 1)");
        assert_eq!(trouble.log, PathBuf::from("log/score.0.log"));
    }

    #[test]
    fn a_process_that_fails_again_and_again_ends_the_run_once_nothing_else_moves() {
        let servers = [server(Condition::BackingOff, 5, vec![])];
        assert_eq!(trouble(&servers, Duration::ZERO), None);
        assert!(trouble(&servers, STANDSTILL).unwrap().what.contains("5 starts in a row"));
        assert_eq!(trouble(&[server(Condition::BackingOff, 4, vec![])], STANDSTILL), None);
    }

    #[test]
    fn a_stage_that_ended_with_records_waiting_for_it_ends_the_run() {
        assert!(trouble(&[server(Condition::Finished, 0, sent(3))], STANDSTILL).is_some());
        assert_eq!(trouble(&[server(Condition::Finished, 0, sent(0))], STANDSTILL), None);
        assert_eq!(trouble(&[server(Condition::Ready, 0, sent(3))], STANDSTILL), None, "a handler may take long");
    }

    #[test]
    fn a_record_that_gets_done_is_movement_and_one_that_is_sent_or_written_off_is_not() {
        let entry = |sent, done, written_off| {
            let entry = Entry { kind: Kind::Done, name: "x<wanted.0".to_owned(), sent, done, written_off };
            [server(Condition::BackingOff, 0, vec![entry])]
        };
        let mut movement = Movement::default();
        let second = Duration::from_secs;
        movement.observe(&entry(0, 3, 0), second(1));
        assert_eq!(movement.observe(&entry(9, 3, 7), second(3)), second(2));
        assert_eq!(movement.observe(&entry(9, 4, 7), second(4)), second(0));
    }
}
