//! Clients send all the while, as nobody can ask them not to: what they send is delivered to a consumer that goes, and of a flow
//! that goes, up to one moment at each portal, and there is neither a gap before it nor a record twice.

mod playground;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use playground::{Playground, free_ports, wait_until};

/// Writes the payload of every record into a book.
const SINK: &str = "\
import sys
with open(sys.argv[1], 'a', buffering=1) as book:
    for line in sys.stdin:
        book.write(line.split('\\t')[2])
        print(flush=True)
";

const KEYS: u64 = 20;

fn topology(ports: u16) -> String {
    format!(
        "topology: asked\n\
         flows:\n  call: {{key: sender, guide: hash, from: clients}}\n  ask: {{key: sender, guide: hash, from: clients}}\n\
         stages:\n  take: {{run: python3 sink.py take, speaks: ack, in: [call]}}\n  \
         note: {{run: python3 sink.py note, speaks: ack, in: [call]}}\n  \
         answer: {{run: python3 sink.py answer, speaks: ack, in: [ask]}}\n\
         servers:\n  s1: {{address: 127.0.0.1}}\n  s2: {{address: 127.0.0.1}}\n\
         namespaces:\n  test: {{local: true, ports: {ports}}}\n"
    )
}

/// Pushes numbered records of both flows until it is told to stop; answers how many of each.
fn load(port: u16, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let context = zmq::Context::new();
        let client = context.socket(zmq::PUSH).expect("a socket");
        client.connect(&format!("tcp://127.0.0.1:{port}")).expect("a connection");
        let mut number = 0_u64;
        while !stop.load(Ordering::Acquire) {
            for flow in ["call", "ask"] {
                let frames = [flow.to_owned(), format!("key-{}", number % KEYS), number.to_string()];
                client.send_multipart(frames.iter().map(String::as_str), 0).expect("room");
            }
            number += 1;
            // A load that two Python programs keep up with.
            std::thread::sleep(Duration::from_millis(2));
        }
        number
    })
}

/// The numbers in a book, sorted.
fn book(playground: &Playground, name: &str) -> Vec<u64> {
    let text = fs::read_to_string(playground.path().join(name)).unwrap_or_default();
    let mut numbers: Vec<u64> = text.lines().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

/// Whether of each key there is every record once, up to its last. Keys of different servers may end at different moments: each
/// portal has its own.
fn is_without_gap(numbers: &[u64]) -> bool {
    (0..KEYS).all(|key| {
        let of_key = numbers.iter().filter(|number| *number % KEYS == key);
        of_key.zip(0..).all(|(number, turn)| *number == key + turn * KEYS)
    })
}

#[test]
fn a_consumer_and_a_flow_go_while_clients_send() {
    let playground = Playground::copy_of("hello");
    let ports = free_ports();
    fs::write(playground.path().join("waldo.yaml"), topology(ports)).expect("YAML");
    fs::write(playground.path().join("sink.py"), SINK).expect("a program");
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let stop = Arc::new(AtomicBool::new(false));
    let client = load(ports, &stop);
    let wait_for = |name: &str, more: usize| {
        let before = book(&playground, name).len();
        wait_until(&format!("records in {name}"), || book(&playground, name).len() > before + more);
    };
    for name in ["take", "note", "answer"] {
        wait_for(name, 100);
    }

    playground.edit("waldo.yaml", "  note: {run: python3 sink.py note, speaks: ack, in: [call]}\n", "");
    playground.run(playground.waldo(&["deploy", "--yes", "--json"])).code(0);
    for name in ["take", "answer"] {
        wait_for(name, 100);
    }

    playground.edit("waldo.yaml", "  ask: {key: sender, guide: hash, from: clients}\n", "");
    playground.edit("waldo.yaml", "  answer: {run: python3 sink.py answer, speaks: ack, in: [ask]}\n", "");
    let outcome = playground.run(playground.waldo(&["deploy", "--yes", "--json"])).code(0);
    let lost = |flow: &str| outcome.ledger()["flows"][flow]["lost"].as_u64().unwrap_or(0);
    assert_eq!((lost("call"), lost("ask")), (0, 0), "{}", outcome.stdout);
    wait_for("take", 100);

    stop.store(true, Ordering::Release);
    let sent = client.join().expect("a client that ended well");
    wait_until("the last record", || book(&playground, "take").len() as u64 >= sent);
    assert!(is_without_gap(&book(&playground, "take")), "all, each once");
    for name in ["note", "answer"] {
        let numbers = book(&playground, name);
        assert!(is_without_gap(&numbers), "{name} has each record once up to its last, {:?}", numbers.last());
        assert!((numbers.len() as u64) < sent);
    }
    playground.run(playground.waldo(&["down"])).code(0);
    playground.assert_nothing_left();
}
