//! Differences of plans of random topologies, each compiled from YAML: what a diff says is checked against the two plans.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use proptest::{prelude::*, sample::Index, strategy::ValueTree, test_runner::TestCaseError};
use waldo_compiler::{
    Choice, Sources, compile,
    diff::{Action, Diff, Keys, diff, succession::follow},
    plan::{Plan, ProcessPlan, Program},
    verify_digest,
};
use waldo_sdk::{
    guide::{Map, SLOTS},
    wiring::{Consumer, Spread},
};

/// The choices that a topology is written from. Each is a number, taken modulo the number of ways.
const CHOICES: usize = 40;
type Choices = [u8; CHOICES];

struct Writer<'c> {
    choices: &'c Choices,
    next: usize,
}

impl Writer<'_> {
    fn pick<'o>(&mut self, options: &[&'o str]) -> &'o str {
        let choice = self.choices[self.next];
        self.next += 1;
        options[usize::from(choice) % options.len()]
    }
}

/// A topology of up to four servers and six stages.
fn yaml(choices: &Choices) -> String {
    let mut writer = Writer { choices, next: 0 };
    let mut pick = |options: &[&'static str]| writer.pick(options);
    let mut text = String::from("topology: t\n");
    text += pick(&["", "", "files: [bin/**]\n"]);
    text += pick(&["", "", "defaults: {idle_timeout: 7s}\n"]);

    text += "flows:\n";
    let from = pick(&["", ", from: clients", ", from: clients"]);
    let guide =
        pick(&["hash", "hash", "{table: {k: s1}, default: hash}", "{table: {}, default: s1}", "{ranges: {\"\": s1}}"]);
    let key = pick(&["sender", "sender", "{json: /a}"]);
    let max = pick(&["", "", ", max_record: 2MiB"]);
    let _ = writeln!(text, "  call: {{key: {key}, guide: {guide}{from}{max}}}");
    let guide = pick(&["hash", "hash", "hash", "{table: {a: s1, b: s1}, default: hash}"]);
    let _ = writeln!(text, "  suspect: {{key: sender, guide: {guide}}}");
    text += pick(&["  tick: {}\n", "  tick: {}\n", "  tick: {key: sender, guide: hash}\n"]);
    text += "  alert: {key: sender, guide: {table: {}, default: s1}}\n";

    text += "stages:\n";
    let run = pick(&["./parse", "./parse --fast"]);
    let outputs = pick(&["suspect, tick", "suspect, tick", "tick, suspect"]);
    let instances = pick(&["1", "2", "3"]);
    let more = pick(&["", "", ", queue: 77", ", restart: on-failure", ", alive: {within: 3s}", ", stop: {grace: 1s}"]);
    let _ = writeln!(text, "  parse: {{run: {run}, in: [call], out: [{outputs}], instances: {instances}{more}}}");
    let spread = pick(&["any", "key", "all"]);
    let too = pick(&["", "", ", {flow: call, spread: any}"]);
    let instances = pick(&["1", "2", "3"]);
    let out = pick(&["alert", "alert", "alert, echo"]);
    let more = pick(&["", "", ", env: {MODEL: small}", ", env: {MODEL: big, A: b}", ", user: nobody", ", cwd: sub"]);
    let _ = writeln!(
        text,
        "  score: {{run: ./score, in: [{{flow: suspect, spread: {spread}}}, tick{too}], out: [{out}], instances: {instances}{more}}}"
    );
    text += "  notify: {run: ./notify, in: [alert], \"on\": [s1]}\n";
    if out.ends_with("echo") {
        text += "  hear: {run: ./hear, in: [echo]}\n";
        text = text.replace("flows:\n", "flows:\n  echo: {}\n");
    }
    let on = pick(&["[s1]", "[s1]", "[work]"]);
    let run = pick(&["./feed", "./feed", "./feed --more"]);
    text += pick(&["", "  audit: {run: ./audit, in: [call]}\n", "  audit: {run: ./audit, in: [suspect]}\n"]);
    let _ = writeln!(text, "  feed: {{run: {run}, out: [call, suspect], \"on\": {on}}}");

    text += "servers:\n";
    let address = pick(&["127.0.0.1", "127.0.0.1", "127.0.0.9"]);
    let _ = writeln!(text, "  s1: {{address: {address}, labels: [work]}}");
    for server in ["s2", "s3", "s4"] {
        let weight = pick(&["1", "1", "2", "0"]);
        let more = pick(&["", "", ", labels: [work]", ", state: drained", ", memory: 4GiB", "absent", "absent"]);
        if more != "absent" {
            let number = &server[1..];
            let _ = writeln!(text, "  {server}: {{address: 127.0.1.{number}, weight: {weight}{more}}}");
        }
    }
    text += pick(&["", "", "portals:\n  wide: {flows: [suspect], spool: {memory: 8MiB, disk: 1GiB}}\n"]);
    let spool = pick(&["", ", spool: {memory: 16MiB, disk: 2GiB}"]);
    if text.contains("portals:") && !spool.is_empty() {
        let _ = writeln!(text, "  relay: {{flows: [alert]{spool}}}");
    }
    text
}

fn plan(choices: &Choices) -> Option<Plan> {
    let text = yaml(choices);
    compile(&Sources::of("t.yaml", text.as_str()), Choice::Only, None).ok().map(|compiled| compiled.plan)
}

/// Two topologies, the second with up to `edits` choices made anew.
fn pairs(edits: usize) -> impl Strategy<Value = (Choices, Choices)> {
    let edits = prop::collection::vec((any::<Index>(), any::<u8>()), 0..=edits);
    (any::<Choices>(), edits).prop_map(|(old, edits)| {
        let mut new = old;
        for (index, choice) in edits {
            new[index.index(CHOICES)] = choice;
        }
        (old, new)
    })
}

fn processes<'p>(plan: &'p Plan, server: &str) -> &'p [ProcessPlan] {
    plan.servers.get(server).map_or(&[], |server| &server.processes)
}

