//! W017: every stage runs somewhere.

use super::{Rule, Whole, listed};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W017",
    severity: Severity::Error,
    title: "a stage that runs nowhere",
    explanation: "\
A drained server (`state: drained`) runs no stages. If all the servers that a stage is placed on are drained, the stage
would be gone without a word. Place it on another server too, or take the server back into action.",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
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
            format!("place the stage on another server, or take {} out of `state: drained`", listed(drained))
        };
        diagnostics.push(diagnostic.help(help));
    }
}
