//! Ports of portals when a plan takes the place of one that is live.

use std::{collections::BTreeMap, fmt::Write};

use proptest::prelude::*;
use waldo_compiler::{Choice, PortChoice, Sources, compile, compile_onto, diff::diff, plan::Plan};

/// A topology of flows that each have a portal, on servers that may share an address.
#[derive(Debug, Clone)]
struct Shape {
    local: bool,
    base: Option<u16>,
    /// Server → the last number of its address; several may be the same.
    servers: BTreeMap<&'static str, u8>,
    /// Flow → whether clients send it. Its portal is called like it, with `p` in front.
    portals: BTreeMap<&'static str, bool>,
    /// Portal → its written port.
    written: BTreeMap<&'static str, u16>,
}

impl Shape {
    fn yaml(&self) -> String {
        let mut text = "topology: t\nflows:\n".to_owned();
        for (flow, from_clients) in &self.portals {
            let from = if *from_clients { ", from: clients" } else { "" };
            let _ = writeln!(text, "  {flow}: {{key: sender, guide: hash{from}}}");
        }
        let flows = self.portals.keys().copied().collect::<Vec<_>>().join(", ");
        let _ =
            writeln!(text, "stages:\n  feed: {{run: ./feed, out: [{flows}]}}\n  take: {{run: ./take, in: [{flows}]}}");
        text += "portals:\n";
        for flow in self.portals.keys() {
            let port = self.written.get(flow).map_or_else(String::new, |port| format!(", port: {port}"));
            let _ = writeln!(text, "  p{flow}: {{flows: [{flow}]{port}}}");
        }
        text += "servers:\n";
        for (server, address) in &self.servers {
            let _ = writeln!(text, "  {server}: {{address: 10.0.0.{address}}}");
        }
        let ports = self.base.map_or_else(String::new, |base| format!(", ports: {base}"));
        let _ = writeln!(text, "namespaces:\n  here: {{local: {}{ports}}}", self.local);
        text
    }

    fn compiled(&self, live: Option<&Plan>) -> Option<Plan> {
        let sources = Sources::of("t.yaml", &self.yaml());
        compile_onto(&sources, Choice::Only, PortChoice { base: None, live }).ok().map(|compiled| compiled.plan)
    }
}

fn shapes(local: impl Strategy<Value = bool>) -> impl Strategy<Value = Shape> {
    let servers = prop::collection::btree_map(prop::sample::select(vec!["s1", "s2", "s3", "s4", "s5"]), 1..4_u8, 1..=5);
    let portals = prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c", "d"]), any::<bool>(), 1..=4);
    (local, servers, portals).prop_map(|(local, servers, portals)| Shape {
        local,
        base: None,
        servers,
        portals,
        written: BTreeMap::new(),
    })
}

type Doors = BTreeMap<(String, String, &'static str), String>;

/// Server, portal and door → where it is.
fn doors(plan: &Plan) -> Doors {
    let mut doors = Doors::new();
    for (server, portals) in &plan.guide.portals {
        for (portal, endpoints) in portals {
            doors.insert((server.clone(), portal.clone(), "links"), endpoints.links.clone());
            if let Some(clients) = &endpoints.clients {
                doors.insert((server.clone(), portal.clone(), "clients"), clients.clone());
            }
        }
    }
    doors
}

fn port(endpoint: &str) -> u16 {
    endpoint.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

/// A namespace that is local or isn't goes through some shapes, one after the other.
fn histories() -> impl Strategy<Value = Vec<Shape>> {
    any::<bool>().prop_flat_map(|local| prop::collection::vec(shapes(Just(local)), 2..6))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    #[test]
    fn servers_and_portals_come_and_go_and_all_others_keep_their_ports(mut history in histories()) {
        // Addresses stay: a server that is elsewhere is reached elsewhere.
        let mut addresses = BTreeMap::new();
        for shape in &mut history {
            for (server, address) in &mut shape.servers {
                *address = *addresses.entry(*server).or_insert(*address);
            }
        }
        let mut live: Option<Plan> = None;
        for shape in history {
            let plan = shape.compiled(live.as_ref()).expect("a plan");
            let now = doors(&plan);
            let mut all: Vec<&String> = now.values().collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), now.len(), "a port of its own for each: {:?}", now);
            if let Some(live) = &live {
                for (door, before) in doors(live) {
                    if let Some(after) = now.get(&door) {
                        prop_assert_eq!(&before, after, "{:?}", door);
                    }
                }
                let found = diff(live, &plan).unwrap();
                prop_assert!(found.refusals.is_empty(), "{:?}", found.refusals);
                prop_assert!(found.portals.iter().all(|change| !change.is_moved()));
            }
            let again = shape.compiled(Some(&plan)).expect("a plan");
            prop_assert!(again == plan, "what is live is compiled to what is live");
            // A port is the lowest that was free when it was given: no more are ever in use than two plans need.
            let most = all.iter().map(|endpoint| port(endpoint)).max().unwrap_or_default();
            prop_assert!(most < 7000 + 2 * 5 * 4 * 2, "{most}");
            live = Some(plan);
        }
    }

    #[test]
    fn without_a_live_plan_ports_are_those_of_a_first_start(shape in shapes(any::<bool>())) {
        let sources = Sources::of("t.yaml", &shape.yaml());
        let first = compile(&sources, Choice::Only, None).unwrap().plan;
        prop_assert!(shape.compiled(None).unwrap() == first);
    }

    #[test]
    fn servers_may_also_move_and_no_port_is_had_twice(history in histories()) {
        let mut live: Option<Plan> = None;
        for shape in history {
            let plan = shape.compiled(live.as_ref()).expect("a plan");
            if let Some(live) = &live {
                prop_assert!(diff(live, &plan).unwrap().refusals.is_empty());
            }
            prop_assert!(shape.compiled(Some(&plan)).expect("a plan") == plan);
            live = Some(plan);
        }
    }
}

