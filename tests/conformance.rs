//! What every SDK must do, whatever its language: the same programs (`sdk/*/examples/{source,relay}`), through the real
//! binary.

mod playground;
mod python_package;

use std::{fs, path::Path, process::Command, sync::Once};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use playground::{Playground, free_ports, wait_until, waldo};
use serde_json::Value;

#[derive(Clone, Copy)]
enum Language {
    C,
    Python,
    Rust,
}

impl Language {
    /// Builds what the programs need, and answers how `name` is run.
    fn program(self, playground: &Playground, name: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let profile = waldo().parent().expect("target/PROFILE");
        match self {
            Self::Rust => {
                static BUILT: Once = Once::new();
                BUILT.call_once(|| playground::build(&["--package", "waldo-sdk", "--examples"]));
                format!("{}/examples/{name}", profile.display())
            }
            Self::Python => {
                python_package::install(playground);
                format!("python3 {}/sdk/python/examples/{name}.py", root.display())
            }
            Self::C => {
                static BUILT: Once = Once::new();
                BUILT.call_once(|| playground::build(&["--package", "waldo-c", "--lib"]));
                let program = playground.path().join(name);
                let mut cc = Command::new("cc");
                cc.args(["-Wall", "-Wextra", "-Werror", "-O1", "-I"]).arg(root.join("sdk/c"));
                cc.arg(root.join(format!("sdk/c/examples/{name}.c"))).arg("-o").arg(&program);
                cc.arg("-L").arg(profile).arg("-lwaldo").arg(format!("-Wl,-rpath,{}", profile.display()));
                assert!(cc.status().expect("cc").success(), "{name}.c doesn't compile");
                program.display().to_string()
            }
        }
    }
}

/// A source, a relay and a sink that writes lines to its log.
fn topology(language: Language, source_arguments: &str) -> Playground {
    let playground = Playground::copy_of("hello");
    let (source, relay) = (language.program(&playground, "source"), language.program(&playground, "relay"));
    let text = format!(
        "topology: conformance
flows: {{made: {{max_record: 1MiB}}, passed: {{max_record: 1MiB}}}}
stages:
  source: {{out: [made], run: {source}{source_arguments}}}
  relay: {{in: [made], out: [passed], run: {relay}}}
  sink: {{in: [passed], speaks: ack, run: python3 sink.py}}
servers: {{s1: {{address: 127.0.0.1}}}}
namespaces: {{dev: {{local: true, ports: {}}}}}
",
        free_ports()
    );
    let sink = "import sys
for line in sys.stdin.buffer:
    if len(line) > 100_000 or not line.startswith(b'passed\\tn\\t'):
        print(len(line), line[:150], file=sys.stderr, flush=True)
    sys.stdout.write('\\n')
    sys.stdout.flush()
";
    fs::write(playground.path().join("sink.py"), sink).expect("sink.py");
    fs::write(playground.path().join("waldo.yaml"), text).expect("waldo.yaml");
    playground
}

fn start(playground: &Playground, arguments: &[&str]) -> playground::Running {
    playground.start(python_package::with(playground, playground.waldo(arguments)))
}

fn done(playground: &Playground, process: &str, edge: &str) -> u64 {
    playground.status()["servers"]["s1"]["processes"][process]["edges"][edge]["done"].as_u64().unwrap_or(0)
}

#[track_caller]
fn assert_nothing_lost(ledger: &Value) {
    for (flow, account) in ledger["flows"].as_object().expect("flows") {
        assert_eq!(account["lost"], 0, "{flow}: {ledger}");
        assert_eq!(account["repeated"], 0, "{flow}: {ledger}");
        assert_eq!(account["sent"], account["received"], "{flow}: {ledger}");
    }
}

