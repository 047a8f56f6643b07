use super::*;
use crate::{Choice, Sources, compile};

const TOPOLOGY: &str = r#"
topology: calls
flows:
  call: {key: sender, guide: hash, from: clients}
  suspect: {key: sender, guide: hash}
  tick: {}
stages:
  parse: {run: ./parse --fast, in: [call], out: [suspect, tick], instances: 2}
  score: {run: ./score, in: [{flow: suspect, spread: key}, tick], env: {MODEL: small}, instances: 2}
  feed: {run: ./feed, out: [suspect], "on": [s1]}
servers:
  s1: {address: 127.0.0.1}
  s2: {address: 127.0.0.1}
  s3: {address: 127.0.0.1}
"#;

fn plan(text: &str) -> Plan {
    let compiled = compile(&Sources::of("t.yaml", text), Choice::Only, None);
    compiled.unwrap_or_else(|refusal| panic!("{refusal:?}\n{text}")).plan
}

fn changed(edit: impl Fn(&str) -> String) -> (Plan, Plan) {
    (plan(TOPOLOGY), plan(&edit(TOPOLOGY)))
}

fn names<'s>(servers: impl IntoIterator<Item = &'s &'s str>) -> String {
    servers.into_iter().copied().collect::<Vec<_>>().join(" ")
}

fn actions(diff: &Diff<'_>, action: Action) -> String {
    let of = diff.processes.iter().filter(|change| change.action == action);
    of.map(|change| format!("{}/{}", change.server, change.process)).collect::<Vec<_>>().join(" ")
}

#[test]
fn equal_plans_have_no_difference() {
    let (old, new) = changed(str::to_owned);
    let diff = diff(&old, &new).unwrap();
    assert!(diff.is_empty() && diff.hold.is_empty() && diff.rewire.is_empty());
    assert_eq!(names(&diff.untouched), "s1 s2 s3");
    assert_eq!(diff.apply(&old), new);
}

#[test]
fn another_argument_restarts_the_stage_and_its_servers_hold() {
    let (old, new) = changed(|text| text.replace("--fast", "--slow"));
    let diff = diff(&old, &new).unwrap();
    assert_eq!(actions(&diff, Action::Restart), "s1/parse.0 s1/parse.1 s2/parse.0 s2/parse.1 s3/parse.0 s3/parse.1");
    assert_eq!(names(diff.hold.keys()), "s1 s2 s3");
    let parse = diff.processes.iter().find(|change| change.process == "parse.0").unwrap();
    assert_eq!(parse.because[0].to_string(), "run: ./parse --fast → ./parse --slow");
    assert_eq!(diff.apply(&old), new);
}

#[test]
fn a_restart_policy_concerns_the_launcher_alone() {
    let (old, new) = changed(|text| text.replace("run: ./score,", "run: ./score, restart: on-failure,"));
    let diff = diff(&old, &new).unwrap();
    assert!(!diff.is_empty() && diff.hold.is_empty());
    assert_eq!(actions(&diff, Action::Keep).split(' ').count(), diff.processes.len());
    assert_eq!(diff.apply(&old), new);
}

#[test]
fn a_source_that_changes_makes_nobody_hold() {
    let (old, new) = changed(|text| text.replace("./feed", "./feed --more"));
    let diff = diff(&old, &new).unwrap();
    assert_eq!(actions(&diff, Action::Restart), "s1/feed.0");
    assert_eq!(
        (names(diff.hold.keys()), names(&diff.rewire), names(&diff.untouched)),
        (String::new(), "s1".into(), "s2 s3".into())
    );
}

#[test]
fn a_drained_server_gives_its_slots_up_and_only_those_that_give_up_some_hold() {
    let (old, new) = changed(|text| text.replace("s3: {", "s3: {state: drained, "));
    let diff = diff(&old, &new).unwrap();
    let losers: BTreeSet<&str> = diff.guide.iter().flat_map(|change| &change.losers).copied().collect();
    assert_eq!(diff.hold.keys().copied().collect::<BTreeSet<_>>(), losers);
    assert!(diff.hold.contains_key("s3"));
    let call = diff.guide.iter().find(|change| change.flow == "call").unwrap();
    let owned = old.guide.tables[0].iter().filter(|&&owner| owner == 2).count();
    assert_eq!((call.least, call.of), (owned, 4096));
    assert!(call.moved >= call.least && call.moved < 1600, "{}", call.moved);
    assert!(actions(&diff, Action::Stop).contains("s3/relay"));
    assert_eq!(diff.apply(&old), new);
}

