//! `waldo graph` through the real binary: three formats at three levels, each read by a program that knows the format.

mod playground;

use std::process::Command;

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
            "n0_0 -> n0_1 [label=\"call via intake\\n↻ again ≤3\", style=bold, color=\"#c2410c\"];",
            "n0_1 -> n0_1 [label=\"call via intake\\n↻ again ≤3\", style=bold, color=\"#c2410c\"];",
            "n0_1 -> n0_2 [label=\"score\", style=solid];",
        ]
    );
    let mermaid = drawn(&playground, "topology", "mermaid");
    assert!(mermaid.starts_with("---\ntitle: calls/default\n---\nflowchart LR\n"), "{mermaid}");
    assert!(mermaid.contains("  n0_1 -->|\"score\"| n0_2\n"), "{mermaid}");
    assert!(mermaid.contains("  linkStyle 0 stroke:#c2410c\n"), "{mermaid}");
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
}
