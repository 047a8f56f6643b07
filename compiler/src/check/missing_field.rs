//! W003: some fields can't be left out.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::Place,
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W003",
    severity: Severity::Error,
    title: "a field is missing",
    explanation: "\
Most fields have defaults; a few have none that would make sense: the topology's name, at least one stage,
what a stage runs, the flows of a
loop, the address of a server that isn't on this machine, and in a guide by `table` the `default` for keys that the
table doesn't name. An empty `on: []` would place a stage nowhere: leave `on` out for every server.

  wrong   servers: {s1: {labels: [worker]}}
  right   servers: {s1: {address: 10.0.0.1, labels: [worker]}}",
};

pub(crate) fn field(field: &str, owner: &str, place: Place, example: &str) -> Diagnostic {
    // Of the topology, that would be itself.
    let what = if field == "topology" { "name".to_owned() } else { format!("`{field}`") };
    Diagnostic::new(&RULE, place, format!("{owner} has no {what}"))
        .label(format!("needs `{field}`"))
        .help(format!("add it, for example `{example}`"))
}

pub(crate) fn table_default(owner: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("{owner} has a `table` without `default`"))
        .label("keys that it doesn't name have no server")
        .help("add where all other keys live: `default: hash`, or `default:` and a server")
}

pub(crate) fn program(what: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("{what} names no program"))
        .label("nothing to run")
        .help("write a program and its arguments, for example `run: ./bin/score --fast`")
}

pub(crate) fn empty_on(what: &str, place: Place) -> Diagnostic {
    Diagnostic::new(&RULE, place, format!("{what} names no server"))
        .label("the stage would run nowhere")
        .help("name servers or labels, or leave `on` out to run on every server")
}

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    if topology.stages.is_empty() && !topology.has_holes {
        diagnostics.push(
            Diagnostic::new(&RULE, topology.name.place, "the topology has no stages")
                .label("nothing would run")
                .help("add at least one, for example `stages: {greet: {run: echo hello}}`"),
        );
    }
    if topology.namespace.local {
        return;
    }
    for (name, server) in topology.servers.iter().filter(|(_, server)| server.address.is_none()) {
        let owner = format!("server `{name}`");
        diagnostics.push(
            field("address", &owner, server.place, "address: 10.0.0.1").help(
                "add where others reach it, for example `address: 10.0.0.1`, or make the namespace `local: true`",
            ),
        );
    }
}
