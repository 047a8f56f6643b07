//! The files of a topology as one tree: those that were named, in order, and those that they include.
//!
//! What comes later is merged into what came before, as a namespace's changes are ([`merge`]); what a file includes comes
//! before the file itself. A file that several include is read once, where it is first included.

use super::{
    FileId, Place, Source,
    node::{Node, Shape},
    yaml,
};
use crate::{
    check::{include, wrong_kind},
    diagnostic::Diagnostics,
    topology::merge::merge,
};

/// The field that includes other files.
const INCLUDE: &str = "include";
/// The greatest number of files of a topology.
const MOST_FILES: usize = 1_000;

/// What the text of a topology can ask for: the compiler itself has no files and no environment.
pub trait Environment {
    /// The value of a variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The names of all variables, to suggest one.
    fn variables(&self) -> Vec<String>;

    /// The files that a pattern names, seen from the file `from`, in the order of their names.
    ///
    /// # Errors
    /// Why they can't be had, in words.
    fn include(&self, from: &str, pattern: &str) -> Result<Vec<Source>, String>;
}

/// An environment without anything.
#[derive(Debug, Clone, Copy)]
pub struct Unaided;

impl Environment for Unaided {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn variables(&self) -> Vec<String> {
        Vec::new()
    }

    fn include(&self, _: &str, _: &str) -> Result<Vec<Source>, String> {
        Err("there are no other files here".to_owned())
    }
}

/// All files of a topology, read and merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    files: Vec<Source>,
    tree: Option<Node>,
    found: Diagnostics,
}

impl Sources {
    /// Reads these files, and what they include.
    pub fn read(given: Vec<Source>, environment: &dyn Environment) -> Self {
        let mut loading = Loading { environment, files: Vec::new(), open: Vec::new(), found: Diagnostics::default() };
        let mut tree: Option<Node> = None;
        for source in given {
            let Some(next) = loading.file(source) else { continue };
            tree = Some(match tree {
                Some(before) => merge(&before, &next),
                None => next,
            });
        }
        Self { files: loading.files, tree, found: loading.found }
    }

    /// One file that asks for nothing.
    pub fn of(name: impl Into<String>, text: &str) -> Self {
        Self::read(vec![Source::new(name, text)], &Unaided)
    }

    /// The files, by their ids.
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// The file of a place.
    pub fn file(&self, place: Place) -> &Source {
        &self.files[usize::from(place.file.0).min(self.files.len() - 1)]
    }

    /// What all of them say together; `None` if one isn't YAML.
    pub(crate) fn tree(&self) -> Option<&Node> {
        self.tree.as_ref()
    }

    /// What is wrong with the files themselves.
    pub(crate) fn found(&self) -> &Diagnostics {
        &self.found
    }
}

struct Loading<'e> {
    environment: &'e dyn Environment,
    files: Vec<Source>,
    /// The files that are being read, each included by the one before.
    open: Vec<FileId>,
    found: Diagnostics,
}

