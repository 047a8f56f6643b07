//! W021: every cycle is declared.

use super::{Rule, Whole, listed, output_place};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    graph::{self, Edge},
};

pub(crate) static RULE: Rule = Rule {
    code: "W021",
    severity: Severity::Error,
    title: "a cycle that isn't declared",
    explanation: "\
A record that comes back to a stage may go round for ever. So every cycle in the data flow is declared under `loops`, by
its flows in order, with a number of `passes`: how often a record may go round before it goes to dead letters. A pass is
one sending on the loop's first flow; with the first flows of all loops taken away no cycle may remain.",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let counted = graph::counted_flows(whole.topology);
    let mut edges: Vec<_> = whole.edges.iter().filter(|edge| !counted.contains(edge.flow)).copied().collect();
    // Each round declares, as it were, the cycles found; it takes at least one flow away, so this ends.
    loop {
        let cycles = graph::cycles(&edges);
        if cycles.is_empty() {
            return;
        }
        for cycle in cycles {
            let cycle = from_the_best_start(whole, cycle);
            edges.retain(|edge| edge.flow != cycle[0].flow);
            diagnostics.push(diagnostic(whole, &cycle));
        }
    }
}

/// The cycle from a keyed flow on, where it has one: passes are counted where records cross portals.
fn from_the_best_start<'t>(whole: &Whole<'_>, mut cycle: Vec<Edge<'t>>) -> Vec<Edge<'t>> {
    let keyed = |edge: &Edge<'_>| whole.topology.flows.get(edge.flow).is_some_and(crate::topology::Flow::is_keyed);
    let start = cycle.iter().position(keyed).unwrap_or(0);
    cycle.rotate_left(start);
    cycle
}

fn diagnostic(whole: &Whole<'_>, cycle: &[Edge<'_>]) -> Diagnostic {
    let mut diagnostic = Diagnostic::new(
        &RULE,
        output_place(whole.topology, &cycle[0]),
        format!("a cycle isn't declared: {}", graph::path(cycle)),
    )
    .label(if cycle.len() == 1 { "the stage sends to itself" } else { "the cycle, from here" });
    for edge in &cycle[1..] {
        diagnostic = diagnostic.also(output_place(whole.topology, edge), format!("`{}` sends it on", edge.from));
    }
    let flows: Vec<_> = cycle.iter().map(|edge| edge.flow).collect();
    let name = (1..).map(|number| if number == 1 { "round".to_owned() } else { format!("round-{number}") });
    let name = name.into_iter().find(|name| !whole.topology.loops.contains_key(name)).unwrap_or_default();
    let declaration = format!("{name}: {{flows: [{}], passes: 16}}", flows.join(", "));
    let how = if whole.topology.loops.is_empty() {
        format!("`loops: {{{declaration}}}`")
    } else {
        format!("under `loops`: `{declaration}`")
    };
    diagnostic.help(format!(
        "declare it: {how}, or take {} out of the `out` of {}",
        listed([cycle[0].flow]),
        listed([cycle[0].from])
    ))
}
