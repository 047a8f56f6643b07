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
`a: 1`). The message says what was found and what is needed. In YAML a wrong indentation often turns one into another.

  wrong   stages: {score: {run: ./score, in: suspect}}
  right   stages: {score: {run: ./score, in: [suspect]}}",
};

pub(crate) fn value(node: &Node, what: &str, expected: &str) -> Diagnostic {
    Diagnostic::new(&RULE, node.place, format!("{what} is {}, not {expected}", node.kind()))
        .label(format!("this is {}", node.kind()))
        .help(format!("write {expected}"))
}

pub(crate) fn list(node: &Node, what: &str, of: &str) -> Diagnostic {
    let diagnostic = value(node, what, &format!("a list of {of}"));
    match &node.shape {
        Shape::Scalar(text) if text.len() <= SHORT => diagnostic.help(format!("put it in brackets: `[{text}]`")),
        Shape::Map(entries) => match entries.first() {
            Some(first) if first.key.len() <= SHORT => {
                let item = match &first.value.shape {
                    Shape::Map(fields) if !fields.is_empty() && of == "flows" => {
                        let fields = fields.iter().filter(|field| matches!(field.value.shape, Shape::Scalar(_)));
                        let fields = fields.map(|field| format!(", {}: {}", field.key, text_of(&field.value)));
                        format!("{{flow: {}{}}}", first.key, fields.collect::<String>())
                    }
                    Shape::Scalar(text) if of != "flows" && text.len() <= SHORT => text.clone(),
                    _ => first.key.clone(),
                };
                diagnostic.help(format!("write a list of {of}, for example `[{item}]`"))
            }
            _ => diagnostic,
        },
        _ => diagnostic,
    }
}

/// What is longer isn't repeated in a help. Bytes.
const SHORT: usize = 32;

fn text_of(node: &Node) -> &str {
    match &node.shape {
        Shape::Scalar(text) => text,
        _ => "",
    }
}

/// A list whose brackets are missing, so that YAML reads only its first item as the value.
pub(crate) fn without_brackets(node: &Node, what: &str, items: &str) -> Diagnostic {
    value(node, what, "a list").help(format!("put all of it in brackets: `[{items}]`"))
}

/// Something else than a thing's fields.
pub(crate) fn fields(node: &Node, owner: &str) -> Diagnostic {
    value(node, owner, "a map of fields").help("write its fields in braces, or indented below its name")
}

/// Something else than a map from names to things of a kind.
pub(crate) fn named(node: &Node, what: &str, kind: &str) -> Diagnostic {
    let diagnostic = value(node, what, &format!("a map from names of {kind}s to their fields"));
    let Shape::List(items) = &node.shape else { return diagnostic };
    let example = items.first().and_then(|first| match &first.shape {
        Shape::Scalar(name) => Some((name, ": {}")),
        Shape::Map(entries) => entries.first().map(|entry| (&entry.key, ":")),
        _ => None,
    });
    match example.filter(|(name, _)| name.len() <= SHORT) {
        Some((name, rest)) => diagnostic.help(format!("each name is a key, without a dash before it: `{name}{rest}`")),
        None => diagnostic.help("each name is a key, without a dash or brackets"),
    }
}

/// A list of `NAME=VALUE` instead of variables.
pub(crate) fn variables(node: &Node, what: &str) -> Diagnostic {
    let diagnostic = value(node, what, "a map from variables to values");
    let Shape::List(items) = &node.shape else { return diagnostic };
    let pairs = items.iter().filter_map(|item| text_of(item).split_once('=')).take(3);
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}: {value}")).collect();
    match pairs.join(", ") {
        pairs if pairs.is_empty() || pairs.len() > 100 => diagnostic,
        pairs => diagnostic.help(format!("write a map from variables to values: `{{{pairs}}}`")),
    }
}

/// A word where `on` takes names.
pub(crate) fn everywhere(node: &Node, what: &str) -> Diagnostic {
    value(node, what, "a list of servers or labels")
        .help("name servers or labels, for example `[s1]`; a stage without `on` runs on every server")
}

pub(crate) fn key(node: &Node) -> Diagnostic {
    Diagnostic::new(&RULE, node.place, format!("a key is {}, not a single value", node.kind()))
        .label("this can't be a key")
        .help("write a plain text before the colon; a text that begins with `{` or `[` needs quotes")
}
