//! W035: a server with nothing on it.

use super::{Rule, Whole};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W035",
    severity: Severity::Warning,
    title: "a server with nothing on it",
    explanation: "\
No stage is placed on the server, so it runs nothing, portals neither, and owns no keys. If that is meant, mark it with
`state: drained`; else add it, or one of its labels, to a stage's `on`.

  warned  servers: {s1: ..., s2: {address: 10.0.0.2}}             # every stage has `on: [s1]`
  right   servers: {s1: ..., s2: {address: 10.0.0.2, state: drained}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, server) in &whole.topology.servers {
        if whole.topology.is_active(name) && !whole.placement.is_used(name) {
            diagnostics.push(
                Diagnostic::new(&RULE, server.place, format!("nothing runs on server `{name}`"))
                    .label("no stage is placed here")
                    .help("place a stage on it with `on`, mark it `state: drained`, or remove it"),
            );
        }
    }
}
