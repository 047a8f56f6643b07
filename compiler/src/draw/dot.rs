//! Graphviz's language.

use std::fmt::Write;

use super::picture::{Direction, Kind, Picture};

/// Colours of loops, in turn.
pub(super) const LOOPS: [&str; 6] = ["#c2410c", "#7c3aed", "#0f766e", "#be185d", "#4d7c0f", "#1d4ed8"];

/// The picture as a graph that `dot` draws.
pub fn render(picture: &Picture) -> String {
    let mut text = String::new();
    // Writing into a string can't fail.
    let _ = write(picture, &mut text);
    text
}

fn write(picture: &Picture, out: &mut String) -> std::fmt::Result {
    writeln!(out, "digraph {} {{", quoted(&picture.title))?;
    let direction = match picture.direction() {
        Direction::Right => "LR",
        Direction::Down => "TB",
    };
    writeln!(out, "  rankdir={direction};\n  label={};\n  labelloc=t;", quoted(&picture.title))?;
    writeln!(out, "  node [shape=box, style=rounded, fontname=sans];\n  edge [fontname=sans, fontsize=10];")?;
    for (number, panel) in picture.panels.iter().enumerate() {
        let is_cluster = !panel.title.is_empty();
        if is_cluster {
            writeln!(out, "  subgraph cluster_{number} {{\n  label={};", quoted(&panel.title))?;
        }
        for (place, node) in panel.nodes.iter().enumerate() {
            let shape = match node.kind {
                Kind::Stage | Kind::Server => "box",
                Kind::Source => "cds",
                Kind::Portal => "house, orientation=270",
                Kind::Clients => "plaintext",
                Kind::Flow => "ellipse",
            };
            let holds = if node.holds { ", color=red, penwidth=2, xlabel=holds" } else { "" };
            let several = if node.is_several { ", peripheries=2" } else { "" };
            let label = quoted(&node.lines.join("\n"));
            writeln!(out, "  n{number}_{place} [label={label}, shape={shape}{several}{holds}];")?;
        }
        for edge in &panel.edges {
            let style = if edge.keyed { "bold" } else { "solid" };
            // Several colours are drawn beside each other.
            let colours: Vec<&str> = edge.loops.iter().map(|at| LOOPS[at % LOOPS.len()]).collect();
            let colour = if colours.is_empty() { String::new() } else { format!(", color=\"{}\"", colours.join(":")) };
            let lines: Vec<String> = picture.lines(edge).into_iter().map(|line| line.text).collect();
            let label = lines.join("\n");
            let (from, to) = (edge.from, edge.to);
            writeln!(out, "  n{number}_{from} -> n{number}_{to} [label={}, style={style}{colour}];", quoted(&label))?;
        }
        if is_cluster {
            writeln!(out, "  }}")?;
        }
    }
    writeln!(out, "}}")
}

/// A quoted string of the language: backslashes and quotes escaped, lines broken by `\n`.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if control.is_control() => quoted.push(' '),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn no_text_ends_its_quotes() {
        assert_eq!(quoted("a\"];\\\nb\u{1b}"), r#""a\"];\\\nb ""#);
    }
}
