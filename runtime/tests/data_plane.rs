//! Records go through inboxes, links and portals exactly once and in order, and the pages say so.
//!
//! Everything runs in this process, each part in a thread of its own, over real sockets and pages.

#[path = "../../tests/ports/mod.rs"]
mod ports;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ports::free_port;
use waldo_runtime::portal;
use waldo_sdk::{
    Stage,
    guide::{self, Endpoints, FlowGuide, Guide, Map, SLOTS},
    page::{Kind, Page},
    wire::Header,
    wiring::{
        self, Carried, Consumer, Doors, Input, KeyRule, LoopStep, Output, Place, Placed, Receiver, SpoolLimits, Spread,
        Wiring,
    },
};

const BOUND: Duration = Duration::from_secs(60);

struct Server {
    directory: tempfile::TempDir,
}

impl Server {
    /// A server's run directory, with a guide that gives everything to it.
    fn new(link_port: u16, client_port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let endpoints = Endpoints {
            links: format!("tcp://127.0.0.1:{link_port}"),
            clients: Some(format!("tcp://127.0.0.1:{client_port}")),
        };
        let guide = Guide {
            format: guide::FORMAT,
            servers: vec!["s1".into()],
            tables: vec![vec![0; SLOTS]],
            flows: ["call", "again"]
                .map(|flow| (flow.to_owned(), FlowGuide { version: 1, portal: "relay".into(), map: Map::Hash(0) }))
                .into(),
            portals: BTreeMap::from([("s1".into(), BTreeMap::from([("relay".into(), endpoints)]))]),
        };
        let path = directory.path().join("guide.json");
        std::fs::write(path, serde_json::to_string(&guide).unwrap()).unwrap();
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A place for a process, with its directory and page, as the launcher would make it for this incarnation.
    fn place(&self, process: &str, incarnation: u64) -> Place {
        let place = Place {
            topology: "test".into(),
            namespace: "default".into(),
            server: "s1".into(),
            process: process.into(),
            generation: 1,
            run: self.path().into(),
            guide: self.path().join("guide.json"),
            state: self.path().join("state").join(process),
            spool: self.path().join("spool").join(process),
        };
        std::fs::create_dir_all(place.directory(process)).unwrap();
        std::fs::create_dir_all(&place.state).unwrap();
        Page::create(&place.page(process), 64).unwrap().begin_incarnation(incarnation);
        place
    }

    fn page(&self, process: &str) -> Page {
        Page::open(&self.path().join(process).join("page")).unwrap()
    }
}

fn keyed(flow: &str) -> Output {
    Output { flow: flow.into(), key: Some(KeyRule::Sender), max_record: 1 << 20, loops: vec![], consumers: vec![] }
}

fn receivers(share: u64, processes: &[&str]) -> Vec<Receiver> {
    processes.iter().map(|process| Receiver { process: (*process).into(), share }).collect()
}

fn stage(name: &str, inputs: &[(&str, &str)], outputs: Vec<Output>) -> Wiring {
    let inputs = inputs.iter().map(|&(flow, from)| Input { flow: flow.into(), from: vec![from.into()] }).collect();
    Wiring { stage: name.into(), instance: 0, inputs, outputs, portal: None, egress: None }
}

struct Portal {
    term: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Portal {
    fn start(server: &Server, ports: (u16, u16), incarnation: u64, consumers: &[Consumer], memory: u64) -> Self {
        let carried = |flow: &str| Carried {
            flow: flow.into(),
            key: KeyRule::Sender,
            max_record: 1 << 20,
            from_clients: flow == "call",
            consumers: consumers.to_vec(),
        };
        let doors = Doors {
            links: format!("tcp://127.0.0.1:{}", ports.0),
            clients: Some(format!("tcp://127.0.0.1:{}", ports.1)),
            flows: vec![carried("call")],
            spool: SpoolLimits { memory, disk: 1 << 30 },
        };
        let wiring = Wiring { stage: "relay".into(), portal: Some(doors), ..Wiring::default() };
        let placed = Placed { format: wiring::FORMAT, place: server.place("relay", incarnation), wiring };
        let term = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&term);
        let thread = std::thread::spawn(move || portal::run_at(placed, incarnation, &flag).unwrap());
        Self { term, thread }
    }

