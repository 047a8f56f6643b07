//! What reading rests on: fields of a map, lists, literals; each mistake becomes a diagnostic and reading goes on.

use std::collections::BTreeSet;

use crate::{
    check::{bad_literal, bad_name, missing_field, unknown_field, wrong_kind},
    diagnostic::{Diagnostic, Diagnostics},
    source::{
        Located, Place,
        node::{Entry, Node, Shape},
    },
    topology::{language, literal, merge::Removed, name, near},
};

/// The fields that take lists.
const LISTS: [&str; 6] = ["files", "flows", "in", "labels", "on", "out"];

/// Reads nodes into values and keeps what it has to say about them.
pub struct Reader<'d> {
    pub diagnostics: &'d mut Diagnostics,
    /// What was removed from what is read.
    pub removed: &'d Removed,
    /// Whether something that could not be read is missing from the topology.
    pub has_holes: bool,
    /// Values of which it is said already what is wrong.
    pub told: BTreeSet<Place>,
}

/// The fields of one map: known ones only.
pub struct Fields<'n> {
    node: &'n Node,
    /// Fields that are spelt otherwise, and how.
    misspelt: Vec<(String, String)>,
    /// What has these fields, in words: "stage `score`".
    pub owner: String,
    /// Where it is named.
    pub place: Place,
}

impl<'n> Fields<'n> {
    /// The fields of a map that was looked at before.
    pub fn new(node: &'n Node, owner: String, place: Place) -> Self {
        Self { node, misspelt: Vec::new(), owner, place }
    }

    /// The entry of a field; `None` if there is none or nothing is written for it.
    pub fn entry(&self, field: &str) -> Option<&'n Entry> {
        let misspelt =
            || self.misspelt.iter().find(|(meant, _)| meant == field).and_then(|(_, as_)| self.node.get(as_));
        self.node.get(field).or_else(misspelt).filter(|entry| !entry.value.is_null())
    }

    /// The value of a field, and what to call it in words.
    pub fn get(&self, field: &str) -> Option<(&'n Node, String)> {
        self.entry(field).map(|entry| (&entry.value, format!("`{field}` of {}", self.owner)))
    }
}

/// Known fields that aren't there, and the unknown ones that were probably meant to be them.
pub fn misspellings(entries: &[Entry], known: &[&str]) -> Vec<(String, String)> {
    let mut meant: Vec<(String, String)> = Vec::new();
    for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        if let Some(field) = unknown_field::meant(&entry.key, known)
            && entries.iter().all(|other| other.key != field)
            && meant.iter().all(|(other, _)| other != field)
        {
            meant.push((field.to_owned(), entry.key.clone()));
        }
    }
    meant
}

/// Whether the blank is missing between a name and what follows: to YAML both are the name.
pub fn lacks_blank(entry: &Entry) -> bool {
    entry.value.is_null() && entry.key.contains(':')
}

/// Whether an entry of things of a kind is rather a field of one of them, not indented far enough.
pub fn is_field_of(kind: &str, entry: &Entry) -> bool {
    !matches!(entry.value.shape, Shape::Map(_) | Shape::Null(_)) && language::owners(&entry.key).contains(&kind)
}

