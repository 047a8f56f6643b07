//! W039: more than three portals.

use super::{Rule, Whole, listed};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W039",
    severity: Severity::Warning,
    title: "more than three portals on a server",
    explanation: "\
All data enters a server through its portals, and a rollout holds each of them. Two or three are enough for most
topologies: one for clients, one for links, perhaps one for a flow that must not wait behind others.

  warned  portals: {pa: {flows: [a]}, pb: {flows: [b]}, pc: {flows: [c]}, pd: {flows: [d]}}
  right   portals: {intake: {flows: [a, b, c, d]}}",
};

const MANY: usize = 3;

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let portals: Vec<_> = whole.carriers.iter().collect();
    if let Some((_, fourth)) = portals.get(MANY) {
        let names = listed(portals.iter().map(|(name, _)| *name));
        diagnostics.push(
            Diagnostic::new(&RULE, fourth.place, format!("each server has {} portals: {names}", portals.len()))
                .label("more than three")
                .help("let flows share portals"),
        );
    }
}