fn local(servers: &[&'static str], flows: &[&'static str]) -> Shape {
    Shape {
        local: true,
        base: None,
        servers: servers.iter().map(|server| (*server, 1)).collect(),
        portals: flows.iter().map(|flow| (*flow, false)).collect(),
        written: BTreeMap::new(),
    }
}

fn ports(plan: &Plan) -> Vec<(String, u16)> {
    let doors = doors(plan);
    doors.iter().map(|((server, portal, _), endpoint)| (format!("{server}/{portal}"), port(endpoint))).collect()
}

fn named(ports: &[(&str, u16)]) -> Vec<(String, u16)> {
    ports.iter().map(|(door, port)| ((*door).to_owned(), *port)).collect()
}

#[test]
fn a_new_portal_gets_the_first_port_that_is_free_and_the_others_stay() {
    let live = local(&["s1", "s2"], &["b"]).compiled(None).unwrap();
    assert_eq!(ports(&live), named(&[("s1/pb", 7000), ("s2/pb", 7001)]));
    let plan = local(&["s1", "s2"], &["a", "b"]).compiled(Some(&live)).unwrap();
    assert_eq!(ports(&plan), named(&[("s1/pa", 7002), ("s1/pb", 7000), ("s2/pa", 7003), ("s2/pb", 7001)]));
}

#[test]
fn the_port_of_a_portal_that_goes_is_free_for_the_next_change_only() {
    let live = local(&["s1", "s2"], &["a"]).compiled(None).unwrap();
    let plan = local(&["s2", "s3"], &["a"]).compiled(Some(&live)).unwrap();
    assert_eq!(ports(&plan), named(&[("s2/pa", 7001), ("s3/pa", 7002)]));
    let plan = local(&["s2", "s3", "s4"], &["a"]).compiled(Some(&plan)).unwrap();
    assert_eq!(ports(&plan), named(&[("s2/pa", 7001), ("s3/pa", 7002), ("s4/pa", 7000)]));
}

#[test]
fn a_written_port_wins_and_moves_away_who_was_given_it() {
    let mut shape = local(&["s1"], &["a", "b"]);
    let live = shape.compiled(None).unwrap();
    assert_eq!(ports(&live), named(&[("s1/pa", 7000), ("s1/pb", 7001)]));
    shape.written.insert("b", 7000);
    let plan = shape.compiled(Some(&live)).unwrap();
    assert_eq!(ports(&plan), named(&[("s1/pa", 7002), ("s1/pb", 7000)]));
    let found = diff(&live, &plan).unwrap();
    let refused: Vec<String> = found.refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        [
            "tcp://127.0.0.1:7000 would go from s1/pa to s1/pb, but stays bound until a rollout is over: give s1/pb another \
          port first"
        ]
    );
}

#[test]
fn a_port_that_is_not_written_any_more_stays() {
    let mut shape = local(&["s1"], &["a"]);
    shape.written.insert("a", 9000);
    let live = shape.compiled(None).unwrap();
    shape.written.clear();
    assert_eq!(ports(&shape.compiled(Some(&live)).unwrap()), named(&[("s1/pa", 9000)]));
}

#[test]
fn another_base_moves_all_and_takes_no_port_that_is_bound() {
    let mut shape = local(&["s1", "s2"], &["a", "b"]);
    let live = shape.compiled(None).unwrap();
    shape.base = Some(7002);
    let plan = shape.compiled(Some(&live)).unwrap();
    assert_eq!(ports(&plan), named(&[("s1/pa", 7004), ("s1/pb", 7006), ("s2/pa", 7005), ("s2/pb", 7007)]));
    let found = diff(&live, &plan).unwrap();
    assert!(found.refusals.is_empty());
    assert_eq!(found.settings[0].to_string(), "ports: as written, others from 7000 → all from 7002");
}

/// In a local namespace, servers that are elsewhere otherwise want one written port: one of them has it.
#[test]
fn a_written_port_stays_with_the_server_that_has_it() {
    let mut shape = local(&["s2", "s3"], &["a"]);
    shape.written.insert("a", 9000);
    let live = shape.compiled(None).unwrap();
    assert_eq!(ports(&live), named(&[("s2/pa", 9000), ("s3/pa", 7000)]));
    shape.servers.insert("s1", 1);
    let plan = shape.compiled(Some(&live)).unwrap();
    assert_eq!(ports(&plan), named(&[("s1/pa", 7001), ("s2/pa", 9000), ("s3/pa", 7000)]));
    // Once its server goes, another has it as soon as it is free.
    shape.servers.remove("s2");
    let without = shape.compiled(Some(&plan)).unwrap();
    assert_eq!(ports(&without), named(&[("s1/pa", 7001), ("s3/pa", 7000)]));
    assert!(diff(&plan, &without).unwrap().refusals.is_empty());
    assert_eq!(ports(&shape.compiled(Some(&without)).unwrap()), named(&[("s1/pa", 9000), ("s3/pa", 7000)]));
}

#[test]
fn links_stay_where_they_are_when_a_portal_begins_to_take_clients() {
    let mut shape = local(&["s1"], &["a", "b"]);
    let live = shape.compiled(None).unwrap();
    shape.portals.insert("a", true);
    let plan = shape.compiled(Some(&live)).unwrap();
    let before = &live.guide.portals["s1"]["pa"];
    let after = &plan.guide.portals["s1"]["pa"];
    assert_eq!(before.links, after.links);
    assert_eq!(after.clients.as_deref(), Some("tcp://127.0.0.1:7002"));
    assert!(diff(&live, &plan).unwrap().refusals.is_empty());
}
