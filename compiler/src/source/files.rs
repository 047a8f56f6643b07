//! The files of a topology as one tree: those that were named, in order, and those that they include.
//!
//! What comes later is merged into what came before, as a namespace's changes are ([`merge`]); what a file includes comes
//! before the file itself. A file that several include is read once, where it is first included.

use super::{
    FileId, Place, Source,
    environment::{Environment, Unaided},
    node::{Node, Shape},
    yaml,
};
use crate::{
    check::{include, not_text, syntax, wrong_kind},
    diagnostic::Diagnostics,
    topology::merge::{Removed, merge},
};

/// The field that includes other files.
const INCLUDE: &str = "include";
/// The greatest number of files of a topology.
pub const MOST_FILES: usize = 1_000;
/// The greatest size of all its files together. Bytes.
pub const MOST_BYTES: usize = 16 << 20;

/// No path is longer. Bytes.
const LONGEST_PATTERN: usize = 4_096;

/// All files of a topology, read and merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// At least one.
    files: Vec<Source>,
    tree: Option<Node>,
    removed: Removed,
    found: Diagnostics,
}

impl Sources {
    /// Reads these files, and what they include.
    pub fn read(given: Vec<Source>, environment: &dyn Environment) -> Self {
        let mut loading = Loading {
            environment,
            files: Vec::new(),
            identities: Vec::new(),
            open: Vec::new(),
            bytes: 0,
            room: yaml::MAX_NODES,
            removed: Removed::default(),
            has_holes: given.is_empty(),
            found: Diagnostics::default(),
        };
        let mut tree = None;
        for source in given {
            if loading.files.len() >= MOST_FILES {
                loading.has_holes = true;
                loading.found.push(syntax::too_many_files(MOST_FILES, Place::default()));
                break;
            }
            let read = loading.file(source);
            tree = loading.merged(tree, read);
        }
        let Loading { mut files, has_holes, mut found, removed, .. } = loading;
        if files.is_empty() {
            files.push(Source::new("topology", ""));
        }
        if found.is_empty() && tree.as_ref().is_none_or(Node::is_null) {
            found.push(syntax::empty(Place::at(files[0].id, 0)));
            tree = None;
        }
        Self { files, tree: tree.filter(|_| !has_holes), removed, found }
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

    /// What all of them say together; `None` if one of them couldn't be read.
    pub(crate) fn tree(&self) -> Option<&Node> {
        self.tree.as_ref()
    }

    /// What of the files others removed.
    pub(crate) fn removed(&self) -> &Removed {
        &self.removed
    }

    /// What is wrong with the files themselves.
    pub(crate) fn found(&self) -> &Diagnostics {
        &self.found
    }
}

struct Loading<'e> {
    environment: &'e dyn Environment,
    files: Vec<Source>,
    /// What is the same for all names of a file, for each of the files.
    identities: Vec<String>,
    /// The files that are being read, each included by the one before.
    open: Vec<FileId>,
    /// The size of the files.
    bytes: usize,
    /// How many values may yet come.
    room: usize,
    removed: Removed,
    /// Whether one of the files couldn't be read: what they say together isn't known then.
    has_holes: bool,
    found: Diagnostics,
}

