//! What reading rests on: fields of a map, lists, literals; each mistake becomes a diagnostic and reading goes on.

use crate::{
    check::{bad_literal, bad_name, missing_field, unknown_field, wrong_kind},
    diagnostic::{Diagnostic, Diagnostics},
    source::{
        Located, Place,
        node::{Entry, Node, Shape},
    },
    suggestion,
    topology::{literal, merge::Removed, name},
};

/// The fields that hold a topology together: what one of them was meant to say leaves a hole.
const STRUCTURE: [&str; 20] = [
    "flows",
    "stages",
    "loops",
    "portals",
    "servers",
    "namespaces",
    "key",
    "guide",
    "from",
    "in",
    "out",
    "on",
    "flow",
    "spread",
    "ranges",
    "table",
    "default",
    "labels",
    "state",
    "local",
];

/// Reads nodes into values and keeps what it has to say about them.
pub struct Reader<'d> {
    pub diagnostics: &'d mut Diagnostics,
    /// What was removed from what is read.
    pub removed: &'d Removed,
    /// Whether something that could not be read is missing from the topology.
    pub has_holes: bool,
}

/// The fields of one map: known ones only.
pub struct Fields<'n> {
    node: &'n Node,
    /// What has these fields, in words: "stage `score`".
    pub owner: String,
    /// Where it is named.
    pub place: Place,
}

impl<'n> Fields<'n> {
    /// The fields of a map that was looked at before.
    pub fn new(node: &'n Node, owner: String, place: Place) -> Self {
        Self { node, owner, place }
    }

    /// The entry of a field; `None` if there is none or nothing is written for it.
    pub fn entry(&self, field: &str) -> Option<&'n Entry> {
        self.node.get(field).filter(|entry| !entry.value.is_null())
    }

    /// The value of a field, and what to call it in words.
    pub fn get(&self, field: &str) -> Option<(&'n Node, String)> {
        self.entry(field).map(|entry| (&entry.value, format!("`{field}` of {}", self.owner)))
    }
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

    /// The fields of a map; nothing counts as an empty one. Unknown fields are reported.
    pub fn fields<'n>(&mut self, node: &'n Node, owner: String, place: Place, known: &[&str]) -> Option<Fields<'n>> {
        match &node.shape {
            Shape::Null(_) => {}
            Shape::Map(entries) => {
                for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
                    let meant = suggestion::similar(&entry.key, known.iter().copied());
                    self.has_holes |= meant.is_some_and(|meant| STRUCTURE.contains(&meant));
                    self.report(unknown_field::field(&entry.key, entry.key_place, &owner, known));
                }
            }
            _ => {
                self.report_hole(wrong_kind::value(node, &owner, "a map of fields"));
                return None;
            }
        }
        Some(Fields::new(node, owner, place))
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
            self.report_hole(wrong_kind::value(node, &what, &format!("a map from names of {kind}s to their fields")));
            return &[];
        };
        for entry in entries {
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
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<Located<T>> {
        let (node, what) = found?;
        let Shape::Scalar(text) = &node.shape else {
            self.report(wrong_kind::value(node, &what, "a single value"));
            return None;
        };
        match parse(text) {
            Ok(value) => Some(Located::new(value, node.place)),
            Err(expected) => {
                self.report(bad_literal::literal(&what, text, node.place, expected));
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
            self.report(bad_literal::literal(&what, text, node.place, &expected));
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