    fn stop(self) {
        self.term.store(true, Ordering::Release);
        self.thread.join().unwrap();
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come about in {BOUND:?}");
        std::thread::yield_now();
    }
}

/// Sends `count` numbered records of `call`, as a source would, and leaves.
fn source(server: &Server, count: u64) -> JoinHandle<()> {
    let place = server.place("wanted.0", 1);
    std::thread::spawn(move || {
        let mut stage = Stage::open_at(place, stage("wanted", &[], vec![keyed("call")]), 1).unwrap();
        for number in 0..count {
            let key = (number % 7).to_string();
            stage.send("call", key.as_bytes(), &number.to_le_bytes()).unwrap();
        }
        stage.finish().unwrap();
    })
}

/// Receives `count` records and answers the numbers in them.
fn sink(server: &Server, process: &str, count: u64) -> JoinHandle<Vec<u64>> {
    let place = server.place(process, 1);
    std::thread::spawn(move || {
        let mut stage = Stage::open_at(place, stage("score", &[("call", "relay")], vec![]), 1).unwrap();
        let mut numbers = Vec::new();
        while (numbers.len() as u64) < count {
            let record = stage.receive().unwrap().expect("nobody stops it");
            numbers.push(u64::from_le_bytes(record.payload().try_into().unwrap()));
        }
        stage.finish().unwrap();
        numbers
    })
}

fn to_one(share: u64) -> Vec<Consumer> {
    vec![Consumer { stage: "score".into(), spread: Spread::Any, receivers: receivers(share, &["score.0"]) }]
}

#[test]
fn records_pass_a_portal_exactly_once_and_in_order() {
    const COUNT: u64 = 200_000;
    let ports = (free_port(), free_port());
    let server = Server::new(ports.0, ports.1);
    let sink = sink(&server, "score.0", COUNT);
    let portal = Portal::start(&server, ports, 1, &to_one(500), 1 << 26);
    source(&server, COUNT).join().unwrap();
    assert_eq!(sink.join().unwrap(), (0..COUNT).collect::<Vec<_>>());
    let link = server.page("wanted.0").find(Kind::Link, "call>s1/relay").unwrap();
    assert_eq!((link.sent(), link.done()), (COUNT, COUNT));
    let spool = server.page("relay").find(Kind::Spool, "call@score").unwrap();
    wait_until("the spool's account", || spool.done() == COUNT);
    let done = server.page("score.0").find(Kind::Done, "call<relay").unwrap();
    wait_until("the receiver's account", || done.done() == COUNT);
    portal.stop();
}

#[test]
fn what_a_portal_holds_overflows_to_disk_and_comes_out_in_order() {
    const COUNT: u64 = 100_000;
    let ports = (free_port(), free_port());
    let server = Server::new(ports.0, ports.1);
    let portal = Portal::start(&server, ports, 1, &to_one(100), 200_000);
    // Nobody receives yet: the source must not be stopped by that.
    source(&server, COUNT).join().unwrap();
    assert!(server.path().join("spool/relay/call@score").is_dir(), "nothing went to disk");
    let numbers = sink(&server, "score.0", COUNT).join().unwrap();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    portal.stop();
}

#[test]
fn a_portal_that_is_stopped_and_started_again_goes_on_where_it_was() {
    const COUNT: u64 = 50_000;
    let ports = (free_port(), free_port());
    let server = Server::new(ports.0, ports.1);
    let sink = sink(&server, "score.0", COUNT);
    let portal = Portal::start(&server, ports, 1, &to_one(10), 1 << 26);
    let source = source(&server, COUNT);
    let page = server.page("relay");
    wait_until("half of the records", || {
        page.find(Kind::Spool, "call@score").is_some_and(|spool| spool.sent() >= COUNT / 2)
    });
    portal.stop();
    let portal = Portal::start(&server, ports, 2, &to_one(10), 1 << 26);
    source.join().unwrap();
    assert_eq!(sink.join().unwrap(), (0..COUNT).collect::<Vec<_>>());
    portal.stop();
}

#[test]
fn instances_share_records_and_keys_stay_together() {
    const COUNT: u64 = 20_000;
    for (spread, least) in [(Spread::Any, 1), (Spread::Key, 0), (Spread::All, COUNT)] {
        let ports = (free_port(), free_port());
        let server = Server::new(ports.0, ports.1);
        let names = ["score.0", "score.1", "score.2"];
        let consumer = Consumer { stage: "score".into(), spread, receivers: receivers(200, &names) };
        let stop = Arc::new(AtomicBool::new(false));
        let sinks: Vec<_> = names
            .iter()
            .map(|process| {
                let place = server.place(process, 1);
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    let mut stage = Stage::open_at(place, stage("score", &[("call", "relay")], vec![]), 1).unwrap();
                    let mut numbers = Vec::new();
                    while !stop.load(Ordering::Acquire) {
                        match stage.try_receive().unwrap() {
                            Some(record) => {
                                numbers.push(u64::from_le_bytes(record.payload().try_into().unwrap()));
                            }
                            None => stage.wait_for_input(5).unwrap(),
                        }
                    }
                    numbers
                })
            })
            .collect();
        let portal = Portal::start(&server, ports, 1, &[consumer], 1 << 26);
        source(&server, COUNT).join().unwrap();
        let copies = if spread == Spread::All { 3 } else { 1 };
        wait_until("all records done", || {
            let done =
                |process: &&str| server.page(process).find(Kind::Done, "call<relay").map_or(0, |slot| slot.done());
            names.iter().map(done).sum::<u64>() == COUNT * copies
        });
        stop.store(true, Ordering::Release);
        let received: Vec<Vec<u64>> = sinks.into_iter().map(|sink| sink.join().unwrap()).collect();
        assert!(received.iter().all(|numbers| numbers.len() as u64 >= least), "{spread:?}: an instance got too little");
        let mut all: Vec<u64> = received.concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len() as u64, COUNT, "{spread:?}");
        if spread == Spread::Key {
            for numbers in &received {
                assert!(numbers.is_sorted(), "order per key is kept as there is one sender");
            }
            let keys =
                |numbers: &Vec<u64>| numbers.iter().map(|number| number % 7).collect::<std::collections::BTreeSet<_>>();
            let owners: usize = received.iter().map(|numbers| keys(numbers).len()).sum();
            assert_eq!(owners, 7, "each key has one instance");
        }
        portal.stop();
    }
}