fn receives(process: &ProcessPlan) -> bool {
    matches!(process.program, Program::Stage(_)) && !process.wiring.inputs.is_empty()
}

type Inside<'p> = BTreeMap<&'p str, (&'p Program, BTreeSet<(&'p str, bool)>)>;

/// All that receives on a server: what it is, and which flows it gets from portals and which from neighbours.
fn inside<'p>(plan: &'p Plan, server: &str) -> Inside<'p> {
    let inputs = |process: &'p ProcessPlan| {
        process.wiring.inputs.iter().map(|input| (input.flow.as_str(), plan.flows[&input.flow].keyed)).collect()
    };
    let receivers = processes(plan, server).iter().filter(|process| receives(process));
    receivers.map(|process| (process.name.as_str(), (&process.program, inputs(process)))).collect()
}

type Ways<'p> = BTreeMap<(&'p str, &'p str, &'p str), (Option<Spread>, Vec<&'p str>)>;

/// Which instances of each consumer get what each sender of a server sends.
fn ways<'p>(plan: &'p Plan, server: &str) -> Ways<'p> {
    let mut ways = BTreeMap::new();
    for process in processes(plan, server) {
        let sent = process.wiring.outputs.iter().map(|output| (&output.flow, &output.consumers));
        let carried = process.wiring.portal.iter().flat_map(|doors| &doors.flows);
        for (flow, consumers) in sent.chain(carried.map(|carried| (&carried.flow, &carried.consumers))) {
            for Consumer { stage, spread, receivers } in consumers {
                let names: Vec<&str> = receivers.iter().map(|receiver| receiver.process.as_str()).collect();
                let spread = (names.len() > 1).then_some(*spread);
                ways.insert((process.name.as_str(), flow.as_str(), stage.as_str()), (spread, names));
            }
        }
    }
    ways
}

