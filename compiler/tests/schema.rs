//! The schema and the readers agree: by a standard validator, on every topology that there is here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use waldo_compiler::{
    Diagnostics, Source, Sources, check, schema,
    source::{
        Unaided,
        node::{Node, Shape},
        yaml,
    },
};

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&schema::topology()).expect("a schema")
}

/// A tree as an editor's YAML support sees it: plain numbers and booleans are ones.
fn json_of(node: &Node) -> Value {
    match &node.shape {
        Shape::Null(_) => Value::Null,
        Shape::Scalar(text) => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => json!(text),
        },
        Shape::List(items) => items.iter().map(json_of).collect(),
        Shape::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.clone(), json_of(&entry.value))).collect::<Map<_, _>>())
        }
    }
}

fn read(path: &Path) -> Option<(Sources, Value)> {
    let text = fs::read_to_string(path).ok()?;
    let node = yaml::parse(&Source::new("t.yaml", &text), &Unaided, &mut 100_000, &mut Diagnostics::default())?;
    Some((Sources::of("t.yaml", &text), json_of(&node)))
}

fn yaml_below(directory: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let mut found = Vec::new();
    let mut directories = vec![root];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_schema_is_one_and_takes_every_topology_that_compiles() {
    jsonschema::meta::validate(&schema::topology()).expect("a schema by its own schema");
    let validator = validator();
    let mut count = 0;
    let language = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/language.yaml");
    for path in yaml_below("topologies").into_iter().chain([language]) {
        let Some((sources, value)) = read(&path) else { continue };
        assert_eq!(check(&sources).diagnostics.errors(), 0, "{}", path.display());
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn the_schema_takes_what_editors_should_not_complain_of() {
    let text = "
x-defaults: &d {restart: {policy: always, max: 3, window: 1m}}
topology: t
include: [a.yaml]
stages:
  a: {<<: *d, run: [./a, 5, true], out: [x], instances: \"${COUNT:-2}\", on: s1, queue: \"100\"}
  b: {run: ./b, in: [{flow: x, spread: key}, y], stop: {signal: SIGINT, grace: 5s}, env: {PORT: 80, ON: yes}}
flows: {x: {guide: {ranges: {\"\": s1, 5: s2}}, key: {bytes: [0, 4]}}, y: null}
namespaces:
  dev: {local: true, ports: 17000, stages: {a: {instances: ~}, b: null}}
"
    .replace("on: s1", "on: [s1]");
    let node =
        yaml::parse(&Source::new("t.yaml", &text), &AsWritten, &mut 1_000, &mut Diagnostics::default()).expect("YAML");
    let errors: Vec<String> = validator().iter_errors(&json_of(&node)).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn the_schema_refuses_what_is_wrong_by_its_shape_and_nothing_that_is_wrong_otherwise() {
    let validator = validator();
    let (mut refused, mut taken) = (0, 0);
    for path in yaml_below("tests/compile-fail") {
        let Some((sources, value)) = read(&path) else { continue };
        let found = check(&sources).diagnostics;
        let codes: Vec<&str> = found.iter().map(|found| found.rule.code).collect();
        let is_about_shape = |code: &&str| ["W002", "W004"].contains(code);
        // Names, literals, keys written twice and variables are partly a matter of shape.
        let may_be =
            |code: &&str| ["W001", "W003", "W005", "W006", "W009", "W011", "W043", "W044", "W045"].contains(code);
        let is_valid = validator.is_valid(&value);
        if codes.iter().any(is_about_shape) && !path.ends_with("include-mistake-in-other-file.yaml") {
            assert!(!is_valid, "{} is taken, though {codes:?}", path.display());
            refused += 1;
        } else if !codes.iter().any(may_be) {
            let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(is_valid, "{}: {errors:?}", path.display());
            taken += 1;
        }
    }
    assert!(refused >= 5 && taken >= 20, "{refused} refused, {taken} taken");
}

/// Leaves variables as they are written.
struct AsWritten;

impl waldo_compiler::source::Environment for AsWritten {
    fn variable(&self, name: &str) -> Result<String, waldo_compiler::source::Missing> {
        Ok(format!("${{{name}}}"))
    }

    fn variables(&self) -> Vec<String> {
        Vec::new()
    }

    fn matching(&self, _: &str, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        Err(format!("{name} isn't here"))
    }
}
