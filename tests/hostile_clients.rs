//! Whatever comes to a portal's TCP ports, it is counted, a sample of it can be looked at, memory stays bounded, and records
//! of honest clients arrive, each once: a corpus of hostile clients, through the real binary.

mod playground;

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use playground::{Playground, free_ports, wait_until};
use serde_json::Value;
use waldo_sdk::wire::{Header, Kind, Passes, RecordRef, write_record};

/// Writes the payload of every record into a book.
const SINK: &str = "\
import sys
with open('book', 'a', buffering=1) as book:
    for line in sys.stdin:
        book.write(line.split('\\t')[2])
        print(flush=True)
";

/// How much memory the portal may ever have had. KiB. Its spool may have 8 MiB, messages that aren't whole 64 MiB.
const MEMORY: u64 = 160 << 10;

/// How many connections each flood has.
const MANY: usize = 300;

struct Flotilla {
    playground: Playground,
    port: u16,
}

impl Flotilla {
    fn up() -> Self {
        let playground = Playground::copy_of("hello");
        let port = free_ports();
        let topology = format!(
            "topology: open\n\
             flows:\n  call: {{key: sender, guide: hash, from: clients}}\n  \
             small: {{key: {{json: /id}}, guide: hash, from: clients, max_record: 1KiB}}\n  \
             inner: {{key: sender, guide: hash}}\n\
             stages:\n  take: {{run: python3 sink.py, speaks: ack, in: [call, small, inner], out: [inner]}}\n\
             loops:\n  again: {{flows: [inner], passes: 1}}\n\
             portals:\n  intake: {{flows: [call, small, inner], spool: {{memory: 8MiB, disk: 1GiB}}}}\n\
             namespaces:\n  test: {{local: true, ports: {port}}}\n"
        );
        fs::write(playground.path().join("waldo.yaml"), topology).expect("YAML");
        fs::write(playground.path().join("sink.py"), SINK).expect("a program");
        playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
        Self { playground, port }
    }

    fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// The port for links.
    fn links(&self) -> u16 {
        self.port + 1
    }

    /// A connection that has shaken hands.
    fn shaken(&self) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(&handshake(3, b"NULL", b"PUSH")).expect("somebody listens");
        let mut greeting = [0; 64];
        stream.read_exact(&mut greeting).expect("a greeting");
        assert_eq!((greeting[0], greeting[9], greeting[10]), (0xff, 0x7f, 3));
        stream
    }

    fn rejects(&self, flow: &str) -> Value {
        let arguments = ["rejects", flow, "--json", "--last", "10000"];
        let outcome = self.playground.run(self.playground.waldo(&arguments)).code(0);
        serde_json::from_str(&outcome.stdout).expect("one document")
    }

    /// How many were rejected, by the ledger's row.
    fn rejected(&self, flow: &str) -> u64 {
        let row = if flow == "-" { "(no flow)" } else { flow };
        self.rejects(flow)["counts"][row].as_u64().unwrap_or(0)
    }

    #[track_caller]
    fn wait_for_reject(&self, what: &str, flow: &str, before: u64, reason: &str) {
        wait_until(&format!("{what} counted"), || self.rejected(flow) > before);
        let rejects = self.rejects(flow);
        let samples = rejects["samples"].as_array().expect("a list");
        let sample =
            samples.iter().rev().find(|sample| sample["reason"].as_str().is_some_and(|it| it.contains(reason)));
        let sample = sample.unwrap_or_else(|| panic!("{what}: no sample because of {reason}: {rejects}"));
        assert!(sample["at"].as_u64() > Some(1_000_000_000_000), "{sample}");
        assert_eq!((&sample["server"], &sample["portal"]), (&"here".into(), &"intake".into()), "{sample}");
    }

    /// A record of an honest client arrives.
    #[track_caller]
    fn assert_serves(&self, after: &str) {
        let line = format!("honest after {after}");
        fs::write(self.playground.path().join("line"), &line).expect("writable");
        self.playground.run(self.playground.waldo(&["send", "call", "line"])).code(0);
        wait_until(&format!("a record after {after}"), || self.book().lines().any(|it| it == line));
    }

    fn book(&self) -> String {
        fs::read_to_string(self.playground.path().join("book")).unwrap_or_default()
    }

    /// The most memory that the portal has ever had. KiB.
    fn memory(&self) -> u64 {
        let pid = self.playground.status()["servers"]["here"]["processes"]["intake"]["pid"].as_u64().expect("it runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    [&[flags | 2][..], &(body.len() as u64).to_be_bytes(), body].concat()
}

fn message(frames: &[&[u8]]) -> Vec<u8> {
    let last = frames.len() - 1;
    frames.iter().enumerate().flat_map(|(at, body)| frame(u8::from(at < last), body)).collect()
}

fn greeting(version: u8, mechanism: &[u8]) -> Vec<u8> {
    let mut greeting = [&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, version, 0][..], mechanism].concat();
    greeting.resize(64, 0);
    greeting
}

