//! W017: every stage runs somewhere.

use super::{Rule, Whole, listed};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W017",
    severity: Severity::Error,
    title: "a stage that runs nowhere",
    explanation: "\
A drained server (`state: drained`) runs no stages. If all the servers that a stage is placed on are drained, the stage
would be gone without a word. Place it on another server too, or take the server back into action.

  wrong   stages: {store: {run: ./store, \"on\": [s1]}}
          servers: {s1: {address: 10.0.0.1, state: drained}, s2: {address: 10.0.0.2}}
  right   stages: {store: {run: ./store, \"on\": [s2]}}      # the same servers",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let servers = &whole.topology.servers;
    if servers.len() > 1 && servers.keys().all(|server| !whole.topology.is_active(server)) {
        let mut places = servers.values().map(|server| server.drained.unwrap_or(server.place));
        let first = places.next().unwrap_or_default();
        let mut diagnostic =
            Diagnostic::new(&RULE, first, "every server is drained, so no stage runs anywhere").label("drained");
        for place in places {
            diagnostic = diagnostic.also(place, "drained");
        }
        diagnostics.push(diagnostic.help("leave at least one server in action: remove its `state: drained`"));
        return;
    }
    for (name, stage) in &whole.topology.stages {
        if whole.placement.servers_of(name).next().is_some() {
            continue;
        }
        let place = stage.on.as_ref().map_or(stage.place, |on| on.place);
        let mut diagnostic = Diagnostic::new(&RULE, place, format!("stage `{name}` runs nowhere"))
            .label("every server that it is placed on is drained");
        let mut drained = Vec::new();
        for (server, declared) in &whole.topology.servers {
            let named = |on: &crate::source::Located<String>| {
                whole.topology.servers_named(&on.value).any(|named| named == server)
            };
            if stage.on.as_ref().is_none_or(|on| on.value.iter().any(named)) {
                drained.push(server);
                diagnostic = diagnostic.also(declared.drained.unwrap_or(declared.place), "drained");
            }
        }
        let help = if whole.topology.servers.is_empty() {
            "declare a server under `servers`, or leave `servers` out to run on this machine".to_owned()
        } else {
            format!("place the stage on another server, or remove `state: drained` from {}", listed(drained))
        };
        diagnostics.push(diagnostic.help(help));
    }
}
