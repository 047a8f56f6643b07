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
/// How many errors are kept, and how many warnings; further ones are counted. Who has as many has one cause.
const MOST: usize = 10_000;

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
    errors: Count,
    warnings: Count,
}

/// How many findings of one severity there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    kept: usize,
    /// Beyond [`MOST`].
    more: usize,
}

/// What makes two findings one: the same words of the same rule at the same place.
type Identity = (Place, &'static str, String);

impl Diagnostics {
    /// Adds one, unless it is known already.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let identity = diagnostic.identity();
        if self.known.contains(&identity) {
            return;
        }
        let count = if diagnostic.is_error() { &mut self.errors } else { &mut self.warnings };
        if count.kept >= MOST {
            count.more += 1;
            return;
        }
        count.kept += 1;
        self.known.insert(identity);
        self.all.push(diagnostic);
    }

    /// Adds all of another run.
    pub fn extend(&mut self, others: Self) {
        self.errors.more += others.errors.more;
        self.warnings.more += others.warnings.more;
        others.all.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.all.len() + self.more()
    }

    /// How many there are besides those that are kept.
    pub fn more(&self) -> usize {
        self.errors.more + self.warnings.more
    }

    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.errors.kept + self.errors.more
    }

    /// How many of them are warnings.
    pub fn warnings(&self) -> usize {
        self.warnings.kept + self.warnings.more
    }

    /// The findings that are kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.all.iter()
    }

    /// The findings of several namespaces as one list in the order of the file; what only some of the namespaces have
    /// says which.
    pub fn across(namespaces: Vec<(String, Self)>) -> Self {
        let total = namespaces.len();
        let mut found: Vec<(Diagnostic, Vec<String>)> = Vec::new();
        let mut known: BTreeMap<Identity, usize> = BTreeMap::new();
        let mut whole = Self::default();
        for (namespace, diagnostics) in namespaces {
            whole.errors.more = whole.errors.more.max(diagnostics.errors.more);
            whole.warnings.more = whole.warnings.more.max(diagnostics.warnings.more);
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
        for diagnostic in all {
            whole.push(diagnostic);
        }
        whole
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
        let (errors, warnings) = (&mut self.errors.kept, &mut self.warnings.kept);
        self.all.retain(|found| {
            let stays = !holds_cause(found.place) || causes.known.contains(&found.identity());
            *(if found.is_error() { &mut *errors } else { &mut *warnings }) -= usize::from(!stays);
            stays
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Rule, rule};

    fn finding(code: &str, at: usize, end: usize) -> Diagnostic {
        let rule: &'static Rule = rule(code).expect("a rule");
        Diagnostic::new(rule, Place { start: at, end, ..Place::default() }, "something")
    }

    #[test]
    fn what_is_too_much_is_counted_and_warnings_do_not_crowd_out_errors() {
        let mut found = Diagnostics::default();
        for at in 0..MOST + 5 {
            found.push(finding("W036", at, at));
            found.push(finding("W036", at, at));
        }
        found.push(finding("W002", 7, 8));
        assert_eq!((found.errors(), found.iter().filter(|found| found.is_error()).count()), (1, 1));
        assert_eq!(
            (found.warnings(), found.more()),
            (MOST + 10, 10),
            "copies beyond the limit aren't known to be copies"
        );
        let across = Diagnostics::across(vec![("a".to_owned(), found.clone()), ("b".to_owned(), found)]);
        assert_eq!((across.errors(), across.more()), (1, 10));
    }

    #[test]
    fn what_is_said_of_a_value_with_a_broken_variable_is_dropped() {
        let mut causes = Diagnostics::default();
        causes.push(finding("W045", 14, 20));
        let mut found = causes.clone();
        for (at, end) in [(10, 30), (14, 20), (10, 18), (15, 20), (10, 11), (20, 30)] {
            found.push(finding("W009", at, end));
        }
        found.drop_follow_ups(&causes);
        let left: Vec<_> = found.iter().map(|found| (found.rule.code, found.place.start, found.place.end)).collect();
        assert_eq!(left, [("W045", 14, 20), ("W009", 10, 18), ("W009", 15, 20), ("W009", 10, 11), ("W009", 20, 30)]);
        assert_eq!(found.errors(), 5);
    }
}