impl Loading<'_> {
    /// What comes later merged into what came before. A file of comments alone changes nothing.
    fn merged(&mut self, before: Option<Node>, later: Option<Node>) -> Option<Node> {
        match (before, later) {
            (Some(before), Some(later)) if later.is_null() => Some(before),
            (Some(before), Some(later)) if !before.is_null() => Some(merge(before, later, &mut self.removed)),
            (before, None) => before,
            (_, later) => later,
        }
    }

    fn file(&mut self, mut source: Source) -> Option<Node> {
        source.id = FileId(u16::try_from(self.files.len()).unwrap_or(u16::MAX));
        let id = source.id;
        self.bytes += source.text.len();
        let tree = if let Some(flaw) = source.flaw {
            self.found.push(not_text::file(&source, flaw));
            None
        } else if self.bytes > MOST_BYTES {
            self.found.push(syntax::too_many_bytes(MOST_BYTES, Place::at(id, 0)));
            None
        } else {
            yaml::parse(&source, self.environment, &mut self.room, &mut self.found)
        };
        self.has_holes |= tree.is_none();
        self.identities.push(self.environment.identity(&source.name));
        self.files.push(source);
        self.open.push(id);
        let whole = tree.map(|tree| self.with_included(tree));
        self.open.pop();
        whole
    }

    fn with_included(&mut self, mut tree: Node) -> Node {
        let Shape::Map(entries) = &mut tree.shape else { return tree };
        let Some(at) = entries.iter().position(|entry| entry.key == INCLUDE) else { return tree };
        let included = entries.remove(at).value;
        let mut before = None;
        for (pattern, place) in self.patterns(&included) {
            let Some(names) = self.matching(&pattern, place) else {
                self.has_holes = true;
                continue;
            };
            for name in names {
                let Some(source) = self.included(&name, &pattern, place) else { continue };
                let read = self.file(source);
                before = self.merged(before, read);
            }
        }
        let place = tree.place;
        let whole = self.merged(before, Some(tree));
        whole.map_or(Node { shape: Shape::Map(Vec::new()), place }, |whole| Node { place, ..whole })
    }

    fn patterns(&mut self, node: &Node) -> Vec<(String, Place)> {
        let nodes = match &node.shape {
            Shape::List(items) => items.as_slice(),
            Shape::Null(_) => &[],
            _ => std::slice::from_ref(node),
        };
        let mut patterns = Vec::new();
        for node in nodes {
            if let Shape::Scalar(pattern) = &node.shape {
                patterns.push((pattern.clone(), node.place));
            } else {
                self.has_holes = true;
                self.found.push(wrong_kind::value(node, "`include` of the topology", "a file or a list of files"));
            }
        }
        patterns
    }

    fn matching(&mut self, pattern: &str, place: Place) -> Option<Vec<String>> {
        let from = &self.files[usize::from(place.file.0)].name;
        let matching = match pattern.len() {
            0..=LONGEST_PATTERN => self.environment.matching(from, pattern),
            _ => Err("no file has so long a name".to_owned()),
        };
        match matching {
            Ok(names) if names.is_empty() => self.found.push(include::nothing(pattern, place)),
            Ok(names) => return Some(names),
            Err(why) => self.found.push(include::unreadable(pattern, place, &why)),
        }
        None
    }

    /// Reads a file that is included, unless that was done before.
    fn included(&mut self, name: &str, pattern: &str, place: Place) -> Option<Source> {
        let identity = self.environment.identity(name);
        let known = self.identities.iter().position(|known| *known == identity);
        if let Some(known) = known {
            let chain: Vec<_> = self.open.iter().map(|open| usize::from(open.0)).collect();
            if let Some(first) = chain.iter().position(|open| *open == known) {
                let names: Vec<&str> = chain[first..].iter().map(|open| self.files[*open].name.as_str()).collect();
                self.found.push(include::circle(&names, place));
            }
            return None;
        }
        if self.files.len() >= MOST_FILES {
            self.has_holes = true;
            self.found.push(include::unreadable(pattern, place, "a topology has 1,000 files at most"));
            return None;
        }
        match self.environment.read(name) {
            Ok(bytes) => Some(Source::of_bytes(name, bytes)),
            Err(why) => {
                self.has_holes = true;
                self.found.push(include::unreadable(pattern, place, &why));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::source::Missing;

    struct Files(BTreeMap<&'static str, &'static str>);

    impl Environment for Files {
        fn variable(&self, _: &str) -> Result<String, Missing> {
            Err(Missing::Unset)
        }

        fn variables(&self) -> Vec<String> {
            Vec::new()
        }

        fn matching(&self, _: &str, pattern: &str) -> Result<Vec<String>, String> {
            let begin = pattern.strip_suffix('*').unwrap_or(pattern);
            Ok(self.0.keys().filter(|name| name.starts_with(begin)).map(|name| (*name).to_owned()).collect())
        }

        fn read(&self, name: &str) -> Result<Vec<u8>, String> {
            self.0.get(name).map(|text| text.as_bytes().to_vec()).ok_or("no such file".to_owned())
        }

        fn identity(&self, name: &str) -> String {
            name.trim_start_matches("./").to_owned()
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

    #[test]
    fn a_circle_is_found_whatever_the_files_are_called_in_it() {
        let files = [("x", "{include: ./y, a: 1}"), ("./y", "{include: ./x, b: 2}"), ("./x", "{include: ./y, a: 1}")];
        let sources = read(&["{include: x}"], &files);
        assert_eq!(sources.files().len(), 3);
        let messages: Vec<_> = sources.found().iter().map(|found| found.message.as_str()).collect();
        assert_eq!(messages, ["files include each other: `x` → `./y` → `x`"]);
    }

    #[test]
    fn a_file_of_comments_changes_nothing_and_an_empty_one_is_an_error() {
        let sources = read(&["{a: 1, include: ~}", "# nothing yet"], &[]);
        assert!(sources.found().is_empty());
        assert_eq!(value(&sources, "a"), "1");
        assert_eq!(read(&["# nothing"], &[]).found().len(), 1);
        let sources = read(&["{a: 1}", " \n"], &[]);
        assert_eq!(sources.found().len(), 1);
        assert_eq!(sources.file(sources.found().iter().next().expect("one").place).name, "1.yaml");
        assert_eq!(read(&[], &[]).found().len(), 1);
    }

    #[test]
    fn what_files_say_together_is_unknown_while_one_cannot_be_read() {
        for (given, files) in
            [("{include: nowhere}", [("x", "")]), ("{include: x}", [("x", "a: [")]), ("{include: [[x]]}", [("x", "")])]
        {
            let sources = read(&[given, "{a: 1}"], &files);
            assert_eq!((sources.found().len(), sources.tree()), (1, None), "{given}");
        }
    }
}
