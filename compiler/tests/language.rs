//! The language by its example: what it says is what the plan has.

use std::collections::BTreeMap;

use proptest::prelude::*;
use waldo_compiler::{
    Choice, Refusal, Source, Sources, Templates, check, compile,
    diagnostic::render::{Colour, render},
    outline,
    plan::{Alive, Plan, ProcessPlan, Program, RestartPolicy, Stalled},
    source::{Unaided, node::Shape, yaml},
    verify_digest,
};
use waldo_sdk::{
    guide::{Map, Otherwise, SLOTS},
    wiring::{KeyRule, Spread, loop_id},
};

const EXAMPLE: &str = include_str!("language.yaml");
fn compiled(text: &str, choice: Choice<'_>, ports: Option<u16>) -> Plan {
    let sources = Sources::of("language.yaml", text);
    match compile(&sources, choice, ports) {
        Ok(compiled) => compiled.plan,
        Err(Refusal::Errors(diagnostics)) => panic!("{}", render(&sources, &diagnostics, Colour::Plain)),
        Err(refusal) => panic!("{refusal}"),
    }
}

fn rendered(plan: &Plan) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let templates = Templates::with(&BTreeMap::new()).expect("templates that can be read");
    waldo_compiler::render(plan, &templates, &mut files).expect("renders");
    files
}

fn process<'p>(plan: &'p Plan, server: &str, name: &str) -> &'p ProcessPlan {
    plan.servers[server].processes.iter().find(|process| process.name == name).expect(name)
}

#[test]
fn the_example_compiles() {
    let checked = check(&Sources::of("language.yaml", EXAMPLE));
    assert!(checked.diagnostics.is_empty(), "{:?}", checked.diagnostics);
    assert_eq!(checked.bounds.keys().collect::<Vec<_>>(), ["dev", "prod", "wide"]);
}

#[test]
fn the_example_of_the_documentation_compiles() {
    let documentation = include_str!("../../docs/language.md");
    let (_, section) = documentation.split_once("## By example").expect("its section");
    let (_, example) = section.split_once("```yaml\n").expect("its beginning");
    let (example, _) = example.split_once("```").expect("its end");
    let checked = check(&Sources::of("language.md", example));
    assert!(checked.diagnostics.is_empty(), "{:?}", checked.diagnostics);
    assert_eq!(checked.bounds.keys().collect::<Vec<_>>(), ["dev", "prod"]);
}

#[test]
fn limits_users_and_what_servers_have_are_in_the_plan() {
    let plan = compiled(EXAMPLE, Choice::Named("prod"), None);
    let score = process(&plan, "s1", "score.0");
    assert_eq!(score.alive, Some(Alive { within: 30_000, then: Stalled::Report }));
    let Program::Stage(program) = &score.program else { panic!("a stage") };
    assert_eq!((program.user.as_deref(), program.nofile), (Some("nobody"), Some(4096)));
    assert_eq!((program.memory, program.cpu), (Some(2 << 30), Some(500_000)));
    let server = &plan.servers["s1"];
    assert_eq!((server.ssh.as_deref(), server.memory, server.cpu), (Some("ops@s1"), Some(16 << 30), Some(8_000_000)));
}

