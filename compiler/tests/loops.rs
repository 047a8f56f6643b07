//! Cycles, loops and mends, against brute force over random graphs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use proptest::prelude::*;
use waldo_compiler::{
    Choice, Sources, check, compile,
    diagnostic::Diagnostic,
    graph::{Edge, Graph, is_closed, mend, path, shortest_through},
    plan::Plan,
};

const STAGES: [&str; 6] = ["ant", "bee", "cat", "dog", "eel", "fox"];
const FLOWS: [&str; 7] = ["p", "q", "r", "s", "t", "u", "v"];

/// A flow: its senders, its receivers, and whether it is keyed.
type Ends = (BTreeSet<usize>, BTreeSet<usize>, bool);

fn ends() -> impl Strategy<Value = Vec<Ends>> {
    let some = || prop::collection::btree_set(0..STAGES.len(), 0..3);
    prop::collection::vec((some(), some(), any::<bool>()), 0..=FLOWS.len())
}

fn name_all(stages: &BTreeSet<usize>) -> Vec<&'static str> {
    stages.iter().map(|stage| STAGES[*stage]).collect()
}

fn graph(flows: &[Ends]) -> Graph<'static> {
    let channels = flows.iter().enumerate().map(|(flow, (from, to, _))| (FLOWS[flow], name_all(from), name_all(to)));
    Graph::new(STAGES, channels)
}

fn edges(flows: &[Ends]) -> Vec<Edge<'static>> {
    let mut edges = Vec::new();
    for (flow, (senders, receivers, _)) in flows.iter().enumerate() {
        for from in name_all(senders) {
            edges.extend(name_all(receivers).into_iter().map(|to| Edge { from, flow: FLOWS[flow], to }));
        }
    }
    edges
}

