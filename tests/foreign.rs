//! Clients that know nothing of waldo: pyzmq, C, Node's `zeromq`, and a program without any library that was written from
//! docs/protocol.md alone. Three frames, and one frame where the flow's key rule finds the key; through the real binary.

mod playground;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use playground::{Playground, free_ports, wait_until};

/// Writes flow, key and payload of every record into a book.
const SINK: &str = "\
import sys
with open('book', 'a', buffering=1) as book:
    for line in sys.stdin:
        book.write(line)
        print(flush=True)
";

/// Records that each client sends, of each flow.
const COUNT: usize = 100;

struct Flotilla {
    playground: Playground,
    ports: u16,
}

impl Flotilla {
    /// Four portals, each with a flow that clients may send, on two servers.
    fn up() -> Self {
        let playground = Playground::copy_of("hello");
        let ports = free_ports();
        let topology = format!(
            "topology: foreign\n\
             flows:\n  \
             told: {{key: sender, guide: hash, from: clients}}\n  \
             json: {{key: {{json: /who/id}}, guide: hash, from: clients}}\n  \
             column: {{key: {{column: 2, separator: \",\"}}, guide: hash, from: clients, max_record: 1KiB}}\n  \
             bytes: {{key: {{bytes: [2, 6]}}, guide: hash, from: clients}}\n\
             stages:\n  take: {{run: python3 sink.py, speaks: ack, in: [told, json, column, bytes]}}\n\
             portals:\n  a: {{flows: [told]}}\n  b: {{flows: [json]}}\n  c: {{flows: [column]}}\n  d: {{flows: [bytes]}}\n\
             servers:\n  s1: {{address: 127.0.0.1}}\n  s2: {{address: 127.0.0.1}}\n\
             namespaces:\n  test: {{local: true, ports: {ports}}}\n"
        );
        fs::write(playground.path().join("waldo.yaml"), topology).expect("YAML");
        fs::write(playground.path().join("sink.py"), SINK).expect("a program");
        playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
        Self { playground, ports }
    }

    /// Where clients reach the portal of a flow, on one of the two servers.
    fn door(&self, flow: &str, server: u16) -> u16 {
        let portal = ["told", "json", "column", "bytes"].iter().position(|known| *known == flow).expect("a flow");
        self.ports + portal as u16 * 2 + server
    }

    fn book(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(self.playground.path().join("book")).unwrap_or_default();
        // The last line may not be whole.
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let all: Vec<String> = lines.map(str::to_owned).collect();
        let distinct: BTreeSet<String> = all.iter().cloned().collect();
        assert_eq!(distinct.len(), all.len(), "each record once");
        distinct
    }

    fn down(&self) {
        self.playground.run(self.playground.waldo(&["down"])).code(0);
        self.playground.assert_nothing_left();
    }
}

/// A client that can be started here.
struct Client {
    name: &'static str,
    words: Vec<String>,
    modules: PathBuf,
}

fn here(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(file).display().to_string()
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// All clients that this machine can run; says loudly which it can't.
fn clients(directory: &Path) -> Vec<Client> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/foreign");
    let client = |name, words: &[&str]| Client {
        name,
        words: words.iter().map(|&word| word.to_owned()).collect(),
        modules: modules.clone(),
    };
    let mut clients = vec![client("plain", &["python3", &here("plain.py")])];
    let has_zmq = |python: &&str| succeeds(Command::new(python).args(["-c", "import zmq"]));
    match ["python3", "/usr/bin/python3"].iter().find(|python| has_zmq(python)) {
        Some(python) => clients.push(client("pyzmq", &[python, &here("client.py")])),
        None => eprintln!("SKIPPED: a client over pyzmq, which is not installed (scripts/setup installs it)"),
    }
    let binary = directory.join("client").display().to_string();
    if succeeds(Command::new("cc").args(["-Wall", "-Werror", "-o", &binary, &here("client.c"), "-lzmq"])) {
        clients.push(client("C", &[&binary]));
    } else {
        panic!("tests/foreign/client.c isn't compiled by `cc … -lzmq` (scripts/setup installs both)");
    }
    if modules.join("node_modules/zeromq").is_dir() && succeeds(Command::new("node").arg("--version")) {
        clients.push(client("Node", &["node", &here("client.mjs")]));
    } else {
        eprintln!(
            "SKIPPED: a client over Node's zeromq, which is not installed (scripts/setup installs it if there is npm)"
        );
    }
    clients
}

