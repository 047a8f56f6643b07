//! `waldo diff` through the real binary: what it compares, what it says, and how it ends.

mod playground;

use std::{fs, path::Path};

use playground::{Outcome, Playground, free_ports, wait_until};
use serde_json::Value;

/// Clients send `call` by its key; `score` has two instances on each server, `feed` is a source on the first. Nothing of it has to exist.
const CALLS: &str = "\
topology: calls
flows:
  call: {key: sender, guide: hash, from: clients}
  suspect: {key: sender, guide: hash}
  tick: {}
stages:
  parse: {run: ./parse --fast, in: [call], out: [suspect, tick], instances: 2}
  score: {run: ./score, in: [{flow: suspect, spread: key}, tick], env: {MODEL: small, API_TOKEN: old-secret}, instances: 2}
  feed: {run: ./feed, out: [suspect], \"on\": [s1]}
servers:
  s1: {address: 10.0.0.1}
  s2: {address: 10.0.0.2}
  s3: {address: 10.0.0.3}
";

fn calls() -> Playground {
    let playground = Playground::copy_of("hello");
    fs::write(playground.path().join("waldo.yaml"), CALLS).expect("YAML");
    playground
}

/// `waldo diff` of the copy's topology and the same with some text replaced.
fn edited(replacements: &[(&str, &str)], more: &[&str]) -> Outcome {
    let playground = calls();
    let text = replacements.iter().fold(CALLS.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "nothing to replace: {from}");
        text.replace(from, to)
    });
    fs::write(playground.path().join("new.yaml"), text).expect("YAML");
    let arguments: Vec<&str> = ["diff", "waldo.yaml", "new.yaml"].iter().chain(more).copied().collect();
    playground.run(playground.waldo(&arguments))
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}\n{}{}", outcome.stdout, outcome.stderr))
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|value| value.as_str().expect("text")).collect()
}

fn action<'v>(report: &'v Value, server: &str, process: &str) -> (&'v str, &'v str) {
    let processes = report["processes"].as_array().expect("a list");
    let found = processes.iter().find(|found| found["server"] == server && found["process"] == process);
    let found = found.unwrap_or_else(|| panic!("{server}/{process} in {report:#}"));
    (found["action"].as_str().expect("text"), found["because"].as_str().expect("text"))
}

#[test]
fn equal_topologies_have_no_difference_and_exit_0() {
    let outcome = edited(&[], &[]).code(0);
    assert!(outcome.stdout.contains("no differences"), "{}", outcome.stdout);
    let report = json(&edited(&[("topology: calls", "# another comment\ntopology: calls")], &["--json"]).code(0));
    assert_eq!(report["equal"], true);
    assert_eq!(report["old"]["digest"], report["new"]["digest"]);
    assert_eq!(strings(&report["untouched"]), ["s1", "s2", "s3"]);
    assert_eq!(strings(&report["hold"]), Vec::<&str>::new());
}

#[test]
fn the_report_is_as_documented() {
    let report = json(&edited(&[("--fast", "--slow"), ("s3: {", "s3: {state: drained, ")], &["--json"]).code(2));
    assert_eq!((&report["format"], &report["equal"]), (&1.into(), &false.into()));
    assert_eq!(action(&report, "s1", "parse.0").0, "restart");
    assert!(action(&report, "s1", "parse.0").1.starts_with("run: ./parse --fast → ./parse --slow"));
    assert_eq!(action(&report, "s1", "score.0"), ("keep", ""));
    assert_eq!(action(&report, "s1", "feed.0"), ("rewire", "guide of suspect"));
    assert_eq!(action(&report, "s3", "relay"), ("stop", "its server is drained"));
    let call = &report["guide"][0];
    assert_eq!((&call["flow"], &call["of"], &call["counts"]), (&"call".into(), &4096.into(), &"slots".into()));
    let (moved, least) = (call["moved"].as_u64().expect("a number"), call["least"].as_u64().expect("a number"));
    assert!(moved >= least && least >= 4096 / 3, "{call}");
    let moves = call["moves"].as_array().expect("a list").iter().map(|one| one["count"].as_u64().expect("a number"));
    assert_eq!(moves.sum::<u64>(), moved);
    assert_eq!(strings(&report["hold"]), ["s1", "s2", "s3"]);
    assert_eq!(report["hold_because"]["s1"].as_str().map(|text| text.contains("parse.0, parse.1 restart")), Some(true));
    assert_eq!(report["servers"], serde_json::json!([{"server": "s3", "change": "drained"}]));
    let gone = &report["portals"][0];
    assert_eq!((&gone["server"], &gone["portal"], &gone["to"]), (&"s3".into(), &"intake".into(), &Value::Null));
    assert_eq!(report["drift"], serde_json::json!([]));
}