impl Loading<'_> {
    fn file(&mut self, mut source: Source) -> Option<Node> {
        source.id = FileId(self.files.len() as u16);
        let id = source.id;
        let tree = yaml::parse(&source, self.environment, &mut self.found);
        self.files.push(source);
        self.open.push(id);
        let whole = tree.map(|tree| self.with_included(tree));
        self.open.pop();
        whole
    }

    fn with_included(&mut self, mut tree: Node) -> Node {
        let Shape::Map(entries) = &mut tree.shape else { return tree };
        let Some(at) = entries.iter().position(|entry| entry.key == INCLUDE) else { return tree };
        let patterns = entries.remove(at).value;
        let mut before: Option<Node> = None;
        for pattern in self.patterns(&patterns) {
            for source in self.included(&pattern) {
                let Some(next) = self.file(source) else { continue };
                before = Some(match before {
                    Some(before) => merge(&before, &next),
                    None => next,
                });
            }
        }
        before.map_or(tree.clone(), |before| Node { place: tree.place, ..merge(&before, &tree) })
    }

    fn patterns(&mut self, node: &Node) -> Vec<(String, Place)> {
        let nodes = match &node.shape {
            Shape::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut patterns = Vec::new();
        for node in nodes {
            match &node.shape {
                Shape::Scalar(pattern) => patterns.push((pattern.clone(), node.place)),
                _ => self.found.push(wrong_kind::value(node, "`include` of the topology", "a file or a list of files")),
            }
        }
        patterns
    }

    fn included(&mut self, (pattern, place): &(String, Place)) -> Vec<Source> {
        let from = self.files[usize::from(place.file.0)].name.clone();
        let sources = match self.environment.include(&from, pattern) {
            Ok(sources) if sources.is_empty() => {
                self.found.push(include::nothing(pattern, *place));
                return Vec::new();
            }
            Ok(sources) => sources,
            Err(why) => {
                self.found.push(include::unreadable(pattern, *place, &why));
                return Vec::new();
            }
        };
        let mut fresh = Vec::new();
        for source in sources {
            let known = self.files.iter().find(|file| file.name == source.name).map(|file| file.id);
            if known.is_some_and(|known| self.open.contains(&known)) {
                let chain: Vec<&str> =
                    self.open.iter().map(|open| self.files[usize::from(open.0)].name.as_str()).collect();
                self.found.push(include::circle(&chain, &source.name, *place));
            } else if self.files.len() + fresh.len() >= MOST_FILES {
                self.found.push(include::unreadable(pattern, *place, "a topology has 1,000 files at most"));
                break;
            } else if known.is_none() {
                fresh.push(source);
            }
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Files(BTreeMap<&'static str, &'static str>);

    impl Environment for Files {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn variables(&self) -> Vec<String> {
            Vec::new()
        }

        fn include(&self, _: &str, pattern: &str) -> Result<Vec<Source>, String> {
            let text = self.0.get(pattern).ok_or("no such file")?;
            Ok(vec![Source::new(pattern, text)])
        }
    }

    fn read(given: &[&str], files: &[(&'static str, &'static str)]) -> Sources {
        let given = given.iter().enumerate().map(|(at, text)| Source::new(format!("{at}.yaml"), text)).collect();
        Sources::read(given, &Files(files.iter().copied().collect()))
    }

    fn value(sources: &Sources, key: &str) -> String {
        let entry = sources.tree().and_then(|tree| tree.get(key)).unwrap_or_else(|| panic!("no {key}"));
        match &entry.value.shape {
            Shape::Scalar(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn later_files_override_and_null_removes() {
        let sources = read(&["{a: 1, b: 2, c: 3}", "{b: 5, c: ~}"], &[]);
        assert_eq!((value(&sources, "a"), value(&sources, "b")), ("1".into(), "5".into()));
        assert!(sources.tree().is_some_and(|tree| tree.get("c").is_none()));
    }

    #[test]
    fn what_is_included_comes_before_the_file_that_includes_it() {
        let sources = read(&["{include: [x, y], a: 1}"], &[("x", "{a: 7, b: 7}"), ("y", "{b: 8, include: x}")]);
        assert!(sources.found().is_empty(), "{:?}", sources.found());
        assert_eq!((value(&sources, "a"), value(&sources, "b")), ("1".into(), "8".into()));
        assert_eq!(sources.files().len(), 3, "x is read once");
    }

    #[test]
    fn places_say_which_file_they_are_in() {
        let sources = read(&["{include: x, a: 1}"], &[("x", "{b: 22}")]);
        let entry = sources.tree().and_then(|tree| tree.get("b")).expect("is included");
        let file = sources.file(entry.value.place);
        assert_eq!((file.name.as_str(), file.text_at(entry.value.place)), ("x", "22"));
    }

    #[test]
    fn files_that_include_each_other_are_an_error_and_end() {
        let sources = read(&["{include: x}"], &[("x", "{include: y, a: 1}"), ("y", "{include: x, a: 2}")]);
        assert_eq!(sources.found().len(), 1);
        assert_eq!(value(&sources, "a"), "1");
    }
}
