//! After a death, whoever is left settles the edge: what is done and what is written off add up to what was sent.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use waldo_sdk::{
    inbox::Inbox,
    leaving::Leaving,
    outlet::{Outlet, Route},
    page::{Kind, Page},
    wire::{Passes, RecordRef},
    wiring::{Consumer, Input, Place, Receiver, Spread, Wiring},
};
use zmq::Context;

const AT_MOST: Duration = Duration::from_secs(5);

fn place(run: &Path, process: &str) -> Place {
    Place {
        topology: "t".into(),
        namespace: "n".into(),
        server: "s".into(),
        process: process.into(),
        generation: 1,
        run: run.to_owned(),
        guide: run.join("guide.json"),
        state: run.join("state"),
        spool: run.join("spool"),
    }
}

/// One channel, and how often each of its ends has been started.
struct Edge {
    run: tempfile::TempDir,
    sender_page: Page,
    receiver_page: Page,
    starts: u64,
}

struct Sender {
    outlet: Outlet,
    route: Route,
    _context: Context,
}

struct Taker {
    inbox: Inbox,
    _context: Context,
}

impl Edge {
    fn new() -> Self {
        let run = tempfile::tempdir().unwrap();
        let page = |process: &str| {
            std::fs::create_dir(run.path().join(process)).unwrap();
            Page::create(&place(run.path(), process).page(process), 8).unwrap()
        };
        let (sender_page, receiver_page) = (page("a.0"), page("b.0"));
        Self { run, sender_page, receiver_page, starts: 0 }
    }

    fn start_sender(&mut self) -> Sender {
        self.starts += 1;
        let (context, place) = (Context::new(), place(self.run.path(), "a.0"));
        self.sender_page.begin_incarnation(self.starts);
        let mut outlet = Outlet::new(&place, self.starts);
        let receivers = vec![Receiver { process: "b.0".into(), share: 100 }];
        let consumer = Consumer { stage: "b".into(), spread: Spread::Any, receivers };
        let route = outlet.add(&context, &place, &self.sender_page, "f", &consumer).unwrap();
        Sender { outlet, route, _context: context }
    }

    fn start_receiver(&mut self) -> Taker {
        self.starts += 1;
        let context = Context::new();
        self.receiver_page.begin_incarnation(self.starts);
        let place = place(self.run.path(), "b.0");
        let inbox = Inbox::bind(&context, &place, &self.receiver_page, self.starts).unwrap();
        Taker { inbox, _context: context }
    }

    fn counts(&self) -> (u64, u64, u64) {
        let sent = self.sender_page.find(Kind::Sent, "f>b.0").map_or(0, |slot| slot.sent());
        let done = self.receiver_page.find(Kind::Done, "f<a.0");
        done.map_or((sent, 0, 0), |slot| (sent, slot.done(), slot.written_off()))
    }

    /// Lets both ends work until the counts are these.
    fn settle(&self, sender: &mut Sender, receiver: &mut Taker, counts: (u64, u64, u64)) {
        self.until(sender, receiver, &format!("{counts:?}"), |edge| edge.counts() == counts);
    }

    fn until(&self, sender: &mut Sender, receiver: &mut Taker, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + AT_MOST;
        while !holds(self) {
            assert!(Instant::now() < end, "sent, done, written off never were {what}: {:?}", self.counts());
            sender.outlet.tend(Instant::now()).unwrap();
            while receiver.inbox.take_record().unwrap().is_some() {}
            std::thread::yield_now();
        }
    }
}

impl Taker {
    /// Says that it leaves, and works until it may.
    fn leave(mut self, edge: &Edge) {
        let page = &edge.receiver_page;
        page.set_leaving(page.incarnation());
        let inputs = vec![Input { flow: "f".into(), from: vec!["a.0".into()] }];
        let wiring = Wiring { stage: "b".into(), inputs, ..Wiring::default() };
        let mut leaving = Leaving::new(&place(edge.run.path(), "b.0"), &wiring, page, Instant::now());
        loop {
            while self.inbox.take_record().unwrap().is_some() {}
            if leaving.is_over(Instant::now()) {
                return;
            }
            std::thread::yield_now();
        }
    }
}

impl Sender {
    fn send(&mut self, records: usize) {
        self.count_only(records);
        self.outlet.flush_all().unwrap();
    }

    /// Puts records into the batch, where they are lost if the sender dies.
    fn count_only(&mut self, records: usize) {
        for _ in 0..records {
            let record = RecordRef { key: b"", payload: b"x", passes: Passes::NONE };
            assert!(self.route.push(&mut self.outlet, record).unwrap());
        }
    }
}

#[test]
fn what_a_dead_sender_had_in_its_batch_is_written_off() {
    let mut edge = Edge::new();
    let (mut sender, mut receiver) = (edge.start_sender(), edge.start_receiver());
    sender.send(8);
    edge.settle(&mut sender, &mut receiver, (8, 8, 0));
    sender.count_only(2);
    drop(sender);
    let mut sender = edge.start_sender();
    sender.send(5);
    edge.settle(&mut sender, &mut receiver, (15, 13, 2));
}

