//! W045: a variable is set, or has a default.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
    suggestion,
};

pub(crate) static RULE: Rule = Rule {
    code: "W045",
    severity: Severity::Error,
    title: "a variable that isn't set",
    explanation: "\
A value names a variable of the environment that isn't set where the topology is compiled. Set it, or give it a default: `${NAME:-default}`. An empty
default is one too: `${NAME:-}`.

  wrong   address: ${S1_ADDRESS}
  right   address: ${S1_ADDRESS:-127.0.0.1}",
};

pub(crate) fn unset(name: &str, place: Place, known: &[String]) -> Diagnostic {
    let near = suggestion::similar(name, known.iter().map(String::as_str));
    let meant = near.map_or_else(String::new, |near| format!("did you mean `{near}`? Else "));
    Diagnostic::new(&RULE, place, format!("the variable `{name}` isn't set"))
        .label("not set in the environment")
        .help(format!("{meant}set it, or give it a default: `${{{name}:-default}}`"))
}

pub(crate) fn not_text(name: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("the variable `{name}` isn't text in UTF-8"))
        .label("can't be filled in")
        .help("set it to text in UTF-8")
}