impl Client {
    /// Sends these messages, whose frames are set apart by tabs, and ends well.
    fn send(&self, port: u16, messages: &str, directory: &Path) {
        let input = directory.join("messages");
        fs::write(&input, messages).expect("writable");
        let output = Command::new(&self.words[0])
            .args(&self.words[1..])
            .arg(format!("tcp://127.0.0.1:{port}"))
            .env("FOREIGN_MODULES", &self.modules)
            .stdin(File::open(&input).expect("is there"))
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn records_of_foreign_clients_arrive_with_their_keys_in_three_frames_and_in_one() {
    let flotilla = Flotilla::up();
    let directory = flotilla.playground.path();
    let mut expected = BTreeSet::new();
    for (turn, client) in (0..).zip(clients(directory)) {
        let name = client.name;
        for (flow, turn) in ["told", "json", "column", "bytes"].into_iter().zip(turn..) {
            // Whichever server it is, the other one's keys are passed on.
            let server = turn % 2;
            let mut messages = String::new();
            for number in 0..COUNT {
                let payload = match flow {
                    "json" => format!("{{\"from\":\"{name} {server}\",\"who\":{{\"id\":\"k{number}\"}}}}"),
                    "column" => format!("{name} {server},k{number}"),
                    "bytes" => format!("{server}-{number:04}{name}"),
                    _ => format!("{name} {server} {number}"),
                };
                let key = if flow == "bytes" { format!("{number:04}") } else { format!("k{number}") };
                // One frame where the rule finds the key; in three, the key's frame says nothing then.
                let frames = match (flow, number % 2) {
                    ("told", _) => format!("{flow}\t{key}\t{payload}"),
                    (_, 0) => format!("{flow}\t\t{payload}"),
                    _ => payload.clone(),
                };
                writeln!(messages, "{frames}").expect("memory");
                expected.insert(format!("{flow}\t{key}\t{payload}"));
            }
            client.send(flotilla.door(flow, server), &messages, directory);
        }
    }
    wait_until("all records", || flotilla.book().len() >= expected.len());
    assert_eq!(flotilla.book(), expected);
    let rejects = flotilla.playground.run(flotilla.playground.waldo(&["rejects"])).code(0).stdout;
    assert!(rejects.contains("nothing was rejected"), "{rejects}");
    flotilla.down();
}

#[test]
fn the_published_bytes_of_a_client_are_a_record() {
    let flotilla = Flotilla::up();
    let protocol =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md")).expect("is there");
    let section = protocol.split("### The bytes of a client").nth(1).expect("the section");
    let block = section.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the block");
    let words = block.lines().flat_map(|line| line.split(';').next().unwrap_or_default().split_whitespace());
    let bytes: Vec<u8> = words.map(|word| u8::from_str_radix(word, 16).expect("two digits")).collect();
    // What is published is for a flow `call`: one of the same length is sent here.
    let at = bytes.windows(4).position(|window| window == b"call").expect("the flow");
    let bytes = [&bytes[..at], b"told", &bytes[at + 4..]].concat();
    let mut stream = TcpStream::connect(("127.0.0.1", flotilla.door("told", 0))).expect("somebody listens");
    // In whatever pieces it comes.
    for piece in bytes.chunks(7) {
        stream.write_all(piece).expect("room");
    }
    stream.shutdown(Shutdown::Write).expect("it is open");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).expect("the portal closes it, too");
    assert_eq!((said[0], said[9], said[10]), (0xff, 0x7f, 3));
    assert_eq!(&said[64..72], b"\x04\x1a\x05READY", "its own READY follows");
    assert!(said.ends_with(b"\x0bSocket-Type\x00\x00\x00\x04PULL"));
    wait_until("the record", || flotilla.book().contains("told\tann\thi"));
    flotilla.down();
}

#[test]
fn clients_with_heartbeats_and_long_pauses_stay_connected_and_come_back_to_a_portal_that_was_killed() {
    let flotilla = Flotilla::up();
    let context = zmq::Context::new();
    let client = context.socket(zmq::PUSH).expect("a socket");
    // It would be cut off by itself if pings weren't answered.
    client.set_heartbeat_ivl(50).expect("an option");
    client.set_heartbeat_timeout(500).expect("an option");
    client.monitor("inproc://events", zmq::SocketEvent::DISCONNECTED as i32).expect("a monitor");
    let events = context.socket(zmq::PAIR).expect("a socket");
    events.connect("inproc://events").expect("a connection");
    client.connect(&format!("tcp://127.0.0.1:{}", flotilla.door("told", 0))).expect("a connection");
    client.send_multipart(["told", "k", "before"], 0).expect("room");
    wait_until("the first record", || flotilla.book().contains("told\tk\tbefore"));
    assert_eq!(events.poll(zmq::POLLIN, 1_500).expect("a poll"), 0, "it stays connected");
    let pid = flotilla.playground.status()["servers"]["s1"]["processes"]["a"]["pid"].as_i64().expect("it runs");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).expect("it runs");
    let mut number = 0;
    wait_until("a record after that", || {
        number += 1;
        client
            .send_multipart(["told", "k", &format!("after {number}")], zmq::DONTWAIT)
            .is_ok_and(|()| flotilla.book().iter().any(|line| line.starts_with("told\tk\tafter")))
    });
    flotilla.down();
}