fn handshake(version: u8, mechanism: &[u8], socket: &[u8]) -> Vec<u8> {
    let size = (socket.len() as u32).to_be_bytes();
    let ready = [&b"\x05READY\x0bSocket-Type"[..], &size, socket].concat();
    [greeting(version, mechanism), vec![4, ready.len() as u8], ready].concat()
}

/// Whether the other side has closed the connection, what it may have said before aside.
fn is_cut_off(mut stream: TcpStream) -> bool {
    let mut said = Vec::new();
    // Also a reset is an end.
    stream.read_to_end(&mut said).map_or_else(|error| error.kind() == std::io::ErrorKind::ConnectionReset, |_| true)
}

#[test]
fn strangers_are_told_apart_and_cut_off() {
    let flotilla = Flotilla::up();
    let random: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x7f).collect();
    let corpus: [(&str, Vec<u8>, &str); 9] = [
        ("raw bytes", random, "not ZeroMQ"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(), "HTTP, not ZeroMQ"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), "TLS, not ZeroMQ"),
        ("ZMTP 2.0", handshake(1, b"", b"PUSH"), "an older ZMTP than 3.0"),
        ("PLAIN", handshake(3, b"PLAIN", b"PUSH"), "the security mechanism `PLAIN`"),
        ("a publisher", handshake(3, b"NULL", b"PUB"), "a PUB socket; clients have PUSH"),
        ("a message before READY", [greeting(3, b"NULL"), message(&[b"call"])].concat(), "a message before READY"),
        ("no frames", [handshake(3, b"NULL", b"PUSH"), vec![0xff; 100]].concat(), "not a frame of ZMTP"),
        (
            "a command without end",
            [handshake(3, b"NULL", b"PUSH"), vec![6, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat(),
            "a command that is too long",
        ),
    ];
    for (what, bytes, reason) in corpus {
        let before = flotilla.rejected("-");
        let mut stream = flotilla.connect();
        // It may be cut off before it has said everything.
        let _ = stream.write_all(&bytes);
        assert!(is_cut_off(stream), "{what} is cut off");
        flotilla.wait_for_reject(what, "-", before, reason);
    }
    let before = flotilla.rejected("-");
    let mut stream = flotilla.shaken();
    stream.write_all(&message(&[b"call", b"key", b"cut in the middle"])[..30]).expect("room");
    stream.shutdown(Shutdown::Both).expect("it was open");
    flotilla.wait_for_reject("an unfinished message", "-", before, "an unfinished message");
    // Whoever only looks whether somebody listens has done no wrong.
    let before = flotilla.rejected("-");
    drop(flotilla.connect());
    flotilla.assert_serves("strangers");
    assert_eq!(flotilla.rejected("-"), before);
    assert!(flotilla.memory() < MEMORY, "{} KiB", flotilla.memory());
    flotilla.playground.run(flotilla.playground.waldo(&["down"])).code(0);
    flotilla.playground.assert_nothing_left();
}