#[test]
fn a_plan_says_who_talks_to_whom_within_which_share() {
    let plan = compiled(EXAMPLE, Choice::Named("prod"), None);
    let names: Vec<_> = plan.servers["s1"].processes.iter().map(|process| process.name.as_str()).collect();
    let expected = ["intake", "relay", "notify.0", "score.0", "score.1", "score.2", "score.3", "parse.0", "parse.1"];
    assert_eq!(names, expected, "portals first, then stages, sinks before sources");
    assert_eq!(plan.order, ["parse", "score", "notify"]);
    assert!(plan.servers["s2"].processes.is_empty(), "drained servers run nothing");

    let score = process(&plan, "s1", "score.2");
    let inputs: Vec<_> = score.wiring.inputs.iter().map(|input| (input.flow.as_str(), input.from.clone())).collect();
    assert_eq!(
        inputs,
        [("suspect", vec!["relay".to_owned()]), ("tick", vec!["parse.0".to_owned(), "parse.1".to_owned()])]
    );
    let [suspect, alert] = &score.wiring.outputs[..] else { panic!("two outputs") };
    assert_eq!(suspect.key, Some(KeyRule::Sender));
    assert!(suspect.consumers.is_empty() && alert.loops.is_empty());
    assert_eq!((suspect.loops[0].id, suspect.loops[0].passes, suspect.loops[0].first), (loop_id("rescore"), 16, true));

    let tick = &process(&plan, "s1", "parse.0").wiring.outputs[1];
    assert_eq!((tick.key.as_ref(), tick.max_record), (None, 65536));
    assert_eq!(tick.consumers[0].receivers.len(), 4);
    assert_eq!(tick.consumers[0].receivers[0].share, 333, "1000 for relay's suspect and two instances' tick");

    let relay = process(&plan, "s1", "relay");
    let doors = relay.wiring.portal.as_ref().expect("a portal");
    assert_eq!((relay.program.clone(), relay.restart.policy), (Program::Portal, RestartPolicy::Always));
    assert_eq!(doors.flows[1].consumers[0].spread, Spread::Key);
    assert_eq!((doors.spool.memory, doors.spool.disk), (64 << 20, 10 << 30));
    let intake = process(&plan, "s1", "intake").wiring.portal.as_ref().expect("a portal");
    assert_eq!(intake.flows[0].key, KeyRule::Json("/caller".to_owned()));
    assert_eq!(intake.clients.as_deref(), Some("tcp://10.0.0.1:7001"), "the written port is for clients");
    assert_eq!(intake.links, "tcp://10.0.0.1:7002", "7000 went to relay, 7001 is written");
    assert_eq!(doors.links, "tcp://10.0.0.1:7000");
    assert_eq!(plan.servers["s1"].queued_records, 1000 * 2 + 4 * 333 * 3 + 1000);
}

#[test]
fn guides_range_over_the_servers_that_can_own_keys() {
    let plan = compiled(EXAMPLE, Choice::Named("wide"), None);
    plan.guide.check().expect("whole");
    assert_eq!(plan.guide.servers, ["s1", "s2"]);
    let Map::Hash(table) = plan.guide.flows["suspect"].map else { panic!("by slots") };
    assert_eq!(plan.guide.flows["call"].map, Map::Hash(table), "equal servers and weights share a table");
    let first = plan.guide.tables[table].iter().filter(|&&owner| owner == 0).count();
    assert!((1365..=1366).contains(&first), "{first} of {SLOTS} is a third");
    let Map::Table { keys, default } = &plan.guide.flows["alert"].map else { panic!("by table") };
    assert!(keys.is_empty());
    assert_eq!(*default, Otherwise::Server(0));
    assert_eq!(plan.guide.portals["s2"]["intake"].clients.as_deref(), Some("tcp://10.0.0.2:8000"));
    assert_eq!(plan.guide.portals["s1"]["intake"].links, "tcp://10.0.0.1:8002");
}

