//! Scalable vector graphics: one file that needs nothing else, in light and dark, with words for those who can't see it.

use std::fmt::Write;

use super::{
    dot::LOOPS,
    layout::{self, Layout, Link, Rectangle, Size},
    picture::{Edge, Kind, Node, Panel, Picture},
};

/// The size of letters, and what one takes at most. Pixels.
const FONT: f64 = 13.0;
const LETTER: f64 = 7.9;
const SMALL_LETTER: f64 = 6.8;
const LINE: f64 = 17.0;
const SMALL_LINE: f64 = 14.0;
const HEADING: f64 = 34.0;
const PANEL_HEADING: f64 = 30.0;
const MARGIN: f64 = 16.0;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2937}.small{font-size:11px}.name{font-weight:600}.head{font-size:16px;font-weight:600}
.box{fill:#f8fafc;stroke:#475569}.source{fill:#ecfdf5}.portal{fill:#eff6ff;stroke:#2563eb}.clients{fill:none;stroke-dasharray:4 3;stroke:#475569}
.flow{fill:#fefce8;stroke:#a16207}.holds{stroke:#dc2626;stroke-width:2.5}.panel{fill:none;stroke:#cbd5e1}
.line{fill:none;stroke:#64748b;stroke-width:1.2}.keyed{stroke-width:2.2}.back{fill:#fff}.paper{fill:#fff}
@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.box{fill:#1e293b;stroke:#94a3b8}.source{fill:#064e3b}.portal{fill:#1e3a8a;stroke:#93c5fd}
.clients{fill:none;stroke:#94a3b8}.flow{fill:#422006;stroke:#facc15}.panel{stroke:#334155}.line{stroke:#94a3b8}.back,.paper{fill:#0f172a}}";

/// The picture as a file.
pub fn render(picture: &Picture) -> String {
    let mut text = String::new();
    // Writing into a string can't fail.
    let _ = write(picture, &mut text);
    text
}

fn write(picture: &Picture, out: &mut String) -> std::fmt::Result {
    let layouts: Vec<Layout> = picture.panels.iter().map(|panel| place(picture, panel)).collect();
    let legend = legend(picture);
    let heading = |panel: &Panel| if panel.title.is_empty() { 0.0 } else { PANEL_HEADING };
    let width = layouts.iter().map(|layout| layout.size.width).fold(240.0, f64::max);
    let legend_width = legend.iter().map(|(_, words)| width_of(words, SMALL_LETTER) + 60.0).fold(0.0, f64::max);
    let width =
        width.max(width_of(&picture.title, 10.0) + 2.0 * MARGIN).max(legend_width + 2.0 * MARGIN) + 2.0 * MARGIN;
    let height: f64 =
        layouts.iter().zip(&picture.panels).map(|(layout, panel)| layout.size.height + heading(panel) + MARGIN).sum();
    let height = HEADING + height + SMALL_LINE * legend.len() as f64 + 2.0 * MARGIN;
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-labelledby="title desc">"#
    )?;
    writeln!(out, "<title id=\"title\">{}</title>", escaped(&picture.title))?;
    writeln!(out, "<desc id=\"desc\">{}</desc>", escaped(&words(picture)))?;
    writeln!(out, "<style>{STYLE}</style>")?;
    writeln!(out, "<defs>")?;
    for (number, colour) in std::iter::once("").chain(LOOPS).enumerate() {
        let fill = if colour.is_empty() { "#64748b" } else { colour };
        writeln!(
            out,
            r#"<marker id="a{number}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 5L0 10z" fill="{fill}"/></marker>"#
        )?;
    }
    writeln!(out, "</defs>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>")?;
    writeln!(out, "<text class=\"head\" x=\"{MARGIN}\" y=\"24\">{}</text>", escaped(&picture.title))?;
    let mut top = HEADING;
    for (panel, layout) in picture.panels.iter().zip(&layouts) {
        if !panel.title.is_empty() {
            let (wide, high) = (width - 2.0 * MARGIN, layout.size.height + PANEL_HEADING);
            writeln!(
                out,
                r#"<rect class="panel" x="{MARGIN}" y="{top:.1}" width="{wide:.1}" height="{high:.1}" rx="6"/>"#
            )?;
            let baseline = top + 20.0;
            writeln!(
                out,
                "<text class=\"name\" x=\"{}\" y=\"{baseline:.1}\">{}</text>",
                2.0 * MARGIN,
                escaped(&panel.title)
            )?;
            top += PANEL_HEADING;
        }
        writeln!(out, r#"<g transform="translate({MARGIN} {top:.1})">"#)?;
        // Arrows first, so that boxes and labels lie over them.
        for (edge, route) in panel.edges.iter().zip(&layout.routes) {
            arrow(out, edge, route)?;
        }
        for (edge, route) in panel.edges.iter().zip(&layout.routes) {
            label(out, picture, edge, &route.label)?;
        }
        for (node, rectangle) in panel.nodes.iter().zip(&layout.boxes) {
            self::node(out, node, rectangle)?;
        }
        writeln!(out, "</g>")?;
        top += layout.size.height + MARGIN;
    }
    for (line, words) in &legend {
        let (y, class, colour) = (top + 4.0, line.class, line.colour);
        let colour = colour.map_or_else(String::new, |colour| format!(" style=\"stroke:{colour}\""));
        writeln!(out, r#"<path class="line{class}"{colour} d="M{MARGIN} {y:.1}h36"/>"#)?;
        writeln!(out, r#"<text class="small" x="{}" y="{:.1}">{}</text>"#, MARGIN + 46.0, top + 8.0, escaped(words))?;
        top += SMALL_LINE;
    }
    writeln!(out, "</svg>")
}

fn place(picture: &Picture, panel: &Panel) -> Layout {
    let boxes: Vec<Size> = panel
        .nodes
        .iter()
        .map(|node| {
            let lines = node.lines.len() as f64;
            let widest = node.lines.iter().map(|line| width_of(line, LETTER)).fold(0.0, f64::max);
            Size { width: widest + 24.0, height: LINE * (lines + f64::from(u8::from(node.holds))) + 14.0 }
        })
        .collect();
    let links: Vec<Link> = panel
        .edges
        .iter()
        .map(|edge| {
            let lines = lines_of(picture, edge);
            let widest = lines.iter().map(|line| width_of(line, SMALL_LETTER)).fold(0.0, f64::max);
            let padding = if lines.is_empty() { 0.0 } else { 8.0 };
            let label = Size { width: widest + padding, height: SMALL_LINE * lines.len() as f64 };
            Link { from: edge.from, to: edge.to, label }
        })
        .collect();
    layout::place(&boxes, &links)
}

/// What is written at an arrow.
fn lines_of(picture: &Picture, edge: &Edge) -> Vec<String> {
    if edge.label.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![edge.label.clone()];
    if let Some((name, passes)) = edge.in_loop.and_then(|at| picture.loops.get(at)) {
        lines.push(format!("↻ {name} ≤{passes}"));
    }
    lines
}

/// The width of a text at most, when a letter of the alphabet takes `letter`. Pixels.
fn width_of(text: &str, letter: f64) -> f64 {
    text.chars().map(|character| if (character as u32) < 0x2e80 { letter } else { FONT + 2.0 }).sum()
}

fn arrow(out: &mut String, edge: &Edge, route: &layout::Route) -> std::fmt::Result {
    let Some((start, rest)) = route.points.split_first() else { return Ok(()) };
    let mut path = format!("M{:.1} {:.1}", start.0, start.1);
    let mut from = *start;
    if let (true, [a, b, to]) = (route.is_self_loop, rest) {
        write!(path, "C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}", a.0, a.1, b.0, b.1, to.0, to.1)?;
    } else {
        for &to in rest {
            if (to.1 - from.1).abs() < 0.5 {
                write!(path, "L{:.1} {:.1}", to.0, to.1)?;
            } else {
                let middle = f64::midpoint(from.0, to.0);
                write!(path, "C{middle:.1} {:.1} {middle:.1} {:.1} {:.1} {:.1}", from.1, to.1, to.0, to.1)?;
            }
            from = to;
        }
    }
    let class = if edge.keyed { " keyed" } else { "" };
    let (colour, marker) = match edge.in_loop {
        Some(at) => (format!(" style=\"stroke:{}\"", LOOPS[at % LOOPS.len()]), at % LOOPS.len() + 1),
        None => (String::new(), 0),
    };
    writeln!(out, r#"<path class="line{class}"{colour} marker-end="url(#a{marker})" d="{path}"/>"#)
}

fn label(out: &mut String, picture: &Picture, edge: &Edge, place: &Rectangle) -> std::fmt::Result {
    let lines = lines_of(picture, edge);
    if lines.is_empty() {
        return Ok(());
    }
    let Rectangle { x, y, size } = place;
    writeln!(
        out,
        r#"<rect class="back" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}"/>"#,
        size.width, size.height
    )?;
    for (at, line) in lines.iter().enumerate() {
        let (centre, baseline) = (x + size.width / 2.0, y + SMALL_LINE * at as f64 + 10.5);
        let colour = match edge.in_loop {
            Some(in_loop) if at > 0 => format!(" style=\"fill:{}\"", LOOPS[in_loop % LOOPS.len()]),
            _ => String::new(),
        };
        writeln!(
            out,
            r#"<text class="small" text-anchor="middle"{colour} x="{centre:.1}" y="{baseline:.1}">{}</text>"#,
            escaped(line)
        )?;
    }
    Ok(())
}

fn node(out: &mut String, node: &Node, place: &Rectangle) -> std::fmt::Result {
    let class = match node.kind {
        Kind::Stage | Kind::Server => "",
        Kind::Source => " source",
        Kind::Portal => " portal",
        Kind::Clients => " clients",
        Kind::Flow => " flow",
    };
    let holds = if node.holds { " holds" } else { "" };
    let round = match node.kind {
        Kind::Flow => place.size.height / 2.0,
        Kind::Portal | Kind::Server => 2.0,
        _ => 8.0,
    };
    let Rectangle { x, y, size } = place;
    writeln!(
        out,
        r#"<rect class="box{class}{holds}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" rx="{round:.1}"/>"#,
        size.width, size.height
    )?;
    if node.kind == Kind::Portal {
        // A door: a second line at the side where data comes in.
        writeln!(out, r#"<path class="line" d="M{:.1} {y:.1}v{:.1}"/>"#, x + 4.0, size.height)?;
    }
    let marked = node.holds.then(|| "holds".to_owned());
    for (at, line) in node.lines.iter().chain(&marked).enumerate() {
        let weight = if at == 0 { "name" } else { "small" };
        let (centre, baseline) = (x + size.width / 2.0, y + LINE * at as f64 + 19.0);
        writeln!(
            out,
            r#"<text class="{weight}" text-anchor="middle" x="{centre:.1}" y="{baseline:.1}">{}</text>"#,
            escaped(line)
        )?;
    }
    Ok(())
}

struct Sample {
    class: &'static str,
    colour: Option<&'static str>,
}

/// What lines mean, as far as there are any of them.
fn legend(picture: &Picture) -> Vec<(Sample, String)> {
    let edges = || picture.panels.iter().flat_map(|panel| &panel.edges);
    let mut legend = Vec::new();
    if edges().any(|edge| edge.keyed) {
        legend.push((
            Sample { class: " keyed", colour: None },
            "keyed: crosses servers through portals, which spool".to_owned(),
        ));
    }
    if edges().any(|edge| !edge.keyed) {
        legend.push((Sample { class: "", colour: None }, "inside a server, from process to process".to_owned()));
    }
    for (at, (name, passes)) in picture.loops.iter().enumerate() {
        if edges().any(|edge| edge.in_loop == Some(at)) {
            let words = format!("loop {name}: a record goes round {passes} times at most");
            legend.push((Sample { class: " keyed", colour: Some(LOOPS[at % LOOPS.len()]) }, words));
        }
    }
    legend
}

/// The picture in words.
fn words(picture: &Picture) -> String {
    let mut sentences = Vec::new();
    for panel in &picture.panels {
        let of = if panel.title.is_empty() { String::new() } else { format!("{}: ", panel.title) };
        let name = |at: usize| panel.nodes[at].lines[0].as_str();
        let arrows = panel.edges.iter().map(|edge| match edge.label.as_str() {
            "" => format!("{} to {}", name(edge.from), name(edge.to)),
            label => format!("{label} from {} to {}", name(edge.from), name(edge.to)),
        });
        let arrows: Vec<String> = arrows.collect();
        let boxes: Vec<&str> = (0..panel.nodes.len()).map(name).collect();
        sentences.push(if arrows.is_empty() {
            format!("{of}{}.", boxes.join(", "))
        } else {
            format!("{of}{}.", arrows.join("; "))
        });
    }
    sentences.join(" ")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
