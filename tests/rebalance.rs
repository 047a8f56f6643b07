//! Servers get as much as they can do by what was measured, through the real binary: keys come as in Zipf's law (exponent 1.1),
//! and one of three servers takes twice as long for a record.

mod playground;

use std::fs;

use playground::{Playground, free_ports, program, wait_until};
use serde_json::Value;

/// How many records come in a second: the two fast servers can do 125 each, the slow one 62. So much less than all of them that a machine
/// that is busy with other things, where sleeping takes longer, doesn't make weights too little that were enough.
const RATE: u32 = 190;

fn skewed(more: &str) -> Playground {
    let playground = Playground::copy_of("hello");
    let (tally, books) =
        (program("tally").display().to_string(), playground.path().join("books").display().to_string());
    let text = format!(
        r#"topology: skewed
flows:
  call: {{key: sender, guide: hash}}
stages:
  feed:
    run: [{tally}, source, {books}, call, rate={RATE}, keys=1000, zipf=110]
    out: [call]
    "on": [s1]
  work:
    run: [{tally}, keep, {books}, delay=8000, delay.s3=16000]
    in: [call]
    queue: 10
servers:
  s1: {{address: 127.0.0.1}}
  s2: {{address: 127.0.0.1}}
  # Older than the others.
  s3:
    address: 127.0.0.1   # as all
namespaces:
  dev: {{local: true, ports: {}}}
{more}"#,
        free_ports()
    );
    fs::write(playground.path().join("waldo.yaml"), text).expect("YAML");
    playground
}

impl Playground {
    /// What `waldo rebalance` says with these arguments, and its exit code.
    fn rebalance(&self, arguments: &[&str]) -> (i32, Value) {
        let outcome = self.run(self.waldo(&[&["rebalance", "--json"], arguments].concat()));
        let said = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| outcome.stderr.clone().into());
        (outcome.code.expect("an exit code"), said)
    }

    /// How many records wait on the slow server.
    fn waiting(&self) -> u64 {
        self.rebalance(&["--dry-run"]).1["servers"]["s3"]["held"].as_u64().unwrap_or(0)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path().join("waldo.yaml")).expect("YAML")
    }
}