#[test]
fn a_person_reads_what_happens_and_why_on_80_columns() {
    let new =
        [("--fast", "--slow --threshold=0.75 --window=30s --model=/opt/models/large"), ("s3: {", "s3: {weight: 2, ")];
    let outcome = edited(&new, &[]).code(2);
    let text = &outcome.stdout;
    for said in [
        "6 processes restart, 7 rewire in place, 6 go on",
        "3 servers hold (s1, s2, s3)",
        "slots move in 2 flows (least possible ",
        "! restart parse.0, parse.1",
        "run: ./parse --fast → ./parse --slow",
        "2 processes go on untouched",
    ] {
        assert!(text.contains(said), "no {said:?} in\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colours in a file");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);
}

#[test]
fn values_of_secrets_are_never_shown() {
    for format in [&[][..], &["--json"], &["--all"]] {
        let outcome = edited(&[("old-secret", "new-secret"), ("MODEL: small", "MODEL: big")], format).code(2);
        assert!(outcome.stdout.contains("API_TOKEN: a secret → another"), "{}", outcome.stdout);
        assert!(outcome.stdout.contains("MODEL: small → big"), "{}", outcome.stdout);
        assert!(!outcome.stdout.contains("-secret"), "{}", outcome.stdout);
    }
}

#[test]
fn ports_that_two_portals_would_need_at_once_are_refused() {
    let portals = |intake, relay| {
        format!(
            "portals:\n  intake: {{flows: [call], port: {intake}, link: 9000}}\n  relay: {{flows: [suspect], port: {relay}}}\n"
        )
    };
    let playground = calls();
    for (file, portals) in [("old.yaml", portals(7001, 7002)), ("new.yaml", portals(7002, 7001))] {
        fs::write(playground.path().join(file), format!("{CALLS}{portals}")).expect("YAML");
    }
    let outcome = playground.run(playground.waldo(&["diff", "old.yaml", "new.yaml"])).code(2);
    let said = "tcp://10.0.0.1:7002 would go from s1/relay to s1/intake";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    let report = json(&playground.run(playground.waldo(&["diff", "old.yaml", "new.yaml", "--json"])).code(2));
    assert_eq!(strings(&report["refused"]).len(), 6, "{report:#}");
    assert!(report["refused"][0].as_str().is_some_and(|text| text.contains(said)), "{report:#}");
}

#[test]
fn a_topology_is_compared_with_what_was_compiled_last_if_nothing_runs() {
    let playground = calls();
    let outcome = playground.run(playground.waldo(&["diff"])).code(1);
    assert!(outcome.stderr.contains("there is nothing to compare with"), "{}", outcome.stderr);

    playground.run(playground.waldo(&["compile"])).code(0);
    let outcome = playground.run(playground.waldo(&["diff"])).code(0);
    assert!(outcome.stdout.starts_with("calls/default as it was compiled last → "), "{}", outcome.stdout);
    playground.edit("waldo.yaml", "MODEL: small", "MODEL: big");
    let report = json(&playground.run(playground.waldo(&["diff", "--json"])).code(2));
    assert_eq!(action(&report, "s1", "score.0"), ("restart", "MODEL: small → big"));

    // A plan and a topology, a build directory and a plan's file.
    let build = ".waldo/build/default";
    let report = json(&playground.run(playground.waldo(&["diff", build, ".", "--json"])).code(2));
    assert_eq!(action(&report, "s1", "score.0"), ("restart", "MODEL: small → big"));
    let report = json(&playground.run(playground.waldo(&["diff", "waldo.yaml", build, "--json"])).code(2));
    assert_eq!(action(&report, "s1", "score.0"), ("restart", "MODEL: big → small"));
    let plan = ".waldo/build/default/plan.json";
    playground.run(playground.waldo(&["diff", build, plan])).code(0);

    // A plan that somebody has changed is none.
    playground.edit(plan, "\"small\"", "\"huge\"");
    let outcome = playground.run(playground.waldo(&["diff", plan, "."])).code(1);
    assert!(outcome.stderr.contains("has been changed since it was compiled"), "{}", outcome.stderr);
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let playground = calls();
    fs::write(playground.path().join("other.yaml"), CALLS.replace("topology: calls", "topology: others"))
        .expect("YAML");
    let outcome = playground.run(playground.waldo(&["diff", "waldo.yaml", "other.yaml"])).code(1);
    assert!(outcome.stderr.contains("calls/default and others/default"), "{}", outcome.stderr);
    playground.edit("other.yaml", "in: [call]", "in: [cal]");
    let outcome = playground.run(playground.waldo(&["diff", "waldo.yaml", "other.yaml"])).code(1);
    assert!(outcome.stderr.contains("did you mean `call`?"), "{}", outcome.stderr);
    playground.run(playground.waldo(&["diff", "waldo.yaml", "missing.yaml"])).code(1);
    playground.run(playground.waldo(&["compile"])).code(0);
    let outcome = playground.run(playground.waldo(&["diff", ".waldo/build/default", ".", "-n", "dev"])).code(1);
    assert!(outcome.stderr.contains("is a plan of namespace default, not of dev"), "{}", outcome.stderr);
}

