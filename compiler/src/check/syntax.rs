//! W001: a topology is a YAML file.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
};

pub(crate) static RULE: Rule = Rule {
    code: "W001",
    severity: Severity::Error,
    title: "the file can't be read as YAML",
    explanation: "\
A topology is one YAML document. The parser stopped at the place shown and went on at the next field at the top of the file, so several
such places may be told; what they say together is checked once all are mended. Common causes: a tab used for indentation, a bracket or quote that
isn't closed, `key:value` without the space, two documents (`---`) in one file.

  wrong   stages: {score: {run:./score}}            # no blank after the colon
  right   stages: {score: {run: ./score}}",
};

pub(crate) fn empty(place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, "the file is empty").help(
        "the smallest topology has a name and a stage: `topology: hello` and `stages: {greet: {run: echo hello}}`",
    )
}

pub(crate) fn unreadable(words: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("the file can't be read as YAML: {words}"))
        .label("reading stopped here")
        .help("mend the YAML here or just before; `waldo explain W001` lists common causes")
}

pub(crate) fn too_large(most: usize, place: Place) -> Diagnostic {
    let most = format!("{},{:03}", most / 1_000, most % 1_000);
    Diagnostic::new(&RULE, place, format!("the topology has more than {most} values once aliases are followed"))
        .label("reading stopped here")
        .help("write less, or follow the aliases (`*name`): each stands for all that its anchor (`&name`) holds")
}

pub(crate) fn too_many_bytes(most: usize, place: Place) -> Diagnostic {
    let most = most >> 20;
    Diagnostic::new(&RULE, place, format!("the topology's files have more than {most} MiB, which no topology has"))
        .label("this one is too much")
        .help("name the topology's files only")
}

pub(crate) fn too_many_files(most: usize, place: Place) -> Diagnostic {
    let most = format!("{},{:03}", most / 1_000, most % 1_000);
    Diagnostic::new(&RULE, place, format!("the topology has more than {most} files"))
        .help("name the topology's files only; one may hold many stages")
}