#[test]
fn what_cannot_be_used_is_passed_over_and_what_follows_on_the_same_connection_arrives() {
    let flotilla = Flotilla::up();
    let large = vec![b'x'; (1 << 20) + 1];
    let larger = vec![b'x'; 4 << 20];
    let tiny = [1, 1, b'x'].repeat(1_000_000);
    let corpus: [(&str, Vec<u8>, &str, &str); 10] = [
        ("an unknown flow", message(&[b"nonsense", b"k", b"x"]), "-", "a flow that this portal does not carry"),
        ("a flow that is not from clients", message(&[b"inner", b"k", b"x"]), "inner", "does not come from clients"),
        ("one frame", message(&[b"x"]), "-", "1 frame"),
        ("two frames", message(&[b"call", b"x"]), "-", "2 frames, not 3"),
        ("four frames", message(&[b"call", b"k", b"x", b"y"]), "call", "more than 3 frames"),
        ("a million frames", [tiny, frame(0, b"")].concat(), "-", "more than 3 frames"),
        ("a record that is too large", message(&[b"call", b"", &large]), "call", "max_record"),
        ("a much larger one", message(&[b"call", b"", &larger]), "call", "max_record"),
        ("a record too large for its flow", message(&[b"small", b"", &large[..2_000]]), "small", "not JSON"),
        ("a payload without a key", message(&[b"small", b"k", b"{}"]), "small", "nothing at `/id`"),
    ];
    for (what, bytes, flow, reason) in corpus {
        let before = flotilla.rejected(flow);
        let mut stream = flotilla.shaken();
        stream.write_all(&bytes).expect("room");
        stream.write_all(&message(&[b"call", b"k", what.as_bytes()])).expect("room");
        flotilla.wait_for_reject(what, flow, before, reason);
        assert_eq!(flotilla.rejected(flow), before + 1, "{what} is one message");
        wait_until(&format!("what follows {what}"), || flotilla.book().lines().any(|line| line == what));
    }
    // A frame of 1 GiB, which nobody would wait for.
    let before = flotilla.rejected("call");
    let mut stream = flotilla.shaken();
    let head = [&frame(1, b"call")[..], &frame(1, b"k"), &[2], &(1_u64 << 30).to_be_bytes()].concat();
    stream.write_all(&head).expect("room");
    let _ = stream.write_all(&larger);
    flotilla.wait_for_reject("a gigabyte", "call", before, "larger than max_record");
    assert!(is_cut_off(stream), "a gigabyte is cut off");
    flotilla.assert_serves("rubbish");
    assert!(flotilla.memory() < MEMORY, "{} KiB", flotilla.memory());
    let text = flotilla.playground.run(flotilla.playground.waldo(&["rejects"])).code(0).stdout;
    assert!(text.contains("(no flow) ") && text.contains("small 2") && text.contains("here/intake"), "{text}");
    let unknown = flotilla.playground.run(flotilla.playground.waldo(&["rejects", "cal"])).code(1);
    assert!(unknown.stderr.contains("no flow named cal"), "{}", unknown.stderr);
    flotilla.playground.run(flotilla.playground.waldo(&["down"])).code(0);
    let stopped = flotilla.playground.run(flotilla.playground.waldo(&["rejects", "small"])).code(0).stdout;
    assert!(stopped.contains("is stopped") && stopped.contains("nothing at `/id`"), "{stopped}");
    flotilla.playground.assert_nothing_left();
}

