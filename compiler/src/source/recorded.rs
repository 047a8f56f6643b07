//! What a topology was read from, so that it can be read again when its files and the environment have changed since.

use std::{cell::RefCell, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::{Environment, Missing, Source, Sources};

/// The files of a topology, and all that they asked of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The files that were named, in order.
    given: Vec<File>,
    /// Files that were included, by name.
    files: BTreeMap<String, String>,
    /// The names that patterns stand for, by the file that a pattern is in and the pattern.
    matching: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// What is the same for all names of a file.
    identities: BTreeMap<String, String>,
    /// Variables that were asked for; those that weren't set are null.
    variables: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    name: String,
    text: String,
}

/// An environment that remembers what it has answered. What couldn't be answered isn't remembered: then there is no topology.
struct Recorder<'e> {
    environment: &'e dyn Environment,
    recorded: RefCell<Recorded>,
}

impl Recorded {
    /// Reads these files, and what they include, and remembers what was read.
    pub fn read(given: Vec<Source>, environment: &dyn Environment) -> (Sources, Self) {
        let named = given.iter().map(|source| File { name: source.name.clone(), text: source.text.clone() }).collect();
        let recorder = Recorder { environment, recorded: RefCell::new(Self { given: named, ..Self::default() }) };
        let sources = Sources::read(given, &recorder);
        (sources, recorder.recorded.into_inner())
    }

    /// The same with another text in the file of this name.
    #[must_use]
    pub fn with_text(mut self, name: &str, text: &str) -> Self {
        for file in self.given.iter_mut().filter(|file| file.name == name) {
            text.clone_into(&mut file.text);
        }
        if let Some(included) = self.files.get_mut(name) {
            text.clone_into(included);
        }
        self
    }

    /// The same files once more, and after them others, which are merged into them.
    pub fn again(&self, later: impl IntoIterator<Item = Source>) -> Sources {
        let given = self.given.iter().map(|file| Source::new(file.name.clone(), &file.text));
        Sources::read(given.chain(later).collect(), self)
    }
}

impl Environment for Recorded {
    fn variable(&self, name: &str) -> Result<String, Missing> {
        self.variables.get(name).cloned().flatten().ok_or(Missing::Unset)
    }

    fn variables(&self) -> Vec<String> {
        self.variables.keys().cloned().collect()
    }

    fn matching(&self, from: &str, pattern: &str) -> Result<Vec<String>, String> {
        let names = self.matching.get(from).and_then(|patterns| patterns.get(pattern));
        names.cloned().ok_or_else(|| "it wasn't there when the topology was read".to_owned())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let text = self.files.get(name).map(|text| text.clone().into_bytes());
        text.ok_or_else(|| "it wasn't there when the topology was read".to_owned())
    }

    fn identity(&self, name: &str) -> String {
        self.identities.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }
}

impl Environment for Recorder<'_> {
    fn variable(&self, name: &str) -> Result<String, Missing> {
        let value = self.environment.variable(name);
        self.recorded.borrow_mut().variables.insert(name.to_owned(), value.clone().ok());
        value
    }

    fn variables(&self) -> Vec<String> {
        self.environment.variables()
    }

    fn matching(&self, from: &str, pattern: &str) -> Result<Vec<String>, String> {
        let names = self.environment.matching(from, pattern)?;
        let mut recorded = self.recorded.borrow_mut();
        recorded.matching.entry(from.to_owned()).or_default().insert(pattern.to_owned(), names.clone());
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let bytes = self.environment.read(name)?;
        let text = Source::of_bytes(name, bytes.clone()).text;
        self.recorded.borrow_mut().files.insert(name.to_owned(), text);
        Ok(bytes)
    }

    fn identity(&self, name: &str) -> String {
        let identity = self.environment.identity(name);
        self.recorded.borrow_mut().identities.insert(name.to_owned(), identity.clone());
        identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Choice, compile};

    struct Once;

    impl Environment for Once {
        fn variable(&self, name: &str) -> Result<String, Missing> {
            if name == "WEIGHT" { Ok("2".to_owned()) } else { Err(Missing::Unset) }
        }

        fn variables(&self) -> Vec<String> {
            vec!["WEIGHT".to_owned(), "HOME".to_owned()]
        }

        fn matching(&self, _: &str, _: &str) -> Result<Vec<String>, String> {
            Ok(vec!["./stages/a.yaml".to_owned()])
        }

        fn read(&self, _: &str) -> Result<Vec<u8>, String> {
            Ok(b"stages: {b: {run: sink, in: [x]}}\n".to_vec())
        }

        fn identity(&self, name: &str) -> String {
            name.trim_start_matches("./").to_owned()
        }
    }

    const TEXT: &str = "topology: t
include: stages/*.yaml
flows: {x: {guide: hash}}
stages: {a: {run: '${TOOL:-make}', out: [x]}}
servers: {s1: {address: 127.0.0.1, weight: '${WEIGHT}'}, s2: {address: 127.0.0.2}}
";

    #[test]
    fn a_topology_is_read_again_as_it_was_with_its_environment_gone() {
        let (sources, recorded) = Recorded::read(vec![Source::new("waldo.yaml", TEXT)], &Once);
        let kept = serde_json::to_string(&recorded).expect("JSON");
        let recorded: Recorded = serde_json::from_str(&kept).expect("what was written");
        let plan = |sources: &Sources| compile(sources, Choice::Only, None).expect("a plan").plan;
        assert_eq!(plan(&recorded.again([])), plan(&sources));
        assert!(!kept.contains("HOME"), "what wasn't asked for isn't kept");
    }

    #[test]
    fn what_is_read_after_it_is_merged_into_it() {
        let (_, recorded) = Recorded::read(vec![Source::new("waldo.yaml", TEXT)], &Once);
        let plan = |text: &str| compile(&recorded.again([Source::new("later", text)]), Choice::Only, None);
        let drained = plan("servers: {s2: {state: drained}}").expect("a plan").plan;
        assert!(drained.servers["s2"].processes.is_empty());
        assert!(plan("servers: {s2: {state: drained}, s1: {state: drained}}").is_err());
    }
}
