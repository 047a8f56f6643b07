//! W024: what doesn't spool is acyclic.

use std::collections::BTreeSet;

use super::{Rule, Whole, listed, output_place};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    graph::{self, Edge},
};

pub(crate) static RULE: Rule = Rule {
    code: "W024",
    severity: Severity::Error,
    title: "a cycle of small queues, which can block for ever",
    explanation: "\
Queues inside a server are small: a sender waits while its receiver's inbox is full. In a cycle of unkeyed flows each
stage can end up waiting for the next, all round, for ever. A keyed flow breaks the cycle: its portal spools, and never
refuses a stage's record while its spool has room. So with all keyed flows taken away no cycle may remain. Give one of
the flows that the message names a `guide`.",
};

/// Beyond this many flows in one tangle, the smallest set isn't looked for, only a small one.
const EXHAUSTIVE: usize = 14;

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let is_keyed = |flow: &str| whole.topology.flows.get(flow).is_some_and(crate::topology::Flow::is_keyed);
    let mut seen = BTreeSet::new();
    for server in whole.placement.used_servers() {
        let runs = |stage| whole.placement.runs(stage, server);
        let edges: Vec<_> = whole
            .edges
            .iter()
            .filter(|edge| !is_keyed(edge.flow) && runs(edge.from) && runs(edge.to))
            .copied()
            .collect();
        for component in graph::components(&edges) {
            if seen.insert(component.clone())
                && let Some(cycle) = graph::cycles(&component).first()
            {
                diagnostics.push(diagnostic(whole, server, cycle, &smallest_mend(&component)));
            }
        }
    }
}

fn diagnostic(whole: &Whole<'_>, server: &str, cycle: &[Edge<'_>], mend: &[&str]) -> Diagnostic {
    let path = graph::path(cycle);
    let mut diagnostic = Diagnostic::new(
        &RULE,
        output_place(whole.topology, &cycle[0]),
        format!("small queues can block each other for ever: {path}"),
    )
    .label("waits for room while its own inbox fills");
    for edge in &cycle[1..] {
        diagnostic = diagnostic.also(output_place(whole.topology, edge), "waits for room as well");
    }
    let flows = if mend.len() == 1 { "flow" } else { "flows" };
    diagnostic
        .note(format!("nothing on this cycle spools, for example on server `{server}`"))
        .help(format!("give {flows} {} a `guide` (`guide: hash`): then a portal spools it", listed(mend)))
}

/// The smallest set of flows without which the tangle has no cycle.
fn smallest_mend<'t>(component: &[Edge<'t>]) -> Vec<&'t str> {
    let flows: Vec<&str> = component.iter().map(|edge| edge.flow).collect::<BTreeSet<_>>().into_iter().collect();
    let is_mended = |without: &[&str]| {
        let rest: Vec<_> = component.iter().filter(|edge| !without.contains(&edge.flow)).copied().collect();
        graph::components(&rest).is_empty()
    };
    if flows.len() > EXHAUSTIVE {
        // Take flows away from all, keeping those that turn out not to be needed.
        let mut mend = flows.clone();
        for flow in &flows {
            let fewer: Vec<_> = mend.iter().filter(|kept| *kept != flow).copied().collect();
            if is_mended(&fewer) {
                mend = fewer;
            }
        }
        return mend;
    }
    let mut choices: Vec<u32> = (1..1_u32 << flows.len()).collect();
    choices.sort_by_key(|choice| (choice.count_ones(), *choice));
    choices
        .into_iter()
        .map(|choice| {
            let chosen = flows.iter().enumerate().filter(|(index, _)| choice & (1 << index) != 0);
            chosen.map(|(_, flow)| *flow).collect::<Vec<_>>()
        })
        .find(|choice| is_mended(choice))
        .unwrap_or(flows)
}
