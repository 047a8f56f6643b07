//! W010: what the language has and this version can't do yet.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::Place,
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W010",
    severity: Severity::Error,
    title: "a field that isn't supported yet",
    explanation: "\
The field is part of the language, but this version of waldo can't do what it asks for. It is refused rather than
ignored: encryption that isn't there, or a spool that isn't synced, is worse than none. Remove the field, or keep it in a
namespace of its own until a version supports it.

  wrong   portals: {relay: {flows: [suspect], spool: {sync: batch}}}
  right   portals: {relay: {flows: [suspect]}}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    let mut refuse = |field: &str, owner: &str, place: Option<Place>, instead: &str| {
        if let Some(place) = place {
            diagnostics.push(
                Diagnostic::new(&RULE, place, format!("`{field}` of {owner} is not supported yet"))
                    .label("not supported yet")
                    .help(instead),
            );
        }
    };
    let top = "the topology";
    refuse("security", top, topology.security, "remove it; data between servers isn't encrypted");
    for (name, portal) in &topology.portals {
        let owner = format!("portal `{name}`");
        refuse("spool.sync", &owner, portal.spool.sync, "remove it; spools aren't synced to disk on each receipt");
    }
}
