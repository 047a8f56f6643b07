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
    assert_eq!((call.least, call.of), (1365, 4096));
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
    assert!(diff.drain.values().all(|flows| names(flows) == "call"));
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