#[test]
fn send_sends_files_lines_and_stdin_and_checks_each_record_first() {
    let flotilla = Flotilla::up();
    let playground = &flotilla.playground;
    let file = |name: &str, text: &str| fs::write(playground.path().join(name), text).expect("writable");
    file("good", "a,k1\nb,k2\n\u{fc},k3");
    playground.run(playground.waldo(&["send", "column", "good", "--server", "s2"])).code(0);
    wait_until("lines of a file", || flotilla.book().contains("column\tk3\t\u{fc},k3"));
    // Nothing of a file is sent if a line of it can't be.
    for (name, text, words) in [
        (
            "long",
            format!("c,k4\n{},k5\n", "x".repeat(1_100)),
            "line 2: 1105 bytes, and 1024 is the max_record of column",
        ),
        ("keyless", "d,k6\nkeyless\n".to_owned(), "line 2: no key: 1 columns, the key is in column 2"),
    ] {
        file(name, &text);
        let refused = playground.run(playground.waldo(&["send", "column", name])).code(1);
        assert!(refused.stderr.contains(words) && refused.stderr.contains("nothing was sent"), "{}", refused.stderr);
    }
    // From stdin as far as can be.
    let piped = |input: &str, arguments: &[&str]| {
        let mut command = playground.waldo(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("room");
        let output = child.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = piped("e,k7\nkeyless\nf,k8\n", &["send", "column"]);
    assert!(code == Some(1) && said.contains("line 2: no key") && said.contains("1 record was sent"), "{said}");
    wait_until("what went before", || flotilla.book().contains("column\tk7\te,k7"));
    // A file as one record, whatever is in it.
    let (code, said) = piped("g\n,k9\n\n", &["send", "column", "--whole", "--json"]);
    assert!(code == Some(0) && said.contains("\"sent\":1"), "{said}");
    wait_until("a whole file", || flotilla.book().contains("column\tk9\\n\tg\\n,k9\\n\\n"));
    let (code, said) = piped(&"x".repeat(2 << 20), &["send", "told", "--whole", "--key", "k"]);
    assert!(code == Some(1) && said.contains("2097153 bytes, and 1048576 is the max_record of told"), "{said}");
    let book = flotilla.book();
    assert!(!book.iter().any(|line| ["k4", "k5", "k6", "k8"].iter().any(|key| line.contains(key))), "{book:?}");
    let rejects = playground.run(playground.waldo(&["rejects"])).code(0).stdout;
    assert!(rejects.contains("nothing was rejected"), "{rejects}");
    flotilla.down();
}
