//! W021: every cycle is declared.

use super::{Rule, Whole, cycle_labels, deadlock, listed, output_place};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    graph::{self, Edge, Mend},
};

pub(crate) static RULE: Rule = Rule {
    code: "W021",
    severity: Severity::Error,
    title: "a cycle that isn't declared",
    explanation: "\
A record that comes back to a stage may go round for ever. So every cycle in the data flow is declared under `loops`, by
its flows in order, with a number of `passes`: how often a record may go round, in all, before it goes to dead letters. A pass
is one sending on the loop's first flow; with the first flows of all loops taken away no cycle may remain. The message shows
the cycle, and what to write to declare it. If you didn't mean one, take the flow out of the `out` that sends it back.

  wrong   stages: {visit: {run: ./visit, in: [page], out: [page]}}
  right   stages: {visit: {run: ./visit, in: [page], out: [page]}}
          loops: {crawl: {flows: [page], passes: 16}}",
};

/// How many cycles of one tangle are told.
const MOST_TOLD: usize = 10;

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let counted = graph::counted_flows(whole.topology);
    let tangles = whole.graph.without(|flow| counted.contains(flow)).tangles();
    if tangles.is_empty() {
        return;
    }
    let blocking = deadlock::undeclared_too(whole);
    let mut names = Names { whole, given: 0 };
    for tangle in &tangles {
        let mend = graph::mend(tangle, tangles.len(), |flow| whole.is_keyed(flow));
        for flow in mend.flows.iter().take(MOST_TOLD) {
            let apart = tangle.without(|other| other != *flow && mend.flows.contains(&other));
            let blocks = blocking.contains(flow);
            let small =
                blocks.then(|| graph::shortest_through(&apart.without(|flow| whole.is_keyed(flow)), flow)).flatten();
            // What a mend needs closes a cycle alone. One that was found in a hurry may name a flow that isn't needed; but in a
            // tangle every flow is on some cycle.
            let through = |graph| graph::shortest_through(graph, flow);
            if let Some(cycle) = small.or_else(|| through(&apart)).or_else(|| through(tangle)) {
                diagnostics.push(diagnostic(whole, &cycle, &names.next(), &mend, blocks, tangles.len()));
            }
        }
    }
}

/// Names for loops, which nothing else has.
struct Names<'w, 't> {
    whole: &'w Whole<'t>,
    given: usize,
}

impl Names<'_, '_> {
    fn next(&mut self) -> String {
        loop {
            self.given += 1;
            let name = if self.given == 1 { "round".to_owned() } else { format!("round-{}", self.given) };
            if !self.whole.topology.loops.contains_key(&name) {
                return name;
            }
        }
    }
}

fn diagnostic(
    whole: &Whole<'_>,
    cycle: &[Edge<'_>],
    name: &str,
    mend: &Mend<'_>,
    blocks: bool,
    tangles: usize,
) -> Diagnostic {
    let topology = whole.topology;
    let first = if cycle.len() == 1 { "the stage sends to itself" } else { "the cycle, from here" };
    let message = format!("a cycle isn't declared: {}", graph::path(cycle));
    let mut diagnostic = Diagnostic::new(&RULE, output_place(topology, &cycle[0]), message);
    diagnostic = cycle_labels(topology, diagnostic, cycle, first, |edge| format!("`{}` sends it on", edge.from));
    let flows: Vec<_> = cycle.iter().map(|edge| edge.flow).collect();
    let passed_by = topology
        .loops
        .iter()
        .find(|(_, declared)| declared.flows.iter().any(|flow| flows.contains(&flow.value.as_str())));
    if let Some((other, first)) = passed_by.and_then(|(name, declared)| Some((name, declared.flows.first()?))) {
        diagnostic = diagnostic.note(format!(
            "loop `{other}` counts passes on its first flow, `{}`, which this cycle goes without",
            first.value
        ));
    }
    match (mend.flows.len(), mend.is_smallest) {
        (1, _) => {}
        (count, true) => {
            diagnostic =
                diagnostic.note(format!("this is one of {count} loops that these stages need; fewer won't do"));
        }
        (count, false) => {
            diagnostic = diagnostic
                .note(format!("this is one of {count} loops that are enough for these stages; perhaps fewer will do"));
        }
    }
    let declaration = format!("{name}: {{flows: [{}], passes: 16}}", flows.join(", "));
    let alone = topology.loops.is_empty() && mend.flows.len() == 1 && tangles == 1;
    let how = if alone { format!(": `loops: {{{declaration}}}`") } else { format!(" under `loops`: `{declaration}`") };
    let (flow, sender) = (listed([cycle[0].flow]), listed([cycle[0].from]));
    let spools = if blocks {
        let on_it = cycle.iter().all(|edge| !whole.is_keyed(edge.flow));
        let which = if on_it { "on it".to_owned() } else { format!("on another cycle with {flow}") };
        diagnostic = diagnostic
            .note(format!("no flow {which} spools, so small queues can also block each other for ever (W024)"));
        format!(" and give flow {flow} a `guide` (`guide: hash`)")
    } else {
        String::new()
    };
    diagnostic.help(format!("declare it{how}{spools}; or take {flow} out of the `out` of {sender}"))
}
