//! W025: two portals don't share an address and a port.

use std::collections::BTreeMap;

use super::{Rule, Whole};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    place::ports::{Binding, Door},
    workspace::Placed,
};

pub(crate) static RULE: Rule = Rule {
    code: "W025",
    severity: Severity::Error,
    title: "two portals on one address and port",
    explanation: "\
Each portal on each server needs a port of its own, also when several servers share a machine, and across the namespaces
of a topology, as they may run at the same time. Leave `port` out and waldo takes ports from the namespace's base; give
each namespace that shares a machine with another a base of its own (`ports: 8000`): with it, written ports are replaced
too. Where a flow leaves by `to: {bind: …}`, its port is bound on each server that it leaves from, and is what is written in every
namespace: one that shares a machine changes it.

  wrong   portals: {intake: {flows: [call], port: 7001}, relay: {flows: [hit], port: 7001}}
  right   portals: {intake: {flows: [call], port: 7001}, relay: {flows: [hit]}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let mut known: BTreeMap<(&str, u32), &Binding> = BTreeMap::new();
    for binding in &whole.bindings {
        let Some(other) = known.insert((&binding.address, binding.port), binding) else { continue };
        let Some(place) = binding.written.or(other.written) else { continue };
        let mut diagnostic = Diagnostic::new(
            &RULE,
            place,
            format!("{} and {} are both on {} port {}", words(other), words(binding), binding.address, binding.port),
        )
        .label("the same port for both");
        if let Some(first) = other.written.filter(|first| *first != place) {
            diagnostic = diagnostic.label("the same port again").also(first, "first here");
        }
        if binding.door == Door::Egress && other.door == Door::Egress {
            diagnostics.push(diagnostic.help("write another port, or say on which server the flow leaves: `on: [s1]`"));
            continue;
        }
        diagnostics.push(diagnostic.help(
            "leave the port out and waldo chooses, write another one, or give the namespace ports of its own: `ports: 17000`",
        ));
    }
}

/// Finds ports shared between namespaces.
pub(crate) fn across(namespaces: &[Placed], diagnostics: &mut Diagnostics) {
    for (index, later) in namespaces.iter().enumerate() {
        for earlier in &namespaces[..index] {
            let Some((binding, other)) = shared(earlier, later) else { continue };
            let (first, second) = (&earlier.namespace, &later.namespace);
            let place = second.ports.as_ref().map_or(second.place, |ports| ports.place);
            let mend = free_base(earlier, later);
            diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    place,
                    format!(
                        "namespaces `{}` and `{}` share port {} on {}: {}",
                        first.name,
                        second.name,
                        binding.port,
                        binding.address,
                        both(other, binding)
                    ),
                )
                .label("both can't run at the same time")
                .also(first.place, "the other namespace")
                .help(format!("give `{}` a block of ports of its own: {mend}", second.name)),
            );
        }
    }
}

/// A port that both want on one address: the later one's, and the earlier one's.
pub(super) fn shared<'p>(earlier: &'p Placed, later: &'p Placed) -> Option<(&'p Binding, &'p Binding)> {
    let known: BTreeMap<(&str, u32), &Binding> =
        earlier.bindings.iter().map(|binding| ((binding.address.as_str(), binding.port), binding)).collect();
    later
        .bindings
        .iter()
        .find_map(|binding| known.get(&(binding.address.as_str(), binding.port)).map(|other| (binding, *other)))
}

/// Words for a base above the ports of both.
pub(super) fn free_base(earlier: &Placed, later: &Placed) -> String {
    let above = earlier.bindings.iter().chain(&later.bindings).map(|binding| binding.port).max().unwrap_or_default();
    let base = (above / 1000 + 1) * 1000;
    if base <= 60_000 { format!("`ports: {base}`") } else { "`ports` that are free".to_owned() }
}

pub(super) fn both(one: &Binding, other: &Binding) -> String {
    let (one, other) = (words(one), words(other));
    if one == other { format!("{one}, in both") } else { format!("{one} and {other}") }
}

fn words(binding: &Binding) -> String {
    if binding.door == Door::Egress {
        return format!("`{}` of server `{}`", binding.portal, binding.server);
    }
    format!("portal `{}` of server `{}`", binding.portal, binding.server)
}
