//! W008: a name means one thing.

use std::collections::BTreeMap;

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    place::portals::Carriers,
    source::{Located, Place},
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W008",
    severity: Severity::Error,
    title: "one name for two things, or one thing named twice",
    explanation: "\
A label that is also a server's name would make `on: [name]` mean two things. A stage and a portal of one name would be
told apart nowhere in `status`, `logs` or the run directory. A flow `x` that leaves by `to` has a stage `x-out`. A flow that stands twice in `in`, `out`, a loop or a portal
would be received or sent twice.

  wrong   servers: {s1: {address: 10.0.0.1, labels: [s2]}, s2: {address: 10.0.0.2}}
  right   servers: {s1: {address: 10.0.0.1, labels: [worker]}, s2: {address: 10.0.0.2}}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    for server in topology.servers.values() {
        for label in &server.labels {
            if let Some(other) = topology.servers.get(&label.value) {
                diagnostics.push(
                    Diagnostic::new(
                        &RULE,
                        label.place,
                        format!("label `{}` is also the name of a server", label.value),
                    )
                    .label("label")
                    .also(other.place, "server of this name")
                    .help("rename the label"),
                );
            }
        }
        once(&server.labels, "labels of a server", diagnostics);
    }
    let carriers = Carriers::of(topology);
    for (name, stage) in &topology.stages {
        let portal = topology.portals.get(name).map(|portal| portal.place);
        let carrier = || carriers.iter().find(|(portal, _)| portal == name).map(|(_, carrier)| carrier.place);
        if let Some(place) = portal.or_else(carrier) {
            diagnostics.push(
                Diagnostic::new(&RULE, stage.place, format!("`{name}` is both a stage and a portal"))
                    .label("stage")
                    .also(place, if portal.is_some() { "portal" } else { "carried by the default portal of this name" })
                    .help("rename the stage"),
            );
        }
        let inputs: Vec<_> = stage.inputs.iter().map(|input| input.flow.clone()).collect();
        once(&inputs, &format!("`in` of stage `{name}`"), diagnostics);
        once(&stage.outputs, &format!("`out` of stage `{name}`"), diagnostics);
    }
    for (name, declared) in &topology.loops {
        once(&declared.flows, &format!("`flows` of loop `{name}`"), diagnostics);
    }
    for (name, portal) in &topology.portals {
        once(portal.flows.as_deref().unwrap_or_default(), &format!("`flows` of portal `{name}`"), diagnostics);
    }
}

/// The stage by which a flow leaves has a name that another stage has.
pub(crate) fn egress(name: &str, flow: &str, stage: Place, to: Place) -> Diagnostic {
    Diagnostic::new(&RULE, stage, format!("`{name}` is what hands on the records of flow `{flow}`, and also a stage"))
        .label("stage")
        .also(to, "needs this name for itself")
        .help("rename the stage")
}

fn once(names: &[Located<String>], what: &str, diagnostics: &mut Diagnostics) {
    let mut known = BTreeMap::new();
    for name in names {
        if let Some(first) = known.insert(&name.value, name.place) {
            diagnostics.push(
                Diagnostic::new(&RULE, name.place, format!("`{}` stands twice in {what}", name.value))
                    .label("again here")
                    .also(first, "first here")
                    .help("remove one of the two"),
            );
        }
    }
}