#[test]
fn after_one_rebalance_the_slow_servers_queue_no_longer_grows_and_a_second_proposes_nothing() {
    let playground = skewed("");
    playground.run(playground.waldo(&["up", "--detach"])).code(0);
    wait_until("a queue that grows", || playground.waiting() > 40);
    let before = playground.text();

    let (code, seen) = playground.rebalance(&["--dry-run"]);
    assert_eq!((code, seen["verdict"].as_str()), (2, Some("better")), "{seen:#}");
    let slow = &seen["servers"]["s3"];
    assert!(slow["before"]["load"].as_f64() > Some(1.0), "the slow one can't keep up: {seen:#}");
    assert!(slow["growth"].as_f64() > Some(2.0), "{seen:#}");
    assert_eq!(seen["hot"][0]["key"], "z1", "no guide can split it: {seen:#}");
    assert_eq!(playground.text(), before, "--dry-run writes nothing");
    let nobody = playground.run(playground.waldo(&["rebalance"])).code(64);
    assert!(nobody.stderr.contains("nobody to ask"), "{}", nobody.stderr);
    assert!(nobody.stdout.contains("s3") && nobody.stdout.contains("->"), "{}", nobody.stdout);

    let (code, written) = playground.rebalance(&["--yes"]);
    assert_eq!((code, written["verdict"].as_str()), (0, Some("better")), "{written:#}");
    for server in written["servers"].as_object().expect("servers").values() {
        assert!(server["after"]["load"].as_f64() < Some(1.0), "{written:#}");
    }
    assert!(written["moved"].as_u64() <= written["least"].as_u64().map(|least| least * 3 / 2), "{written:#}");
    let after = playground.text();
    let same = |line: &&str| !line.contains("weight");
    assert!(before.lines().all(|line| after.contains(line) || line.contains("{address")), "{after}");
    assert!(after.lines().filter(same).count() + 3 >= before.lines().count(), "{after}");

    let diff = playground.run(playground.waldo(&["diff", "--json"])).code(2);
    let diff: Value = serde_json::from_str(&diff.stdout).expect("one JSON document");
    assert_eq!(diff["guide"][0]["moved"], written["moved"], "what was said is what is done: {diff:#}");
    let held = written["servers"]["s3"]["held"].as_u64().expect("a number");
    let deployed = playground.run(playground.waldo(&["deploy", "--yes", "--json"])).code(0).ledger();
    assert_eq!(deployed["flows"]["call"]["lost"], 0, "{deployed:#}");

    wait_until("a queue that shrinks at the same load", || playground.waiting() < held / 2);
    let (code, second) = playground.rebalance(&["--dry-run"]);
    assert_eq!((code, second["verdict"].as_str()), (0, Some("balanced")), "{second:#}");
    wait_until("a queue that shrinks further", || playground.waiting() < held / 3);
    playground.run(playground.waldo(&["down", "--now"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn where_the_topology_says_so_it_is_done_within_its_limits_without_being_asked_for() {
    let playground = skewed("rebalance: {auto: true, every: 6s, lowest: 0.6, slots: 1500}\n");
    let before = playground.text();
    playground.run(playground.waldo(&["up", "--detach"])).code(0);
    let history = || {
        let outcome = playground.run(playground.waldo(&["history", "--json"])).code(0);
        serde_json::from_str::<Value>(&outcome.stdout).expect("one JSON document")["rollouts"].clone()
    };
    wait_until("a rollout that nobody asked for", || history().as_array().is_some_and(|rollouts| !rollouts.is_empty()));
    let rollout = &history()[0];
    assert_eq!((&rollout["result"], &rollout["flows"]["call"]["lost"]), (&"ok".into(), &0.into()), "{rollout:#}");
    assert_eq!(playground.text(), before, "the file is a person's");

    // Its weights are told to who wants to write them there.
    let told = playground.run(playground.waldo(&["rebalance"])).code(1).stderr;
    let weights = told.split("weight: ").skip(1).filter_map(|rest| rest.split('}').next()?.parse::<f64>().ok());
    let lowest = weights.fold(f64::INFINITY, f64::min);
    assert!((0.6..1.0).contains(&lowest), "{told}");

    let file = playground.path().join("waldo.yaml");
    fs::write(&file, before.replace("lowest: 0.6", "lowest: 0, highest: x")).expect("YAML");
    let refused = playground.run(playground.waldo(&["check"])).code(1).stderr;
    assert!(refused.contains("above 0") && refused.contains("isn't below `lowest`"), "{refused}");
    fs::write(&file, before.replace("every: 6s", "every: 6ms")).expect("YAML");
    let refused = playground.run(playground.waldo(&["check"])).code(1).stderr;
    assert!(refused.contains("at least `5s`"), "{refused}");
    playground.run(playground.waldo(&["down", "--now"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn what_cannot_be_judged_or_written_is_said() {
    let playground = skewed("");
    let outcome = playground.run(playground.waldo(&["rebalance"])).code(1);
    assert!(outcome.stderr.contains("nothing has been compiled or run"), "{}", outcome.stderr);
    playground.run(playground.waldo(&["up", "--detach"])).code(0);
    let outcome = playground.run(playground.waldo(&["rebalance", "--flow", "cal"])).code(1);
    assert!(outcome.stderr.contains("no flow named `cal`") && outcome.stderr.contains("`call`"), "{}", outcome.stderr);
    let outcome = playground.run(playground.waldo(&["rebalance"])).code(1);
    assert!(outcome.stderr.contains("measured"), "{}", outcome.stderr);
    playground.edit("waldo.yaml", "  s1: {address", "  s1: {weight: 2, address");
    let outcome = playground.run(playground.waldo(&["rebalance"])).code(1);
    assert!(outcome.stderr.contains("by the topology's files keys live on other servers"), "{}", outcome.stderr);
    playground.run(playground.waldo(&["down", "--now"])).code(0);
}
