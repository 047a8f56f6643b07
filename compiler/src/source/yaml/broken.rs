//! What isn't YAML: where, why in plain words, and what else further down.

use serde_saphyr::{Error, MessageFormatter, budget::BudgetBreach};

use super::{MAX_NODES, bytes_of, plain_words, read};
use crate::{
    check::syntax,
    diagnostic::{Diagnostic, Diagnostics},
    source::{Place, Source},
};

/// How many places of a file are told.
const MOST_BROKEN: usize = 20;

/// Tells what is wrong, and what else is further down: at the next field of the topology the parser can begin anew, as a line
/// that isn't indented is never within a list, a map or a text of the field before, unless brackets are written so.
pub(super) fn tell(source: &Source, first: &Error, diagnostics: &mut Diagnostics) {
    let place = place_of_error(source, 0, first);
    diagnostics.push(finding(first, place));
    let is_all_brackets = source.text.trim_start().starts_with(['{', '[']);
    if is_limit(first) || is_all_brackets {
        return;
    }
    let mut from = next_field(&source.text, 0, place.start);
    for _ in 1..MOST_BROKEN {
        let Some(start) = from else { return };
        let Err(error) = read(&source.text[start..], MAX_NODES) else { return };
        if is_limit(&error) {
            return;
        }
        let place = place_of_error(source, start, &error);
        // The anchor may be in what was left out.
        if !matches!(error.without_snippet(), Error::UnknownAnchor { .. }) {
            diagnostics.push(finding(&error, place));
        }
        from = next_field(&source.text, start, place.start);
    }
}

/// Where the next field of the topology begins, at or behind a byte, and behind where the last one did.
fn next_field(text: &str, last: usize, from: usize) -> Option<usize> {
    let is_field = |line: &str| {
        let name = line.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte)).count();
        line.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            && line[name..].strip_prefix(':').is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\r', '\n']))
    };
    let mut start =
        if from == 0 || text.as_bytes()[..from].ends_with(b"\n") { from } else { from + text[from..].find('\n')? + 1 };
    loop {
        if start > last && is_field(&text[start..]) {
            return Some(start);
        }
        start += text[start..].find('\n')? + 1;
    }
}

/// Whether the file is larger than what is read, rather than written wrongly.
fn is_limit(error: &Error) -> bool {
    match error.without_snippet() {
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => false,
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => true,
        error => message(error).contains("limits breached"),
    }
}

fn message(error: &Error) -> String {
    let message = serde_saphyr::UserMessageFormatter.format_message(error);
    message.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

fn finding(error: &Error, place: Place) -> Diagnostic {
    if is_limit(error) { syntax::too_large(MAX_NODES, place) } else { syntax::unreadable(&words(error), place) }
}

/// What the parser has to say, without place and snippet, and without words that only programmers know.
fn words(error: &Error) -> String {
    match error.without_snippet() {
        Error::MultipleDocuments { .. } => "a second document begins; a topology is one".to_owned(),
        Error::Budget { .. } => plain_words::DEPTH.to_owned(),
        Error::UnknownAnchor { .. } => {
            "an alias (`*name`) without an anchor (`&name`) before it; a text that begins with `*` needs quotes"
                .to_owned()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => "an alias within its own anchor".to_owned(),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => "`<<` merges a map, or a list of maps".to_owned(),
        Error::InvalidScalar { .. } | Error::InvalidBooleanStrict { .. } | Error::QuotingRequired { .. } => {
            "the value doesn't fit its tag".to_owned()
        }
        error => plain_words::plain(&message(error)),
    }
}

/// Where an error is that was found when reading began at a byte.
fn place_of_error(source: &Source, from: usize, error: &Error) -> Place {
    let Some(location) = error.location() else { return Place::at(source.id, from) };
    let length = source.text.len();
    if let Some((start, end)) = bytes_of(location) {
        return Place { file: source.id, start: (from + start).min(length), end: (from + end).min(length) };
    }
    Place::at(source.id, source.byte_of_character(from, location.span().offset() as usize))
}