#[test]
fn a_running_namespace_is_compared_as_it_runs_and_its_drift_is_told() {
    let playground = Playground::copy_of("debian");
    fs::create_dir(playground.path().join("bin")).expect("a directory");
    let program = playground.path().join("bin/collect");
    fs::copy(Path::new(env!("CARGO_BIN_EXE_waldo")).with_file_name("collect"), &program).expect("the demo's sink");
    let text = format!(
        "topology: calls\n\
         flows:\n  found: {{key: sender, guide: hash, from: clients}}\n  call: {{key: sender, guide: hash, from: clients}}\n\
         stages:\n  collect: {{run: bin/collect packages.tsv.gz, in: [found]}}\n  \
         brief: {{run: 'false', in: [call], speaks: ack, restart: never}}\n\
         servers: {{s1: {{address: 127.0.0.1}}}}\n\
         namespaces: {{dev: {{local: true, ports: {}}}}}\n",
        free_ports()
    );
    fs::write(playground.path().join("waldo.yaml"), text.replace("run: 'false'", "run: cat")).expect("YAML");
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let outcome = playground.run(playground.waldo(&["diff"])).code(0);
    assert!(outcome.stdout.starts_with("calls/dev as it runs → "), "{}", outcome.stdout);

    // Another plan on disk says nothing about what runs.
    playground.edit("waldo.yaml", "in: [found]", "in: [found], queue: 77");
    playground.run(playground.waldo(&["compile"])).code(0);
    let report = json(&playground.run(playground.waldo(&["diff", "--json"])).code(2));
    assert_eq!(action(&report, "s1", "collect.0"), ("keep", ""));
    assert_eq!(action(&report, "s1", "intake"), ("rewire", "share of found in the queue of collect: 1000 → 77"));
    assert_eq!((strings(&report["hold"]), strings(&report["rewire"])), (vec![], vec!["s1"]));
    playground.edit("waldo.yaml", ", queue: 77", "");

    // A program that was built again is restarted, and what runs is told to be another.
    let again = playground.path().join("bin/again");
    let replace = |more: &[u8]| {
        fs::copy(Path::new(env!("CARGO_BIN_EXE_waldo")).with_file_name("collect"), &again).expect("a copy");
        let mut file = fs::OpenOptions::new().append(true).open(&again).expect("the copy");
        std::io::Write::write_all(&mut file, more).expect("some bytes more");
        fs::rename(&again, &program).expect("the program replaced");
    };
    replace(b"");
    playground.run(playground.waldo(&["diff"])).code(0);
    replace(b"built again");
    let report = json(&playground.run(playground.waldo(&["diff", "--json"])).code(2));
    assert_eq!(action(&report, "s1", "collect.0"), ("restart", "program changed"));
    assert_eq!(strings(&report["hold"]), ["s1"]);
    let drift = &report["drift"][0];
    assert_eq!((&drift["server"], &drift["process"]), (&"s1".into(), &"collect.0".into()));
    assert!(drift["what"].as_str().is_some_and(|what| what.contains("replaced on disk")), "{drift}");

    // So is one that has been given up.
    let status = playground.status();
    let brief = &status["servers"]["s1"]["processes"]["brief.0"];
    let pid = i32::try_from(brief["pid"].as_i64().expect("it runs")).expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("it runs");
    wait_until("the end of brief.0", || {
        playground.status()["servers"]["s1"]["processes"]["brief.0"]["state"] == "given up"
    });
    let outcome = playground.run(playground.waldo(&["diff"])).code(2);
    assert!(outcome.stdout.contains("drift: what runs isn't what was deployed"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("s1/brief.0: it was given up"), "{}", outcome.stdout);

    playground.run(playground.waldo(&["down"]));
    let outcome = playground.run(playground.waldo(&["diff"])).code(2);
    assert!(outcome.stdout.starts_with("calls/dev as it was compiled last → "), "{}", outcome.stdout);
}
