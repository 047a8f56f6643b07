//! What the compiler has to say about a topology: one type for all of it, whichever rule speaks.

pub mod json;
pub mod render;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashSet},
};

use crate::{check::Rule, source::Place};

/// A longer text is shortened. Bytes.
const LONGEST: usize = 1_200;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The topology can't be compiled.
    Error,
    /// It can, but something is probably not meant.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The rule that it breaks: code, severity, explanation.
    pub rule: &'static Rule,
    /// What is wrong.
    pub message: String,
    /// Where it is mended, most probably.
    pub place: Place,
    /// What to say at that place; may be empty.
    pub label: String,
    /// Other places that matter, and what to say there.
    pub secondary: Vec<(Place, String)>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding at a place.
    pub fn new(rule: &'static Rule, place: Place, message: impl Into<String>) -> Self {
        Self {
            rule,
            message: shortened(message.into()),
            place,
            label: String::new(),
            secondary: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Says something at its place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = shortened(label.into());
        self
    }

    /// Points at another place too.
    #[must_use]
    pub fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.secondary.push((place, shortened(label.into())));
        self
    }

    /// Adds what is worth knowing.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(shortened(note.into()));
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shortened(help.into()));
        self
    }

    fn identity(&self) -> Identity {
        (self.place, self.rule.code, self.message.clone())
    }

    /// Whether it keeps the topology from being compiled.
    pub fn is_error(&self) -> bool {
        self.rule.severity == Severity::Error
    }
}

/// A text that is too long to be read, as a key of a megabyte would make it, without its middle; control characters, which
/// could do anything to a terminal, blanked.
fn shortened(text: String) -> String {
    let blank = |character: char| if character.is_control() && character != '\n' { ' ' } else { character };
    if text.len() <= LONGEST {
        return if text.chars().any(char::is_control) { text.chars().map(blank).collect() } else { text };
    }
    let part = LONGEST / 3;
    let head: String = text.chars().take(part).map(blank).collect();
    let tail: Vec<char> = text.chars().rev().take(part).map(blank).collect();
    format!("{head} … {}", tail.into_iter().rev().collect::<String>())
}

/// All findings of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    all: Vec<Diagnostic>,
    known: HashSet<Identity>,
}

/// What makes two findings one: the same words of the same rule at the same place.
type Identity = (Place, &'static str, String);

impl Diagnostics {
    /// Adds one, unless it is known already.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.known.insert(diagnostic.identity()) {
            self.all.push(diagnostic);
        }
    }

    /// Adds all of another run.
    pub fn extend(&mut self, others: Self) {
        others.all.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.all.iter().filter(|diagnostic| diagnostic.is_error()).count()
    }

    /// How many of them are warnings.
    pub fn warnings(&self) -> usize {
        self.len() - self.errors()
    }

    /// The findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.all.iter()
    }

    /// The findings of several namespaces as one list in the order of the file; what only some of the namespaces have
    /// says which.
    pub fn across(namespaces: Vec<(String, Self)>) -> Self {
        let total = namespaces.len();
        let mut found: Vec<(Diagnostic, Vec<String>)> = Vec::new();
        let mut known: BTreeMap<Identity, usize> = BTreeMap::new();
        for (namespace, diagnostics) in namespaces {
            for diagnostic in diagnostics.all {
                let identity = diagnostic.identity();
                let index = *known.entry(identity).or_insert(found.len());
                if index == found.len() {
                    found.push((diagnostic, vec![namespace.clone()]));
                } else if found[index].1.last() != Some(&namespace) {
                    found[index].1.push(namespace.clone());
                }
            }
        }
        let mut all: Vec<Diagnostic> = found
            .into_iter()
            .map(|(diagnostic, of)| {
                if of.len() == total {
                    return diagnostic;
                }
                let names: Vec<_> = of.iter().map(|name| format!("`{name}`")).collect();
                let plural = if of.len() == 1 { "namespace" } else { "namespaces" };
                diagnostic.note(format!("in {plural} {}", names.join(", ")))
            })
            .collect();
        all.sort_by(by_place);
        let known = all.iter().map(Diagnostic::identity).collect();
        Self { all, known }
    }

    /// Drops what is said of values in which these causes say already what is wrong: they were never what was meant.
    pub fn drop_follow_ups(&mut self, causes: &Self) {
        let places: BTreeSet<Place> = causes.all.iter().map(|cause| cause.place).collect();
        let holds_cause = |whole: Place| {
            places
                .range(Place { end: whole.start, ..whole }..)
                .next()
                .is_some_and(|cause| cause.file == whole.file && cause.start <= whole.end && cause.end <= whole.end)
        };
        self.all.retain(|found| !holds_cause(found.place) || causes.known.contains(&found.identity()));
    }

    /// Puts the findings into the order of the file.
    pub fn sort(&mut self) {
        self.all.sort_by(by_place);
    }
}

fn by_place(a: &Diagnostic, b: &Diagnostic) -> Ordering {
    (a.place, a.rule.code, &a.message).cmp(&(b.place, b.rule.code, &b.message))
}

impl<'d> IntoIterator for &'d Diagnostics {
    type Item = &'d Diagnostic;
    type IntoIter = std::slice::Iter<'d, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.iter()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}
