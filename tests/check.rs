//! `waldo check`, `compile` and `explain` through the real binary.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

const HELLO: &str = "topology: hello\nflows: {number: {}}\nstages:\n  numbers: {run: ./numbers 10, out: [number], speaks: lines}\n  \
                     total: {run: wc -l, in: [number], speaks: lines}\n";

fn waldo(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waldo"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("WALDO_NAMESPACE")
        .output()
        .expect("waldo runs")
}

fn with_topology(text: impl AsRef<[u8]>) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("waldo.yaml"), text).expect("writable");
    directory
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_good_topology_passes_by_file_by_directory_and_from_within() {
    let directory = with_topology(HELLO);
    let path = directory.path().to_string_lossy().into_owned();
    for arguments in [vec!["check"], vec!["check", "."], vec!["check", "waldo.yaml"], vec!["check", &path]] {
        let output = waldo(directory.path(), &arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        assert!(stdout(&output).contains("no errors"));
        assert!(output.stderr.is_empty(), "{}", stderr(&output));
    }
}

#[test]
fn files_that_are_no_topology_are_one_clear_error_each() {
    let empty = TempDir::new().expect("a directory");
    let latin = with_topology(b"topology: caf\xe9\n");
    let nothing = with_topology("");
    let binary = with_topology(b"\x00\x01\x02");
    for (directory, arguments, expected) in [
        (&empty, vec!["check"], "there is no waldo.yaml here"),
        (&empty, vec!["check", "."], "there is no waldo.yaml in ."),
        (&empty, vec!["check", "x.yaml"], "there is no file or directory x.yaml"),
        (&empty, vec!["compile"], "there is no waldo.yaml here"),
        (&latin, vec!["check"], "waldo.yaml:1:14"),
        (&nothing, vec!["check"], "the file is empty"),
        (&binary, vec!["check"], "error[W001]"),
    ] {
        let output = waldo(directory.path(), &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn byte_order_marks_and_carriage_returns_change_nothing() {
    let plain = with_topology(HELLO);
    let windows = with_topology(format!("\u{feff}{}", HELLO.replace('\n', "\r\n")));
    let compiled = |directory: &TempDir| {
        let output = waldo(directory.path(), &["compile"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        fs::read(directory.path().join(".waldo/build/default/plan.json")).expect("a plan")
    };
    assert_eq!(compiled(&plain), compiled(&windows));

    let broken = with_topology("\u{feff}topology: t\r\nstagse: {}\r\n");
    let output = waldo(broken.path(), &["check"]);
    assert!(stderr(&output).contains("waldo.yaml:2:1\n"), "{}", stderr(&output));
    assert!(!stderr(&output).contains('\r'));
}

#[test]
fn json_says_where_and_how_and_the_bounds() {
    let broken = with_topology(HELLO.replace("in: [number]", "in: [numbr]"));
    let output = waldo(broken.path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["format"], 1);
    let [found] = &report["diagnostics"].as_array().expect("a list")[..] else { panic!("one: {report}") };
    let expected = serde_json::json!({
        "code": "W007", "severity": "error", "message": "stage `total` names an unknown flow: `numbr`",
        "file": "waldo.yaml", "line": 5, "column": 28, "help": "did you mean `number`?",
    });
    assert_eq!(*found, expected);

    let output = waldo(with_topology(HELLO).path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["diagnostics"], serde_json::json!([]));
    assert_eq!(report["bounds"]["default"]["here"]["queued_records"], 1000);
}

#[test]
fn local_looks_for_the_programs_too() {
    let directory = with_topology(HELLO);
    let program = directory.path().join("numbers");
    let check = || waldo(directory.path(), &["check", "--local"]);
    let says = |expected: &str| {
        let output = check();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("error[W033]") && stderr(&output).contains(expected), "{}", stderr(&output));
        assert!(stderr(&output).contains("waldo.yaml:4:18"), "{}", stderr(&output));
    };
    says("isn't there");
    fs::create_dir(&program).expect("creatable");
    says("isn't a file");
    fs::remove_dir(&program).expect("removable");
    fs::write(&program, "#!/bin/sh\n").expect("writable");
    says("isn't executable");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("settable");
    assert_eq!(check().status.code(), Some(0), "{}", stderr(&check()));
    fs::write(directory.path().join("waldo.yaml"), HELLO.replace("./numbers 10", "no-such-program-anywhere"))
        .expect("writable");
    says("isn't in PATH");
}

#[test]
fn warnings_pass_unless_they_are_denied() {
    let servers = "servers:\n  s1: {address: 127.0.0.1, labels: [nobody-uses-this]}\n";
    let directory = with_topology(format!("{HELLO}{servers}"));
    for command in ["check", "compile"] {
        let output = waldo(directory.path(), &[command]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stderr(&output).contains("warning[W036]"), "{}", stderr(&output));
        for denied in [&["--deny", "warnings"][..], &["--deny=warnings"], &["--deny-warnings"]] {
            let output = waldo(directory.path(), &[&[command], denied].concat());
            assert_eq!(output.status.code(), Some(1), "{denied:?}");
            assert!(stderr(&output).contains("warnings are denied"));
        }
        let output = waldo(directory.path(), &[command, "--deny", "everything"]);
        assert_eq!(output.status.code(), Some(64));
    }
}

#[test]
fn a_build_is_complete_and_the_same_every_time() {
    let directory = with_topology(HELLO);
    let build = |to: &str| {
        let output = waldo(directory.path(), &["compile", "--output", to]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut files = Vec::new();
        for name in ["plan.json", "guide.json"] {
            files.push(fs::read(directory.path().join(to).join(name)).expect(name));
        }
        for name in ["portals.json", "endpoints.json", "processes.json", "launch.sh"] {
            files.push(fs::read(directory.path().join(to).join("servers/here").join(name)).expect(name));
        }
        files
    };
    assert_eq!(build("one"), build("two"));
    assert_eq!(build("one"), build("one"), "over itself");
    let script = directory.path().join("one/servers/here/launch.sh");
    assert_eq!(fs::metadata(&script).expect("there").permissions().mode() & 0o111, 0o111);
    let syntax = Command::new("sh").arg("-n").arg(&script).status().expect("sh runs");
    assert!(syntax.success());
}

#[test]
fn a_build_replaces_no_other_directory() {
    let directory = with_topology(HELLO);
    fs::create_dir(directory.path().join("mine")).expect("creatable");
    fs::write(directory.path().join("mine/notes"), "precious").expect("writable");
    let output = waldo(directory.path(), &["compile", "--output", "mine"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("other things in it"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(directory.path().join("mine")).expect("there").count(), 1);
}

#[test]
fn a_namespace_must_be_chosen_where_there_are_several() {
    let namespaces = "namespaces:\n  one: {local: true, ports: 17000}\n  two: {local: true, ports: 18000}\n";
    let directory = with_topology(format!("{HELLO}{namespaces}"));
    let output = waldo(directory.path(), &["compile"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("`one` and `two`"), "{}", stderr(&output));
    let output = waldo(directory.path(), &["compile", "-n", "two"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(directory.path().join(".waldo/build/two/plan.json").exists());
    let output = waldo(directory.path(), &["check", "-n", "three"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("there is no namespace `three`"), "{}", stderr(&output));
}

#[test]
fn every_rule_can_be_explained() {
    let directory = TempDir::new().expect("a directory");
    let listed = stdout(&waldo(directory.path(), &["explain"]));
    assert!(listed.lines().count() >= 40);
    for line in listed.lines() {
        let code = line.split_whitespace().next().expect("a code");
        let output = waldo(directory.path(), &["explain", code]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).starts_with(code) && stdout(&output).lines().count() > 3, "{code}");
    }
    let output = waldo(directory.path(), &["explain", "W999"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("there is no rule `W999`"));
    let output = waldo(directory.path(), &["explain", "W7"]);
    assert!(stderr(&output).contains("did you mean W007"), "{}", stderr(&output));
    let output = waldo(directory.path(), &["explain", "portal"]);
    assert!(stderr(&output).contains("\n  W028  a portal that carries no flow"), "{}", stderr(&output));
}

#[test]
fn up_runs_only_what_is_on_this_machine() {
    let with = |namespaces: &str| with_topology(format!("{HELLO}servers: {{s1: {{address: 10.0.0.1}}}}\n{namespaces}"));
    for (namespaces, arguments, code, expected) in [
        ("namespaces: {prod: {}}\n", vec!["up"], 1, "none of the namespaces in waldo.yaml is local"),
        ("namespaces: {prod: {}}\n", vec!["up", "-n", "prod"], 1, "namespace prod isn't local"),
        (
            "namespaces: {a: {local: true, ports: 17000}, b: {local: true, ports: 18000}}\n",
            vec!["up"],
            64,
            "several local namespaces: a, b",
        ),
        ("", vec!["up", "-n", "Mine"], 64, "`Mine` can't be the name of a namespace"),
        ("", vec!["up", "-n", "hash"], 64, "`hash` can't be the name of a namespace"),
    ] {
        let output = waldo(with(namespaces).path(), &arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn the_schema_that_editors_get_is_json_with_every_section_of_a_topology() {
    let directory = tempfile::tempdir().expect("a directory");
    let outcome = std::process::Command::new(env!("CARGO_BIN_EXE_waldo"))
        .args(["schema", "-o", "waldo.schema.json"])
        .current_dir(directory.path())
        .output()
        .expect("waldo");
    assert!(outcome.status.success());
    let text = std::fs::read_to_string(directory.path().join("waldo.schema.json")).expect("a schema");
    let schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for section in ["topology", "flows", "stages", "loops", "portals", "servers", "namespaces", "include"] {
        assert!(schema["properties"][section]["description"].is_string(), "{section}");
    }
}

#[test]
fn local_looks_for_users_and_for_files_to_ship() {
    let stages = |line: &str| HELLO.replace("run: wc -l,", &format!("run: wc -l, {line},"));
    for (text, says) in [
        (stages("user: nobdy"), ["error[W050]: stage `total` runs as `nobdy`", "did you mean `nobody`?"]),
        (stages("user: waldos-own-user"), ["error[W050]: stage `total` runs as `waldos-own-user`", "create the user"]),
        (format!("{HELLO}files: [bin/*]\n"), ["warning[W052]: no file matches `bin/*`", "build what it is meant for"]),
        (
            format!("{HELLO}files: [numbers, modles/**]\n"),
            ["warning[W052]: no file matches `modles/**`", "ships nothing"],
        ),
    ] {
        let directory = with_topology(&text);
        let program = directory.path().join("numbers");
        fs::write(&program, "#!/bin/sh\n").expect("writable");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("settable");
        let output = waldo(directory.path(), &["check", "--local"]);
        assert_eq!(output.status.code(), Some(i32::from(says[0].starts_with("error"))), "{}", stderr(&output));
        assert!(says.iter().all(|says| stderr(&output).contains(says)), "{}", stderr(&output));
        assert_eq!(stderr(&output).matches("[W0").count(), 1, "{}", stderr(&output));
        assert_eq!(waldo(directory.path(), &["check"]).status.code(), Some(0), "without --local nobody looks");
    }
}
