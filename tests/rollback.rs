//! `waldo rollback`, `history` and `drain` under load: what they change is lost, repeated and disordered as little as with any
//! other rollout, and told truly afterwards.

mod flotilla;
mod playground;

use flotilla::Flotilla;
use serde_json::Value;

/// Records that each source sends in a second: enough that every stage has some at every moment.
const RATE: u64 = 500;

impl Flotilla {
    /// Runs a command that ends with this code; answers its last line.
    #[track_caller]
    fn json(&self, arguments: &[&str], code: i32) -> Value {
        self.playground.run(self.playground.waldo(&[arguments, &["--json"]].concat())).code(code).ledger()
    }

    /// The instances of `keep` that run on a server.
    fn instances(&self, server: &str) -> usize {
        let prefix = format!("{server}/keep.");
        self.identities().keys().filter(|name| name.starts_with(&prefix)).count()
    }
}

#[track_caller]
fn assert_nothing_lost(ledger: &Value) {
    for (flow, account) in ledger["flows"].as_object().expect("flows") {
        assert_eq!((&account["lost"], &account["repeated"]), (&0.into(), &0.into()), "{flow}: {ledger}");
    }
}

#[test]
fn an_earlier_plan_is_rolled_out_once_more_and_history_tells_of_every_rollout() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    assert_eq!(flotilla.json(&["history"], 0)["rollouts"], Value::Array(Vec::new()));
    let nowhere = flotilla.playground.run(flotilla.playground.waldo(&["rollback", "--yes"])).code(1);
    assert!(nowhere.stderr.contains("no other plan than this one (plan 1) was live"), "{}", nowhere.stderr);

    flotilla.edit("  keep:\n", "  keep:\n    instances: 2\n");
    flotilla.roll_out("two instances", 0);
    assert_eq!(flotilla.instances("s1"), 2);
    let dry = flotilla.json(&["rollback", "--dry-run"], 0);
    assert_eq!(dry["dry_run"], true, "{dry}");
    assert_eq!(flotilla.instances("s1"), 2, "nothing was done");

    let ledger = flotilla.json(&["rollback", "--yes"], 0);
    assert_eq!((&ledger["from"], &ledger["generation"]), (&2.into(), &3.into()), "{ledger}");
    assert_nothing_lost(&ledger);
    flotilla.wait_until_whole("rolled back to plan 1");
    assert_eq!(flotilla.instances("s1"), 1);
    // What was live before is now the other one.
    flotilla.take_moves();
    let ledger = flotilla.json(&["rollback", "--yes"], 0);
    assert_eq!(ledger["generation"], 4, "{ledger}");
    assert_eq!(flotilla.instances("s1"), 2);
    flotilla.take_moves();
    let ledger = flotilla.json(&["rollback", "1", "--yes"], 0);
    assert_eq!(ledger["generation"], 5, "{ledger}");
    flotilla.wait_until_whole("rolled back to plan 1 again");
    assert_eq!(flotilla.instances("s1"), 1);
    let unknown = flotilla.playground.run(flotilla.playground.waldo(&["rollback", "77", "--yes"])).code(1);
    assert!(unknown.stderr.contains("there is no plan 77"), "{}", unknown.stderr);

    let history = flotilla.json(&["history"], 0);
    assert_eq!(history["live"], 5, "{history}");
    let rollouts: Vec<(u64, u64, &str)> = history["rollouts"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|rollout| {
            let number = |field: &str| rollout[field].as_u64().expect("a number");
            (number("from"), number("generation"), rollout["result"].as_str().expect("text"))
        })
        .collect();
    assert_eq!(rollouts, [(1, 2, "ok"), (2, 3, "ok"), (3, 4, "ok"), (4, 5, "ok")], "{history}");
    let one = flotilla.json(&["history", "3"], 0);
    assert_eq!(one["generation"], 3, "{one}");
    assert!(one["pause_ms"]["s1"].as_u64().is_some() && one["phases"]["idle"].as_u64().is_some(), "{one}");
    let table = flotilla.playground.run(flotilla.playground.waldo(&["history"])).code(0);
    assert_eq!(table.stdout.lines().count(), 5, "{}", table.stdout);
    let unknown = flotilla.playground.run(flotilla.playground.waldo(&["history", "9"])).code(1);
    assert!(unknown.stderr.contains("has no account of a rollout to plan 9"), "{}", unknown.stderr);
    flotilla.down();
}

