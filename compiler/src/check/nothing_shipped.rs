//! W052: `files` matches something (`check --local`).

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Located,
};

pub(crate) static RULE: Rule = Rule {
    code: "W052",
    severity: Severity::Warning,
    title: "a pattern of files that matches nothing",
    explanation: "\
`check --local` looks for what `files` names, from the topology's directory. A pattern that no file matches ships nothing: the programs may not have been built
yet, or the pattern is misspelt. `*` stands for anything within a name, `**` for directories.

  warned  files: [bin/*]      # nothing has been built into bin yet
  right   files: [target/release/score]",
};

/// Says that a pattern matches no file.
pub fn pattern(pattern: &Located<String>) -> Diagnostic {
    Diagnostic::new(&RULE, pattern.place, format!("no file matches `{}`", pattern.value))
        .label("ships nothing")
        .help("build what it is meant for, or mend the pattern")
}
