//! The idle proof over live counters pages, with real threads in place of processes: whenever it says "idle", it is.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use waldo_runtime::idle::{Pages, Scope};
use waldo_sdk::page::{Kind, Page, Slot};

const WORKERS: usize = 3;
const ROUNDS: usize = 200;
/// How many records are injected in a round, and how often each is passed on.
const RECORDS: usize = 3;
const HOPS: u32 = 20;
const AT_MOST: Duration = Duration::from_secs(20);

struct Record {
    from: usize,
    hops: u32,
}

/// A worker's inbox, and what it counts for each other worker and for the injector (the last).
struct Worker {
    inbox: Mutex<VecDeque<Record>>,
    filled: Condvar,
    sent: Vec<Slot>,
    done: Vec<Slot>,
}

struct System {
    workers: Vec<Worker>,
    injected: Vec<Slot>,
    /// The truth: raised before S, and lowered when nothing but D is left to do.
    alive: AtomicI64,
    ended: AtomicBool,
}

impl System {
    fn put(&self, to: usize, record: Record) {
        self.workers[to].inbox.lock().unwrap().push_back(record);
        self.workers[to].filled.notify_one();
    }

    fn inject(&self, number: usize) {
        let to = number % WORKERS;
        self.alive.fetch_add(1, Ordering::SeqCst);
        self.injected[to].add_sent(1);
        self.put(to, Record { from: WORKERS, hops: HOPS });
    }

    fn work(&self, own: usize) {
        let worker = &self.workers[own];
        while !self.ended.load(Ordering::SeqCst) {
            let taken =
                worker.filled.wait_timeout_while(worker.inbox.lock().unwrap(), Duration::from_millis(10), |inbox| {
                    inbox.is_empty()
                });
            let Some(record) = taken.unwrap().0.pop_front() else { continue };
            if record.hops > 0 {
                let to = (own + record.hops as usize) % WORKERS;
                self.alive.fetch_add(1, Ordering::SeqCst);
                worker.sent[to].add_sent(1);
                self.put(to, Record { from: own, hops: record.hops - 1 });
            }
            self.alive.fetch_sub(1, Ordering::SeqCst);
            worker.done[record.from].add_done(1);
        }
    }
}

fn page(directory: &tempfile::TempDir, pages: &mut Pages, process: &str) -> Page {
    let page = Page::create(&directory.path().join(process), 16).unwrap();
    page.begin_incarnation(1);
    pages.watch(process, page.clone());
    page
}

#[test]
fn a_proof_over_live_pages_is_never_wrong_and_always_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut pages = Pages::new("s1");
    let injector = page(&directory, &mut pages, "injector");
    let slot = |page: &Page, kind: Kind, name: String| page.slot(kind, &name).unwrap();
    let injected = (0..WORKERS).map(|to| slot(&injector, Kind::Sent, format!("a>w{to}"))).collect();
    let workers = (0..WORKERS).map(|own| {
        let page = page(&directory, &mut pages, &format!("w{own}"));
        let sent = (0..WORKERS).map(|to| slot(&page, Kind::Sent, format!("b>w{to}")));
        let done = (0..WORKERS).map(|from| slot(&page, Kind::Done, format!("b<w{from}")));
        let from_injector = slot(&page, Kind::Done, "a<injector".to_owned());
        Worker {
            inbox: Mutex::default(),
            filled: Condvar::new(),
            sent: sent.collect(),
            done: done.chain([from_injector]).collect(),
        }
    });
    let workers = workers.collect();
    let system = Arc::new(System { workers, injected, alive: AtomicI64::new(0), ended: AtomicBool::new(false) });
    let threads: Vec<_> = (0..WORKERS)
        .map(|own| {
            let system = Arc::clone(&system);
            thread::spawn(move || system.work(own))
        })
        .collect();
    let until = Instant::now() + AT_MOST;
    let mut refused = 0;
    for round in 0..ROUNDS {
        for number in 0..RECORDS {
            system.inject(round + number);
        }
        while !pages.prove(Scope::All).is_idle() {
            refused += 1;
            assert!(Instant::now() < until, "round {round}: never idle: {}", pages.prove(Scope::All));
        }
        assert_eq!(system.alive.load(Ordering::SeqCst), 0, "round {round}: called idle with records under way");
    }
    system.ended.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    println!("{ROUNDS} proofs, {refused} refused before them");
    assert!(refused > 0, "the observer never met a busy system");
}
