//! W026: ports that can be had.

use super::{Rule, Whole, listed};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    topology::Namespace,
};

pub(crate) static RULE: Rule = Rule {
    code: "W026",
    severity: Severity::Error,
    title: "ports that can't be given out",
    explanation: "\
Ports end at 65535: a base (`ports`) needs room above it for all portals of all servers on one address. A second local
namespace needs a base of its own, as both are on this machine. `link` is the port for links of a portal that also takes
clients; a portal without clients has its links on `port`.

  wrong   namespaces: {ann: {local: true}, bob: {local: true}}
  right   namespaces: {ann: {local: true, ports: 17000}, bob: {local: true, ports: 18000}}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let namespace = &whole.topology.namespace;
    if let Some(highest) = whole.bindings.iter().map(|binding| binding.port).max()
        && highest > u32::from(u16::MAX)
    {
        let over = highest - u32::from(u16::MAX);
        let place = namespace.ports.as_ref().map_or(namespace.place, |ports| ports.place);
        diagnostics.push(
            Diagnostic::new(
                &RULE,
                place,
                format!("the ports of namespace `{}` run past 65535 by {over}", namespace.name),
            )
            .label("too high a base")
            .help(format!("lower the base by at least {over}")),
        );
    }
    for (name, carrier) in whole.carriers.iter().filter(|(_, carrier)| !carrier.takes_clients) {
        if let Some(link) = &carrier.link {
            diagnostics.push(
                Diagnostic::new(&RULE, link.place, format!("portal `{name}` has a `link` but takes no clients"))
                    .label("its links are on `port`")
                    .help("write it as `port`, or add `from: clients` to one of its flows"),
            );
        }
    }
}

/// Finds local namespaces that need a base of their own.
pub(crate) fn across(namespaces: &[&Namespace], diagnostics: &mut Diagnostics) {
    let local: Vec<_> = namespaces.iter().filter(|namespace| namespace.local).collect();
    if local.len() < 2 {
        return;
    }
    let mut without = local.iter().filter(|namespace| namespace.ports.is_none());
    let Some(first) = without.next() else { return };
    let others: Vec<_> = without.collect();
    let names = std::iter::once(first).chain(others.iter().copied()).map(|namespace| &namespace.name);
    let names = listed(names);
    let (message, whom) = if others.is_empty() {
        (format!("local namespace {names} needs `ports`: another one is on the same machine"), "it")
    } else {
        (format!("local namespaces {names} need `ports`: on one machine they would take the same ones"), "each")
    };
    let mut diagnostic = Diagnostic::new(&RULE, first.place, message).label("no `ports`");
    for other in &others {
        diagnostic = diagnostic.also(other.place, "no `ports` either");
    }
    if let Some(other) = local.iter().find(|namespace| namespace.ports.is_some()) {
        diagnostic = diagnostic.also(other.place, "also on this machine");
    }
    diagnostics.push(diagnostic.help(format!("give {whom} a block of ports of its own, for example `ports: 17000`")));
}
