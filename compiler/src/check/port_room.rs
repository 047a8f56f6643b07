//! W026: ports that can be had.

use super::{Rule, Whole};
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
clients; a portal without clients has its links on `port`.",
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
    for namespace in local.iter().filter(|namespace| namespace.ports.is_none()) {
        let other = local.iter().find(|other| other.name != namespace.name);
        let mut diagnostic = Diagnostic::new(
            &RULE,
            namespace.place,
            format!("local namespace `{}` needs `ports`: there is another local one", namespace.name),
        )
        .label("no base of its own");
        if let Some(other) = other {
            diagnostic = diagnostic.also(other.place, "also on this machine");
        }
        diagnostics.push(diagnostic.help("give it a block of ports of its own, for example `ports: 17000`"));
    }
}
