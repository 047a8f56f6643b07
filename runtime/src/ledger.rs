//! The ledger: for each flow, what became of its records, from what the counters pages of all servers say. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use waldo_sdk::page::{Entry, Kind};

use crate::{
    control::{ProcessStatus, ServerStatus},
    launcher::Role,
};

/// The row of what was rejected and named no flow. No flow can have this name.
pub const NO_FLOW: &str = "(no flow)";

/// What became of the records of one flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Records that stages and clients sent; of an unkeyed flow each consumer's copy.
    pub sent: u64,
    /// Records that an earlier run had left in portals' spools, each consumer's copy.
    #[serde(default)]
    pub resumed: u64,
    /// Records that stages have handled, each consumer's copy.
    pub received: u64,
    /// Records that portals keep in their spools.
    pub held: u64,
    /// Records that were held in a portal and given another owner by a rollout, each consumer's copy.
    pub reguided: u64,
    /// Records that were lost, at most; also those that a filter had received and lost.
    pub lost: u64,
    /// Records that were handled more often than sent.
    pub repeated: u64,
    /// Records that went round a loop more often than they may.
    pub dead: u64,
    /// Records that a portal or stage refused.
    pub rejected: u64,
}

/// When the pages were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// While stages run: what isn't handled yet is on its way.
    Running,
    /// After all stages have ended: what they haven't handled is lost, but for what portals hold.
    Ended,
}

/// One flow's records from one process to another on the same server.
#[derive(Default)]
struct Channel {
    sent: u64,
    done: u64,
    written_off: u64,
}

/// The accounts of these flows and of all others that the pages know.
pub fn accounts<'a>(
    flows: impl Iterator<Item = &'a str>,
    servers: &[ServerStatus],
    when: When,
) -> BTreeMap<String, Account> {
    let mut accounts: BTreeMap<String, Account> = flows.map(|flow| (flow.to_owned(), Account::default())).collect();
    for server in servers {
        for process in &server.processes {
            for entry in &process.entries {
                book(&mut accounts, process.role, entry, when);
            }
        }
        for ((flow, sender, _), channel) in channels(server) {
            let account = accounts.entry(flow.to_owned()).or_default();
            account.received += channel.done;
            account.lost += channel.written_off;
            let settled = channel.done + channel.written_off;
            account.repeated += channel.done.saturating_sub(channel.sent);
            // What a portal puts on its way has been counted where it came from.
            if role_of(server, sender) != Some(Role::Portal) {
                account.sent += channel.sent;
            }
            if when == When::Ended {
                account.lost += channel.sent.saturating_sub(settled);
            }
        }
    }
    accounts
}

/// How many records are queued or being worked on, spooled, or on their way from this server.
pub fn queued(server: &ServerStatus) -> u64 {
    let alone = server.processes.iter().flat_map(|process| &process.entries);
    let alone: u64 = alone
        .filter(|entry| matches!(entry.kind, Kind::Link | Kind::Spool | Kind::Program))
        .map(|entry| entry.sent.saturating_sub(entry.done + entry.written_off))
        .sum();
    let channels: u64 = channels(server)
        .into_values()
        .map(|channel| channel.sent.saturating_sub(channel.done + channel.written_off))
        .sum();
    alone + channels
}

/// How many records a portal keeps in its spools.
pub fn spooled(portal: &ProcessStatus) -> u64 {
    let spools = portal.entries.iter().filter(|entry| entry.kind == Kind::Spool);
    spools.map(|entry| entry.sent.saturating_sub(entry.done + entry.written_off)).sum()
}

