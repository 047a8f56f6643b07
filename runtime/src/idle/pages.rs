//! One server's counters pages, with their edges resolved once so that a reading only reads numbers.

use std::collections::{BTreeSet, HashMap};

use waldo_sdk::page::{Kind, Page, Slot};

use crate::sys::process::Identity;

use super::{Finding, FirstReading, Scope, SecondReading, Sent, Settled, Unequal, Verdict, rule};

/// The counters pages of one server's processes.
#[derive(Default)]
pub struct Pages {
    server: String,
    set: u64,
    watched: Vec<Watched>,
    edges: Vec<Edge>,
    channels: HashMap<Channel, usize>,
}

struct Watched {
    process: String,
    page: Page,
    resolved: usize,
}

/// An edge between two processes of the server: S is in the sender's page, D in the receiver's.
#[derive(PartialEq, Eq, Hash)]
struct Channel {
    flow: String,
    sender: String,
    receiver: String,
}

struct Edge {
    /// Where S is; absent until the sender has sent anything.
    sent: Option<Slot>,
    /// Where D and W are; absent until the receiver has done anything.
    done: Option<Slot>,
    ends_in_stage: bool,
    /// Place of the page whose slot gave the edge its name.
    page: usize,
    slot: usize,
}

impl Pages {
    /// No pages yet, of the server of this name.
    pub fn new(server: &str) -> Self {
        Self { server: server.to_owned(), ..Self::default() }
    }

    /// The same, so that readings which another launcher has taken can't be judged here: its edges may be in another order.
    #[must_use]
    pub fn seen_by(self, launcher: Identity) -> Self {
        // Start times count hundredths of seconds, so that no two launchers have close numbers.
        Self { set: launcher.started << 32 | u64::from(launcher.pid.unsigned_abs()) << 16, ..self }
    }

    /// Adds a process's page, in place of an earlier one of that process.
    pub fn watch(&mut self, process: &str, page: Page) {
        self.forget(process);
        self.watched.push(Watched { process: process.to_owned(), page, resolved: 0 });
    }

    /// Takes a process's page away.
    pub fn forget(&mut self, process: &str) {
        self.set += 1;
        self.watched.retain(|watched| watched.process != process);
        for watched in &mut self.watched {
            watched.resolved = 0;
        }
        self.edges.clear();
        self.channels.clear();
    }

    /// The first reading: every incarnation, then every D and W.
    pub fn read_done(&mut self) -> FirstReading {
        let incarnations = self.incarnations();
        self.resolve();
        // D before W: who takes back a written-off record lets W shrink first and D grow then.
        let settled = self.edges.iter().map(|edge| {
            edge.done.as_ref().map_or_else(Settled::default, |slot| {
                let done = slot.done();
                Settled { done, written_off: slot.written_off() }
            })
        });
        FirstReading { set: self.set, settled: settled.collect(), incarnations }
    }

    /// The second reading: every S and W, then every incarnation. To be taken after the first readings of all servers.
    pub fn read_sent(&mut self) -> SecondReading {
        self.resolve();
        let sent = self.edges.iter().map(|edge| Sent {
            sent: edge.sent.as_ref().map_or(0, Slot::sent),
            written_off: edge.done.as_ref().map_or(0, Slot::written_off),
        });
        let sent = sent.collect();
        SecondReading { set: self.set, sent, incarnations: self.incarnations() }
    }

    /// What two readings of these pages show.
    pub fn verdict(&self, first: &FirstReading, second: &SecondReading, scope: Scope) -> Verdict {
        self.judge(first, second, |edge| scope == Scope::All || self.edges[edge].ends_in_stage)
    }

    fn judge(&self, first: &FirstReading, second: &SecondReading, counts: impl Fn(usize) -> bool) -> Verdict {
        if second.set != self.set || second.sent.len() > self.edges.len() {
            return Verdict::Changed { processes: vec![self.server.clone()] };
        }
        let unequal = |edges: Vec<usize>| edges.into_iter().map(|edge| self.unequal(edge, first, second)).collect();
        match rule(first, second, counts) {
            Finding::Idle => Verdict::Idle,
            Finding::Busy(edges) => Verdict::Busy { edges: unequal(edges) },
            Finding::Miscounted(edges) => Verdict::Miscounted { edges: unequal(edges) },
            Finding::Changed { pages, edges } if pages.is_empty() && edges.is_empty() => {
                Verdict::Changed { processes: vec![self.server.clone()] }
            }
            Finding::Changed { pages, edges } => {
                let pages = pages.into_iter().map(|page| self.name(&self.watched[page].process));
                let mut processes: Vec<String> = pages.chain(edges.into_iter().map(|edge| self.who(edge))).collect();
                processes.dedup();
                Verdict::Changed { processes }
            }
        }
    }

    /// Both readings, one after the other, and what they show: a proof for a server on its own.
    pub fn prove(&mut self, scope: Scope) -> Verdict {
        let first = self.read_done();
        let second = self.read_sent();
        self.verdict(&first, &second, scope)
    }

