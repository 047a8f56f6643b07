//! W029: a flow goes through one portal.

use std::collections::BTreeMap;

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W029",
    severity: Severity::Error,
    title: "a flow in two portals",
    explanation: "\
On each server a keyed flow enters through one portal, which keeps its order, its spool and its account. With two, records
of one key could overtake each other. Name the flow in one of the portals only.

  wrong   portals: {intake: {flows: [call, alert]}, urgent: {flows: [alert]}}
  right   portals: {intake: {flows: [call]}, urgent: {flows: [alert]}}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    let mut known = BTreeMap::new();
    for (name, portal) in &topology.portals {
        for flow in portal.flows.iter().flatten() {
            let first = known.entry(flow.value.as_str()).or_insert((name, flow.place));
            if first.0 != name {
                diagnostics.push(
                    Diagnostic::new(
                        &RULE,
                        flow.place,
                        format!("flow `{}` is in two portals, `{}` and `{name}`", flow.value, first.0),
                    )
                    .label("again here")
                    .also(first.1, "first here")
                    .help("name it in one of the two only"),
                );
            }
        }
    }
}