#[test]
fn clients_push_three_frames_and_rubbish_is_counted_and_kept() {
    let ports = (free_port(), free_port());
    let server = Server::new(ports.0, ports.1);
    let sink = sink(&server, "score.0", 3);
    let portal = Portal::start(&server, ports, 1, &to_one(100), 1 << 26);
    let context = zmq::Context::new();
    let client = context.socket(zmq::PUSH).unwrap();
    client.connect(&format!("tcp://127.0.0.1:{}", ports.1)).unwrap();
    for number in 0..3_u64 {
        client.send_multipart([&b"nonsense"[..], b"k", b"x"], 0).unwrap();
        client.send_multipart([&b"one"[..], b"two"], 0).unwrap();
        client.send_multipart([&b"call"[..], b"k", &number.to_le_bytes()], 0).unwrap();
    }
    assert_eq!(sink.join().unwrap(), [0, 1, 2]);
    let page = server.page("relay");
    wait_until("rubbish counted", || page.find(Kind::Count, "rejected").is_some_and(|slot| slot.done() == 6));
    assert_eq!(page.find(Kind::Count, "clients call").unwrap().done(), 3);
    assert!(server.path().join("spool/relay/rejects").is_file());
    portal.stop();
}

#[test]
fn made_up_senders_neither_end_a_portal_nor_fill_its_page() {
    let ports = (free_port(), free_port());
    let server = Server::new(ports.0, ports.1);
    let portal = Portal::start(&server, ports, 1, &to_one(100), 1 << 26);
    let context = zmq::Context::new();
    let stranger = context.socket(zmq::DEALER).unwrap();
    stranger.connect(&format!("tcp://127.0.0.1:{}", ports.0)).unwrap();
    let names = (0..500).map(|number| format!("nowhere/{number}")).chain(["s1/".to_owned() + &"x".repeat(240)]);
    for sender in names {
        let kind = waldo_sdk::wire::Kind::Data;
        let header = Header { kind, sender: &sender, flow: "call", incarnation: 1, number: 1, version: 1, count: 0 };
        stranger.send(header.message(), 0).unwrap();
    }
    stranger.send("GET / HTTP/1.1", 0).unwrap();
    let sink = sink(&server, "score.0", 10);
    source(&server, 10).join().unwrap();
    assert_eq!(sink.join().unwrap(), (0..10).collect::<Vec<_>>());
    let page = server.page("relay");
    wait_until("rubbish counted", || page.find(Kind::Count, "rejected").is_some_and(|slot| slot.done() >= 1));
    assert!(page.len() < 20, "{} slots", page.len());
    portal.stop();
}

#[test]
fn a_record_goes_round_a_loop_as_often_as_it_may_and_no_more() {
    let ports = (free_port(), free_port());
    let server = Server::new(ports.0, ports.1);
    let portal = Portal::start(&server, ports, 1, &to_one(100), 1 << 26);
    let place = server.place("score.0", 1);
    let step = LoopStep { name: "round".into(), id: wiring::loop_id("round"), passes: 5, first: true, listed: true };
    let output = Output { loops: vec![step], ..keyed("call") };
    let mut stage = Stage::open_at(place, stage("score", &[("call", "relay")], vec![output]), 1).unwrap();
    stage.send("call", b"k", b"payload").unwrap();
    let mut rounds = 0;
    let dead = || server.page("score.0").find(Kind::Count, "dead call").map_or(0, |slot| slot.done());
    wait_until("the dead letter", || {
        match stage.try_receive().unwrap() {
            Some(record) => {
                rounds += 1;
                stage.send("call", record.key(), record.payload()).unwrap();
            }
            None => stage.wait_for_input(5).unwrap(),
        }
        dead() == 1
    });
    assert_eq!(rounds, 5);
    let letters = std::fs::read_to_string(server.path().join("state/score.0/dead-letters")).unwrap();
    assert_eq!(letters, "call\tk\tpayload\n");
    stage.finish().unwrap();
    portal.stop();
}
