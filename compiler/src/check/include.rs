//! W041: what is included can be read, and ends.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
};

pub(crate) static RULE: Rule = Rule {
    code: "W041",
    severity: Severity::Error,
    title: "a file can't be included",
    explanation: "\
`include: common.yaml` or `include: [stages/*.yaml, servers.yaml]` at the top of a file reads other files first; what the file itself says
is then merged into them. Paths are seen from the file that includes; in a pattern `*` stands for anything within a name and `**` for
directories, and the files come in the order of their names. A pattern that no file matches is an error, as a topology without its stages would be
worse than none; so are files that include each other.

  wrong   include: stage/*.yaml     # the directory is called stages
  right   include: stages/*.yaml",
};

pub(crate) fn nothing(pattern: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("no file matches `{pattern}`"))
        .label("nothing to include")
        .help("paths are seen from the file that includes; mend the pattern, or remove it")
}

pub(crate) fn unreadable(pattern: &str, place: Place, why: &str) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("`{pattern}` can't be included: {why}"))
        .label("included here")
        .help("name files that can be read as topologies; paths are seen from the file that includes")
}

pub(crate) fn circle(names: &[&str], place: Place) -> Diagnostic {
    let names: Vec<String> = names.iter().chain(names.first()).map(|name| format!("`{name}`")).collect();
    Diagnostic::new(&RULE, place, format!("files include each other: {}", names.join(" → ")))
        .label("this is being read already")
        .help("remove one of these includes")
}
