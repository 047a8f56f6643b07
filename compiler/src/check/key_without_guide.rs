//! W012: what only keyed flows have needs a guide.

use waldo_sdk::wiring::Spread;

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::Place,
    topology::{Flow, Topology},
};

pub(crate) static RULE: Rule = Rule {
    code: "W012",
    severity: Severity::Error,
    title: "a flow without a guide is used as a keyed one",
    explanation: "\
A flow is keyed if it has a `guide`: the map from its keys to servers. Only keyed flows cross servers, come from clients,
and can be spread by key. A `key`, `from: clients` or `spread: key` on a flow without a guide, or such a flow in a
portal, therefore makes no sense: add `guide: hash` to the flow, or remove the field.

  wrong   flows: {call: {key: {json: /caller}, from: clients}}
  right   flows: {call: {key: {json: /caller}, from: clients, guide: hash}}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    for (name, flow) in topology.flows.iter().filter(|(_, flow)| !flow.is_keyed()) {
        let needs = needs(topology, name, flow);
        let Some((_, _, why)) = needs.first() else { continue };
        let mut diagnostic = Diagnostic::new(&RULE, flow.place, format!("flow `{name}` has no `guide`, but {why}"))
            .label("no `guide` here");
        for (place, label, _) in &needs {
            diagnostic = diagnostic.also(*place, *label);
        }
        diagnostics.push(diagnostic.help(format!("add `guide: hash` to flow `{name}`, or remove what needs one")));
    }
}

/// What needs a guide on a flow: where, what to say there, and why it does.
fn needs(topology: &Topology, name: &str, flow: &Flow) -> Vec<(Place, &'static str, String)> {
    let mut needs = Vec::new();
    if let Some(key) = &flow.key {
        needs.push((key.place, "a key leads to a server by a guide", "has a `key`".to_owned()));
    }
    if let Some(place) = flow.from_clients {
        needs.push((place, "clients reach only flows with a guide", "comes from clients".to_owned()));
    }
    for (stage, declared) in topology.consumers(name) {
        for input in declared.inputs.iter().filter(|input| input.flow.value == *name) {
            if input.spread.value == Spread::Key {
                let why = format!("stage `{stage}` spreads it by key");
                needs.push((input.spread.place, "without a guide there is no key", why));
            }
        }
    }
    for (portal, declared) in &topology.portals {
        for carried in declared.flows.iter().flatten().filter(|carried| carried.value == *name) {
            needs.push((carried.place, "without a guide it enters no portal", format!("is in portal `{portal}`")));
        }
    }
    needs
}
