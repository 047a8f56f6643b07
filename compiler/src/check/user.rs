//! W050: users are known (`check --local`).

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Located,
};

pub(crate) static RULE: Rule = Rule {
    code: "W050",
    severity: Severity::Error,
    title: "a user that this machine doesn't know",
    explanation: "\
`check --local` looks whether this machine knows the users that stages run as. A stage's process is switched to its `user` before the program begins;
with a user that isn't there it can't be started. Create the user, or mend the name. Whoever runs waldo must be root to switch to another user.

  wrong   score: {run: ./score, user: nobdy}
  right   score: {run: ./score, user: nobody}",
};

/// Says that a stage's user isn't known.
pub fn unknown(stage: &str, user: &Located<String>, known: &[String]) -> Diagnostic {
    let near = crate::suggestion::similar(&user.value, known.iter().map(String::as_str));
    let mend =
        near.map_or_else(|| "create the user, or mend the name".to_owned(), |near| format!("did you mean `{near}`?"));
    Diagnostic::new(
        &RULE,
        user.place,
        format!("stage `{stage}` runs as `{}`, whom this machine doesn't know", user.value),
    )
    .label("unknown user")
    .help(mend)
}