#[test]
fn floods_of_connections_take_neither_memory_nor_an_honest_clients_place() {
    let flotilla = Flotilla::up();
    let before = flotilla.rejected("-");
    let half: Vec<TcpStream> = (0..MANY)
        .map(|at| {
            let mut stream = flotilla.connect();
            stream.write_all(&greeting(3, b"NULL")[..=(at % 60)]).expect("room");
            stream
        })
        .collect();
    // Most of a message of a megabyte each: three hundred megabytes, if they were kept.
    let head = [frame(1, b"call"), frame(1, b"k"), vec![2], (1_u64 << 20).to_be_bytes().to_vec()].concat();
    let body = vec![b'x'; 1_000_000];
    let unfinished: Vec<TcpStream> = (0..MANY)
        .map(|_| {
            let mut stream = flotilla.shaken();
            // Some are cut off while they write.
            let _ = stream.write_all(&head).and_then(|()| stream.write_all(&body));
            stream
        })
        .collect();
    // Whoever asks all the time and never reads the answers.
    let mut deaf = flotilla.shaken();
    deaf.set_write_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let ping = [&[4, 10][..], b"\x04PING\x00\x10abc"].concat().repeat(100_000);
    for _ in 0..4 {
        let _ = deaf.write_all(&ping);
    }
    flotilla.assert_serves("floods");
    flotilla.wait_for_reject("unfinished messages", "-", before, "too much of unfinished messages");
    wait_until("half handshakes are given up", || flotilla.rejected("-") >= before + MANY as u64);
    flotilla.wait_for_reject("half handshakes", "-", before, "a handshake that was never finished");
    for stream in half {
        assert!(is_cut_off(stream), "a half handshake is cut off");
    }
    drop(unfinished);
    assert!(flotilla.memory() < MEMORY, "{} KiB", flotilla.memory());
    flotilla.playground.run(flotilla.playground.waldo(&["down"])).code(0);
    flotilla.playground.assert_nothing_left();
}

#[test]
fn rubbish_at_the_port_for_links_is_counted_and_replays_are_dropped() {
    let flotilla = Flotilla::up();
    let context = zmq::Context::new();
    let stranger = context.socket(zmq::DEALER).expect("a socket");
    stranger.connect(&format!("tcp://127.0.0.1:{}", flotilla.links())).expect("a connection");
    let data = |sender: &str, flow: &str, number: u64, version: u64, payload: &[u8]| {
        let (incarnation, kind) = (1, Kind::Data);
        let mut bytes = Header { kind, sender, flow, incarnation, number, version, count: 1 }.message();
        write_record(&mut bytes, RecordRef { key: b"k", payload, passes: Passes::NONE });
        bytes
    };
    let rubbish = [
        ("no message of ours", b"GET / HTTP/1.1".to_vec(), "not a message of waldo's"),
        ("a sender that is nowhere", data("nowhere/x.0", "call", 1, 1, b"x"), "a sender that can't be"),
        (
            "a flow that is not there",
            data("here/ghost.0", "nothing", 1, 1, b"x"),
            "a flow that this portal does not carry",
        ),
        ("half a record", data("here/ghost.0", "call", 2, 1, b"longer")[..70].to_vec(), "records that don't add up"),
    ];
    for (what, bytes, reason) in rubbish {
        let before: u64 = flotilla.rejects("-")["counts"]["(no flow)"].as_u64().unwrap_or(0);
        stranger.send(bytes, 0).expect("room");
        wait_until(&format!("{what} counted"), || flotilla.rejected("-") > before);
        let arguments = ["rejects", "--json"];
        let all = flotilla.playground.run(flotilla.playground.waldo(&arguments)).code(0).stdout;
        assert!(all.contains(reason), "{what}: {all}");
    }
    // The same numbers once more, and numbers that leave a gap: each record once.
    for (number, text) in [(2, "one"), (2, "one again"), (3, "two"), (9, "a gap"), (2, "one again"), (3, "two again")] {
        stranger.send(data("here/ghost.0", "call", number, 1, text.as_bytes()), 0).expect("room");
    }
    // By a guide that nobody has: left to its sender.
    stranger.send(data("here/ghost.0", "call", 4, 1_000_000, b"from the future"), 0).expect("room");
    stranger.send(data("here/ghost.0", "call", 4, 1, b"three"), 0).expect("room");
    wait_until("records of the link", || flotilla.book().contains("three"));
    flotilla.assert_serves("links");
    let book = flotilla.book();
    let lines: Vec<_> = book.lines().filter(|line| !line.starts_with("honest")).collect();
    assert_eq!(lines, ["one", "two", "three"]);
    flotilla.playground.run(flotilla.playground.waldo(&["down"])).code(0);
    flotilla.playground.assert_nothing_left();
}
