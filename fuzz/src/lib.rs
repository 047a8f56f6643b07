//! What must hold whatever a topology's text is. The fuzz targets call these functions, and so does `compiler/tests/corpus.rs`,
//! which needs no fuzzer.
//!
//! An input is one file or several: each but the first begins behind a line `#### NAME`. The first two are given, the
//! others can be included.

use std::{collections::BTreeMap, sync::OnceLock};

use waldo_compiler::{
    Choice, Diagnostics, Refusal, Source, Sources, check, check_one, compile as compiled,
    diagnostic::{
        json::Report,
        render::{Colour, printable, render as shown},
    },
    diff::diff,
    outline,
    render::{Templates, render},
    source::{Environment, Missing},
    verify_digest,
};

/// The line before a further file's text begins with this; its name follows.
const NEXT_FILE: &str = "#### ";
/// The greatest length of what is printed. Bytes. A hundred findings of a few lines, none of which is long.
const MOST_PRINTED: usize = 100 * 20_000;
/// Words of the libraries underneath, which mean nothing to the person at the terminal.
const JARGON: [&str; 9] =
    ["serde", "saphyr", "granit", "flow mapping", "flow sequence", "block mapping", "mapping values", "scalar", "EOF"];

/// The files of an input; two variables are set.
struct Input {
    files: BTreeMap<String, Vec<u8>>,
}

impl Environment for Input {
    fn variable(&self, name: &str) -> Result<String, Missing> {
        match name {
            "HOST" => Ok("10.0.0.1".to_owned()),
            "EMPTY" => Ok(String::new()),
            "LATIN" => Err(Missing::NotText),
            _ => Err(Missing::Unset),
        }
    }

    fn variables(&self) -> Vec<String> {
        vec!["HOST".to_owned(), "EMPTY".to_owned()]
    }

    fn matching(&self, _: &str, pattern: &str) -> Result<Vec<String>, String> {
        let begin = pattern.strip_suffix('*');
        let is_meant = |name: &&String| begin.map_or(name.as_str() == pattern, |begin| name.starts_with(begin));
        Ok(self.files.keys().filter(is_meant).cloned().collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        self.files.get(name).cloned().ok_or_else(|| "there is none".to_owned())
    }
}

fn sources(input: &[u8]) -> Sources {
    let mut files: Vec<(String, Vec<u8>)> = vec![("waldo.yaml".to_owned(), Vec::new())];
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        if let Some(name) = line.strip_prefix(NEXT_FILE.as_bytes()) {
            files.push((String::from_utf8_lossy(name).trim().to_owned(), Vec::new()));
        } else if let Some((_, text)) = files.last_mut() {
            text.extend_from_slice(line);
        }
    }
    let given = files.iter().take(2).map(|(name, text)| Source::of_bytes(name.as_str(), text.clone())).collect();
    Sources::read(given, &Input { files: files.into_iter().collect() })
}

/// Text → tree, and what is said of it.
///
/// # Panics
/// If something doesn't hold that should.
pub fn parse(input: &[u8]) {
    let sources = sources(input);
    let found = check(&sources).diagnostics;
    assert!(outline(&sources).is_some() || found.errors() > 0, "nothing read, and nothing said of it");
    judge(&sources, &found, input);
}

/// Text → checks → plans → files.
///
/// # Panics
/// If something doesn't hold that should.
pub fn compile(input: &[u8]) {
    let sources = sources(input);
    let checked = check(&sources);
    judge(&sources, &checked.diagnostics, input);
    assert_eq!(check(&sources), checked, "the same text, and other findings");
    let Some(outline) = outline(&sources) else { return };
    let mut has_errors = false;
    for namespace in outline.namespaces().take(3) {
        let alone = check_one(&sources, &namespace.name).expect("there is this namespace").diagnostics;
        match compiled(&sources, Choice::Named(&namespace.name), None) {
            Ok(compiled) => {
                // Ports of two namespaces may clash, which only the check of all can see.
                assert_eq!(alone.errors(), 0, "what compiles has errors");
                judge_plan(&compiled.plan);
            }
            Err(Refusal::Errors(errors)) => {
                assert!(alone.errors() > 0, "what has no errors can't be compiled: {errors:?}");
                has_errors = true;
            }
            Err(refusal) => panic!("{refusal}"),
        }
    }
    assert!(!has_errors || checked.diagnostics.errors() > 0, "a namespace has errors, and the topology none");
}

fn judge_plan(plan: &waldo_compiler::plan::Plan) {
    assert!(verify_digest(plan));
    assert!(diff(plan, plan).expect("is related to itself").is_empty());
    let mut files = BTreeMap::<String, String>::new();
    if let Err(failure) = render(plan, templates(), &mut files) {
        panic!("{failure}");
    }
    assert!(files.contains_key("plan.json"));
}

/// Findings point into their files; what is printed is short, harmless and in plain words.
fn judge(sources: &Sources, found: &Diagnostics, input: &[u8]) {
    for finding in found {
        let places = std::iter::once(&finding.place).chain(finding.secondary.iter().map(|(place, _)| place));
        for place in places {
            let source = sources.file(*place);
            assert!(place.start <= place.end && place.end <= source.text.len(), "{finding:?}");
            assert!(source.text.get(place.start..place.end).is_some(), "within a character: {finding:?}");
            let position = source.position(place.start);
            assert!(position.line <= source.text.matches('\n').count() + 1 && position.column > 0, "{finding:?}");
        }
        assert!(finding.help.is_some(), "{finding:?}");
    }
    let text = shown(sources, found, Colour::Plain);
    assert!(text.len() < MOST_PRINTED);
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
    let written = printable(&String::from_utf8_lossy(input));
    for word in JARGON {
        assert!(!text.contains(word) || written.contains(word), "{word}: {text}");
    }
    assert!(!shown(sources, found, Colour::Ansi).is_empty() || found.is_empty());
    drop(Report::new(sources, found, BTreeMap::new()));
}

/// Read once: they are the same for all plans.
fn templates() -> &'static Templates {
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    TEMPLATES.get_or_init(|| Templates::with(&BTreeMap::new()).expect("waldo's own can be read"))
}
