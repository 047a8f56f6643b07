//! W002: fields that the language doesn't have are errors.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Severity},
    source::Place,
    suggestion,
    topology::language,
};

pub(crate) static RULE: Rule = Rule {
    code: "W002",
    severity: Severity::Error,
    title: "a field that waldo doesn't know",
    explanation: "\
A field that waldo doesn't know is never ignored: it is a slip of the pen, or is meant for another version, and a
topology that runs without what it asks for is worse than one that doesn't run. What it was probably meant to be is looked
at as if it were spelt so, and its other mistakes are told too. At the top of a file, keys that start with `x-` are free:
for anchors, notes, or other tools.

  wrong   stages: {score: {run: ./score, instance: 2}}
  right   stages: {score: {run: ./score, instances: 2}}",
};

/// What other programs call a field, and what it is called here.
const ALIASES: [(&str, &str); 38] = [
    ("addr", "address"),
    ("args", "run"),
    ("cmd", "run"),
    ("command", "run"),
    ("consumes", "in"),
    ("copies", "instances"),
    ("count", "instances"),
    ("cpus", "cpu"),
    ("directory", "cwd"),
    ("entrypoint", "run"),
    ("environment", "env"),
    ("exec", "run"),
    ("host", "address"),
    ("hostname", "address"),
    ("hosts", "on"),
    ("input", "in"),
    ("inputs", "in"),
    ("ip", "address"),
    ("name", "topology"),
    ("nodes", "on"),
    ("output", "out"),
    ("outputs", "out"),
    ("parallelism", "instances"),
    ("placement", "on"),
    ("processes", "instances"),
    ("produces", "out"),
    ("program", "run"),
    ("protocol", "speaks"),
    ("ram", "memory"),
    ("replicas", "instances"),
    ("route", "guide"),
    ("routing", "guide"),
    ("server", "on"),
    ("servers", "on"),
    ("tags", "labels"),
    ("variables", "env"),
    ("workdir", "cwd"),
    ("working_directory", "cwd"),
];

/// The known field that was probably meant.
pub(crate) fn meant<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let find = |name: &str| known.iter().copied().find(|known| *known == name);
    let alias = |name: &str| ALIASES.iter().find(|(other, _)| *other == name).and_then(|(_, field)| find(field));
    alias(key).or_else(|| suggestion::similar(key, known.iter().copied())).or_else(|| {
        let others = ALIASES.iter().filter(|(_, field)| find(field).is_some()).map(|(other, _)| *other);
        suggestion::similar(key, others).and_then(alias)
    })
}

pub(crate) fn field(key: &str, place: Place, owner: &str, known: &[&str]) -> Diagnostic {
    let help = match (meant(key, known), without_blank(key, known)) {
        (Some(field), _) => format!("did you mean `{field}`?"),
        (None, Some((field, value))) => format!("leave a blank after the colon: `{field}: {value}`"),
        (None, None) => match &language::owners(key)[..] {
            [] => suggestion::list(known.iter().copied(), "its fields"),
            [owner] => format!("it is a field of a {owner}: indent it below the {owner} that it is meant for"),
            owners => {
                format!("it is a field of a {}: indent it below the one that it is meant for", owners.join(" or a "))
            }
        },
    };
    Diagnostic::new(&RULE, place, format!("{owner} has no field `{key}`")).label("unknown field").help(help)
}

/// A field and its value where the blank between them is missing: to YAML that is one text.
pub(crate) fn without_blank<'t>(key: &'t str, known: &[&str]) -> Option<(&'t str, &'t str)> {
    let (field, value) = key.split_once(':')?;
    (known.contains(&field) && !value.is_empty()).then_some((field, value))
}

/// What is said of a thing that is no map, because it is a field that isn't indented far enough.
pub(crate) fn not_indented(key: &str, place: Place, kind: &str) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("`{key}` stands where the name of a {kind} is expected"))
        .label(format!("a field of a {kind}"))
        .help(format!("indent it below the {kind} that it is meant for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found_by_spelling_and_by_what_others_call_it() {
        let stage = language::names(language::STAGE);
        for (written, expected) in [
            ("instance", Some("instances")),
            ("input", Some("in")),
            ("enviroment", Some("env")),
            ("replica", Some("instances")),
            ("servers", Some("on")),
            ("weight", None),
        ] {
            assert_eq!(meant(written, &stage), expected, "{written}");
        }
        assert_eq!(meant("servres", &language::names(language::TOP)), Some("servers"));
        assert_eq!(without_blank("from:clients", &["from"]), Some(("from", "clients")));
    }

    #[test]
    fn aliases_are_in_order_and_lead_to_fields() {
        assert!(ALIASES.is_sorted());
        assert!(ALIASES.iter().all(|(alias, field)| alias != field && !language::owners(field).is_empty()));
    }
}