fn sends<'p>(plan: &'p Plan, server: &str) -> BTreeSet<(&'p str, &'p str)> {
    let processes = processes(plan, server).iter();
    let sent = processes
        .flat_map(|process| process.wiring.outputs.iter().map(|output| (process.name.as_str(), output.flow.as_str())));
    sent.collect()
}

/// A key for each slot.
fn keys() -> &'static [String] {
    static KEYS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    KEYS.get_or_init(|| {
        let mut keys = vec![String::new(); SLOTS];
        let mut missing = SLOTS;
        for number in 0_u64.. {
            let key = format!("key {number}");
            let place = &mut keys[waldo_sdk::guide::slot(key.as_bytes())];
            if place.is_empty() {
                *place = key;
                missing -= 1;
            }
            if missing == 0 {
                break;
            }
        }
        keys
    })
}

/// The server of each key that there is reason to ask for, as either plan sees it.
fn owners<'p>(plan: &'p Plan, flow: &str) -> impl Fn(&str) -> &'p str {
    let guide = &plan.guide;
    let flow = guide.flows[flow].clone();
    move |key| &guide.servers[usize::from(guide.owner(&flow, key.as_bytes()))]
}

fn named(plan: &Plan, flow: &str) -> BTreeSet<String> {
    match &plan.guide.flows[flow].map {
        Map::Hash(_) => BTreeSet::new(),
        Map::Ranges(ranges) => ranges.iter().map(|(start, _)| start.clone()).collect(),
        Map::Table { keys, .. } => keys.keys().cloned().collect(),
    }
}

/// The keys to ask for: one of each slot, and those that either guide names.
fn asked(old: &Plan, new: &Plan, flow: &str) -> (Vec<String>, BTreeSet<String>) {
    (keys().to_vec(), named(old, flow).union(&named(new, flow)).cloned().collect())
}

fn guided_in_both(old: &Plan, new: &Plan) -> Vec<String> {
    old.guide.flows.keys().filter(|flow| new.guide.flows.contains_key(*flow)).cloned().collect()
}

/// Servers that give up keys of a flow, found by asking for every slot and every named key.
fn losers(old: &Plan, new: &Plan, flow: &str) -> BTreeSet<String> {
    let (slots, named) = asked(old, new, flow);
    let (before, after) = (owners(old, flow), owners(new, flow));
    let all = slots.iter().chain(&named);
    all.filter(|key| before(key) != after(key)).map(|key| before(key).to_owned()).collect()
}

/// Flows for whose records a server has no place any more in the new plan.
fn leaving(old: &Plan, new: &Plan, server: &str) -> BTreeSet<String> {
    let goes = |flow: &str| new.guide.flows.get(flow).is_none_or(|guide| guide.portal != old.guide.flows[flow].portal);
    let is_consumed = |flow: &str, stage: &str| {
        new.flows.get(flow).is_some_and(|flow| flow.consumers.iter().any(|consumer| consumer == stage))
    };
    let here = ways(old, server);
    let runs_something = !processes(old, server).is_empty();
    let holds = |flow: &&String| {
        let consumers: Vec<_> = here.keys().filter(|way| way.1 == **flow).map(|way| way.2).collect();
        let is_sent = sends(old, server).iter().any(|(_, sent)| sent == *flow);
        let is_here = !consumers.is_empty() || is_sent || old.flows[*flow].from_clients;
        (goes(flow) && is_here) || consumers.iter().any(|stage| !is_consumed(flow, stage))
    };
    old.guide.flows.keys().filter(|_| runs_something).filter(holds).cloned().collect()
}

