//! W011: variables that a stage can't be given.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
};

pub(crate) static RULE: Rule = Rule {
    code: "W011",
    severity: Severity::Error,
    title: "an environment variable that can't be set",
    explanation: "\
Variables that begin with `WALDO_` are waldo's own: by them a stage finds its wiring, its name and its state directory.
A variable's name can't be empty or contain `=`, and neither name nor value can contain a NUL character: no operating
system passes those on. `NAME:value` without a blank after the colon is one text to YAML, not a name and its value.

  wrong   stages: {score: {run: ./score, env: {WALDO_MODEL: small}}}
  right   stages: {score: {run: ./score, env: {MODEL: small}}}",
};

pub(crate) fn flaw(variable: &str, value: &str, owner: &str, place: Place) -> Option<Diagnostic> {
    let found =
        |message: String, help: &str| Some(Diagnostic::new(&RULE, place, message).label("can't be set").help(help));
    if variable.starts_with("WALDO_") {
        let message = format!("`{variable}` in `env` of {owner} is waldo's own");
        return found(message, "choose a name that doesn't begin with `WALDO_`");
    }
    if let Some((name, rest)) = variable.split_once(':').filter(|_| value.is_empty()) {
        let message = format!("`{variable}` in `env` of {owner} has no value");
        let help = format!("leave a blank after the colon: `{name}: {rest}`");
        return Some(Diagnostic::new(&RULE, place, message).label("one text, without a value").help(help));
    }
    if variable.is_empty() || variable.contains(['=', '\0']) || value.contains('\0') {
        let message = format!("`{variable}` in `env` of {owner} can't be passed to a process");
        return found(message, "use a name without `=`, and no NUL characters");
    }
    None
}