#[test]
fn what_a_dead_receiver_had_in_its_inbox_is_written_off() {
    let mut edge = Edge::new();
    let (mut sender, mut receiver) = (edge.start_sender(), edge.start_receiver());
    sender.send(8);
    edge.settle(&mut sender, &mut receiver, (8, 8, 0));
    sender.send(3);
    // In hand, and two behind it.
    let end = Instant::now() + AT_MOST;
    while receiver.inbox.take_record().unwrap().is_none() {
        assert!(Instant::now() < end, "the records never arrived");
    }
    drop(receiver);
    let mut receiver = edge.start_receiver();
    edge.settle(&mut sender, &mut receiver, (11, 8, 3));
    sender.send(4);
    edge.settle(&mut sender, &mut receiver, (15, 12, 3));
}

#[test]
fn a_receiver_that_dies_while_it_settles_its_senders_death_leaves_the_account_right() {
    let mut edge = Edge::new();
    let (mut sender, mut receiver) = (edge.start_sender(), edge.start_receiver());
    sender.send(8);
    edge.settle(&mut sender, &mut receiver, (8, 8, 0));
    sender.count_only(2);
    drop(sender);
    let mut sender = edge.start_sender();
    sender.send(5);
    edge.settle(&mut sender, &mut receiver, (15, 13, 0));
    drop(receiver);
    let mut receiver = edge.start_receiver();
    let confirmed =
        |edge: &Edge| edge.receiver_page.find(Kind::Done, "f<a.0").is_some_and(|slot| slot.succession() > 0);
    edge.until(&mut sender, &mut receiver, "confirmed", confirmed);
    edge.settle(&mut sender, &mut receiver, (15, 13, 2));
    sender.send(4);
    edge.settle(&mut sender, &mut receiver, (19, 17, 2));
}

#[test]
fn both_ends_die_one_after_the_other_again_and_again() {
    let mut edge = Edge::new();
    let (mut sender, mut receiver) = (edge.start_sender(), edge.start_receiver());
    let (mut sent, mut lost) = (0, 0);
    for round in 0..3 {
        sender.send(6);
        sent += 6;
        edge.settle(&mut sender, &mut receiver, (sent, sent - lost, lost));
        sender.count_only(2);
        drop(sender);
        (sent, lost) = (sent + 2, lost + 2);
        sender = edge.start_sender();
        if round % 2 == 0 {
            edge.settle(&mut sender, &mut receiver, (sent, sent - lost, lost));
        }
        drop(receiver);
        receiver = edge.start_receiver();
        edge.settle(&mut sender, &mut receiver, (sent, sent - lost, lost));
    }
}

#[test]
fn what_comes_while_a_receiver_leaves_waits_for_its_successor() {
    let mut edge = Edge::new();
    let (mut sender, mut receiver) = (edge.start_sender(), edge.start_receiver());
    sender.send(8);
    edge.settle(&mut sender, &mut receiver, (8, 8, 0));
    let record = RecordRef { key: b"", payload: b"x", passes: Passes::NONE };
    sender.count_only(2);
    edge.receiver_page.set_leaving(edge.receiver_page.incarnation());
    assert!(sender.route.push(&mut sender.outlet, record).unwrap(), "the batch is begun");
    sender.outlet.flush_all().unwrap();
    assert!(!sender.route.push(&mut sender.outlet, record).unwrap(), "nothing more is begun");
    receiver.leave(&edge);
    assert_eq!(edge.counts(), (11, 11, 0));
    assert!(!sender.route.push(&mut sender.outlet, record).unwrap(), "nobody is there");
    let mut receiver = edge.start_receiver();
    sender.send(4);
    edge.settle(&mut sender, &mut receiver, (15, 15, 0));
}

/// Lets the other thread end.
struct Ends<'s>(&'s AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn receivers_that_leave_one_after_the_other_lose_nothing_of_what_is_sent_meanwhile() {
    let mut edge = Edge::new();
    let mut sender = edge.start_sender();
    let stop = AtomicBool::new(false);
    let mut receiver = edge.start_receiver();
    std::thread::scope(|scope| {
        let stop = &stop;
        // Also when an assertion fails.
        let _ends = Ends(stop);
        scope.spawn(move || {
            let record = RecordRef { key: b"", payload: b"x", passes: Passes::NONE };
            while !stop.load(Ordering::Relaxed) {
                // Batches of every size.
                for _ in 0..=sender.outlet.under_way() % 7 {
                    let _ = sender.route.push(&mut sender.outlet, record).unwrap();
                }
                sender.outlet.flush_all().unwrap();
                sender.outlet.tend(Instant::now()).unwrap();
            }
        });
        for round in 0..50 {
            let before = edge.counts().1;
            let end = Instant::now() + AT_MOST;
            while edge.counts().1 < before + 50 {
                assert!(Instant::now() < end, "nothing comes in round {round}: {:?}", edge.counts());
                while receiver.inbox.take_record().unwrap().is_some() {}
            }
            receiver.leave(&edge);
            let (sent, done, lost) = edge.counts();
            assert_eq!((done, lost), (sent, 0), "round {round}");
            receiver = edge.start_receiver();
        }
    });
}
