//! Variables in values: `${NAME}` and `${NAME:-default}`; `$${` stands for `${`.
//!
//! A value is substituted after it has been read, so that what a variable holds is always text of one value and can't add
//! fields or lists. Keys are never substituted.

use super::{Place, files::Environment};
use crate::{
    check::{substitution, unset_variable},
    diagnostic::Diagnostics,
};

/// What begins a substitution.
const OPEN: &str = "${";

/// The text with its variables filled in. Where one can't be, a diagnostic, and the text as it was.
pub(super) fn substitute(
    text: String,
    place: Place,
    environment: &dyn Environment,
    diagnostics: &mut Diagnostics,
) -> String {
    if !text.contains(OPEN) {
        return text;
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(OPEN) {
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
            diagnostics.push(substitution::unreadable(found, place));
            return text;
        };
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        if !is_name(name) {
            diagnostics.push(substitution::unreadable(&found[..=OPEN.len() + end], place));
            return text;
        }
        match (environment.variable(name), default) {
            (Some(value), None) => filled.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => filled.push_str(&value),
            (_, Some(default)) => filled.push_str(default),
            (None, None) => {
                diagnostics.push(unset_variable::unset(name, place, &environment.variables()));
                return text;
            }
        }
        rest = &inner[end + 1..];
    }
    filled.push_str(rest);
    filled
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
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "HOST" => Some("s1".to_owned()),
                "EMPTY" => Some(String::new()),
                "NESTED" => Some("${HOST}".to_owned()),
                _ => None,
            }
        }

        fn variables(&self) -> Vec<String> {
            vec!["HOST".to_owned()]
        }

        fn include(&self, _: &str, _: &str) -> Result<Vec<Source>, String> {
            Ok(Vec::new())
        }
    }

    fn filled(text: &str) -> Result<String, String> {
        let mut found = Diagnostics::default();
        let filled = substitute(text.to_owned(), Place::default(), &Variables, &mut found);
        match found.iter().next() {
            None => Ok(filled),
            Some(found) => Err(found.rule.code.to_owned()),
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
    fn what_is_unset_or_unreadable_is_an_error() {
        assert_eq!(filled("${NONE}"), Err("W045".to_owned()));
        for text in ["${", "${}", "${A B}", "${1}", "${A-b}", "${A"] {
            assert_eq!(filled(text), Err("W044".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_key_wants_to_be_substituted_unless_it_is_escaped() {
        assert!(is_in("${A}") && is_in("x${"));
        assert!(!is_in("$${A}") && !is_in("$A") && !is_in("a"));
    }
}
