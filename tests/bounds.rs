//! What `waldo check` prints as the most that can be in queues is true when a topology runs.

mod playground;

use std::{collections::BTreeMap, fs};

use playground::{Playground, wait_until};
use serde_json::Value;

/// Two servers; each has a fast stage between a portal and a slow stage that stands still until `go`, and is slow until
/// `quick`.
const TOPOLOGY: &str = r#"topology: bounds
flows:
  call: {guide: hash, max_record: 1KiB}
  tick: {max_record: 1KiB}
stages:
  feed: {run: [sh, -c, 'seq 4000 | sed "s/.*/call\t&\tx/"'], out: [call], speaks: ack, "on": [a]}
  split:
    run: [sh, -c, 'while read -r call; do printf "tick\t\tx\n\n"; done']
    in: [call]
    out: [tick]
    instances: 2
    queue: 40
    speaks: ack
  slow:
    run: [sh, -c, 'while read -r tick; do until [ -e go ]; do sleep 0.05; done; [ -e quick ] || sleep 0.01; echo; done']
    in: [tick]
    instances: 3
    queue: 30
    speaks: ack
servers: {a: {}, b: {}}
namespaces: {dev: {local: true, ports: 17000}}
"#;

/// How many records are in the queues of each server: all that was sent to its inboxes and isn't done. Never more than there
/// were at some moment, as what is done is read after what was sent.
fn queued(playground: &Playground) -> BTreeMap<String, u64> {
    let [sent, done] = ['>', '<'].map(|direction| sums(&playground.status(), direction));
    sent.into_iter().map(|(server, sent)| (server.clone(), sent.saturating_sub(done[&server]))).collect()
}

/// The sums of each server's counters of inboxes, as senders (`>`) or receivers (`<`) have them. Links have a `/` in their names.
fn sums(status: &Value, direction: char) -> BTreeMap<String, u64> {
    let objects = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let of_server = |server: &Value| {
        let edges = objects(&server["processes"]).into_iter().flat_map(|(_, process)| objects(&process["edges"]));
        let inboxes = edges.filter(|(name, _)| name.contains(direction) && !name.contains('/'));
        let counter = if direction == '>' { "sent" } else { "done" };
        inboxes.filter_map(|(_, edge)| edge[counter].as_u64()).sum()
    };
    objects(&status["servers"]).into_iter().map(|(name, server)| (name, of_server(&server))).collect()
}

#[test]
fn queues_of_slow_consumers_under_load_fill_up_to_the_bound_and_never_beyond() {
    let playground = Playground::copy_of("hello");
    let topology = TOPOLOGY.replace("17000", &playground::free_ports().to_string());
    fs::write(playground.path().join("waldo.yaml"), topology).expect("YAML");
    let outcome = playground.run(playground.waldo(&["check", "--json"])).code(0);
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let bounds = &report["bounds"]["dev"];
    let bound = |server: &str| bounds[server]["queued_records"].as_u64().expect("a bound");
    assert_eq!(bound("a"), 2 * 40 + 2 * 3 * 15, "the queues of two, and six ways into those of three");
    assert_eq!(bounds["a"]["queued_bytes"].as_u64(), Some(1024 * bound("a")));

    let running = playground.start(playground.waldo(&["up", "--until-idle", "--json"]));
    let within = |queued: &BTreeMap<String, u64>| {
        for (server, &queued) in queued {
            assert!(queued <= bound(server), "{queued} records in queues of {server}, {} at most", bound(server));
        }
    };
    // Nobody works: every queue fills.
    wait_until("the queues of both servers are full", || {
        let queued = queued(&playground);
        within(&queued);
        ["a", "b"].iter().all(|server| queued.get(*server).is_some_and(|&queued| queued * 10 >= bound(server) * 9))
    });
    fs::write(playground.path().join("go"), "").expect("a file");
    for _ in 0..20 {
        within(&queued(&playground));
    }
    fs::write(playground.path().join("quick"), "").expect("a file");
    let ledger = running.end().code(0).ledger();
    assert_eq!(ledger["flows"]["tick"]["received"].as_u64(), Some(4000), "{ledger}");
    playground.assert_nothing_left();
}
