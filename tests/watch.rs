//! `waldo up --watch`: each save is rolled out or refused while records flow, and the answer at the end is exact.

mod playground;

use std::{fs, time::Duration};

use nix::sys::signal::Signal;
use playground::{Playground, Running, wait_until};
use serde_json::Value;

/// How many rollouts there are while the run goes on: `WALDO_ROLLOUTS`, else a few, as a stage that isn't optimised takes
/// seconds to read the index.
fn rollouts_wanted() -> usize {
    std::env::var("WALDO_ROLLOUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(6)
}

/// The events of this kind so far.
fn events(up: &Running, kind: &str) -> Vec<Value> {
    let events = up.stdout().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>();
    events.into_iter().filter(|event| event["event"] == kind).collect()
}

fn save(playground: &Playground, text: &str) {
    // As editors do it: another file in the place of the old one.
    let new = playground.path().join("waldo.yaml.new");
    fs::write(&new, text).expect("a file");
    fs::rename(&new, playground.path().join("waldo.yaml")).expect("a file");
}

#[test]
fn saves_are_rolled_out_in_one_run_and_its_answer_is_exact_as_a_set() {
    let playground = Playground::copy_of("debian");
    let (origins, wanted) = ("1000", rollouts_wanted());
    // A source that takes its time until there have been enough rollouts.
    playground.edit("wanted.py", "import index\n", "import index\nimport os\nimport time\n");
    let sends = "    ack.write(ack.line(b\"visit\", origin.encode(), origin.encode()))\n";
    let waits = "    if not os.path.exists(\"enough\"):\n        time.sleep(0.5)\n";
    playground.edit("wanted.py", sends, &format!("{sends}{waits}"));
    let source = "run: ../../target/release/wanted packages.tsv.gz";
    let binaries = fs::read_to_string(playground.path().join("waldo.yaml")).expect("YAML");
    let source = binaries.lines().find(|line| line.contains("/wanted packages")).map_or(source, str::trim).to_owned();
    playground.edit("waldo.yaml", &source, "run: python3 wanted.py\n    speaks: ack");
    let text = fs::read_to_string(playground.path().join("waldo.yaml")).expect("YAML");
    let with = |instances: usize| {
        // What isn't optimised, on a machine with much to do, takes long to read the index.
        let stage = format!("    in: [visit]\n    instances: {instances}\n    ready: {{timeout: 2m}}\n");
        text.replace("    in: [visit]\n", &stage)
    };
    let mut up = playground.waldo(&["up", "--watch", "--until-idle", "--json"]);
    up.env("ORIGINS", origins);
    let up = playground.start(up);
    wait_until("it flows", || playground.status()["state"] == "flowing");
    for round in 0..wanted {
        save(&playground, &with(if round % 2 == 0 { 3 } else { 1 }));
        let rolled = playground::comes_about(|| events(&up, "rollout").len() > round);
        assert!(rolled, "save {round} was not rolled out: {}\n{}", up.stdout(), playground.status());
    }
    fs::write(playground.path().join("enough"), "").expect("a file");
    let rollouts = events(&up, "rollout");
    let ended = up.end().code(0);
    let ledger = ended.ledger();
    for rollout in &rollouts {
        assert_eq!(rollout["ledger"]["result"], "ok", "{rollout}");
    }
    let held = rollouts.iter().flat_map(|rollout| rollout["ledger"]["flows"].as_object().into_iter().flatten());
    for (flow, account) in held {
        assert!(account["held"].as_u64() <= ledger["flows"][flow]["sent"].as_u64(), "{flow}: {account}");
    }
    assert_eq!((rollouts.len(), &ledger["generation"]), (wanted, &(wanted + 1).into()), "{ledger}");
    for (flow, account) in ledger["flows"].as_object().expect("flows") {
        assert_eq!((&account["lost"], &account["repeated"]), (&0.into(), &0.into()), "{flow}: {ledger}");
        assert_eq!(account["sent"], account["received"], "{flow}: {ledger}");
    }
    let mut verify = playground.command("./verify", &["demo", "--set"]);
    verify.env("ORIGINS", origins);
    let verified = playground.run(verify).code(0);
    assert!(verified.stdout.starts_with("exact: 1,000 origins, "), "{}", verified.stdout);
    playground.assert_nothing_left();
}

#[test]
fn a_save_that_is_wrong_is_told_and_leaves_what_runs_and_a_deploy_of_another_is_followed() {
    let playground = Playground::copy_of("debian");
    playground.edit("waldo.yaml", "    in: [visit]\n", "    in: [visit]\n    ready: {timeout: 2m}\n");
    let good = fs::read_to_string(playground.path().join("waldo.yaml")).expect("YAML");
    let mut up = playground.waldo(&["up", "--watch", "--json"]);
    up.env("ORIGINS", "50");
    let up = playground.start(up);
    wait_until("it flows", || playground.status()["state"] == "flowing");
    save(&playground, &good.replace("in: [visit]", "in: [vist]"));
    wait_until("it is told", || events(&up, "refused").len() == 1);
    assert_eq!(playground.status()["generation"], 1);
    // What runs may be changed by others too.
    save(&playground, &good.replace("in: [visit]", "in: [{flow: visit, spread: key}]\n    instances: 2"));
    wait_until("it is rolled out", || events(&up, "rollout").len() == 1);
    playground.run(playground.waldo(&["rollback", "--yes", "--json"])).code(0);
    wait_until("it is followed", || up.stdout().contains("plan 3 is live"));
    // A server that goes and one that comes back, by others, between two looks of this one.
    up.signal(Signal::SIGSTOP);
    playground.run(playground.waldo(&["drain", "s3", "--yes", "--json"])).code(0);
    playground.run(playground.waldo(&["drain", "s3", "--undo", "--yes", "--json"])).code(0);
    up.signal(Signal::SIGCONT);
    wait_until("it is followed again", || up.stdout().contains("plan 5 is live"));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(events(&up, "refused").len(), 1, "{}", up.stdout());
    up.signal(Signal::SIGINT);
    let ended = up.end().code(8);
    assert_eq!(ended.ledger()["generation"], 5, "{}", ended.stdout);
    assert!(ended.stderr.contains("there is no flow `vist`") || ended.stderr.contains("vist"), "{}", ended.stderr);
    playground.assert_nothing_left();
}
