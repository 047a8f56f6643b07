//! The shipped topologies, through the real binary: they end by proof, and their answers are exact.

mod playground;

use std::fs;

use playground::{Outcome, Playground, files_below};

/// A file of origins that is quick, also where the stages are Python.
const ORIGINS: &str = "150";

fn up(playground: &Playground, file: &str, namespace: &str) -> std::process::Command {
    let mut up = playground.waldo(&["up", file, "--namespace", namespace, "--until-idle", "--json"]);
    up.env("ORIGINS", ORIGINS);
    up
}

/// Asserts that the answer is exact, and that the ledger agrees with it: nothing lost, nothing repeated, nothing buried.
#[track_caller]
fn assert_exact(playground: &Playground, namespace: &str, up: &Outcome) {
    let mut verify = playground.command("./verify", &[namespace]);
    verify.env("ORIGINS", ORIGINS);
    let verified = playground.run(verify).code(0);
    assert!(verified.stdout.starts_with("exact: 150 origins, "), "{}", verified.stdout);

    let ledger = up.ledger();
    assert_eq!(ledger["result"], "ok", "{ledger}");
    let flows = ledger["flows"].as_object().expect("flows");
    assert_eq!(flows.keys().collect::<Vec<_>>(), ["found", "visit"]);
    for (flow, account) in flows {
        for count in ["lost", "repeated", "dead", "rejected"] {
            assert_eq!(account[count], 0, "{flow} {count}: {ledger}");
        }
        assert_eq!(account["sent"], account["received"], "{flow}: {ledger}");
    }
    let found = playground.path().join(format!(".waldo/{namespace}/s1/state/collect.0/found"));
    let pairs = fs::metadata(found).expect("the sink's file").len() / 8;
    assert_eq!(flows["found"]["sent"], pairs, "{ledger}");
    assert!(flows["visit"]["sent"].as_u64() > Some(pairs), "a pair is found by a visit: {ledger}");
}

#[test]
fn the_demo_in_rust_ends_by_proof_with_an_exact_answer() {
    let playground = Playground::copy_of("debian");
    let outcome = playground.run(up(&playground, "waldo.yaml", "demo")).code(0);
    assert_exact(&playground, "demo", &outcome);
    playground.assert_nothing_left();
    let report = playground.run(playground.command("./report", &[])).code(0);
    assert!(report.stdout.contains("libc6"), "{}", report.stdout);
}

#[test]
fn the_demo_in_python_ends_by_proof_with_an_exact_answer() {
    let playground = Playground::copy_of("debian");
    let outcome = playground.run(up(&playground, "python.yaml", "python")).code(0);
    assert_exact(&playground, "python", &outcome);
    playground.assert_nothing_left();
}

#[test]
fn two_namespaces_of_the_demo_run_at_once_and_both_are_exact() {
    let playground = Playground::copy_of("debian");
    let started = [("waldo.yaml", "demo"), ("python.yaml", "python")]
        .map(|(file, namespace)| (namespace, playground.start(up(&playground, file, namespace))));
    for (namespace, running) in started {
        assert_exact(&playground, namespace, &running.end().code(0));
    }
    playground.assert_nothing_left();
}

#[test]
fn a_second_run_gives_the_same_answer_in_place_of_the_first_ones() {
    let playground = Playground::copy_of("debian");
    for _ in 0..2 {
        let outcome = playground.run(up(&playground, "waldo.yaml", "demo")).code(0);
        assert_exact(&playground, "demo", &outcome);
    }
}

#[test]
fn verify_sees_a_pair_that_is_missing_wrong_or_there_twice() {
    let playground = Playground::copy_of("debian");
    playground.run(up(&playground, "waldo.yaml", "demo")).code(0);
    let path = playground.path().join(".waldo/demo/s1/state/collect.0/found");
    let whole = fs::read(&path).expect("the sink's file");
    let (first, rest) = whole.split_at(8);
    let foreign = [&first[..4], &63_000_u32.to_le_bytes()].concat();
    for (broken, words) in [
        (rest.to_vec(), "missing: "),
        ([&whole[..], first].concat(), "2 times: "),
        ([&whole[..], &foreign].concat(), "wrong: "),
    ] {
        fs::write(&path, broken).expect("the sink's file");
        let mut verify = playground.command("./verify", &[]);
        verify.env("ORIGINS", ORIGINS);
        let verified = playground.run(verify).code(1);
        assert!(verified.stdout.starts_with(words), "{words}: {}", verified.stdout);
    }
}

