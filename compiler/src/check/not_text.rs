//! W042: a topology's files are text in UTF-8.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::{Flaw, Place, Source},
};

pub(crate) static RULE: Rule = Rule {
    code: "W042",
    severity: Severity::Error,
    title: "a file that isn't text in UTF-8",
    explanation: "\
A topology is text in UTF-8; plain ASCII is, too. The place shown is the first that can't be read so, shown with a replacement character. Editors
save a file in UTF-8 if told to (`Save with encoding`); `iconv -f LATIN1 -t UTF-8 old.yaml > new.yaml` turns an older file into it. A byte order
mark at the beginning, and lines that end as on Windows, do no harm.

  wrong   greet: {run: \"echo na\u{fffd}ve\"}      # the file was saved as Latin-1
  right   greet: {run: \"echo na\u{ef}ve\"}      # the same, saved as UTF-8",
};

pub(crate) fn file(source: &Source, flaw: Flaw) -> Diagnostic {
    let (message, place, from) = match flaw {
        Flaw::Utf16 => ("the file is in UTF-16", Place::at(source.id, 0), "UTF-16"),
        Flaw::NotUtf8 { start, end } => {
            ("the file isn't text in UTF-8", Place { file: source.id, start, end }, "LATIN1")
        }
    };
    Diagnostic::new(&RULE, place, message)
        .label("can't be read as UTF-8")
        .help(format!("save it as UTF-8, for example by `iconv -f {from} -t UTF-8`"))
}
