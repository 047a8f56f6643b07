//! Mermaid's flowcharts, which many sites draw in Markdown.

use std::fmt::Write;

use super::{
    dot::LOOPS,
    picture::{Direction, Kind, Picture},
};

/// The picture as a flowchart.
pub fn render(picture: &Picture) -> String {
    let mut text = String::new();
    // Writing into a string can't fail.
    let _ = write(picture, &mut text);
    text
}

fn write(picture: &Picture, out: &mut String) -> std::fmt::Result {
    let direction = match picture.direction() {
        Direction::Right => "LR",
        Direction::Down => "TB",
    };
    writeln!(out, "---\ntitle: {}\n---\nflowchart {direction}", plain(&picture.title))?;
    let mut coloured = Vec::new();
    let mut edges = 0;
    for (number, panel) in picture.panels.iter().enumerate() {
        let is_group = !panel.title.is_empty();
        if is_group {
            writeln!(out, "  subgraph p{number}[\"{}\"]", plain(&panel.title))?;
        }
        for (place, node) in panel.nodes.iter().enumerate() {
            let (open, close) = match node.kind {
                Kind::Stage if node.is_several => ("[[", "]]"),
                Kind::Stage => ("(", ")"),
                Kind::Source => ("[/", "/]"),
                Kind::Portal => (">", "]"),
                Kind::Clients => ("((", "))"),
                Kind::Server => ("[", "]"),
                Kind::Flow => ("([", "])"),
            };
            let lines: Vec<String> = node.lines.iter().map(|line| plain(line)).collect();
            let holds = if node.holds { "<br>holds" } else { "" };
            writeln!(out, "  n{number}_{place}{open}\"{}{holds}\"{close}", lines.join("<br>"))?;
        }
        for edge in &panel.edges {
            let arrow = if edge.keyed { "==>" } else { "-->" };
            let lines: Vec<String> = picture.lines(edge).iter().map(|line| plain(&line.text)).collect();
            let label = lines.join("<br>");
            let label = if label.is_empty() { String::new() } else { format!("|\"{label}\"|") };
            writeln!(out, "  n{number}_{} {arrow}{label} n{number}_{}", edge.from, edge.to)?;
            if let Some(at) = edge.loops.first() {
                coloured.push((edges, LOOPS[at % LOOPS.len()]));
            }
            edges += 1;
        }
        if is_group {
            writeln!(out, "  end")?;
        }
    }
    for (edge, colour) in coloured {
        writeln!(out, "  linkStyle {edge} stroke:{colour}")?;
    }
    for (number, panel) in picture.panels.iter().enumerate() {
        for (place, _) in panel.nodes.iter().enumerate().filter(|(_, node)| node.holds) {
            writeln!(out, "  style n{number}_{place} stroke:#dc2626,stroke-width:3px")?;
        }
    }
    Ok(())
}

/// Text that can't end its quotes or begin a tag: Mermaid takes HTML's entities, with `#` for `&`.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => plain.push_str("#quot;"),
            '<' => plain.push_str("#lt;"),
            '>' => plain.push_str("#gt;"),
            '#' => plain.push_str("#35;"),
            '&' => plain.push_str("#amp;"),
            control if control.is_control() => plain.push(' '),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn no_text_ends_its_quotes_or_begins_a_tag() {
        assert_eq!(plain("a\"<b>#1\n"), "a#quot;#lt;b#gt;#35;1 ");
    }
}
