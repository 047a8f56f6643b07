//! `waldo graph` through the real binary: three formats at three levels, each read by a program that knows the format.

mod playground;

use std::{fmt::Write, process::Command};

use playground::Playground;

const LEVELS: [&str; 3] = ["topology", "servers", "processes"];

fn drawn(playground: &Playground, level: &str, format: &str) -> String {
    playground.run(playground.waldo(&["graph", "--level", level, "--format", format])).code(0).stdout
}

#[test]
fn pictures_are_whole_xml_that_tells_in_words_what_it_shows() {
    let playground = Playground::copy_of("debian");
    for level in LEVELS {
        let svg = drawn(&playground, level, "svg");
        std::fs::write(playground.path().join("picture.svg"), &svg).expect("a file");
        let parse = "import sys, xml.dom.minidom as m; m.parse('picture.svg')";
        playground.run(playground.command("python3", &["-c", parse])).code(0);
        assert!(svg.contains("<title id=\"title\">debian/demo</title>"), "{level}");
        assert!(!svg.contains("http://") || svg.matches("http://").count() == 1, "{level} asks for something outside");
    }
    let svg = drawn(&playground, "topology", "svg");
    assert!(svg.contains("visit from visit to visit; visit from wanted to visit"), "{svg}");
    assert!(svg.contains("loop needs: a record goes round 48 times at most"), "{svg}");
}

#[test]
fn graphviz_reads_what_is_written_for_it() {
    if Command::new("dot").arg("-V").output().is_err() {
        eprintln!("SKIPPED: graphviz is not installed, so nothing has read the DOT files");
        return;
    }
    let playground = Playground::copy_of("debian");
    for level in LEVELS {
        std::fs::write(playground.path().join("picture.dot"), drawn(&playground, level, "dot")).expect("a file");
        let outcome = playground.run(playground.command("dot", &["-Tsvg", "picture.dot"])).code(0);
        assert_eq!(outcome.stderr, "", "{level}");
        assert!(outcome.stdout.contains("relay") || level == "topology");
    }
}

#[test]
fn a_small_topology_is_drawn_as_expected() {
    let playground = Playground::copy_of("hello");
    std::fs::write(
        playground.path().join("waldo.yaml"),
        "topology: calls\nflows: {call: {guide: hash, from: clients}, score: {}}\nstages:\n  parse: {run: ./p, in: [call], out: [score, call]}\n  keep: {run: ./k, in: [score]}\nloops: {again: {flows: [call], passes: 3}}\n",
    )
    .expect("YAML");
    let dot = drawn(&playground, "topology", "dot");
    let arrows: Vec<&str> = dot.lines().filter(|line| line.contains("->")).map(str::trim).collect();
    assert_eq!(
        arrows,
        [
            "n0_0 -> n0_1 [label=\"call via intake\", style=bold];",
            "n0_1 -> n0_1 [label=\"call via intake\\n↻ again ≤3\", style=bold, color=\"#c2410c\"];",
            "n0_1 -> n0_2 [label=\"score\", style=solid];",
        ]
    );
    let mermaid = drawn(&playground, "topology", "mermaid");
    assert!(mermaid.starts_with("---\ntitle: calls/default\n---\nflowchart LR\n"), "{mermaid}");
    assert!(mermaid.contains("  n0_1 -->|\"score\"| n0_2\n"), "{mermaid}");
    assert!(mermaid.contains("  linkStyle 1 stroke:#c2410c\n"), "{mermaid}");
}

