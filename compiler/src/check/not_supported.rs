//! W010: what the language has and this version can't do yet.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::Place,
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W010",
    severity: Severity::Error,
    title: "not supported yet",
    explanation: "\
The field is part of the language, but this version of waldo can't do what it asks for. It is refused rather than
ignored: a memory limit that isn't kept, or a user that isn't switched to, is worse than none. Remove the field, or keep
it in a namespace of its own until a version supports it.",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    let mut refuse = |field: &str, owner: &str, place: Option<Place>, instead: &str| {
        if let Some(place) = place {
            diagnostics.push(
                Diagnostic::new(&RULE, place, format!("`{field}` of {owner} is not supported yet"))
                    .label("not supported yet")
                    .help(instead),
            );
        }
    };
    let top = "the topology";
    let files = topology.files.as_ref().map(|files| files.place);
    refuse("files", top, files, "remove it; put the programs on the servers by other means");
    refuse("security", top, topology.security, "remove it; data between servers isn't encrypted");
    for (name, stage) in &topology.stages {
        let owner = format!("stage `{name}`");
        refuse("alive", &owner, stage.alive, "remove it; a stage that hangs isn't noticed by itself");
        let user = stage.user.as_ref().map(|user| user.place);
        refuse("user", &owner, user, "remove it; stages run as the user who starts waldo");
        let memory = stage.limits.memory.as_ref().map(|memory| memory.place);
        refuse("limits.memory", &owner, memory, "remove it; of the limits only `nofile` is kept");
        let cpu = stage.limits.cpu.as_ref().map(|cpu| cpu.place);
        refuse("limits.cpu", &owner, cpu, "remove it; of the limits only `nofile` is kept");
    }
    for (name, server) in &topology.servers {
        let owner = format!("server `{name}`");
        refuse("ssh", &owner, server.ssh, "remove it; waldo doesn't log in to other machines");
        refuse("memory", &owner, server.memory, "remove it; no stage is placed by what a server has");
        refuse("cpu", &owner, server.cpu, "remove it; no stage is placed by what a server has");
    }
    for (name, portal) in &topology.portals {
        let owner = format!("portal `{name}`");
        refuse("spool.sync", &owner, portal.spool.sync, "remove it; spools aren't synced to disk on each receipt");
    }
}
