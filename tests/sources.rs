//! A topology of several files, with variables, through the real binary: what is compiled is what all of them say together, and
//! messages point into the file that wrote the value.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

fn waldo(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waldo"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("WALDO_NAMESPACE")
        .envs(variables.iter().copied())
        .output()
        .expect("waldo runs")
}

fn with(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
        fs::write(path, text).expect("writable");
    }
    directory
}

/// The plan that is compiled from these files.
fn plan(directory: &Path, files: &[&str], variables: &[(&str, &str)]) -> Value {
    let arguments: Vec<_> = ["compile", "--output", "build"].iter().chain(files).copied().collect();
    let output = waldo(directory, &arguments, variables);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan = fs::read(directory.join("build/plan.json")).expect("is written");
    serde_json::from_slice(&plan).expect("is JSON")
}

fn process<'p>(plan: &'p Value, name: &str) -> Option<&'p Value> {
    plan["servers"]["here"]["processes"].as_array()?.iter().find(|process| process["name"] == name)
}

/// File, line and column of each finding.
fn places(directory: &Path, files: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let arguments: Vec<_> = ["check", "--json"].iter().chain(files).copied().collect();
    let output = waldo(directory, &arguments, variables);
    let report: Value = serde_json::from_slice(&output.stdout).expect("is JSON");
    let findings = report["diagnostics"].as_array().expect("a list");
    let text = |finding: &Value| {
        format!("{} {}:{}:{}", finding["code"], finding["file"], finding["line"], finding["column"]).replace('"', "")
    };
    findings.iter().map(text).collect()
}

const BASE: &str = "topology: words\nflows: {word: {}}\nstages:\n  say: {run: ./say, out: [word], speaks: lines, env: {A: one, B: two}}\n  \
                    count: {run: wc -w, in: [word], speaks: lines, instances: 2}\n";

#[test]
fn later_files_override_add_and_remove() {
    let directory = with(&[
        ("base.yaml", BASE),
        (
            "more.yaml",
            "stages:\n  say: {env: {B: ~, C: three}}\n  count: {instances: 1}\n  keep: {run: cat, in: [word], speaks: lines}\n",
        ),
        ("less.yaml", "stages: {keep: ~}\n"),
    ]);
    let here = directory.path();
    let alone = plan(here, &["base.yaml"], &[]);
    assert!(process(&alone, "count.1").is_some());
    let both = plan(here, &["base.yaml", "more.yaml"], &[]);
    assert!(process(&both, "count.1").is_none() && process(&both, "keep.0").is_some());
    let environment = &process(&both, "say.0").expect("is there")["program"]["stage"]["env"];
    assert_eq!(
        (&environment["A"], &environment["B"], &environment["C"]),
        (&"one".into(), &Value::Null, &"three".into())
    );
    let all = plan(here, &["base.yaml", "more.yaml", "less.yaml"], &[]);
    assert!(process(&all, "keep.0").is_none() && process(&all, "say.0").is_some());
}

#[test]
fn what_is_included_comes_first_in_the_order_of_names_seen_from_the_file_that_includes() {
    let directory = with(&[
        (
            "flotilla/waldo.yaml",
            "include: ['../parts/*.yaml', ../parts/deep/x.yaml]\nstages: {say: {env: {A: last}}}\n",
        ),
        ("parts/a.yaml", BASE),
        ("parts/b.yaml", "stages: {say: {env: {A: b, B: b, X: b}}}\n"),
        ("parts/.b.yaml.swp", "\0"),
        ("parts/.hidden.yaml", "not: a topology\n"),
        ("parts/deep/x.yaml", "include: y.yaml\nstages: {say: {env: {X: x}}}\n"),
        ("parts/deep/y.yaml", "stages: {say: {env: {X: y, Y: y}}}\n"),
    ]);
    let plan = plan(directory.path(), &["flotilla"], &[]);
    let environment = &process(&plan, "say.0").expect("is there")["program"]["stage"]["env"];
    let value = |name: &str| environment[name].as_str().unwrap_or_default().to_owned();
    assert_eq!([value("A"), value("B"), value("X"), value("Y")], ["last", "b", "x", "y"]);
}

#[test]
fn findings_point_into_the_file_that_wrote_the_value() {
    let directory = with(&[
        ("base.yaml", BASE),
        (
            "prod.yaml",
            "# for production\nstages:\n  count: {instances: many}\n  say: {out: [wrod]}\nnamespaces:\n  prod: {stages: {say: {cwd: [a]}}}\n",
        ),
        ("dev.yaml", "namespaces: {dev: {stages: {count: {quue: 1}}}}\n"),
    ]);
    let found = places(directory.path(), &["base.yaml", "prod.yaml", "dev.yaml"], &[]);
    assert_eq!(found, ["W009 prod.yaml:3:22", "W007 prod.yaml:4:15", "W004 prod.yaml:6:30", "W002 dev.yaml:1:37"]);
}

#[test]
fn findings_come_from_all_files_also_where_they_cannot_be_read() {
    let directory = with(&[
        ("waldo.yaml", "include: [broken.yaml, nowhere.yaml, good.yaml]\nstages: {a: {run: x, in: [nope]}}\n"),
        ("broken.yaml", "flows: {a: {}\nstages: {b: {run: \"${UNSET_HERE}\"}}\n"),
        ("good.yaml", "files: [\"${UNSET_THERE}\"]\n"),
    ]);
    let found = places(directory.path(), &[], &[]);
    assert_eq!(found, ["W041 waldo.yaml:1:24", "W001 broken.yaml:2:1", "W045 good.yaml:1:10"]);
}

#[test]
fn variables_fill_in_values_and_cannot_add_structure() {
    let text = "topology: words\nstages:\n  say:\n    run: [\"./say\", \"${WORD:-hello}\", \"$${WORD}\"]\n    speaks: lines\n    env: {MODE: \"${MODE}\"}\n";
    let directory = with(&[("waldo.yaml", text)]);
    let evil = "x, B: y}\n    user: root\n  other: {run: z}";
    let plan = plan(directory.path(), &[], &[("MODE", evil)]);
    let say = process(&plan, "say.0").expect("is there");
    assert_eq!(say["program"]["stage"]["env"]["MODE"], evil);
    assert!(say["program"]["stage"]["env"].get("B").is_none() && process(&plan, "other.0").is_none());
    let run = say.to_string();
    assert!(run.contains("\"hello\"") && run.contains("\"${WORD}\""), "{run}");
}

#[test]
fn a_variable_that_is_not_set_is_an_error_at_the_variable_and_near_names_are_suggested() {
    let directory =
        with(&[("waldo.yaml", "topology: words\nstages: {say: {run: './say ${GREETNIG}', speaks: lines}}\n")]);
    let output = waldo(directory.path(), &["check"], &[("GREETING", "hello")]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("waldo.yaml:2:28") && text.contains("did you mean `GREETING`?"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    let directory = with(&[("waldo.yaml", "topology: words\nstages: {'say-${ZONE}': {run: ./say, speaks: lines}}\n")]);
    let text = String::from_utf8_lossy(&waldo(directory.path(), &["check"], &[("ZONE", "a")]).stderr).into_owned();
    assert!(text.contains("error[W043]") && text.contains("waldo.yaml:2:10"), "{text}");
}
