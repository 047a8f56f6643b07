//! Every rule says what it should: each topology in `tests/compile-fail/` gives the messages beside it.
//! `WALDO_UPDATE_EXPECTED=1 cargo test --test compile_fail` writes them anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use waldo_compiler::{
    Source, Sources,
    check::RULES,
    diagnostic::render::{Colour, render},
    source::{Environment, Missing},
};

/// The rules that look at this machine, or at several topologies, which tests break through the command.
const NOT_FROM_TEXT: [&str; 4] = ["W033", "W050", "W052", "W053"];

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile-fail");
    let mut cases: Vec<_> = fs::read_dir(directory)
        .expect("the directory of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    cases
}

/// The files in `parts/` can be included; these variables are set.
struct Beside;

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile-fail").join(name)
}

impl Environment for Beside {
    fn variable(&self, name: &str) -> Result<String, Missing> {
        if name == "MODEL_SIZE" { Ok("small".to_owned()) } else { Err(Missing::Unset) }
    }

    fn variables(&self) -> Vec<String> {
        vec!["MODEL_SIZE".to_owned()]
    }

    fn matching(&self, _: &str, pattern: &str) -> Result<Vec<String>, String> {
        Ok(if beside(pattern).exists() { vec![pattern.to_owned()] } else { Vec::new() })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        fs::read(beside(name)).map_err(|error| error.to_string())
    }
}

fn read(case: &Path) -> Sources {
    let name = case.file_name().expect("a file").to_string_lossy();
    Sources::read(vec![Source::of_bytes(name, fs::read(case).expect("readable"))], &Beside)
}

fn messages(case: &Path) -> String {
    let sources = read(case);
    render(&sources, &waldo_compiler::check(&sources).diagnostics, Colour::Plain)
}

#[test]
fn every_broken_topology_gives_the_expected_messages() {
    let update = std::env::var_os("WALDO_UPDATE_EXPECTED").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let found = messages(&case);
        let expected = case.with_extension("stderr");
        if update {
            fs::write(&expected, &found).expect("writable");
        } else if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "other messages than expected:\n{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_two_cases_and_every_case_breaks_a_rule() {
    let mut broken: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases() {
        let found = waldo_compiler::check(&read(&case)).diagnostics;
        assert!(!found.is_empty(), "{} breaks no rule", case.display());
        let codes: BTreeSet<_> = found.iter().map(|found| found.rule.code).collect();
        for code in codes {
            *broken.entry(code).or_default() += 1;
        }
    }
    let count = |code: &&str| broken.get(code).copied().unwrap_or_default();
    let codes = RULES.iter().map(|rule| rule.code);
    let unbroken: Vec<_> = codes.filter(|code| count(code) < 2).collect();
    assert_eq!(unbroken, NOT_FROM_TEXT);
    assert!(cases().len() >= 80);
}

#[test]
fn every_message_says_where_and_how_to_mend_it() {
    for case in cases() {
        let sources = read(&case);
        for found in &waldo_compiler::check(&sources).diagnostics {
            assert!(found.help.is_some(), "{}: {} has no help", case.display(), found.message);
            let blank =
                sources.file(found.place).text.is_empty() || found.place.start > sources.file(found.place).text.len();
            assert!(!blank || found.rule.code == "W001", "{}: {} has no place", case.display(), found.message);
        }
    }
}
