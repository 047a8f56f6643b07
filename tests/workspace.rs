//! Topologies that lie beside each other are checked together: what they would take from each other on a machine.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn check(directory: &Path, arguments: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_waldo"))
        .arg("check")
        .args(arguments)
        .current_dir(directory)
        .env_remove("WALDO_NAMESPACE")
        .output()
        .expect("waldo runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn topology(name: &str, rest: &str) -> String {
    format!(
        "topology: {name}\nflows: {{call: {{from: clients, guide: hash}}}}\nstages: {{take: {{run: cat, in: [call]}}}}\n{rest}"
    )
}

fn workspace(topologies: &[(&str, String)]) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    for (name, text) in topologies {
        fs::create_dir(directory.path().join(name)).expect("a directory");
        fs::write(directory.path().join(name).join("waldo.yaml"), text).expect("a topology");
    }
    fs::create_dir(directory.path().join("notes")).expect("a directory without a topology");
    directory
}

#[test]
fn topologies_with_names_and_ports_of_their_own_pass_together() {
    let one = topology(
        "one",
        "servers: {s1: {address: 10.0.0.1}}\nnamespaces: {prod: {}, dev: {local: true, ports: 8000}}\n",
    );
    let two = one.replace("one", "two").replace("prod: {}", "prod: {ports: 7100}").replace("8000", "9000");
    let directory = workspace(&[("a", one), ("b", two)]);
    let outcome = check(directory.path(), &[]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("a/waldo.yaml: no errors") && outcome.stdout.contains("b/waldo.yaml: no errors"));
    let outcome = check(directory.path(), &["--json", "."]);
    let report: Value = serde_json::from_str(&outcome.stdout).expect("one JSON document");
    assert_eq!(report["topologies"].as_object().map(serde_json::Map::len), Some(2));
    assert!(report["topologies"]["./b/waldo.yaml"]["bounds"]["dev"]["s1"]["queued_records"].is_u64(), "{report}");
}

#[test]
fn two_topologies_of_one_name_on_one_machine_are_an_error_that_shows_both() {
    let one = topology("calls", "");
    let directory = workspace(&[("a", one.clone()), ("b", one)]);
    let outcome = check(directory.path(), &[]);
    assert_eq!(outcome.code, Some(1));
    for said in [
        "error[W053]: two topologies are `calls/default` on 127.0.0.1",
        "--> b/waldo.yaml:1:11",
        "named at a/waldo.yaml:1:11",
    ] {
        assert!(outcome.stderr.contains(said), "{said}:\n{}", outcome.stderr);
    }
}

#[test]
fn two_topologies_that_would_bind_one_port_are_an_error_that_names_a_free_block() {
    let namespaces = "namespaces: {dev: {local: true, ports: 17000}}\n";
    let directory = workspace(&[("a", topology("calls", namespaces)), ("b", topology("bills", namespaces))]);
    let outcome = check(directory.path(), &[]);
    assert_eq!(outcome.code, Some(1));
    for said in ["`calls/dev` and `bills/dev` share port 17000 on 127.0.0.1", "--> b/waldo.yaml:4:", "`ports: 18000`"] {
        assert!(outcome.stderr.contains(said), "{said}:\n{}", outcome.stderr);
    }
}

#[test]
fn the_same_names_and_ports_on_other_machines_are_no_error() {
    let at = |address: &str| topology("calls", &format!("servers: {{s1: {{address: {address}}}}}\n"));
    let directory = workspace(&[("a", at("10.0.0.1")), ("b", at("10.0.0.2"))]);
    let outcome = check(directory.path(), &[]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_namespace_that_none_of_them_has_is_wrong_usage_and_errors_of_each_are_told() {
    let directory = workspace(&[("a", topology("one", "")), ("b", topology("two", "portls: {}\n"))]);
    let outcome = check(directory.path(), &[]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("--> b/waldo.yaml:4:1"), "{}", outcome.stderr);
    let directory = workspace(&[("a", topology("one", ""))]);
    let outcome = check(directory.path(), &["-n", "prod"]);
    assert_eq!(outcome.code, Some(64), "{}", outcome.stderr);
}