fn passes_any_bytes_on_tells_what_is_refused_and_ends_by_proof(language: Language) {
    let playground = topology(language, "");
    let ledger = start(&playground, &["up", "--until-idle", "--json"]).end().code(0).ledger();
    assert_nothing_lost(&ledger);
    assert_eq!(ledger["flows"]["passed"]["received"], 3, "{ledger}");
    let logs = playground.run(playground.waldo(&["logs", "sink"])).code(0).stdout;
    let odd = r"b'passed\t\x00k\\t\tzero \x00 tab \\t line \\n end\n'";
    assert!(logs.contains(odd), "{logs}");
    let refused = "this stage does not send flow `elsewhere`; the topology lets it send: passed";
    assert!(logs.contains(&format!(r"passed\tkey\t{refused}")), "{logs}");
    // 200,000 bytes: tab, newline and backslash are two each, and so are 797 of each of these.
    let long = logs.lines().any(|line| line.contains(&format!("{} b'passed\\t\\t\\x00\\x01", 200_000 + 3 * 797 + 9)));
    assert!(long, "{logs}");
    playground.assert_nothing_left();
}

fn stops_with_nothing_in_hand(language: Language) {
    let playground = topology(language, " on");
    let up = start(&playground, &["up", "--json"]);
    wait_until("records flow", || done(&playground, "sink.0", "passed<relay.0") > 2_000);
    up.signal(Signal::SIGINT);
    assert_nothing_lost(&up.end().code(8).ledger());
    playground.assert_nothing_left();
}

fn is_rewired_where_it_is_and_leaves_at_sigterm_without_a_loss(language: Language) {
    let playground = topology(language, " on");
    let up = start(&playground, &["up", "--json"]);
    wait_until("records flow", || done(&playground, "sink.0", "passed<relay.0") > 1_000);
    let process = |name: &str| playground.status()["servers"]["s1"]["processes"][name].clone();
    let before = [process("source.0")["pid"].clone(), process("relay.0")["pid"].clone()];
    playground.edit("waldo.yaml", "servers:", "  copy: {in: [passed], speaks: ack, run: python3 sink.py}\nservers:");
    let deploy = playground.waldo(&["deploy", "--yes", "--json"]);
    playground.run(python_package::with(&playground, deploy)).code(0);
    wait_until("the new consumer has some", || done(&playground, "copy.0", "passed<relay.0") > 1_000);
    assert_eq!([process("source.0")["pid"].clone(), process("relay.0")["pid"].clone()], before);
    let relay = before[1].as_i64().expect("a pid") as i32;
    kill(Pid::from_raw(relay), Signal::SIGTERM).expect("it runs");
    wait_until("another relay", || process("relay.0")["incarnation"] == 2 && process("relay.0")["state"] == "ready");
    let had = done(&playground, "sink.0", "passed<relay.0");
    wait_until("records flow again", || done(&playground, "sink.0", "passed<relay.0") > had + 1_000);
    up.signal(Signal::SIGINT);
    let ledger = up.end().code(8).ledger();
    assert_eq!(ledger["flows"]["made"]["lost"], 0, "{ledger}");
    assert_eq!(ledger["flows"]["passed"]["lost"], 0, "{ledger}");
    playground.assert_nothing_left();
}

macro_rules! each_language {
    ($($test:ident: $case:ident($language:ident);)*) => { $(#[test] fn $test() { $case(Language::$language); })* };
}

each_language! {
    c_passes_any_bytes_on: passes_any_bytes_on_tells_what_is_refused_and_ends_by_proof(C);
    python_passes_any_bytes_on: passes_any_bytes_on_tells_what_is_refused_and_ends_by_proof(Python);
    rust_passes_any_bytes_on: passes_any_bytes_on_tells_what_is_refused_and_ends_by_proof(Rust);
    c_stops_with_nothing_in_hand: stops_with_nothing_in_hand(C);
    python_stops_with_nothing_in_hand: stops_with_nothing_in_hand(Python);
    rust_stops_with_nothing_in_hand: stops_with_nothing_in_hand(Rust);
    c_is_rewired_where_it_is: is_rewired_where_it_is_and_leaves_at_sigterm_without_a_loss(C);
    python_is_rewired_where_it_is: is_rewired_where_it_is_and_leaves_at_sigterm_without_a_loss(Python);
    rust_is_rewired_where_it_is: is_rewired_where_it_is_and_leaves_at_sigterm_without_a_loss(Rust);
}
