//! W022: a declared loop is a cycle.

use super::{Rule, Whole, listed};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    graph,
    source::Located,
    topology::Loop,
};

pub(crate) static RULE: Rule = Rule {
    code: "W022",
    severity: Severity::Error,
    title: "a declared loop that isn't a cycle",
    explanation: "\
A loop lists all flows of its cycle, in order: some stage receives the first and sends the second, and so on, and some
stage receives the last and sends the first. A loop of one flow needs a stage that both receives and sends it.

  wrong   stages: {fetch: {in: [link], out: [page], ...}, parse: {in: [page], out: [link], ...}}
          loops: {crawl: {flows: [page], passes: 16}}
  right   loops: {crawl: {flows: [page, link], passes: 16}}      # the same stages",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, declared) in &whole.topology.loops {
        let flows: Vec<&str> = declared.flows.iter().map(|flow| flow.value.as_str()).collect();
        // A flow without an end is another rule's.
        let has_ends = |flow: &&str| {
            let sent = whole.topology.flows.get(*flow).is_some_and(|declared| declared.from_clients.is_some())
                || whole.topology.producers(flow).next().is_some();
            sent && whole.topology.consumers(flow).next().is_some()
        };
        if flows.is_empty() || !flows.iter().all(has_ends) || graph::is_closed(&whole.graph, &flows) {
            continue;
        }
        let gap = (0..flows.len()).find(|at| joins(whole, flows[*at], flows[(at + 1) % flows.len()]).is_empty());
        let (place, message, label) = match gap {
            Some(at) => gap_in(whole, name, &declared.flows, at),
            None => (
                declared.flows[0].place,
                format!("loop `{name}` isn't a cycle: its flows never come back to where they begin"),
                "unkeyed flows stay on their server, and no server runs all of the cycle's stages".to_owned(),
            ),
        };
        diagnostics.push(
            Diagnostic::new(&RULE, place, message)
                .label(label)
                .also(declared.place, "declared as a loop")
                .help(help(whole, name, declared)),
        );
    }
}

/// What is said of the first flow of a loop that leads nowhere.
fn gap_in(
    whole: &Whole<'_>,
    name: &str,
    flows: &[Located<String>],
    at: usize,
) -> (crate::source::Place, String, String) {
    let (flow, next) = (&flows[at], &flows[(at + 1) % flows.len()]);
    let message = if flows.len() == 1 {
        format!("loop `{name}` isn't a cycle: no stage both receives and sends `{}`", flow.value)
    } else {
        format!("loop `{name}` isn't a cycle: no stage receives `{}` and sends `{}`", flow.value, next.value)
    };
    let receivers = listed(whole.topology.consumers(&flow.value).map(|(stage, _)| stage));
    (flow.place, message, format!("goes to {receivers}, which doesn't send `{}`", next.value))
}

/// The stages that receive one flow and send the other.
fn joins<'w>(whole: &'w Whole<'_>, flow: &str, next: &'w str) -> Vec<&'w String> {
    let consumers = whole.topology.consumers(flow);
    consumers.filter(|(_, stage)| stage.sends(next)).map(|(name, _)| name).collect()
}

/// The cycle that was meant, if one of the loop's flows is on one.
fn help(whole: &Whole<'_>, name: &str, declared: &Loop) -> String {
    let shortest = |flow: &Located<String>| graph::shortest_through(&whole.graph, &flow.value);
    let Some(cycle) = declared.flows.iter().find_map(shortest) else {
        return "none of its flows comes back to a stage that sends it: remove the loop, or add what sends it back"
            .to_owned();
    };
    let flows: Vec<_> = cycle.iter().map(|edge| edge.flow).collect();
    let is_same = |other: &Loop| {
        other.flows.len() == flows.len() && other.flows.iter().all(|flow| flows.contains(&flow.value.as_str()))
    };
    if let Some((other, _)) = whole.topology.loops.iter().find(|(_, other)| is_same(other)) {
        return format!("remove it: loop `{other}` is the cycle that its flows are on");
    }
    let passes = declared.passes.unwrap_or(16);
    format!("list all flows of the cycle in order: `{name}: {{flows: [{}], passes: {passes}}}`", flows.join(", "))
}