impl Reader<'_> {
    /// Notes a mistake.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Notes a mistake that leaves a hole.
    pub fn report_hole(&mut self, diagnostic: Diagnostic) {
        self.has_holes = true;
        self.report(diagnostic);
    }

    /// The fields of a map; nothing counts as an empty one. Unknown fields are reported, and read as what was meant.
    pub fn fields<'n>(&mut self, node: &'n Node, owner: String, place: Place, known: &[&str]) -> Option<Fields<'n>> {
        let mut misspelt = Vec::new();
        match &node.shape {
            Shape::Null(_) => {}
            Shape::Map(entries) => {
                let items = self.lists_without_brackets(entries, &owner, known);
                let unknown = entries.iter().filter(|entry| !known.contains(&entry.key.as_str()));
                for entry in unknown.filter(|entry| !items.contains(&entry.key_place)) {
                    self.report(unknown_field::field(&entry.key, entry.key_place, &owner, known));
                    self.has_holes |= unknown_field::without_blank(&entry.key, known).is_some();
                }
                misspelt = misspellings(entries, known);
            }
            _ => {
                self.report_hole(wrong_kind::fields(node, &owner));
                return None;
            }
        }
        Some(Fields { misspelt, ..Fields::new(node, owner, place) })
    }

    /// Reports lists that lack their brackets in a map that has its: of `{out: a, b}` YAML makes two fields, `out` and `b`.
    /// Where the items stand that look like fields.
    fn lists_without_brackets(&mut self, entries: &[Entry], owner: &str, known: &[&str]) -> BTreeSet<Place> {
        let mut items = BTreeSet::new();
        for (at, entry) in entries.iter().enumerate() {
            let is_item = |entry: &&Entry| entry.value.is_null() && !known.contains(&entry.key.as_str());
            let others: Vec<&Entry> = entries[at + 1..].iter().take_while(is_item).collect();
            if let Shape::Scalar(first) = &entry.value.shape
                && LISTS.contains(&entry.key.as_str())
                && known.contains(&entry.key.as_str())
                && !others.is_empty()
            {
                let names = others.iter().fold(first.clone(), |names, other| format!("{names}, {}", other.key));
                let what = format!("`{}` of {owner}", entry.key);
                self.report_hole(wrong_kind::without_brackets(&entry.value, &what, &names));
                self.told.insert(entry.value.place);
                items.extend(others.iter().map(|other| other.key_place));
            }
        }
        items
    }

    /// A field that can't be left out.
    pub fn required<'n>(&mut self, fields: &Fields<'n>, field: &str, example: &str) -> Option<(&'n Node, String)> {
        let found = fields.get(field);
        if found.is_none() {
            let missing = missing_field::field(field, &fields.owner, fields.place, example);
            self.report(match self.removed.field(fields.place, field) {
                Some(place) => missing.also(place, "removed here"),
                None => missing,
            });
        }
        found
    }

    /// The entries of a map whose keys are names of things of a kind. Keys that can't be names are reported.
    pub fn named<'n>(&mut self, node: Option<(&'n Node, String)>, kind: &str) -> &'n [Entry] {
        let Some((node, what)) = node else { return &[] };
        let Shape::Map(entries) = &node.shape else {
            self.report_hole(wrong_kind::named(node, &what, kind));
            return &[];
        };
        for entry in entries.iter().filter(|entry| !is_field_of(kind, entry)) {
            self.name(&entry.key, entry.key_place, kind);
        }
        entries
    }

    /// Reports a text that can't be a name.
    pub fn name(&mut self, text: &str, place: Place, kind: &str) {
        if let Some(flaw) = name::flaw(text) {
            self.report(bad_name::name(kind, text, place, flaw));
        }
    }

    /// A single value's text as written.
    pub fn text(&mut self, node: &Node, what: &str) -> Option<Located<String>> {
        if let Shape::Scalar(text) = &node.shape {
            return Some(Located::new(text.clone(), node.place));
        }
        self.report_hole(wrong_kind::value(node, what, "a single value"));
        None
    }

    /// The same where nothing is a text too: an argument or a variable may be empty or `null`.
    pub fn verbatim(&mut self, node: &Node, what: &str) -> Option<Located<String>> {
        match &node.shape {
            Shape::Null(text) => Some(Located::new(text.clone(), node.place)),
            _ => self.text(node, what),
        }
    }

    /// The items of a list.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str, of: &str) -> Option<&'n [Node]> {
        if let Shape::List(items) = &node.shape {
            return Some(items);
        }
        if self.told.contains(&node.place) {
            return None;
        }
        self.report_hole(wrong_kind::list(node, what, of));
        None
    }

    /// A list of single values.
    pub fn texts(&mut self, node: &Node, what: &str, of: &str) -> Option<Vec<Located<String>>> {
        let items = self.list(node, what, of)?;
        let item = format!("an item of {what}");
        Some(items.iter().filter_map(|node| self.text(node, &item)).collect())
    }

    /// A literal.
    pub fn literal<T>(
        &mut self,
        found: Option<(&Node, String)>,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Option<Located<T>> {
        self.near(found, parse, |_| None)
    }

    /// A literal; what to write instead is guessed.
    pub fn near<T>(
        &mut self,
        found: Option<(&Node, String)>,
        parse: impl Fn(&str) -> Result<T, &'static str>,
        guess: impl Fn(&str) -> Option<String>,
    ) -> Option<Located<T>> {
        let (node, what) = found?;
        let Shape::Scalar(text) = &node.shape else {
            self.report(wrong_kind::value(node, &what, "a single value"));
            return None;
        };
        match parse(text) {
            Ok(value) => Some(Located::new(value, node.place)),
            Err(expected) => {
                self.report(match guess(text).filter(|meant| parse(meant).is_ok()) {
                    Some(meant) => bad_literal::near(&what, text, node.place, expected, &meant),
                    None => bad_literal::literal(&what, text, node.place, expected),
                });
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn count(&mut self, found: Option<(&Node, String)>, least: u64, most: u64) -> Option<Located<u64>> {
        let (node, what) = found?;
        let Shape::Scalar(text) = &node.shape else {
            self.report(wrong_kind::value(node, &what, "a number"));
            return None;
        };
        let number = literal::count(text, least, most);
        if number.is_none() {
            let expected = format!("a whole number from {least} to {most}");
            self.report(match near::count(text, least, most) {
                Some(meant) => bad_literal::near(&what, text, node.place, &expected, &meant),
                None => bad_literal::literal(&what, text, node.place, &expected),
            });
        }
        number.map(|number| Located::new(number, node.place))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, found: Option<(&Node, String)>, choices: &[(&str, T)]) -> Option<Located<T>> {
        let (node, what) = found?;
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let Shape::Scalar(text) = &node.shape else {
            self.report(wrong_kind::value(node, &what, &format!("one of `{}`", words.join("`, `"))));
            return None;
        };
        let chosen = choices.iter().find(|(word, _)| word == text);
        if chosen.is_none() {
            self.report(bad_literal::choice(&what, text, node.place, &words));
        }
        chosen.map(|(_, value)| Located::new(*value, node.place))
    }
}