#[test]
fn passes_are_above_the_longest_way_that_the_data_allows() {
    let playground = Playground::copy_of("debian");
    let computed = playground.run(playground.command("./longest-way", &[])).code(0);
    let bound: u64 = computed.stdout.trim().parse().expect("a number");
    for file in ["waldo.yaml", "python.yaml"] {
        let text = fs::read_to_string(playground.path().join(file)).expect(file);
        let passes = text.split("passes: ").nth(1).and_then(|rest| rest.split('}').next()).expect("passes");
        assert!(passes.parse::<u64>().expect("a number") >= bound, "{file}: {passes} passes, {bound} needed");
    }
}

#[test]
fn a_way_longer_than_passes_is_buried_and_counted() {
    let playground = Playground::copy_of("debian");
    playground.edit("waldo.yaml", "passes: 48", "passes: 3");
    let ledger = playground.run(up(&playground, "waldo.yaml", "demo")).code(0).ledger();
    assert!(ledger["flows"]["visit"]["dead"].as_u64() > Some(0), "{ledger}");
    assert_eq!(ledger["flows"]["visit"]["lost"], 0, "{ledger}");
}

#[test]
fn make_index_takes_the_first_alternative_that_exists() {
    let playground = Playground::copy_of("debian");
    let packages = "\
Package: app
Depends: gone | lib (>= 1) | tool:any, mail-server, app, nowhere
Pre-Depends: base

Package: base
Version: 1

Package: lib
Depends: base,
 tool

Package: tool

Package: zmail
Provides: mail-server (= 1)

Package: amail
Provides: mail-server
";
    fs::write(playground.path().join("Packages"), packages).expect("Packages");
    let script =
        "./make-index made.gz < Packages && python3 -c 'import gzip; print(gzip.open(\"made.gz\", \"rt\").read())'";
    let made = playground.run(playground.command("sh", &["-c", script])).code(0);
    assert_eq!(made.stdout.trim_end(), "amail\t\napp\tamail base lib\nbase\t\nlib\tbase tool\ntool\t\nzmail");
    assert!(made.stderr.contains("6 packages, 5 needs; 1 needs can't be met"), "{}", made.stderr);
}

#[test]
fn hello_counts_the_numbers_with_a_seven_using_unix_tools_only() {
    let playground = Playground::copy_of("hello");
    let outcome = playground.run(playground.waldo(&["up", "--until-idle", "--json"])).code(0);
    assert_eq!(outcome.ledger()["flows"]["seven"]["lost"], 0);
    let logs = playground.run(playground.waldo(&["logs", "total"])).code(0);
    assert!(logs.stdout.lines().any(|line| line.trim_end().ends_with("271")), "{}", logs.stdout);
    playground.assert_nothing_left();
}

#[test]
fn hello_is_shorter_than_fifteen_lines() {
    let text = include_str!("../topologies/hello/waldo.yaml");
    assert!(text.lines().count() < 15);
}

#[test]
fn an_unusable_number_of_origins_ends_the_run_with_the_sources_own_words() {
    let playground = Playground::copy_of("debian");
    let mut up = up(&playground, "waldo.yaml", "demo");
    up.env("ORIGINS", "plenty");
    let outcome = playground.run(up);
    assert_ne!(outcome.code, Some(0));
    let mut logs = files_below(&playground.path().join(".waldo"));
    logs.retain(|path| path.to_string_lossy().contains("wanted.0"));
    let logs: String = logs.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(logs.contains("ORIGINS is \"plenty\""), "{logs}\n{}", outcome.stderr);
    playground.assert_nothing_left();
}
