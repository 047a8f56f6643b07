//! W051: `files` names what lies beside the topology.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W051",
    severity: Severity::Error,
    title: "a pattern of files that can't be shipped",
    explanation: "\
`files` says what a deployment puts into the namespace's root on each server: patterns of files below the topology's directory, such as `bin/**` or
`models/*`. They keep their paths there, so a pattern can't begin at the root of the file system or lead out of the directory with `..`.

  wrong   files: [/usr/bin/score, ../models/*]
  right   files: [bin/score, models/*]",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    for pattern in topology.files.iter().flat_map(|files| &files.value) {
        let text = &pattern.value;
        let flaw = if text.is_empty() {
            "is empty"
        } else if text.starts_with('/') {
            "begins at the root of the file system"
        } else if text.split('/').any(|part| part == "..") {
            "leads out of the topology's directory"
        } else if text.chars().any(char::is_control) {
            "has a control character"
        } else {
            continue;
        };
        let message = match text.as_str() {
            "" => "an empty pattern of files ships nothing".to_owned(),
            text => format!("`{text}` can't be shipped: it {flaw}"),
        };
        diagnostics.push(
            Diagnostic::new(&RULE, pattern.place, message)
                .label(flaw)
                .help("write a pattern below the topology's directory, such as `bin/**`"),
        );
    }
}