/// What became of records between a reading of all pages and two later ones, one directly after the other. Counters move all
/// the while: so what was done is taken from the first of the later two, and what was sent from the second, or records on
/// their way would look as if they had been handled twice.
pub fn between(
    before: &[ServerStatus],
    after: &[ServerStatus],
    after_that: &[ServerStatus],
) -> BTreeMap<String, Account> {
    let mut merged = after.to_vec();
    // A server that has left: what it counted last stands.
    let is_gone = |server: &&ServerStatus| after.iter().all(|there| there.server != server.server);
    merged.extend(before.iter().filter(is_gone).cloned());
    for server in &mut merged {
        let Some(later) = after_that.iter().find(|later| later.server == server.server) else { continue };
        for (process, later) in server.processes.iter_mut().zip(&later.processes) {
            // Entries are only ever added behind those that are there.
            for (entry, later) in process.entries.iter_mut().zip(&later.entries) {
                entry.sent = later.sent;
            }
        }
    }
    let mut accounts = accounts(std::iter::empty(), &merged, When::Running);
    for (flow, earlier) in self::accounts(std::iter::empty(), before, When::Running) {
        let account = accounts.entry(flow).or_default();
        account.sent = account.sent.saturating_sub(earlier.sent);
        account.resumed = account.resumed.saturating_sub(earlier.resumed);
        account.received = account.received.saturating_sub(earlier.received);
        account.reguided = account.reguided.saturating_sub(earlier.reguided);
        account.lost = account.lost.saturating_sub(earlier.lost);
        account.repeated = account.repeated.saturating_sub(earlier.repeated);
        account.dead = account.dead.saturating_sub(earlier.dead);
        account.rejected = account.rejected.saturating_sub(earlier.rejected);
    }
    accounts.retain(|flow, account| flow != NO_FLOW || account.rejected > 0);
    accounts
}

/// Whether nothing of these flows is held, under way or in work on any of these servers, given two readings of all their
/// pages, one after the other: what was done by the first one is all that had been sent by the second one.
pub fn are_drained(first: &[ServerStatus], second: &[ServerStatus], flows: &[String]) -> bool {
    let entries = |servers: &[ServerStatus], settled: bool| {
        // Of what goes to one consumer alone the portals know by themselves when it is delivered.
        let flows = flows.iter().filter(|flow| !flow.contains('@'));
        let mut sums: BTreeMap<String, u64> = flows.map(|flow| (flow.clone(), 0)).collect();
        let processes = servers.iter().flat_map(|server| &server.processes);
        for entry in processes.flat_map(|process| &process.entries) {
            let Some(flow) = entry.name.split(['>', '<', '@']).next() else { continue };
            let Some(sum) = sums.get_mut(flow) else { continue };
            *sum += match (entry.kind, settled) {
                (Kind::Done | Kind::Link | Kind::Spool | Kind::Program, true) => entry.done + entry.written_off,
                (Kind::Sent | Kind::Link | Kind::Spool | Kind::Program, false) => entry.sent,
                _ => 0,
            };
        }
        sums
    };
    first.len() == second.len() && entries(first, true) == entries(second, false)
}

fn book(accounts: &mut BTreeMap<String, Account>, role: Role, entry: &Entry, when: When) {
    let under_way = entry.sent.saturating_sub(entry.done + entry.written_off);
    let mut account = |flow: &str, change: &dyn Fn(&mut Account)| change(accounts.entry(flow.to_owned()).or_default());
    match entry.kind {
        Kind::Link => {
            let Some((flow, _)) = entry.name.split_once('>') else { return };
            account(flow, &|account| {
                account.lost += entry.written_off;
                if role == Role::Portal {
                    // It forwards what has been counted where it came from, and stays until that has arrived.
                    account.held += under_way;
                } else {
                    account.sent += entry.sent;
                    account.lost += if when == When::Ended { under_way } else { 0 };
                }
            });
        }
        Kind::Spool => {
            let Some((flow, _)) = entry.name.split_once('@') else { return };
            account(flow, &|account| {
                account.held += under_way;
                account.lost += entry.written_off;
            });
        }
        Kind::Count => match entry.name.split_once(' ') {
            Some(("clients", flow)) => account(flow, &|account| account.sent += entry.done),
            Some(("reguided", flow)) => account(flow, &|account| account.reguided += entry.done),
            Some(("resumed", flow)) => account(flow, &|account| account.resumed += entry.done),
            Some(("dead", flow)) => account(flow, &|account| account.dead += entry.done),
            Some(("rejected", flow)) => account(flow, &|account| account.rejected += entry.done),
            None if entry.name == "rejected" && entry.done > 0 => {
                account(NO_FLOW, &|account| account.rejected += entry.done);
            }
            _ => {}
        },
        Kind::Program => account(&entry.name, &|account| {
            account.lost += entry.written_off + if when == When::Ended { under_way } else { 0 };
        }),
        Kind::Sent | Kind::Done | Kind::Accepted | Kind::Last | Kind::Work => {}
    }
}

