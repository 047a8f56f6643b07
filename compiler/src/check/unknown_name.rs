//! W007: names refer to things that are declared.

use std::collections::BTreeSet;

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::{Located, Place},
    suggestion,
    topology::{Guide, TableDefault, Topology},
};

pub(crate) static RULE: Rule = Rule {
    code: "W007",
    severity: Severity::Error,
    title: "a name that nothing has",
    explanation: "\
A stage's `in` and `out`, a loop's and a portal's `flows` name flows that stand under `flows`. A stage's `on` names
servers or labels; a guide's `ranges`, `table` and `default` name servers. While a name is unknown, the rules about the
whole topology aren't run: what they said would be noise.

  wrong   flows: {suspect: {}}    stages: {score: {run: ./score, in: [suspects]}}
  right   flows: {suspect: {}}    stages: {score: {run: ./score, in: [suspect]}}",
};

/// How many names are compared with all others: with more, it would take minutes, and nobody reads as many.
const MOST_COMPARED: usize = 200;

/// What may have been meant, for the first names.
struct Suggestions {
    left: usize,
}

impl Suggestions {
    fn help<'a>(&mut self, used: &str, known: impl IntoIterator<Item = &'a str> + Clone, kind: &str) -> String {
        if self.left == 0 {
            return format!("look it up under {kind}");
        }
        self.left -= 1;
        if kind == "flows" && suggestion::similar(used, known.clone()).is_none() {
            let there = suggestion::list(known.clone(), "flows that there are");
            let declare = format!("declare it under `flows`: `{used}: {{}}`");
            return if known.into_iter().next().is_none() { declare } else { format!("{declare}; {there}") };
        }
        suggestion::help(used, known, kind)
    }
}

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    let mut suggestions = Suggestions { left: MOST_COMPARED };
    let mut flow = |used: &Located<String>, by: &str| {
        if !topology.flows.contains_key(&used.value) {
            let known = topology.flows.keys().map(String::as_str);
            diagnostics.push(unknown(
                "flow",
                used,
                by,
                &suggestions.help(&used.value, known, "flows"),
                topology.removed.named("flows", &used.value),
            ));
        }
    };
    for (name, stage) in &topology.stages {
        let by = format!("stage `{name}`");
        stage.inputs.iter().for_each(|input| flow(&input.flow, &by));
        stage.outputs.iter().for_each(|output| flow(output, &by));
    }
    for (name, declared) in &topology.loops {
        declared.flows.iter().for_each(|used| flow(used, &format!("loop `{name}`")));
    }
    for (name, portal) in &topology.portals {
        portal.flows.iter().flatten().for_each(|used| flow(used, &format!("portal `{name}`")));
    }

    let servers: BTreeSet<&str> = topology.servers.keys().map(String::as_str).collect();
    let labels: BTreeSet<&str> =
        topology.servers.values().flat_map(|server| &server.labels).map(|label| label.value.as_str()).collect();
    for (name, stage) in &topology.stages {
        for used in stage.on.iter().flat_map(|on| &on.value) {
            if !servers.contains(used.value.as_str()) && !labels.contains(used.value.as_str()) {
                let help = suggestions.help(&used.value, servers.union(&labels).copied(), "servers and labels");
                diagnostics.push(unknown(
                    "server or label",
                    used,
                    &format!("stage `{name}`"),
                    &help,
                    topology.removed.named("servers", &used.value),
                ));
            }
        }
    }
    let mut server = |used: &Located<String>, flow: &str| {
        if !servers.contains(used.value.as_str()) {
            let help = suggestions.help(&used.value, servers.iter().copied(), "servers");
            diagnostics.push(unknown(
                "server",
                used,
                &format!("the guide of flow `{flow}`"),
                &help,
                topology.removed.named("servers", &used.value),
            ));
        }
    };
    for (name, flow) in &topology.flows {
        match flow.guide.as_ref().map(|guide| &guide.value) {
            Some(Guide::Ranges(ranges)) => ranges.iter().for_each(|(_, used)| server(used, name)),
            Some(Guide::Table { keys, default }) => {
                for (_, used) in keys {
                    server(used, name);
                }
                if let Some(Located { value: TableDefault::Server(used), place }) = default {
                    server(&Located::new(used.clone(), *place), name);
                }
            }
            Some(Guide::Hash) | None => {}
        }
    }
}

fn unknown(kind: &str, used: &Located<String>, by: &str, help: &str, removed: Option<Place>) -> Diagnostic {
    let found = Diagnostic::new(&RULE, used.place, format!("{by} names an unknown {kind}: `{}`", used.value))
        .label(format!("no such {kind}"));
    match removed {
        Some(place) => found.also(place, "removed here").help("remove what names it too, or don't remove it"),
        None => found.help(help),
    }
}