#[test]
fn a_local_namespace_keeps_its_servers_apart_by_ports() {
    let text = EXAMPLE.to_owned().replace(", state: drained", "");
    let plan = compiled(&text, Choice::Named("dev"), None);
    assert!(plan.local);
    let ports = |server: &str, portal: &str| plan.guide.portals[server][portal].clone();
    let (one, two) = (ports("s1", "intake"), ports("s2", "intake"));
    assert_eq!(one.clients.as_deref(), Some("tcp://127.0.0.1:17000"), "written ports are replaced");
    assert_eq!(two.clients.as_deref(), Some("tcp://127.0.0.1:17001"));
    assert_eq!(
        (ports("s1", "relay").links.as_str(), ports("s2", "relay").links.as_str()),
        ("tcp://127.0.0.1:17002", "tcp://127.0.0.1:17003")
    );
    assert_eq!((one.links.as_str(), two.links.as_str()), ("tcp://127.0.0.1:17004", "tcp://127.0.0.1:17005"));
    assert_eq!(plan.servers["s1"].processes.iter().filter(|process| process.wiring.stage == "score").count(), 1);

    let undeclared = compiled(&text, Choice::Local("mine"), None);
    assert_eq!((undeclared.namespace.as_str(), undeclared.local), ("mine", true));
    assert_eq!(undeclared.guide.portals["s1"]["intake"].clients.as_deref(), Some("tcp://127.0.0.1:7001"));
    assert_eq!(undeclared.guide.portals["s2"]["intake"].clients.as_deref(), Some("tcp://127.0.0.1:7000"));
    let based = compiled(&text, Choice::Local("mine"), Some(9000));
    assert_eq!(based.guide.portals["s1"]["intake"].clients.as_deref(), Some("tcp://127.0.0.1:9000"));
}

#[test]
fn the_same_topology_gives_the_same_bytes_in_whatever_order_it_is_written() {
    let plan = compiled(EXAMPLE, Choice::Named("dev"), None);
    let files = rendered(&plan);
    assert_eq!(files, rendered(&compiled(EXAMPLE, Choice::Named("dev"), None)));

    let source = Source::new("language.yaml", EXAMPLE);
    let tree =
        yaml::parse(&source, &Unaided, &mut 10_000, &mut waldo_compiler::Diagnostics::default()).expect("is YAML");
    let backward = written_backward(&tree);
    let other = compiled(&backward, Choice::Named("dev"), None);
    assert_eq!(files, rendered(&other));
}