/// The channels between processes of a server: (flow, sender, receiver).
fn channels(server: &ServerStatus) -> BTreeMap<(&str, &str, &str), Channel> {
    let mut channels: BTreeMap<(&str, &str, &str), Channel> = BTreeMap::new();
    for ProcessStatus { name, entries, .. } in &server.processes {
        for entry in entries {
            match entry.kind {
                Kind::Sent => {
                    let Some((flow, receiver)) = entry.name.split_once('>') else { continue };
                    channels.entry((flow, name, receiver)).or_default().sent = entry.sent;
                }
                Kind::Done => {
                    let Some((flow, sender)) = entry.name.split_once('<') else { continue };
                    let channel = channels.entry((flow, sender, name)).or_default();
                    channel.done = entry.done;
                    channel.written_off = entry.written_off;
                }
                _ => {}
            }
        }
    }
    channels
}

fn role_of(server: &ServerStatus, process: &str) -> Option<Role> {
    server.processes.iter().find(|known| known.name == process).map(|known| known.role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Condition, Stand};

    fn entry(kind: Kind, name: &str, sent: u64, done: u64, written_off: u64) -> Entry {
        Entry { kind, name: name.to_owned(), sent, done, written_off }
    }

    fn process(name: &str, role: Role, entries: Vec<Entry>) -> ProcessStatus {
        ProcessStatus {
            limits: crate::control::KeptLimits::default(),
            name: name.to_owned(),
            stage: name.to_owned(),
            role,
            state: Condition::Ready,
            detail: None,
            pid: Some(1),
            incarnation: 1,
            restarts: 0,
            failures: 0,
            ended: None,
            gate_closed: false,
            gate_known: true,
            gated_for: None,
            paused: false,
            finish_done: false,
            removed: false,
            entries,
            log: "log".into(),
            log_from: 0,
        }
    }

    fn server(processes: Vec<ProcessStatus>) -> ServerStatus {
        ServerStatus {
            topology: "t".to_owned(),
            namespace: "n".to_owned(),
            server: "s1".to_owned(),
            generation: 1,
            digest: String::new(),
            pid: 1,
            phase: Stand::Flowing,
            attached: true,
            processes,
            holds: false,
            rollout: None,
            rates: BTreeMap::new(),
        }
    }

    /// A source sends ten records of `visit` through a portal to a stage, and five of `tick` beside it.
    fn flowing() -> ServerStatus {
        server(vec![
            process(
                "relay",
                Role::Portal,
                vec![
                    entry(Kind::Spool, "visit@score", 10, 8, 0),
                    entry(Kind::Sent, "visit>score.0", 8, 0, 0),
                    entry(Kind::Count, "received visit", 0, 10, 0),
                    entry(Kind::Count, "rejected visit", 0, 1, 0),
                ],
            ),
            process(
                "score.0",
                Role::Stage,
                vec![
                    entry(Kind::Done, "visit<relay", 0, 5, 1),
                    entry(Kind::Done, "tick<feed.0", 0, 4, 0),
                    entry(Kind::Count, "dead visit", 0, 2, 0),
                ],
            ),
            process(
                "feed.0",
                Role::Source,
                vec![entry(Kind::Link, "visit>s1/relay", 10, 10, 0), entry(Kind::Sent, "tick>score.0", 5, 0, 0)],
            ),
        ])
    }

    #[test]
    fn a_record_is_counted_once_as_sent_however_many_hands_it_goes_through() {
        let accounts = accounts(["other"].into_iter(), &[flowing()], When::Running);
        let visit = Account { sent: 10, received: 5, held: 2, lost: 1, dead: 2, rejected: 1, ..Account::default() };
        assert_eq!(accounts["visit"], visit);
        assert_eq!(accounts["tick"], Account { sent: 5, received: 4, ..Account::default() });
        assert_eq!(accounts["other"], Account::default());
        assert_eq!(queued(&flowing()), 2 + 2 + 1, "in the spool, in the inbox, a tick in work");
    }

    #[test]
    fn what_stages_left_unhandled_when_they_ended_is_lost_but_not_what_a_portal_holds() {
        let accounts = accounts([].into_iter(), &[flowing()], When::Ended);
        assert_eq!(accounts["visit"].lost, 1 + 2);
        assert_eq!(accounts["visit"].held, 2);
        assert_eq!(accounts["tick"].lost, 1);
    }

    #[test]
    fn what_clients_sent_counts_as_sent_and_what_a_portal_forwards_does_not_count_again() {
        let portal = process(
            "intake",
            Role::Portal,
            vec![
                entry(Kind::Count, "clients call", 0, 7, 0),
                entry(Kind::Spool, "call@s2/intake", 7, 7, 0),
                entry(Kind::Link, "call>s2/intake", 7, 7, 0),
            ],
        );
        let accounts = accounts([].into_iter(), &[server(vec![portal])], When::Ended);
        assert_eq!(accounts["call"], Account { sent: 7, ..Account::default() });
    }

    #[test]
    fn what_a_rollout_moves_from_log_to_log_is_held_once_and_told() {
        let former = process(
            "relay",
            Role::Portal,
            vec![
                entry(Kind::Spool, "call@score", 10, 10, 0),
                entry(Kind::Spool, "call@score(a)", 6, 2, 0),
                entry(Kind::Spool, "call@s2/relay", 4, 4, 0),
                entry(Kind::Link, "call>s2/relay", 4, 4, 0),
                entry(Kind::Count, "reguided call", 0, 4, 0),
            ],
        );
        let new = process(
            "relay",
            Role::Portal,
            vec![
                entry(Kind::Spool, "call@score", 4, 1, 0),
                entry(Kind::Spool, "call@(aside)", 3, 0, 0),
                entry(Kind::Count, "handed call", 0, 4, 0),
            ],
        );
        let servers = [server(vec![former]), server(vec![new])];
        let accounts = accounts([].into_iter(), &servers, When::Running);
        assert_eq!(accounts["call"], Account { held: 4 + 3 + 3, reguided: 4, ..Account::default() });
    }

    #[test]
    fn what_was_in_a_filter_that_failed_is_lost_and_what_is_in_it_at_the_end_too() {
        let processes = vec![
            process("a.0", Role::Source, vec![entry(Kind::Sent, "x>b.0", 9, 0, 0)]),
            process("b.0", Role::Stage, vec![entry(Kind::Done, "x<a.0", 0, 9, 0), entry(Kind::Program, "x", 9, 4, 2)]),
        ];
        let servers = [server(processes)];
        let lost = |when| accounts([].into_iter(), &servers, when)["x"].lost;
        assert_eq!(lost(When::Running), 2);
        assert_eq!(lost(When::Ended), 5);
    }

    #[test]
    fn more_done_than_sent_is_reported_as_repeated() {
        let processes = vec![
            process("a.0", Role::Source, vec![entry(Kind::Sent, "x>b.0", 3, 0, 0)]),
            process("b.0", Role::Stage, vec![entry(Kind::Done, "x<a.0", 0, 4, 0)]),
        ];
        assert_eq!(accounts([].into_iter(), &[server(processes)], When::Ended)["x"].repeated, 1);
    }
}
