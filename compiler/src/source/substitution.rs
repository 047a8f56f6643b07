//! Variables in values: `${NAME}` and `${NAME:-default}`; `$${` stands for `${`.
//!
//! A value is substituted after it has been read, so that what a variable holds is always text of one value and can't add
//! fields or lists. Keys are never substituted.

use super::{
    Place, Source,
    environment::{Environment, Missing},
};
use crate::{
    check::{substitution, unset_variable},
    diagnostic::Diagnostics,
};

/// What begins a substitution.
const OPEN: &str = "${";

/// How many mistakes of one value are told.
const MOST_BROKEN: usize = 20;

/// Where a text was written.
pub(super) struct Scalar<'s> {
    /// The file.
    pub source: &'s Source,
    /// The place in it.
    pub place: Place,
}

impl Scalar<'_> {
    /// The place of a part of the text, if it is written there as it is.
    fn part(&self, part: &str) -> Place {
        let at = if part.is_empty() { None } else { self.source.text_at(self.place).find(part) };
        at.map_or(self.place, |at| {
            let start = self.place.start + at;
            Place { start, end: start + part.len(), ..self.place }
        })
    }
}

/// The text with its variables filled in. Where one can't be, a diagnostic, and the text as it was.
pub(super) fn substitute(
    text: String,
    written: &Scalar<'_>,
    environment: &dyn Environment,
    diagnostics: &mut Diagnostics,
) -> String {
    if !text.contains(OPEN) {
        return text;
    }
    let mut filled = String::with_capacity(text.len());
    let mut broken = 0;
    let mut rest = text.as_str();
    while let Some(at) = rest.find(OPEN).filter(|_| broken < MOST_BROKEN) {
        let (before, found) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str(OPEN);
            rest = &found[OPEN.len()..];
            continue;
        }
        filled.push_str(before);
        let inner = &found[OPEN.len()..];
        let Some(end) = inner.find('}') else {
            diagnostics.push(substitution::unreadable(found, written.part(found)));
            return text;
        };
        let whole = &found[..=OPEN.len() + end];
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        rest = &inner[end + 1..];
        if !is_name(name) || default.is_some_and(|default| default.contains(OPEN)) {
            diagnostics.push(substitution::unreadable(whole, written.part(whole)));
            broken += 1;
            continue;
        }
        match (environment.variable(name), default) {
            (Ok(value), None) => filled.push_str(&value),
            (Ok(value), Some(_)) if !value.is_empty() => filled.push_str(&value),
            (Ok(_) | Err(Missing::Unset), Some(default)) => filled.push_str(default),
            (Err(Missing::Unset), None) => {
                diagnostics.push(unset_variable::unset(name, written.part(whole), &environment.variables()));
                broken += 1;
            }
            (Err(Missing::NotText), _) => {
                diagnostics.push(unset_variable::not_text(name, written.part(whole)));
                broken += 1;
            }
        }
    }
    filled.push_str(rest);
    if broken == 0 { filled } else { text }
}

/// Whether a key looks as if it wanted to be substituted.
pub(super) fn is_in(key: &str) -> bool {
    key.match_indices(OPEN).any(|(at, _)| !key[..at].ends_with('$'))
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    struct Variables;

    impl Environment for Variables {
        fn variable(&self, name: &str) -> Result<String, Missing> {
            match name {
                "HOST" => Ok("s1".to_owned()),
                "EMPTY" => Ok(String::new()),
                "NESTED" => Ok("${HOST}".to_owned()),
                "LATIN" => Err(Missing::NotText),
                _ => Err(Missing::Unset),
            }
        }

        fn variables(&self) -> Vec<String> {
            vec!["HOST".to_owned()]
        }

        fn matching(&self, _: &str, _: &str) -> Result<Vec<String>, String> {
            Ok(Vec::new())
        }

        fn read(&self, _: &str) -> Result<Vec<u8>, String> {
            Ok(Vec::new())
        }
    }

    /// What becomes of a text, or the rule that it breaks and what is marked.
    fn filled(text: &str) -> Result<String, (&'static str, String)> {
        let mut found = Diagnostics::default();
        let source = Source::new("t", text);
        let place = Place { start: 0, end: text.len(), ..Place::default() };
        let filled = substitute(text.to_owned(), &Scalar { source: &source, place }, &Variables, &mut found);
        match found.iter().next() {
            None => Ok(filled),
            Some(found) => Err((found.rule.code, source.text_at(found.place).to_owned())),
        }
    }

    #[test]
    fn variables_are_filled_in_once_and_defaults_stand_in_for_what_is_unset_or_empty() {
        for (text, expected) in [
            ("${HOST}", "s1"),
            ("a-${HOST}-${HOST}", "a-s1-s1"),
            ("${NONE:-x y}", "x y"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("${NESTED}", "${HOST}"),
            ("$${HOST} $HOME $", "${HOST} $HOME $"),
            ("$$${HOST}", "$${HOST}"),
            ("}{", "}{"),
        ] {
            assert_eq!(filled(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_unset_or_unreadable_is_an_error_at_the_variable() {
        assert_eq!(filled("a ${HOST} ${NONE} b"), Err(("W045", "${NONE}".to_owned())));
        assert_eq!(filled("${LATIN:-x}"), Err(("W045", "${LATIN:-x}".to_owned())));
        for text in ["${", "${}", "${A B}", "${1}", "${A-b}", "${A"] {
            assert_eq!(filled(text), Err(("W044", text.to_owned())), "{text}");
        }
        let mut found = Diagnostics::default();
        let text = "${NONE} ${HOST} ${A B} ${LATIN} ${";
        let source = Source::new("t", text);
        let scalar = Scalar { source: &source, place: Place { start: 0, end: text.len(), ..Place::default() } };
        assert_eq!(substitute(text.to_owned(), &scalar, &Variables, &mut found), text);
        let marked: Vec<_> = found.iter().map(|found| source.text_at(found.place)).collect();
        assert_eq!(marked, ["${NONE}", "${A B}", "${LATIN}", "${"], "all of a value's variables in one run");
        assert_eq!(filled("${A:-${HOST}}"), Err(("W044", "${A:-${HOST}".to_owned())), "defaults are taken as written");
    }

    #[test]
    fn a_key_wants_to_be_substituted_unless_it_is_escaped() {
        assert!(is_in("${A}") && is_in("x${"));
        assert!(!is_in("$${A}") && !is_in("$A") && !is_in("a"));
    }
}
