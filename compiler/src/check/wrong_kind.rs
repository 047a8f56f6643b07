//! W004: a list where a map is needed, and the like.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::node::{Node, Shape},
};

pub(crate) static RULE: Rule = Rule {
    code: "W004",
    severity: Severity::Error,
    title: "a value of the wrong kind",
    explanation: "\
Each field takes a single value, a list (`[a, b]`, or lines that begin with `- `) or a map (`{a: 1}`, or indented lines
`a: 1`). The message says what was found and what is needed. In YAML a wrong indentation often turns one into another.",
};

pub(crate) fn value(node: &Node, what: &str, expected: &str) -> Diagnostic {
    Diagnostic::new(&RULE, node.place, format!("{what} is {}, not {expected}", node.kind()))
        .label(format!("this is {}", node.kind()))
        .help(format!("write {expected}"))
}

pub(crate) fn list(node: &Node, what: &str, of: &str) -> Diagnostic {
    let diagnostic = value(node, what, &format!("a list of {of}"));
    match &node.shape {
        Shape::Scalar(text) if text.len() <= 32 => diagnostic.help(format!("put it in brackets: `[{text}]`")),
        _ => diagnostic,
    }
}

pub(crate) fn key(node: &Node) -> Diagnostic {
    Diagnostic::new(&RULE, node.place, format!("a key is {}, not a single value", node.kind()))
        .label("this can't be a key")
        .help("write a plain text before the colon")
}