    /// A proof of [`Scope::Stages`] for a server on its own, but for what these processes have in hand or are to have next.
    pub fn prove_without(&mut self, left_out: &BTreeSet<String>) -> Verdict {
        if left_out.is_empty() {
            return self.prove(Scope::Stages);
        }
        let first = self.read_done();
        let second = self.read_sent();
        let is_left_out = |edge| self.who(edge).rsplit('/').next().is_some_and(|process| left_out.contains(process));
        self.judge(&first, &second, |edge| self.edges[edge].ends_in_stage && !is_left_out(edge))
    }

    fn incarnations(&self) -> Vec<u64> {
        self.watched.iter().map(|watched| watched.page.incarnation()).collect()
    }

    fn name(&self, process: &str) -> String {
        format!("{}/{process}", self.server)
    }

    /// Finds the edges of slots that were added since the last time.
    fn resolve(&mut self) {
        for place in 0..self.watched.len() {
            let watched = &self.watched[place];
            let published = watched.page.len();
            for index in watched.resolved..published {
                self.resolve_slot(place, index);
            }
            self.watched[place].resolved = published;
        }
    }

    fn resolve_slot(&mut self, place: usize, index: usize) {
        let Watched { process, page, .. } = &self.watched[place];
        let (kind, name) = page.name(index);
        let slot = page.at(index);
        let edge = |sent, done, ends_in_stage| Edge { sent, done, ends_in_stage, page: place, slot: index };
        let own = || process.clone();
        match kind {
            Some(Kind::Sent) => {
                let Some((flow, receiver)) = name.split_once('>') else { return };
                let channel = Channel { flow: flow.to_owned(), sender: own(), receiver: receiver.to_owned() };
                if let Some(&at) = self.channels.get(&channel) {
                    self.edges[at] = edge(Some(slot), self.edges[at].done.take(), true);
                } else {
                    self.channels.insert(channel, self.edges.len());
                    self.edges.push(edge(Some(slot), None, true));
                }
            }
            Some(Kind::Done) => {
                let Some((flow, sender)) = name.split_once('<') else { return };
                let channel = Channel { flow: flow.to_owned(), sender: sender.to_owned(), receiver: own() };
                if let Some(&at) = self.channels.get(&channel) {
                    self.edges[at].done = Some(slot);
                } else {
                    self.channels.insert(channel, self.edges.len());
                    self.edges.push(edge(None, Some(slot), true));
                }
            }
            Some(Kind::Link | Kind::Spool) => self.edges.push(edge(Some(slot.clone()), Some(slot), false)),
            Some(Kind::Program) => self.edges.push(edge(Some(slot.clone()), Some(slot), true)),
            Some(Kind::Accepted | Kind::Last | Kind::Count | Kind::Work) | None => {}
        }
    }

    fn unequal(&self, edge: usize, first: &FirstReading, second: &SecondReading) -> Unequal {
        let settled = first.settled.get(edge).copied().unwrap_or_default().total();
        let Edge { page, slot, .. } = self.edges[edge];
        let Watched { process, page, .. } = &self.watched[page];
        let (_, name) = page.name(slot);
        Unequal {
            edge: format!("{} {name}", self.name(process)),
            who: self.who(edge),
            records: second.sent[edge].sent.abs_diff(settled),
        }
    }

    /// Who has the records of an edge in hand, or is to have them next.
    fn who(&self, edge: usize) -> String {
        let Edge { page, slot, .. } = self.edges[edge];
        let Watched { process, page, .. } = &self.watched[page];
        let (kind, name) = page.name(slot);
        match (kind, name.split_once('>')) {
            (Some(Kind::Sent), Some((_, receiver))) => self.name(receiver),
            (Some(Kind::Link), Some((_, portal))) => portal.to_owned(),
            _ => self.name(process),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Server {
        directory: tempfile::TempDir,
        pages: Pages,
    }

    impl Server {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap(), pages: Pages::new("s1") }
        }

        fn page(&mut self, process: &str) -> Page {
            let page = Page::create(&self.directory.path().join(process), 16).unwrap();
            page.begin_incarnation(1);
            self.pages.watch(process, page.clone());
            page
        }
    }

    fn busy(edge: &str, who: &str, records: u64) -> Verdict {
        Verdict::Busy { edges: vec![Unequal { edge: edge.into(), who: who.into(), records }] }
    }

    #[test]
    fn a_server_without_records_is_idle() {
        let mut server = Server::new();
        assert_eq!(server.pages.prove(Scope::All), Verdict::Idle);
        server.page("relay");
        assert_eq!(server.pages.prove(Scope::All), Verdict::Idle);
    }

    #[test]
    fn a_record_sent_and_not_done_makes_its_receiver_busy() {
        let mut server = Server::new();
        let (relay, visit) = (server.page("relay"), server.page("visit.0"));
        relay.slot(Kind::Sent, "visit>visit.0").unwrap().add_sent(3);
        assert_eq!(server.pages.prove(Scope::Stages), busy("s1/relay visit>visit.0", "s1/visit.0", 3));
        let done = visit.slot(Kind::Done, "visit<relay").unwrap();
        done.add_done(2);
        assert_eq!(server.pages.prove(Scope::Stages), busy("s1/relay visit>visit.0", "s1/visit.0", 1));
        done.set_written_off(1);
        assert_eq!(server.pages.prove(Scope::Stages), Verdict::Idle);
    }