/// Whether what is inside of a server changes so that no record may be there meanwhile.
fn must_hold(old: &Plan, new: &Plan, server: &str) -> bool {
    if processes(old, server).is_empty() {
        return false;
    }
    let after = ways(new, server);
    let restarted = |process: &str| {
        let program = |plan: &'_ Plan| {
            processes(plan, server).iter().find(|one| one.name == process).map(|one| one.program.clone())
        };
        program(old) != program(new)
    };
    let spread = ways(old, server)
        .into_iter()
        .any(|(way, before)| !restarted(way.0) && after.get(&way).is_some_and(|after| *after != before));
    let after = sends(new, server);
    let sends_less = sends(old, server)
        .into_iter()
        .any(|(process, flow)| inside(old, server).contains_key(process) && !after.contains(&(process, flow)));
    let gives_up = guided_in_both(old, new).iter().any(|flow| losers(old, new, flow).contains(server));
    inside(old, server) != inside(new, server)
        || spread
        || sends_less
        || gives_up
        || !leaving(old, new, server).is_empty()
}

fn of(diff: &Diff<'_>, action: Action) -> BTreeSet<(String, String)> {
    let changes = diff.processes.iter().filter(|change| change.action == action);
    changes.map(|change| (change.server.to_owned(), change.process.to_owned())).collect()
}

fn without_versions(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.guide.flows.values_mut().for_each(|flow| flow.version = 1);
    plan
}