#[test]
fn a_server_that_only_gains_keys_does_not_hold() {
    let (old, new) = changed(|text| format!("{text}  s4: {{address: 127.0.0.1}}\n"));
    let diff = diff(&old, &new).unwrap();
    assert_eq!(names(diff.hold.keys()), "s1 s2 s3");
    assert_eq!(names(&diff.rewire), "s4");
    assert_eq!(diff.apply(&old), new);
}

#[test]
fn another_number_of_instances_behind_spread_key_makes_their_server_hold() {
    let (old, new) =
        changed(|text| text.replace("env: {MODEL: small}, instances: 2", "env: {MODEL: small}, instances: 3"));
    let diff = diff(&old, &new).unwrap();
    assert_eq!(actions(&diff, Action::Start), "s1/score.2 s2/score.2 s3/score.2");
    assert_eq!(names(diff.hold.keys()), "s1 s2 s3");
    assert!(actions(&diff, Action::Rewire).contains("s1/relay"));
    assert_eq!(diff.apply(&old), new);
}

#[test]
fn another_queue_rewires_its_senders_and_nobody_holds() {
    let (old, new) = changed(|text| text.replace("run: ./score,", "run: ./score, queue: 5000,"));
    let diff = diff(&old, &new).unwrap();
    assert!(diff.hold.is_empty(), "{:?}", diff.hold);
    assert_eq!(actions(&diff, Action::Restart), "");
    assert!(actions(&diff, Action::Rewire).contains("s1/parse.0"));
    assert_eq!(diff.apply(&old), new);
}

#[test]
fn a_consumer_that_goes_has_its_held_records_delivered_first() {
    let with = TOPOLOGY.replace("stages:", "stages:\n  audit: {run: ./audit, in: [call]}");
    let (old, new) = (plan(&with), plan(TOPOLOGY));
    let diff = diff(&old, &new).unwrap();
    assert_eq!(diff.drain.keys().copied().collect::<Vec<_>>(), ["s1", "s2", "s3"]);
    let audit = BTreeSet::from([Drain { flow: "call", consumer: Some("audit") }]);
    assert!(diff.drain.values().all(|drains| *drains == audit));
    assert_eq!(diff.apply(&old), new);
}

#[test]
fn a_port_that_another_portal_had_is_refused() {
    let with = |intake: u16, relay: u16| {
        plan(&format!("{TOPOLOGY}\nportals:\n  intake: {{flows: [call], port: {intake}, link: 8000}}\n  relay: {{flows: [suspect], port: {relay}}}\n")
            .replace("s2: {address: 127.0.0.1}", "s2: {address: 127.0.0.2}")
            .replace("s3: {address: 127.0.0.1}", "s3: {address: 127.0.0.3}"))
    };
    let (old, new) = (with(7001, 7002), with(7002, 7001));
    let found = diff(&old, &new).unwrap();
    assert_eq!(found.refusals.len(), 6, "{:?}", found.refusals);
    let (old, new) = (with(7001, 7002), with(7001, 7003));
    let found = diff(&old, &new).unwrap();
    assert!(found.refusals.is_empty() && found.hold.is_empty(), "{:?} {:?}", found.refusals, found.hold);
    assert_eq!(found.portals.len(), 3);
    assert_eq!(found.apply(&old), new);
}

#[test]
fn plans_of_different_namespaces_are_not_compared() {
    let (old, mut new) = changed(str::to_owned);
    new.namespace = "dev".to_owned();
    assert!(diff(&old, &new).unwrap_err().to_string().contains("calls/dev"));
}