    #[test]
    fn links_and_spools_count_for_the_cluster_and_not_for_the_server() {
        let mut server = Server::new();
        let (relay, visit) = (server.page("relay"), server.page("visit.0"));
        visit.slot(Kind::Link, "visit>s2/relay").unwrap().add_sent(2);
        assert_eq!(server.pages.prove(Scope::Stages), Verdict::Idle);
        assert_eq!(server.pages.prove(Scope::All), busy("s1/visit.0 visit>s2/relay", "s2/relay", 2));
        visit.slot(Kind::Link, "visit>s2/relay").unwrap().add_done(2);
        relay.slot(Kind::Spool, "visit@visit").unwrap().add_sent(1);
        assert_eq!(server.pages.prove(Scope::All), busy("s1/relay visit@visit", "s1/relay", 1));
        relay.slot(Kind::Program, "visit").unwrap().add_sent(1);
        assert_eq!(server.pages.prove(Scope::Stages), busy("s1/relay visit", "s1/relay", 1));
    }

    #[test]
    fn what_some_processes_have_or_are_to_have_can_be_left_out() {
        let mut server = Server::new();
        let (relay, visit, _) = (server.page("relay"), server.page("visit.0"), server.page("keep.0"));
        relay.slot(Kind::Sent, "visit>visit.0").unwrap().add_sent(3);
        visit.slot(Kind::Sent, "kept>keep.0").unwrap().add_sent(2);
        let mut without =
            |names: &[&str]| server.pages.prove_without(&names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(without(&["visit.0"]), busy("s1/visit.0 kept>keep.0", "s1/keep.0", 2));
        assert_eq!(without(&["keep.0"]), busy("s1/relay visit>visit.0", "s1/visit.0", 3));
        assert_eq!(without(&["visit.0", "keep.0"]), Verdict::Idle);
    }

    #[test]
    fn a_slot_added_between_the_readings_is_seen_by_the_second() {
        let mut server = Server::new();
        let (relay, visit) = (server.page("relay"), server.page("visit.0"));
        let first = server.pages.read_done();
        relay.slot(Kind::Sent, "visit>visit.0").unwrap().add_sent(1);
        visit.slot(Kind::Done, "visit<relay").unwrap().add_done(1);
        let second = server.pages.read_sent();
        assert_eq!(server.pages.verdict(&first, &second, Scope::All), busy("s1/relay visit>visit.0", "s1/visit.0", 1));
    }

    #[test]
    fn a_receiver_that_did_something_before_its_sender_was_known_is_paired_with_it() {
        let mut server = Server::new();
        let visit = server.page("visit.0");
        visit.slot(Kind::Done, "visit<relay").unwrap().add_done(2);
        let wrong = server.pages.prove(Scope::All);
        assert!(matches!(&wrong, Verdict::Miscounted { edges } if edges[0].records == 2), "{wrong}");
        let relay = server.page("relay");
        relay.slot(Kind::Sent, "visit>visit.0").unwrap().add_sent(2);
        assert_eq!(server.pages.prove(Scope::All), Verdict::Idle);
    }

    #[test]
    fn a_restart_or_another_set_of_pages_between_the_readings_forbids_a_verdict() {
        let mut server = Server::new();
        let relay = server.page("relay");
        let first = server.pages.read_done();
        relay.begin_incarnation(2);
        let second = server.pages.read_sent();
        let changed = |process: &str| Verdict::Changed { processes: vec![process.into()] };
        assert_eq!(server.pages.verdict(&first, &second, Scope::All), changed("s1/relay"));
        server.page("visit.0");
        let third = server.pages.read_sent();
        assert_eq!(server.pages.verdict(&first, &third, Scope::All), changed("s1"));
    }

    #[test]
    fn readings_of_another_launcher_forbid_a_verdict() {
        let mut server = Server::new();
        server.page("relay");
        let first = server.pages.read_done();
        let mut pages = Pages::new("s1").seen_by(Identity { pid: 7, started: 9, boot: 0 });
        pages.watch("relay", Page::open(&server.directory.path().join("relay")).unwrap());
        let second = pages.read_sent();
        assert_eq!(pages.verdict(&first, &second, Scope::All), Verdict::Changed { processes: vec!["s1".into()] });
    }

    #[test]
    fn readings_survive_the_control_socket() {
        let mut server = Server::new();
        server.page("relay").slot(Kind::Link, "visit>s2/relay").unwrap().add_sent(2);
        let (first, second) = (server.pages.read_done(), server.pages.read_sent());
        let first: FirstReading = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        let second: SecondReading = serde_json::from_str(&serde_json::to_string(&second).unwrap()).unwrap();
        let verdict = server.pages.verdict(&first, &second, Scope::All);
        assert_eq!(serde_json::from_str::<Verdict>(&serde_json::to_string(&verdict).unwrap()).unwrap(), verdict);
        assert!(!verdict.is_idle());
    }
}