#[test]
fn a_server_is_drained_and_comes_back_whatever_the_topologys_file_says_by_now() {
    let mut flotilla = Flotilla::new(RATE);
    // A source that runs on s1 alone: s2 can go.
    flotilla.edit("\"on\": [s1, s2]", "\"on\": [s1]");
    flotilla.up();
    let before = flotilla.text();
    flotilla.edit("flows:\n", "flows:\n  broken: {nonsense: 1}\n");
    let outcome = flotilla.playground.run(flotilla.playground.waldo(&["drain", "s2", "--yes", "--json"])).code(0);
    assert!(outcome.stdout.contains("namespaces: {test: {servers: {s2: {state: drained}}}}"), "{}", outcome.stdout);
    assert_nothing_lost(&outcome.ledger());
    flotilla.wait_until_whole("s2 drained");
    assert!(flotilla.identities().keys().all(|name| name.starts_with("s1/")), "{:?}", flotilla.identities());
    assert_eq!(flotilla.playground.status()["servers"]["s2"]["state"], "empty");
    flotilla.take_moves();

    let last = flotilla.playground.run(flotilla.playground.waldo(&["drain", "s1", "--yes"])).code(1);
    assert!(last.stderr.contains("every server is drained"), "{}", last.stderr);
    assert!(last.stderr.contains("what was set by `waldo drain`"), "{}", last.stderr);
    let unknown = flotilla.playground.run(flotilla.playground.waldo(&["drain", "s3", "--yes"])).code(1);
    assert!(unknown.stderr.contains("servers: `s1`, `s2`"), "{}", unknown.stderr);

    let ledger = flotilla.json(&["drain", "s2", "--undo", "--yes"], 0);
    assert_nothing_lost(&ledger);
    flotilla.wait_until_whole("s2 back");
    assert!(flotilla.identities().keys().any(|name| name.starts_with("s2/")), "{:?}", flotilla.identities());
    flotilla.take_moves();

    // A deploy of a file that doesn't say so brings it back, too.
    flotilla.json(&["drain", "s2", "--yes"], 0);
    flotilla.wait_until_whole("s2 drained again");
    flotilla.take_moves();
    std::fs::write(flotilla.topology(), before).expect("YAML");
    let rollout = flotilla.roll_out("a file without that state", 0);
    let returned = rollout.diff["servers"].as_array().into_iter().flatten();
    let returned: Vec<_> = returned.map(|server| (&server["server"], &server["change"])).collect();
    assert_eq!(returned, [(&"s2".into(), &"returned".into())], "{}", rollout.diff);
    flotilla.down();
}

#[test]
fn a_rollout_opens_nothing_that_a_person_has_paused() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    flotilla.json(&["pause", "s1/relay"], 0);
    flotilla.edit("  keep:\n", "  keep:\n    instances: 2\n");
    let ledger = flotilla.json(&["deploy", "--yes"], 0);
    assert_eq!(ledger["result"], "ok", "{ledger}");
    let status = flotilla.playground.status();
    assert_eq!(status["servers"]["s1"]["portals"]["relay"]["state"], "paused", "{status}");
    assert_eq!(status["servers"]["s2"]["portals"]["relay"]["state"], "ready", "{status}");
    assert_eq!(status["state"], "partly paused", "{status}");
    // What must be delivered first isn't, behind a person's back.
    let text = flotilla.text();
    let guided = "  plain: {key: {column: 1, separator: \" \"}, guide: hash}";
    flotilla.edit(guided, "  plain: {}");
    flotilla.edit("[{flow: plain, spread: key}]", "[plain]");
    let refused = flotilla.playground.run(flotilla.deploy(&[])).code(1);
    assert!(refused.stderr.contains("s1/relay is paused: `waldo resume` it"), "{}", refused.stderr);
    std::fs::write(flotilla.topology(), text).expect("YAML");
    // Nor does a launcher's death open it.
    for launcher in flotilla.playground.launchers_of("s1") {
        let launcher = nix::unistd::Pid::from_raw(launcher);
        nix::sys::signal::kill(launcher, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    }
    flotilla.json(&["deploy", "--yes"], 0);
    let status = flotilla.playground.status();
    assert_eq!(status["servers"]["s1"]["portals"]["relay"]["state"], "paused", "{status}");
    flotilla.json(&["resume"], 0);
    flotilla.wait_until_whole("resumed");
    flotilla.down();
}
