//! W028: every portal carries something.

use super::{Rule, Whole};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W028",
    severity: Severity::Error,
    title: "a portal that carries no flow",
    explanation: "\
A portal carries the flows that its `flows` names. Keyed flows that no portal names go to `intake` if clients send them,
else to `relay`. A portal that ends up with none would be a process with nothing to do: name its flows, or remove it.

  wrong   portals: {relay: {spool: {memory: 1GiB}}}          # no keyed flow is left for it
  right   portals: {relay: {flows: [suspect], spool: {memory: 1GiB}}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, portal) in &whole.topology.portals {
        // Flows that are named, but that it doesn't carry, are other rules'.
        let names_none = portal.flows.as_ref().is_none_or(Vec::is_empty);
        if names_none && whole.carriers.0.get(name).is_none_or(|carrier| carrier.flows.is_empty()) {
            diagnostics.push(
                Diagnostic::new(&RULE, portal.place, format!("portal `{name}` carries no flow"))
                    .label("nothing enters here")
                    .help("name keyed flows in its `flows`, or remove the portal"),
            );
        }
    }
}
