//! W024: what doesn't spool is acyclic.

use std::collections::BTreeSet;

use super::{Rule, Whole, cycle_labels, listed};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    graph::{self, Graph, Mend},
};

pub(crate) static RULE: Rule = Rule {
    code: "W024",
    severity: Severity::Error,
    title: "a cycle of small queues, which can block for ever",
    explanation: "\
Queues inside a server are small: a sender waits while its receiver's inbox is full. In a cycle of unkeyed flows each
stage can end up waiting for the next, all round, for ever. A keyed flow breaks the cycle: its portal spools, and never
refuses a stage's record while its spool has room. So with all keyed flows taken away no cycle may remain. Give the flows
that the message names a `guide`; it looks for the fewest with which all cycles of the same stages are broken.

  wrong   flows: {page: {}, link: {}}
          stages: {fetch: {in: [link], out: [page], ...}, parse: {in: [page], out: [link], ...}}
  right   flows: {page: {}, link: {guide: hash}}      # the same stages; links go through a portal",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let tangles = tangles(whole);
    for (server, tangle) in tangles.iter().filter(|(_, tangle)| !is_undeclared(whole, tangle)) {
        diagnostics.extend(found(whole, server, tangle, tangles.len()));
    }
}

/// The flows that block each other where no loop is declared either: that is told with the undeclared cycle.
pub(super) fn undeclared_too<'w>(whole: &'w Whole<'_>) -> BTreeSet<&'w str> {
    let tangles = tangles(whole);
    tangles.iter().filter(|(_, tangle)| is_undeclared(whole, tangle)).flat_map(|(_, tangle)| tangle.flows()).collect()
}

fn is_undeclared(whole: &Whole<'_>, tangle: &Graph<'_>) -> bool {
    let counted = graph::counted_flows(whole.topology);
    tangle.flows().iter().all(|flow| !counted.contains(flow))
}

/// The tangles of unkeyed flows, each with a server on which it is.
fn tangles<'w>(whole: &'w Whole<'_>) -> Vec<(&'w str, Graph<'w>)> {
    let mut seen = BTreeSet::new();
    let mut tangles: Vec<(&str, Graph<'_>)> = Vec::new();
    for server in whole.placement.used_servers() {
        if !seen.insert(whole.placement.stages_on(server).collect::<Vec<_>>()) {
            continue;
        }
        for tangle in Graph::within(whole.topology, &whole.placement, server).tangles() {
            if tangles.iter().all(|(_, known)| *known != tangle) {
                tangles.push((server, tangle));
            }
        }
    }
    tangles
}

fn found(whole: &Whole<'_>, server: &str, tangle: &Graph<'_>, tangles: usize) -> Diagnostics {
    let mut found = Diagnostics::default();
    let mend = graph::mend(tangle, tangles, |_| false);
    let Some(cycle) = mend.flows.first().and_then(|flow| graph::shortest_through(tangle, flow)) else { return found };
    let message = format!("small queues can block each other for ever: {}", graph::path(&cycle));
    let labels = ("waits for room while its own inbox fills", "waits for room as well");
    let diagnostic = Diagnostic::new(&RULE, super::output_place(whole.topology, &cycle[0]), message);
    let diagnostic = cycle_labels(whole.topology, diagnostic, &cycle, labels.0, |_| labels.1.to_owned());
    found.push(
        diagnostic
            .note(format!("no flow on this cycle spools; all its stages run on server `{server}`"))
            .help(help(&mend)),
    );
    found
}

fn help(mend: &Mend<'_>) -> String {
    let flows = listed(&mend.flows);
    match mend.flows.len() {
        1 => format!("give flow {flows} a `guide` (`guide: hash`): then its portal spools it"),
        _ if mend.is_smallest => {
            format!("give flows {flows} a `guide` each (`guide: hash`): then portals spool them; fewer won't do")
        }
        _ => {
            format!("give flows {flows} a `guide` each (`guide: hash`): then portals spool them; perhaps fewer will do")
        }
    }
}
