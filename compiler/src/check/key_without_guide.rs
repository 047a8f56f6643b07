//! W012: what only keyed flows have needs a guide.

use waldo_sdk::wiring::Spread;

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::Place,
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W012",
    severity: Severity::Error,
    title: "a flow without a guide is used as a keyed one",
    explanation: "\
A flow is keyed if it has a `guide`: the map from its keys to servers. Only keyed flows cross servers, come from clients,
and can be spread by key. A `key`, `from: clients` or `spread: key` on a flow without a guide, or such a flow in a
portal, therefore makes no sense: add `guide: hash` to the flow, or remove the field.",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    let mut found = |name: &str, place: Place, message: String, label: &str| {
        let declared = topology.flows.get(name).map(|flow| flow.place);
        let mut diagnostic = Diagnostic::new(&RULE, place, message).label(label);
        if let Some(declared) = declared {
            diagnostic = diagnostic.also(declared, "the flow has no guide");
        }
        diagnostics.push(diagnostic.help(format!("add `guide: hash` to flow `{name}`, or remove this")));
    };
    for (name, flow) in topology.flows.iter().filter(|(_, flow)| !flow.is_keyed()) {
        if let Some(key) = &flow.key {
            found(name, key.place, format!("flow `{name}` has a `key` but no `guide`"), "a key leads nowhere");
        }
        if let Some(place) = flow.from_clients {
            found(name, place, format!("flow `{name}` comes from clients but has no `guide`"), "clients need a portal");
        }
        for (stage, declared) in topology.consumers(name) {
            for input in declared.inputs.iter().filter(|input| input.flow.value == *name) {
                if input.spread.value == Spread::Key {
                    let message = format!("stage `{stage}` spreads flow `{name}` by key, but the flow has no `guide`");
                    found(name, input.spread.place, message, "there is no key");
                }
            }
        }
        for (portal, declared) in &topology.portals {
            for carried in declared.flows.iter().flatten().filter(|carried| carried.value == *name) {
                let message = format!("portal `{portal}` carries flow `{name}`, which has no `guide`");
                found(name, carried.place, message, "it never leaves its server");
            }
        }
    }
}
