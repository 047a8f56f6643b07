//! W006: what names look like.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
    topology::name::{self, Flaw},
};

pub(crate) static RULE: Rule = Rule {
    code: "W006",
    severity: Severity::Error,
    title: "a name that can't be used",
    explanation: "\
Names of topologies, flows, stages, loops, portals, servers, labels and namespaces become directories, sockets and units:
a lower-case letter first, then lower-case letters, digits, `_` or `-`, at most 32 characters in all. Words that the
language uses itself are reserved: hash, all, any, key, default, sender, clients, waldo, true, false, yes, no, on, off,
null.

  wrong   stages: {Score.EU: {run: ./score}}
  right   stages: {score-eu: {run: ./score}}",
};

pub(crate) fn name(kind: &str, text: &str, place: Place, flaw: Flaw) -> Diagnostic {
    match flaw {
        Flaw::Shape => {
            let rule = "a lower-case letter, then lower-case letters, digits, `_` or `-`, at most 32 in all";
            let help = match name::mended(text) {
                _ if text
                    .split_once(':')
                    .is_some_and(|(name, rest)| name::flaw(name).is_none() && !rest.is_empty()) =>
                {
                    format!("leave a blank after the colon: `{}`", text.replacen(':', ": ", 1))
                }
                Some(mended) => format!("write {rule}; for example `{mended}`"),
                None => format!("write {rule}"),
            };
            let length = text.chars().count();
            let label = match length.checked_sub(name::LONGEST).filter(|over| *over > 0) {
                Some(over) => format!("{length} characters, {over} too many"),
                None => "not a usable name".to_owned(),
            };
            Diagnostic::new(&RULE, place, format!("`{text}` can't be the name of a {kind}")).label(label).help(help)
        }
        Flaw::Reserved => {
            Diagnostic::new(&RULE, place, format!("`{text}` can't be the name of a {kind}: the word is reserved"))
                .label("reserved")
                .help(format!("choose another name, for example `{text}-{kind}`"))
        }
    }
}
