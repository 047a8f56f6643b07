//! W044: a substitution is well-formed.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
};

pub(crate) static RULE: Rule = Rule {
    code: "W044",
    severity: Severity::Error,
    title: "a substitution that can't be read",
    explanation: "\
`${NAME}` is filled in with the environment's variable NAME, `${NAME:-default}` with the default if the variable isn't set or is empty. A name has letters, digits and `_`.
There are no other forms; a default is taken as written, without variables of its own. For the text `${` itself, as in a command for a shell, write `$${`.

  wrong   run: \"sh -c 'echo ${1}'\"
  right   run: \"sh -c 'echo $${1}'\"",
};

pub(crate) fn unreadable(text: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("`{text}` is no substitution"))
        .label("can't be read")
        .help("write `${NAME}` or `${NAME:-default}`; for the text `${` itself write `$${`")
}