/// The same tree with every map in reverse order, in flow style.
fn written_backward(node: &waldo_compiler::source::node::Node) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("text");
    match &node.shape {
        Shape::Null(_) => "null".to_owned(),
        Shape::Scalar(text) => quoted(text),
        Shape::List(items) => format!("[{}]", items.iter().map(written_backward).collect::<Vec<_>>().join(", ")),
        Shape::Map(entries) => {
            let entries = entries.iter().rev();
            let entries: Vec<_> =
                entries.map(|entry| format!("{}: {}", quoted(&entry.key), written_backward(&entry.value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

#[test]
fn the_digest_covers_all_of_a_plan() {
    let plan = compiled(EXAMPLE, Choice::Named("prod"), None);
    assert!(verify_digest(&plan));
    let read: Plan = serde_json::from_str(&serde_json::to_string_pretty(&plan).expect("JSON")).expect("JSON");
    assert_eq!(read, plan);
    assert!(verify_digest(&read));
    let mut changed = plan;
    changed.idle_timeout += 1;
    assert!(!verify_digest(&changed));
}

#[test]
fn a_namespace_is_chosen_or_the_only_one() {
    let source = Sources::of("language.yaml", EXAMPLE);
    assert!(matches!(compile(&source, Choice::Only, None), Err(Refusal::Ambiguous(names)) if names.len() == 3));
    assert!(matches!(compile(&source, Choice::Named("prd"), None), Err(Refusal::Unknown { .. })));
    assert!(matches!(compile(&source, Choice::Local("Bad"), None), Err(Refusal::BadName(_))));
    let hello = "topology: hello\nstages: {greet: {run: echo hello}}\n";
    let only = compiled(hello, Choice::Only, None);
    assert_eq!((only.namespace.as_str(), only.local), ("default", false));
    let here = compiled(hello, Choice::Local("default"), None);
    assert_eq!((here.namespace.as_str(), here.local), ("default", true));
}

#[test]
fn arguments_and_variables_are_text_as_written() {
    let text =
        "topology: t\nstages: {a: {run: [./a, 010, yes, 1e3, ~, \"x y\"], env: {A: 0x1F, B: null, C: , D: 'it''s'}}}\n";
    let plan = compiled(text, Choice::Only, None);
    let Program::Stage(program) = &process(&plan, "here", "a.0").program else { panic!("a stage") };
    assert_eq!(program.argv, ["./a", "010", "yes", "1e3", "~", "x y"]);
    let env: Vec<_> = program.env.iter().map(|(variable, value)| (variable.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "0x1F"), ("B", "null"), ("C", ""), ("D", "it's")]);
}

#[test]
fn ranges_are_ordered_by_bytes_and_their_keys_are_text() {
    let text = "topology: t\nflows: {f: {guide: {ranges: {é: a, 5: b, \"\": a, 0x10: b}}}}\nstages: {s: {run: x, out: [f]}, \
                t: {run: y, in: [f]}}\nservers: {a: {address: 10.0.0.1}, b: {address: 10.0.0.2}}\n";
    let plan = compiled(text, Choice::Only, None);
    let Map::Ranges(ranges) = &plan.guide.flows["f"].map else { panic!("ranges") };
    let ranges: Vec<_> = ranges.iter().map(|(start, owner)| (start.as_str(), *owner)).collect();
    assert_eq!(ranges, [("", 0), ("0x10", 1), ("5", 1), ("é", 0)]);
}

#[test]
fn host_names_are_bound_on_all_interfaces_and_ipv6_in_brackets() {
    let text = "topology: t\nflows: {f: {guide: hash}}\nstages: {s: {run: x, out: [f]}, t: {run: y, in: [f]}}\nservers:\n  \
                a: {address: one.example}\n  b: {address: \"fd00::2\"}\n  c: {address: 10.0.0.3, listen: 0.0.0.0}\n  \
                d: {address: localhost}\n";
    let plan = compiled(text, Choice::Only, None);
    let bound = |server: &str| process(&plan, server, "relay").wiring.portal.as_ref().expect("a portal").links.clone();
    let reached = |server: &str| plan.guide.portals[server]["relay"].links.clone();
    let doors = ["tcp://*:7000", "tcp://[fd00::2]:7000", "tcp://0.0.0.0:7000", "tcp://127.0.0.1:7000"];
    assert_eq!(["a", "b", "c", "d"].map(bound), doors, "localhost is open to this machine alone");
    assert_eq!(["a", "b", "c"].map(reached), ["tcp://one.example:7000", "tcp://[fd00::2]:7000", "tcp://10.0.0.3:7000"]);
}

/// Ways to damage a text.
fn damage() -> impl Strategy<Value = (usize, usize, String)> {
    let insert = prop_oneof![
        Just(String::new()),
        "[ \\[\\]{}:,\"'#&*!|>%@~a-z0-9\n\t-]{0,6}",
        Just("null".to_owned()),
        Just("\n  - [{}]\n".to_owned()),
        Just("\u{0}\u{1b}é😀".to_owned()),
    ];
    (any::<usize>(), 0_usize..40, insert)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_compiler_panic(damages in proptest::collection::vec(damage(), 1..5)) {
        let mut text: Vec<char> = EXAMPLE.to_owned().chars().collect();
        for (at, remove, insert) in damages {
            let start = at % (text.len() + 1);
            let end = (start + remove).min(text.len());
            text.splice(start..end, insert.chars());
        }
        let source = Sources::of("damaged.yaml", &text.into_iter().collect::<String>());
        let checked = check(&source);
        let shown = render(&source, &checked.diagnostics, Colour::Plain);
        prop_assert!(!shown.contains('\u{1b}'), "an escape gets through to the terminal");
        let without_errors = checked.diagnostics.errors() == 0;
        let outline = outline(&source);
        for namespace in outline.iter().flat_map(waldo_compiler::topology::FileOutline::namespaces) {
            let compiled = compile(&source, Choice::Named(&namespace.name), None);
            prop_assert!(compiled.is_ok() || !without_errors);
            if let Ok(compiled) = compiled {
                prop_assert!(compiled.plan.guide.check().is_ok());
                rendered(&compiled.plan);
            }
        }
    }
}