/// The number of edges from each stage to each other that it reaches, by Floyd and Warshall.
fn distances(edges: &[Edge<'static>]) -> BTreeMap<(&'static str, &'static str), usize> {
    let mut distances: BTreeMap<_, usize> = edges.iter().map(|edge| ((edge.from, edge.to), 1)).collect();
    for through in STAGES {
        for from in STAGES {
            for to in STAGES {
                let (Some(a), Some(b)) = (distances.get(&(from, through)), distances.get(&(through, to))) else {
                    continue;
                };
                let way = a + b;
                let known = distances.entry((from, to)).or_insert(way);
                *known = way.min(*known);
            }
        }
    }
    distances
}

fn has_cycle(edges: &[Edge<'static>]) -> bool {
    let distances = distances(edges);
    STAGES.iter().any(|stage| distances.contains_key(&(*stage, *stage)))
}

fn without(edges: &[Edge<'static>], away: &[&str]) -> Vec<Edge<'static>> {
    edges.iter().filter(|edge| !away.contains(&edge.flow)).copied().collect()
}

/// The size of the smallest set of flows without which there is no cycle, by trying all.
fn smallest(edges: &[Edge<'static>]) -> usize {
    let choices = (0..1_u32 << FLOWS.len()).filter(|choice| {
        let chosen = FLOWS.iter().enumerate().filter(|(at, _)| choice & (1 << at) != 0).map(|(_, flow)| *flow);
        !has_cycle(&without(edges, &chosen.collect::<Vec<_>>()))
    });
    choices.map(u32::count_ones).min().expect("all of them") as usize
}

fn assert_is_cycle(cycle: &[Edge<'_>], edges: &[Edge<'static>]) {
    for (at, edge) in cycle.iter().enumerate() {
        assert!(edges.contains(edge), "{edge:?} isn't there");
        assert_eq!(edge.to, cycle[(at + 1) % cycle.len()].from, "{}", path(cycle));
    }
}

/// Whether flows, in this order, can take a record round, by following every way.
fn goes_round(edges: &[Edge<'static>], flows: &[&str]) -> bool {
    let step = |stages: BTreeSet<&'static str>, flow: &str| -> BTreeSet<&'static str> {
        edges.iter().filter(|edge| edge.flow == flow && stages.contains(edge.from)).map(|edge| edge.to).collect()
    };
    STAGES.iter().any(|start| flows.iter().fold(BTreeSet::from([*start]), |at, flow| step(at, flow)).contains(start))
        && !flows.is_empty()
}

/// The topology on one server. Whatever nobody sends or receives is sent by `begin` and received by `end`.
fn topology(flows: &[Ends], is_keyed: impl Fn(usize) -> bool, loops: &[(String, Vec<String>)]) -> String {
    let mut text = "topology: tangle\nflows:\n".to_owned();
    let mut ins: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut outs = ins.clone();
    for (flow, (senders, receivers, _)) in flows.iter().enumerate() {
        let guide = if is_keyed(flow) { "guide: hash" } else { "" };
        writeln!(text, "  {}: {{{guide}}}", FLOWS[flow]).expect("text");
        name_all(senders)
            .into_iter()
            .chain(["begin"])
            .for_each(|stage| outs.entry(stage).or_default().push(FLOWS[flow]));
        name_all(receivers)
            .into_iter()
            .chain(["end"])
            .for_each(|stage| ins.entry(stage).or_default().push(FLOWS[flow]));
    }
    text.push_str("stages:\n");
    for stage in ["begin", "end"].into_iter().chain(STAGES) {
        let list = |of: &BTreeMap<&str, Vec<&str>>| of.get(stage).map(|flows| flows.join(", ")).unwrap_or_default();
        if stage == "begin" || !list(&ins).is_empty() {
            writeln!(text, "  {stage}: {{run: ./{stage}, in: [{}], out: [{}]}}", list(&ins), list(&outs))
                .expect("text");
        }
    }
    if !loops.is_empty() {
        text.push_str("loops:\n");
    }
    for (name, flows) in loops {
        writeln!(text, "  {name}: {{flows: [{}], passes: 2}}", flows.join(", ")).expect("text");
    }
    text
}

/// The edges of that topology: a stage that receives nothing isn't in it.
fn edges_in_topology(flows: &[Ends]) -> Vec<Edge<'static>> {
    let receivers: BTreeSet<usize> = flows.iter().flat_map(|(_, receivers, _)| receivers.clone()).collect();
    edges(flows).into_iter().filter(|edge| receivers.iter().any(|stage| STAGES[*stage] == edge.from)).collect()
}

fn found(text: &str, code: &str) -> Vec<Diagnostic> {
    let found = check(&Sources::of("waldo.yaml", text)).diagnostics;
    found.iter().filter(|found| found.rule.code == code).cloned().collect()
}

/// The loop that a message proposes to declare.
fn proposed(found: &Diagnostic) -> (String, Vec<String>) {
    let help = found.help.as_deref().expect("a help");
    let (before, after) = help.split_once(": {flows: [").expect("a loop");
    let name = before.rsplit(['`', '{', ' ']).next().expect("a name");
    let (flows, _) = after.split_once("], passes: 16}").expect("passes");
    (name.to_owned(), flows.split(", ").map(str::to_owned).collect())
}

/// The flows that a message proposes to give a guide.
fn guided(found: &Diagnostic) -> Vec<String> {
    let help = found.help.as_deref().expect("a help");
    let Some((_, after)) = help.split_once("give flow") else { return Vec::new() };
    let (flows, _) = after.split_once(" a `guide`").expect("a guide");
    flows.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn loops() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let flows = Just((0..FLOWS.len()).collect::<Vec<_>>()).prop_shuffle();
    prop::collection::vec((flows, 1_usize..4).prop_map(|(flows, count)| flows[..count].to_vec()), 0..3)
}

/// Loops of flows that there are.
fn named(loops: &[Vec<usize>], flows: &[Ends]) -> Vec<(String, Vec<String>)> {
    let there = loops.iter().filter(|listed| listed.iter().all(|flow| *flow < flows.len()));
    let name = |listed: &Vec<usize>| listed.iter().map(|flow| FLOWS[*flow].to_owned()).collect();
    there.enumerate().map(|(at, listed)| (format!("loop{at}"), name(listed))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tangle_is_found_where_there_is_a_cycle_and_nowhere_else(flows in ends()) {
        let (graph, edges) = (graph(&flows), edges(&flows));
        let tangles = graph.tangles();
        prop_assert_eq!(!tangles.is_empty(), has_cycle(&edges));
        let distances = distances(&edges);
        let on_cycles = edges.iter().filter(|edge| edge.from == edge.to || distances.contains_key(&(edge.to, edge.from)));
        let expected: BTreeSet<&str> = on_cycles.map(|edge| edge.flow).collect();
        prop_assert_eq!(tangles.iter().flat_map(Graph::flows).collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn the_cycle_that_is_shown_is_one_and_the_shortest_through_its_flow(flows in ends()) {
        let (graph, edges) = (graph(&flows), edges(&flows));
        let distances = distances(&edges);
        for flow in FLOWS {
            let through = edges.iter().filter(|edge| edge.flow == flow);
            let back = |edge: &Edge<'static>| if edge.from == edge.to { Some(&0) } else { distances.get(&(edge.to, edge.from)) };
            let least = through.filter_map(|edge| back(edge).map(|way| way + 1)).min();
            let shown = shortest_through(&graph, flow);
            prop_assert_eq!(shown.as_ref().map(Vec::len), least);
            if let Some(cycle) = shown {
                prop_assert_eq!(cycle[0].flow, flow);
                assert_is_cycle(&cycle, &edges);
                prop_assert!(is_closed(&graph, &cycle.iter().map(|edge| edge.flow).collect::<Vec<_>>()));
            }
        }
    }

    #[test]
    fn a_mend_leaves_no_cycle_and_no_smaller_set_does(flows in ends(), liked in any::<u8>()) {
        for tangle in graph(&flows).tangles() {
            let is_liked = |flow: &str| FLOWS.iter().position(|known| *known == flow).is_some_and(|at| liked & (1 << at) != 0);
            let mend = mend(&tangle, 1, is_liked);
            let inside: Vec<_> = edges(&flows)
                .into_iter()
                .filter(|edge| [edge.from, edge.to].iter().all(|stage| tangle.stages().contains(stage)))
                .collect();
            prop_assert!(!has_cycle(&without(&inside, &mend.flows)));
            prop_assert!(mend.is_smallest);
            prop_assert_eq!(mend.flows.len(), smallest(&inside));
        }
    }

    #[test]
    fn flows_in_order_go_round_or_they_do_not(flows in ends(), order in prop::collection::vec(0..FLOWS.len(), 0..5)) {
        let order: Vec<&str> = order.into_iter().map(|flow| FLOWS[flow]).collect();
        prop_assert_eq!(is_closed(&graph(&flows), &order), goes_round(&edges(&flows), &order));
    }

    #[test]
    fn what_the_declared_loops_do_not_count_is_told_and_what_is_told_mends_it(flows in ends(), loops in loops()) {
        let edges = edges_in_topology(&flows);
        let mut loops = named(&loops, &flows);
        let counted: Vec<&str> = loops.iter().map(|(_, flows)| flows[0].as_str()).collect();
        let is_keyed = |flow: usize| flows[flow].2;
        let text = topology(&flows, is_keyed, &loops);
        let cycles = found(&text, "W021");
        let rest = without(&edges, &counted);
        prop_assert_eq!(!cycles.is_empty(), has_cycle(&rest), "{}", text);
        prop_assert_eq!(cycles.len(), smallest(&rest), "{}", text);

        let wrong = found(&text, "W022");
        for (name, listed) in &loops {
            let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
            let told = wrong.iter().any(|found| found.message.contains(&format!("`{name}`")));
            prop_assert_eq!(told, !goes_round(&edges, &listed), "{}\n{}", name, text);
        }

        loops.extend(cycles.iter().map(proposed));
        let mended = topology(&flows, is_keyed, &loops);
        prop_assert!(found(&mended, "W021").is_empty(), "{}", mended);
        prop_assert_eq!(found(&mended, "W022").len(), wrong.len(), "{}", mended);
    }

    #[test]
    fn small_queues_in_a_cycle_are_told_once_and_the_guides_that_are_told_mend_it(flows in ends(), loops in loops()) {
        let loops = named(&loops, &flows);
        let keyed: Vec<&str> = flows.iter().zip(FLOWS).filter(|((.., keyed), _)| *keyed).map(|(_, flow)| flow).collect();
        let unkeyed = without(&edges_in_topology(&flows), &keyed);
        let text = topology(&flows, |flow| flows[flow].2, &loops);
        let blocked = found(&text, "W024");
        let told: Vec<String> = found(&text, "W021").iter().chain(&blocked).flat_map(guided).collect();
        prop_assert_eq!(!told.is_empty(), has_cycle(&unkeyed), "{}", text);
        let mut mend: Vec<&str> = told.iter().map(String::as_str).collect();
        prop_assert!(!has_cycle(&without(&unkeyed, &mend)), "{}", text);
        mend.sort_unstable();
        prop_assert!(mend.windows(2).all(|pair| pair[0] != pair[1]), "told twice: {mend:?}\n{text}");
        // With every cycle declared, nothing but this rule speaks, and names the fewest.
        let declared: Vec<_> = FLOWS[..flows.len()].iter().map(|flow| (format!("all-{flow}"), vec![(*flow).to_owned()])).collect();
        let all = found(&topology(&flows, |flow| flows[flow].2, &declared), "W024");
        prop_assert_eq!(all.iter().flat_map(guided).count(), smallest(&unkeyed), "{}", text);
    }

    #[test]
    fn no_record_goes_round_for_ever_once_what_is_told_is_declared(flows in ends()) {
        let loops: Vec<_> = found(&topology(&flows, |_| true, &[]), "W021").iter().map(proposed).collect();
        let text = topology(&flows, |_| true, &loops);
        let compiled = compile(&Sources::of("waldo.yaml", &text), Choice::Only, None);
        prop_assert!(compiled.is_ok(), "{}\n{:?}", text, compiled);
        assert_every_way_ends(&compiled.expect("a plan").plan);
    }
}

/// Where a record is, and the passes that it has counted.
type State = (String, BTreeMap<u16, u16>);

/// Follows every way that a record can take, with its counts, as stages do it: none may come back to where it was with
/// the counts that it had.
fn assert_every_way_ends(plan: &Plan) {
    let processes = plan.servers.values().flat_map(|server| &server.processes);
    let wirings: BTreeMap<&str, _> =
        processes.map(|process| (process.wiring.stage.as_str(), &process.wiring)).collect();
    let after = |(flow, counts): &State| -> Vec<State> {
        let consumers = plan.flows[flow].consumers.iter().filter_map(|stage| wirings.get(stage.as_str()));
        let outputs = consumers.flat_map(|wiring| &wiring.outputs);
        let sent = outputs.filter_map(|output| {
            let mut next = BTreeMap::new();
            for step in &output.loops {
                let passes = counts.get(&step.id).copied().unwrap_or(0) + u16::from(step.first);
                if passes > step.passes {
                    return None;
                }
                next.insert(step.id, passes);
            }
            Some((output.flow.clone(), next))
        });
        sent.collect()
    };
    // Depth first; what is on the way mustn't come again.
    let mut done: BTreeSet<State> = BTreeSet::new();
    for flow in plan.flows.keys() {
        let mut way: Vec<(State, Vec<State>)> = Vec::new();
        let begin: State = (flow.clone(), BTreeMap::new());
        way.push((begin.clone(), after(&begin)));
        while let Some((state, next)) = way.last_mut() {
            match next.pop() {
                None => {
                    done.insert(state.clone());
                    way.pop();
                }
                Some(next) if done.contains(&next) => {}
                Some(next) => {
                    assert!(way.iter().all(|(state, _)| *state != next), "for ever: {next:?} of {plan:?}");
                    let further = after(&next);
                    way.push((next, further));
                }
            }
        }
    }
}

#[test]
fn two_loops_of_one_stage_are_counted_together() {
    let flows = vec![([0].into(), [0].into(), true), ([0].into(), [0].into(), true)];
    let loops = [("one".to_owned(), vec!["p".to_owned()]), ("two".to_owned(), vec!["q".to_owned()])];
    let text = topology(&flows, |_| true, &loops);
    let plan = compile(&Sources::of("waldo.yaml", &text), Choice::Only, None).expect("no errors").plan;
    assert_every_way_ends(&plan);
    let ant = plan.servers["here"].processes.iter().find(|process| process.name == "ant.0").expect("ant");
    let steps =
        |flow: usize| ant.wiring.outputs[flow].loops.iter().map(|step| (step.name.as_str(), step.first, step.listed));
    assert_eq!(steps(0).collect::<Vec<_>>(), [("one", true, true), ("two", false, false)]);
    assert_eq!(steps(1).collect::<Vec<_>>(), [("one", false, false), ("two", true, true)]);
}

/// A thousand stages of which everyone sends to the next few, on unkeyed flows of their own.
fn tangle(stages: usize, next: usize) -> String {
    let mut text = "topology: tangle\nflows:\n".to_owned();
    for stage in 0..stages {
        for by in 1..=next {
            writeln!(text, "  f{stage}-{by}: {{}}").expect("text");
        }
    }
    text.push_str("stages:\n");
    for stage in 0..stages {
        let name = |from: usize, by: usize| format!("f{}-{by}", from % stages);
        let ins: Vec<_> = (1..=next).map(|by| name(stage + stages * next - by * by, by)).collect();
        let outs: Vec<_> = (1..=next).map(|by| name(stage, by)).collect();
        writeln!(text, "  s{stage}: {{run: ./s, in: [{}], out: [{}]}}", ins.join(", "), outs.join(", ")).expect("text");
    }
    text
}

#[test]
fn in_a_tangle_of_a_thousand_stages_a_mend_is_found_and_not_called_the_smallest() {
    let text = tangle(1_000, 3);
    let cycles = found(&text, "W021");
    assert!((1..=10).contains(&cycles.len()), "{} cycles are told", cycles.len());
    assert!(cycles[0].notes.iter().any(|note| note.contains("perhaps fewer will do")), "{:?}", cycles[0].notes);
    assert!(cycles.iter().all(|cycle| cycle.secondary.len() < 30));
}

#[test]
fn in_a_tangle_too_large_to_try_its_flows_the_cycles_are_told_all_the_same() {
    let cycles = found(&tangle(4_000, 2), "W021");
    assert!(!cycles.is_empty());
}

#[test]
fn a_ring_of_a_thousand_stages_needs_one_loop() {
    let cycles = found(&tangle(1_000, 1), "W021");
    assert_eq!(cycles.len(), 1);
    let help = cycles[0].help.as_deref().expect("a help");
    assert!(
        help.starts_with("declare it: `loops: {round: {flows: [f999-1, f0-1, f1-1, ") && help.len() < 1_500,
        "{help}"
    );
    assert!(cycles[0].notes.iter().any(|note| note.contains("976 more stages")), "{:?}", cycles[0].notes);
}

#[test]
fn a_thousand_stages_on_one_flow_are_no_million_edges() {
    let mut text = "topology: t\nflows: {f: {guide: hash, from: clients}}\nstages:\n".to_owned();
    for stage in 0..1_000 {
        writeln!(text, "  s{stage}: {{run: ./s, in: [f], out: [f]}}").expect("text");
    }
    let cycles = found(&text, "W021");
    assert_eq!(cycles.len(), 1);
    assert_eq!(
        cycles[0].help.as_deref().map(|help| help.contains("loops: {round: {flows: [f], passes: 16}}")),
        Some(true)
    );
}