fn check_guide(old: &Plan, new: &Plan, found: &Diff<'_>) -> Result<(), TestCaseError> {
    for flow in guided_in_both(old, new) {
        let (slots, named) = asked(old, new, &flow);
        let (before, after) = (owners(old, &flow), owners(new, &flow));
        let moved = slots.iter().filter(|key| before(key) != after(key)).count();
        // The start of a range isn't a named key: it is one of its slot's.
        let is_named = |key: &String| {
            let tables = [old, new].map(|plan| &plan.guide.flows[&flow].map);
            tables.iter().any(|map| matches!(map, Map::Table { keys, .. } if keys.contains_key(key)))
        };
        let named_moved = named.iter().filter(|key| is_named(key) && before(key) != after(key)).count();
        let losers = losers(old, new, &flow);
        let Some(change) = found.guide.iter().find(|change| change.flow == flow) else {
            prop_assert_eq!((moved, named_moved, losers.len()), (0, 0, 0), "{}", flow);
            continue;
        };
        prop_assert!(change.moved > 0 || !change.because.is_empty(), "{change:?}");
        prop_assert!(change.least <= change.moved && change.moved <= change.of, "{change:?}");
        let said: BTreeSet<String> = change.losers.iter().map(|server| (*server).to_owned()).collect();
        match change.keys {
            Keys::Slots => prop_assert_eq!((change.moved, &said), (moved, &losers), "{}", flow),
            Keys::Named => prop_assert_eq!((change.moved, &said), (moved + named_moved, &losers), "{}", flow),
            Keys::Ranges | Keys::All => prop_assert!(losers.is_subset(&said), "{flow}: {losers:?} {said:?}"),
        }
        if change.keys != Keys::All {
            prop_assert_eq!(change.moves.values().sum::<usize>(), change.moved);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn what_a_diff_says_turns_the_old_plan_into_the_new_one((old, new) in pairs(5)) {
        let texts = (yaml(&old), yaml(&new));
        let (Some(old), Some(new)) = (plan(&old), plan(&new)) else { return Err(TestCaseError::reject("no topology")) };
        let found = diff(&old, &new).unwrap();
        prop_assert!(found.apply(&old) == new, "{}\n{}", texts.0, texts.1);
        prop_assert_eq!(found.is_empty(), old == new, "{}\n{}", texts.0, texts.1);
        prop_assert_eq!(found.is_empty(), old.digest == new.digest);
        check_guide(&old, &new, &found)?;

        let back = diff(&new, &old).unwrap();
        prop_assert_eq!(of(&found, Action::Start), of(&back, Action::Stop));
        prop_assert_eq!(of(&found, Action::Stop), of(&back, Action::Start));
        prop_assert_eq!(of(&found, Action::Restart), of(&back, Action::Restart));
        prop_assert!(back.apply(&new) == old, "{}\n{}", texts.0, texts.1);
    }

    #[test]
    fn a_server_holds_if_and_only_if_its_inside_changes((old, new) in pairs(4)) {
        let (Some(old), Some(new)) = (plan(&old), plan(&new)) else { return Err(TestCaseError::reject("no topology")) };
        let found = diff(&old, &new).unwrap();
        let servers: BTreeSet<&str> = old.servers.keys().chain(new.servers.keys()).map(String::as_str).collect();
        for server in &servers {
            let holds = found.hold.contains_key(server);
            // Ranges against slots: which keys there are between bounds isn't asked for one by one.
            let is_estimated = found.guide.iter().any(|change| change.keys == Keys::All && change.losers.contains(server));
            prop_assert_eq!(holds, is_estimated || must_hold(&old, &new, server), "{}: {:?}", server, found.hold.get(server));
            let sets = [holds, found.rewire.contains(server), found.untouched.contains(server)];
            prop_assert_eq!(sets.into_iter().filter(|is_in| *is_in).count(), 1, "{}", server);
            let drains: BTreeSet<String> =
                found.drain.get(server).into_iter().flatten().map(|drain| drain.flow.to_owned()).collect();
            prop_assert_eq!(drains, leaving(&old, &new, server), "{}", server);
        }
        for server in &found.untouched {
            prop_assert!(processes(&old, server) == processes(&new, server));
            for change in &found.guide {
                let carried = processes(&new, server).iter().filter_map(|process| process.wiring.portal.as_ref());
                let carried: Vec<_> = carried.flat_map(|doors| &doors.flows).map(|carried| carried.flow.as_str()).collect();
                prop_assert!(!carried.contains(&change.flow), "{} carries {}", server, change.flow);
            }
        }
        for change in &found.processes {
            let before = processes(&old, change.server).iter().find(|process| process.name == change.process);
            match (change.action, before, change.new) {
                (Action::Keep, Some(before), Some(new)) => {
                    prop_assert_eq!((&before.program, &before.wiring), (&new.program, &new.wiring));
                    prop_assert_eq!(before == new, change.because.is_empty());
                }
                (Action::Rewire, Some(before), Some(new)) => {
                    prop_assert_eq!(&before.program, &new.program);
                    prop_assert!(!change.because.is_empty());
                }
                (Action::Restart, Some(_), Some(_)) | (Action::Start, None, Some(_)) | (Action::Stop, Some(_), None) => {
                    prop_assert!(!change.because.is_empty());
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn guides_keep_their_versions_until_they_change((old, new) in pairs(4), generation in 2_u64..1000) {
        let (Some(old), Some(new)) = (plan(&old), plan(&new)) else { return Err(TestCaseError::reject("no topology")) };
        let changed: BTreeSet<String> =
            diff(&old, &new).unwrap().guide.iter().map(|change| change.flow.to_owned()).collect();
        let live = follow(&old, &new, generation).unwrap();
        prop_assert!(without_versions(&live) == without_versions(&new));
        prop_assert!(verify_digest(&live), "a plan has the same digest whatever was live before it");
        prop_assert!(diff(&live, &new).unwrap().is_empty());
        for (flow, guide) in &live.guide.flows {
            let kept = old.guide.flows.contains_key(flow) && !changed.contains(flow);
            prop_assert_eq!(guide.version, if kept { 1 } else { generation }, "{}", flow);
        }
        let again = follow(&live, &new, generation + 1).unwrap();
        prop_assert!(again == live);
    }
}

#[test]
fn most_of_the_topologies_that_are_tried_compile() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut good = 0;
    for _ in 0..100 {
        let (old, _) = pairs(0).new_tree(&mut runner).unwrap().current();
        good += usize::from(plan(&old).is_some());
    }
    assert!(good >= 30, "{good} of 100");
}
