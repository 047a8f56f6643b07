//! W032: loops are told apart on the wire.

use std::collections::BTreeMap;

use waldo_sdk::wiring::loop_id;

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W032",
    severity: Severity::Error,
    title: "two loops that records can't tell apart",
    explanation: "\
A record carries how often it went round each loop, and a loop stands there as a number of 16 bits made from its name. By
rare chance two names have the same number; then rename one of the loops. Numbers depend on names alone, so that they
stay the same from plan to plan.

  wrong   loops: {review: {...}, recheck: {...}}      # these two have the same number
  right   loops: {review: {...}, check-again: {...}}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    let mut known = BTreeMap::new();
    for (name, declared) in &topology.loops {
        if let Some((other, place)) = known.insert(loop_id(name), (name, declared.place)) {
            diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    declared.place,
                    format!("records can't tell loops `{other}` and `{name}` apart"),
                )
                .label("has the same number")
                .also(place, "has the same number")
                .help("rename one of the two: the number is made from the name"),
            );
        }
    }
}