#[test]
fn the_format_follows_the_name_of_the_file_and_who_would_hold_is_marked() {
    let playground = Playground::copy_of("debian");
    playground.run(playground.waldo(&["compile"])).code(0);
    playground.edit("waldo.yaml", "out: [visit, found]", "out: [visit, found]\n    instances: 2");
    let arguments = ["graph", "--level", "servers", "--against", ".waldo/build/demo", "-o", "change.svg"];
    playground.run(playground.waldo(&arguments)).code(0);
    let svg = std::fs::read_to_string(playground.path().join("change.svg")).expect("a picture");
    assert_eq!(svg.matches("class=\"box holds\"").count(), 3, "{svg}");
    playground.run(playground.waldo(&["graph", "-o", "picture.png"])).code(64);
    // At the level of stages the flows are marked that would be kept back.
    let arguments = ["graph", "--level", "topology", "--against", ".waldo/build/demo", "--format", "mermaid"];
    let mermaid = playground.run(playground.waldo(&arguments)).code(0).stdout;
    assert!(mermaid.contains("visit<br>↻ needs ≤48<br>held at s1, s2, s3"), "{mermaid}");
}

#[test]
fn a_plan_for_other_machines_is_compared_with_one_for_them() {
    let playground = Playground::copy_of("hello");
    let text = "topology: t\nflows: {call: {guide: hash, from: clients}}\nstages: {a: {run: ./a, in: [call]}}\nservers: {s1: {address: 10.0.0.1}, s2: {address: 10.0.0.2}}\n";
    std::fs::write(playground.path().join("waldo.yaml"), text).expect("YAML");
    playground.run(playground.waldo(&["compile"])).code(0);
    playground.edit("waldo.yaml", "in: [call]", "in: [call], instances: 2");
    let arguments = ["graph", "--level", "processes", "--against", ".waldo/build/default", "--format", "dot"];
    let dot = playground.run(playground.waldo(&arguments)).code(0).stdout;
    assert!(dot.contains("s1 · 10.0.0.1") && dot.matches("xlabel=holds").count() == 2, "{dot}");
}

#[test]
fn a_flow_in_several_loops_shows_each_where_it_goes_round() {
    let playground = Playground::copy_of("hello");
    let text = "topology: t\nflows: {call: {guide: hash, from: clients}, ask: {guide: hash}, again: {guide: hash}}\nstages:\n  a: {run: ./a, in: [call, again], out: [ask]}\n  b: {run: ./b, in: [ask], out: [ask, again]}\nloops: {far: {flows: [ask, again], passes: 3}, near: {flows: [ask], passes: 2}}\n";
    std::fs::write(playground.path().join("waldo.yaml"), text).expect("YAML");
    let dot = drawn(&playground, "topology", "dot");
    let labels: Vec<&str> = dot.lines().filter_map(|line| line.split("label=").nth(1)).collect();
    let of = |text: &str| labels.iter().filter(|label| label.starts_with(text)).count();
    assert_eq!(of("\"ask\\n↻ far ≤3\","), 1, "from a to b: {dot}");
    assert_eq!(of("\"ask\\n↻ near ≤2\","), 1, "from b to b: {dot}");
    assert_eq!(of("\"again\\n↻ far ≤3\","), 1, "from b to a: {dot}");
    let svg = drawn(&playground, "processes", "svg");
    assert!(svg.contains("stroke-dasharray"), "both loops leave through the portal: {svg}");
}

#[test]
fn a_long_chain_is_drawn_from_above_to_below_so_that_it_fits_a_page() {
    let playground = Playground::copy_of("hello");
    let mut text = "topology: t\nstages:\n  s0: {run: ./s, out: [f1]}\n".to_owned();
    let mut flows = "flows:\n".to_owned();
    for number in 1..30 {
        let out = if number < 29 { format!(", out: [f{}]", number + 1) } else { String::new() };
        let _ = writeln!(text, "  s{number}: {{run: ./s, in: [f{number}]{out}}}");
        let _ = writeln!(flows, "  f{number}: {{}}");
    }
    std::fs::write(playground.path().join("waldo.yaml"), text + &flows).expect("YAML");
    let svg = drawn(&playground, "topology", "svg");
    let width = svg.split("width=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a width");
    assert!(width.parse::<u32>().expect("pixels") < 1200, "{width}");
    assert!(drawn(&playground, "topology", "mermaid").contains("flowchart TB"));
    assert!(drawn(&playground, "topology", "dot").contains("rankdir=TB"));
}