#[test]
fn only_flows_whose_keys_move_get_another_version() {
    let with_ranges = TOPOLOGY
        .replace("suspect: {key: sender, guide: hash}", r#"suspect: {key: sender, guide: {ranges: {"": s1, m: s2}}}"#);
    let old = plan(&with_ranges);
    let new = plan(&with_ranges.replace("s3: {", "s3: {weight: 2, "));
    let live = succession::follow(&old, &new, 7).unwrap();
    assert_eq!(live.guide.flows["call"].version, 7);
    assert_eq!(live.guide.flows["suspect"].version, 1);
    let again = succession::follow(&live, &new, 8).unwrap();
    assert_eq!(again.guide.flows["call"].version, 7);
}

/// A source on `s1` alone sends `far`, which `s2` alone consumes; another flow has nothing to do with it.
const APART: &str = r#"
topology: apart
flows:
  far: {key: sender, guide: {table: {}, default: s2}}
  near: {key: sender, guide: {table: {}, default: s3}}
  tick: {}
stages:
  feed: {run: ./feed, out: [far, near], "on": [s1]}
  take: {run: ./take, in: [far], out: [tick], "on": [s2]}
  look: {run: ./look, in: [tick], "on": [s2]}
  other: {run: ./other, in: [near], "on": [s3]}
servers:
  s1: {address: 10.0.0.1}
  s2: {address: 10.0.0.2}
  s3: {address: 10.0.0.3}
"#;

#[test]
fn a_flow_that_goes_is_delivered_first_and_those_that_send_it_hold_too() {
    let (old, new) = (plan(APART), plan(&APART.replace("  take:", "  gone:").replace("far", "further")));
    let diff = diff(&old, &new).unwrap();
    assert_eq!(names(diff.hold.keys()), "s1 s2", "the source of s1 would send it for ever");
    assert_eq!(diff.hold["s1"], [Hold::Delivers(vec!["far"])]);
    assert_eq!(diff.drain.keys().copied().collect::<Vec<_>>(), ["s1", "s2"]);
    assert_eq!(names(&diff.rewire), "s3");
}

#[test]
fn a_flow_that_goes_through_another_portal_is_delivered_first() {
    let new = format!("{APART}portals:\n  wide: {{flows: [far]}}\n  relay: {{flows: [near]}}\n");
    let (old, new) = (plan(APART), plan(&new));
    let diff = diff(&old, &new).unwrap();
    assert_eq!(names(diff.hold.keys()), "s1 s2");
    assert_eq!((diff.guide[0].moved, diff.guide[0].because[0].to_string()), (0, "portal: relay → wide".to_owned()));
    assert!(diff.portals.iter().any(|change| change.portal == "relay" && change.lost.contains("far")));
}

#[test]
fn a_process_that_goes_on_with_other_inputs_makes_its_server_hold() {
    let (old, new) = (plan(APART), plan(&APART.replace("in: [tick]", "in: [tick, far]")));
    let found = diff(&old, &new).unwrap();
    assert_eq!(found.hold, BTreeMap::from([("s2", vec![Hold::Inputs(vec!["look.0"])])]));
    assert_eq!(actions(&found, Action::Restart), "");
    let back = diff(&new, &old).unwrap();
    assert!(
        back.hold["s2"].contains(&Hold::Inputs(vec!["look.0"]))
            && back.drain["s2"].iter().any(|drain| drain.to_string() == "far@look")
    );
}

#[test]
fn a_receiver_that_loses_an_output_makes_its_server_hold_and_one_that_gains_one_does_not() {
    let more = APART.replace("out: [tick]", "out: [tick, near]");
    let (few, more) = (plan(APART), plan(&more));
    assert!(diff(&few, &more).unwrap().hold.is_empty());
    let back = diff(&more, &few).unwrap();
    assert_eq!(back.hold, BTreeMap::from([("s2", vec![Hold::Outputs(vec!["take.0"])])]));
}

#[test]
fn how_records_are_spread_matters_only_among_several() {
    let spread = |how: &str, instances: u8| {
        let text = APART.replace("in: [far]", &format!("in: [{{flow: far, spread: {how}}}]"));
        plan(&text.replace("run: ./take,", &format!("run: ./take, instances: {instances},")))
    };
    let (old, new) = (spread("any", 1), spread("key", 1));
    let alone = diff(&old, &new).unwrap();
    assert!(alone.hold.is_empty() && !alone.is_empty());
    let (old, new) = (spread("any", 2), spread("all", 2));
    let several = diff(&old, &new).unwrap();
    assert_eq!(several.hold, BTreeMap::from([("s2", vec![Hold::Spread { flow: "far", stage: "take" }])]));
}

#[test]
fn who_sends_nothing_to_a_portal_does_not_care_where_it_is() {
    let moved = |s2: u16, s3: u16| {
        plan(&APART.replace("10.0.0.2}", &format!("10.0.0.{s2}}}")).replace("10.0.0.3}", &format!("10.0.0.{s3}}}")))
    };
    let (old, new) = (moved(2, 3), moved(2, 33));
    let found = diff(&old, &new).unwrap();
    assert_eq!(actions(&found, Action::Rewire), "s1/relay s1/feed.0 s2/relay s3/relay");
    assert!(found.hold.is_empty());
    let because = |process| &found.processes.iter().find(|change| change.process == process).unwrap().because;
    assert_eq!(because("feed.0")[0].to_string(), "relay of s3 is reached elsewhere");
    assert!(because("take.0").is_empty());
}

#[test]
fn a_new_port_for_clients_concerns_its_portal_alone() {
    let with = |port: u16| {
        plan(&format!(
            "{}portals:\n  intake: {{flows: [far], port: {port}, link: 9001}}\n  relay: {{flows: [near], port: 9002}}\n",
            APART.replace("default: s2}", "default: s2}, from: clients")
        ))
    };
    let (old, new) = (with(9100), with(9200));
    let diff = diff(&old, &new).unwrap();
    assert_eq!(actions(&diff, Action::Rewire), "s1/intake s2/intake s3/intake");
    assert!(diff.hold.is_empty() && diff.portals.iter().all(|change| !change.is_moved()));
}

#[test]
fn a_guide_that_says_the_same_in_other_words_moves_nothing() {
    let (old, new) = (plan(APART), plan(&APART.replace("{table: {}, default: s2}", r#"{ranges: {"": s2}}"#)));
    let diff = diff(&old, &new).unwrap();
    assert!(diff.guide.is_empty() && !diff.is_empty());
    assert_eq!(diff.settings[0].to_string(), "the guide of far is written otherwise, and no key moves");
    assert_eq!(names(&diff.untouched), "s1 s2 s3");
}

#[test]
fn a_table_whose_default_moves_and_ranges_that_move_are_counted() {
    let old = plan(APART);
    let new = plan(
        &APART
            .replace(r#"take, in: [far], out: [tick], "on": [s2]"#, r#"take, in: [far], out: [tick], "on": [s2, s3]"#)
            .replace("default: s2}", "default: s3}")
            .replace(r#"look, in: [tick], "on": [s2]"#, r#"look, in: [tick], "on": [s2, s3]"#),
    );
    let found = diff(&old, &new).unwrap();
    assert_eq!((found.guide[0].moved, found.guide[0].least, found.guide[0].of), (4096, 4096, 4096));
    assert_eq!(found.guide[0].moves[&("s2", "s3")], 4096);
    assert_eq!(found.hold["s2"], [Hold::GivesUp(vec!["far"])]);
}

#[test]
fn a_program_that_was_built_again_is_restarted() {
    let old = plan(APART);
    let is_rebuilt = |server: &str, process: &ProcessPlan| server == "s3" && process.name == "other.0";
    let diff = diff_with_programs(&old, &old, &is_rebuilt).unwrap();
    assert_eq!(actions(&diff, Action::Restart), "s3/other.0");
    assert_eq!(
        diff.processes.iter().flat_map(|change| &change.because).collect::<Vec<_>>(),
        [&Because::ProgramChanged]
    );
    assert_eq!(names(diff.hold.keys()), "s3");
}

#[test]
fn a_server_that_runs_nothing_is_a_difference_too() {
    let (old, new) = (plan(APART), plan(&format!("{APART}  s4: {{address: 10.0.0.4}}\n")));
    let diff = diff(&old, &new).unwrap();
    assert_eq!(diff.servers, [ServerChange { server: "s4", change: ServerFate::Added }]);
    assert!(!diff.is_empty() && diff.hold.is_empty());
    assert_eq!((names(&diff.rewire), names(&diff.untouched)), ("s4".to_owned(), "s1 s2 s3".to_owned()));
}

#[test]
fn a_namespace_that_becomes_local_is_on_other_machines() {
    let text = format!("{APART}namespaces:\n  one: {{}}\n");
    let compiled = |text: &str| compile(&Sources::of("t.yaml", text), Choice::Only, None).unwrap().plan;
    let (old, new) = (compiled(&text), compiled(&text.replace("one: {}", "one: {local: true}")));
    assert_eq!(diff(&old, &new).unwrap().refusals[0], Refusal::OtherMachines { local: true });
}
