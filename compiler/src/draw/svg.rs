//! Scalable vector graphics: one file that needs nothing else, in light and dark, with words for those who can't see it.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    dot::LOOPS,
    layout::{self, Layout, Link, Rectangle, Size},
    picture::{Direction, Edge, Kind, Node, Panel, Picture},
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
/// What is wider than this is drawn from above to below, if that is narrower: pages scroll down. Pixels.
const PAGE: f64 = 1200.0;
/// How far a second box looks out behind a first. Pixels.
const BEHIND: f64 = 4.0;
/// How long a piece of one colour is, on a line with several. Pixels.
const DASH: usize = 12;
/// Colours of loops on a dark ground, in the order of [`LOOPS`].
const DARK_LOOPS: [&str; 6] = ["#fb923c", "#c4b5fd", "#2dd4bf", "#f472b6", "#a3e635", "#93c5fd"];

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2937}.small{font-size:11px}.name{font-weight:600}.head{font-size:16px;font-weight:600}
.box{fill:#f8fafc;stroke:#475569}.source{fill:#ecfdf5}.portal{fill:#eff6ff;stroke:#2563eb}.clients{fill:none;stroke-dasharray:4 3;stroke:#475569}
.flow{fill:#fefce8;stroke:#a16207}.panel{fill:none;stroke:#cbd5e1}
.line{fill:none;stroke:#64748b;stroke-width:1.2}.keyed{stroke-width:2.2}.h0{fill:#64748b}.back{fill:#fff}.paper{fill:#fff}
.door{fill:#eff6ff;stroke:#2563eb}.holds{stroke:#dc2626;stroke-width:2.5}.holding{fill:#dc2626}.leaf{fill:none}";
const DARK: &str = "\
@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.box{fill:#1e293b;stroke:#94a3b8}.source{fill:#064e3b}.portal{fill:#1e3a8a;stroke:#93c5fd}
.clients{fill:none;stroke:#94a3b8}.flow{fill:#422006;stroke:#facc15}.panel{stroke:#334155}.line{stroke:#94a3b8}.h0{fill:#94a3b8}.back,.paper{fill:#0f172a}
.door{fill:#172554;stroke:#93c5fd}.holds{stroke:#f87171}.holding{fill:#f87171}";

/// The picture as a file.
pub fn render(picture: &Picture) -> String {
    let mut text = String::new();
    // Writing into a string can't fail.
    let _ = write(picture, &mut text);
    text
}

fn write(picture: &Picture, out: &mut String) -> std::fmt::Result {
    let layouts: Vec<(Layout, Direction)> = picture.panels.iter().map(|panel| place(picture, panel)).collect();
    let legend = legend(picture);
    let heading = |panel: &Panel| if panel.title.is_empty() { 0.0 } else { PANEL_HEADING };
    let width = layouts.iter().map(|(layout, _)| layout.size.width).fold(240.0, f64::max);
    let legend_width = legend.iter().map(|(_, words)| width_of(words, SMALL_LETTER) + 60.0).fold(0.0, f64::max);
    let width =
        width.max(width_of(&picture.title, 10.0) + 2.0 * MARGIN).max(legend_width + 2.0 * MARGIN) + 2.0 * MARGIN;
    let height: f64 = layouts
        .iter()
        .zip(&picture.panels)
        .map(|((layout, _), panel)| layout.size.height + heading(panel) + MARGIN)
        .sum();
    let height = HEADING + height + SMALL_LINE * legend.len() as f64 + 2.0 * MARGIN;
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-labelledby="title desc">"#
    )?;
    writeln!(out, "<title id=\"title\">{}</title>", escaped(&picture.title))?;
    writeln!(out, "<desc id=\"desc\">{}</desc>", escaped(&words(picture)))?;
    writeln!(out, "<style>{}</style>", style())?;
    writeln!(out, "<defs>")?;
    for number in 0..=LOOPS.len() {
        writeln!(
            out,
            r#"<marker id="a{number}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path class="h{number}" d="M0 0L10 5L0 10z"/></marker>"#
        )?;
    }
    writeln!(out, "</defs>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>")?;
    writeln!(out, "<text class=\"head\" x=\"{MARGIN}\" y=\"24\">{}</text>", escaped(&picture.title))?;
    let mut top = HEADING;
    for (panel, (layout, direction)) in picture.panels.iter().zip(&layouts) {
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
        for (_, place) in panel.nodes.iter().zip(&layout.boxes).filter(|(node, _)| node.is_several) {
            let Rectangle { x, y, size: Size { width, height } } = place;
            let (x, y) = (x + BEHIND, y + BEHIND);
            writeln!(
                out,
                r#"<rect class="box" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="8"/>"#
            )?;
        }
        // Arrows before boxes and labels, which lie over them.
        for (edge, route) in panel.edges.iter().zip(&layout.routes) {
            arrow(out, edge, route, *direction)?;
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
    for (sample, words) in &legend {
        let middle = top + 4.0;
        match sample {
            Sample::Line(class) => writeln!(out, r#"<path class="{class}" d="M{MARGIN} {middle:.1}h36"/>"#)?,
            Sample::Door(class) => {
                writeln!(out, r#"<path class="line keyed" d="M{MARGIN} {middle:.1}h36"/>"#)?;
                door(
                    out,
                    class,
                    &Rectangle { x: MARGIN + 9.0, y: top - 1.0, size: Size { width: 18.0, height: 10.0 } },
                )?;
            }
        }
        writeln!(out, r#"<text class="small" x="{}" y="{:.1}">{}</text>"#, MARGIN + 46.0, top + 8.0, escaped(words))?;
        top += SMALL_LINE;
    }
    writeln!(out, "</svg>")
}

/// The style sheet, with the colours of loops.
fn style() -> String {
    let colours = |colours: &[&str]| {
        let of = |(number, colour): (usize, &&str)| {
            format!(".l{number}{{stroke:{colour}}}.h{number},.t{number}{{fill:{colour}}}")
        };
        (1..).zip(colours).map(of).collect::<String>()
    };
    format!("{STYLE}{}\n{DARK}{}}}", colours(&LOOPS), colours(&DARK_LOOPS))
}

fn place(picture: &Picture, panel: &Panel) -> (Layout, Direction) {
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
            let lines = picture.lines(edge);
            let widest = lines.iter().map(|line| width_of(&line.text, SMALL_LETTER)).fold(0.0, f64::max);
            let padding = if lines.is_empty() { 0.0 } else { 14.0 };
            let label = Size { width: widest + padding, height: SMALL_LINE * lines.len() as f64 };
            Link { from: edge.from, to: edge.to, label }
        })
        .collect();
    let across = layout::place(&boxes, &links);
    if across.size.width > PAGE {
        let down = layout::place_downwards(&boxes, &links);
        if down.size.width < across.size.width {
            return (down, Direction::Down);
        }
    }
    (across, Direction::Right)
}

/// The width of a text at most, when a letter of the alphabet takes `letter`. Pixels.
fn width_of(text: &str, letter: f64) -> f64 {
    text.chars().map(|character| if (character as u32) < 0x2e80 { letter } else { FONT + 2.0 }).sum()
}

fn arrow(out: &mut String, edge: &Edge, route: &layout::Route, direction: Direction) -> std::fmt::Result {
    let Some((start, rest)) = route.points.split_first() else { return Ok(()) };
    let mut path = format!("M{:.1} {:.1}", start.0, start.1);
    let mut from = *start;
    if let (true, [a, b, to]) = (route.is_self_loop, rest) {
        write!(path, "C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}", a.0, a.1, b.0, b.1, to.0, to.1)?;
    } else {
        for &to in rest {
            let middle = (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1));
            let (is_straight, a, b) = match direction {
                Direction::Right => ((to.1 - from.1).abs() < 0.5, (middle.0, from.1), (middle.0, to.1)),
                Direction::Down => ((to.0 - from.0).abs() < 0.5, (from.0, middle.1), (to.0, middle.1)),
            };
            if is_straight {
                write!(path, "L{:.1} {:.1}", to.0, to.1)?;
            } else {
                write!(path, "C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}", a.0, a.1, b.0, b.1, to.0, to.1)?;
            }
            from = to;
        }
    }
    let keyed = if edge.keyed { " keyed" } else { "" };
    let class = |at: &usize| at % LOOPS.len() + 1;
    let first = edge.loops.first().map_or(0, class);
    writeln!(out, r#"<path class="line{keyed} l{first}" marker-end="url(#a{first})" d="{path}"/>"#)?;
    // Further loops take turns along the line.
    let period = DASH * (edge.loops.len().max(1) - 1);
    for (turn, at) in edge.loops.iter().enumerate().skip(1) {
        let (number, offset) = (class(at), DASH * (edge.loops.len() - turn));
        writeln!(
            out,
            r#"<path class="line{keyed} l{number}" style="stroke-dasharray:{DASH} {period};stroke-dashoffset:{offset}" d="{path}"/>"#
        )?;
    }
    Ok(())
}

fn label(out: &mut String, picture: &Picture, edge: &Edge, place: &Rectangle) -> std::fmt::Result {
    let lines = picture.lines(edge);
    if lines.is_empty() {
        return Ok(());
    }
    let Rectangle { x, y, size } = place;
    if edge.keyed {
        let holds = if edge.held.is_empty() { "door" } else { "door holds" };
        door(out, holds, place)?;
    } else {
        let Size { width, height } = size;
        writeln!(out, r#"<rect class="back" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#)?;
    }
    for (at, line) in lines.iter().enumerate() {
        let (centre, baseline) = (x + size.width / 2.0, y + SMALL_LINE * at as f64 + 10.5);
        let class = match line.about {
            Some(about) => format!(" t{}", about % LOOPS.len() + 1),
            None if line.holds => " holding".to_owned(),
            None => String::new(),
        };
        writeln!(
            out,
            r#"<text class="small{class}" text-anchor="middle" x="{centre:.1}" y="{baseline:.1}">{}</text>"#,
            escaped(&line.text)
        )?;
    }
    Ok(())
}

/// A door on a line: what flows there enters through a portal.
fn door(out: &mut String, class: &str, place: &Rectangle) -> std::fmt::Result {
    let Rectangle { x, y, size: Size { width, height } } = place;
    writeln!(out, r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2"/>"#)?;
    let line = class.replace("holds", "").replace("door", "door leaf");
    writeln!(out, r#"<path class="{}" d="M{:.1} {y:.1}v{height:.1}"/>"#, line.trim(), x + 3.0)
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
        Kind::Flow => 15.0,
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
        let weight = if at == 0 || node.kind == Kind::Flow { "name" } else { "small" };
        let (centre, baseline) = (x + size.width / 2.0, y + LINE * at as f64 + 19.0);
        writeln!(
            out,
            r#"<text class="{weight}" text-anchor="middle" x="{centre:.1}" y="{baseline:.1}">{}</text>"#,
            escaped(line)
        )?;
    }
    Ok(())
}

enum Sample {
    /// A line of this class.
    Line(String),
    /// A door of this class.
    Door(&'static str),
}

/// What lines mean, as far as there are any of them.
fn legend(picture: &Picture) -> Vec<(Sample, String)> {
    let edges = || picture.panels.iter().flat_map(|panel| &panel.edges);
    let mut legend = Vec::new();
    if edges().any(|edge| edge.keyed && !edge.label.is_empty()) {
        legend.push((Sample::Door("door"), "keyed: crosses servers through portals, which spool".to_owned()));
    } else if edges().any(|edge| edge.keyed) {
        let words = "keyed: crosses servers through portals, which spool".to_owned();
        legend.push((Sample::Line("line keyed".to_owned()), words));
    }
    if edges().any(|edge| !edge.held.is_empty()) {
        legend.push((Sample::Door("door holds"), "the change makes these portals hold".to_owned()));
    }
    if edges().any(|edge| !edge.keyed) {
        legend.push((Sample::Line("line".to_owned()), "inside a server, from process to process".to_owned()));
    }
    for (at, (name, passes)) in picture.loops.iter().enumerate() {
        if edges().any(|edge| edge.loops.contains(&at)) {
            let words = format!("loop {name}: a record goes round {passes} times at most");
            legend.push((Sample::Line(format!("line keyed l{}", at % LOOPS.len() + 1)), words));
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
    for (at, (name, passes)) in picture.loops.iter().enumerate() {
        let edges = picture.panels.iter().flat_map(|panel| &panel.edges).filter(|edge| edge.loops.contains(&at));
        let flows: BTreeSet<&str> = edges.map(|edge| edge.label.as_str()).filter(|label| !label.is_empty()).collect();
        if !flows.is_empty() {
            let flows: Vec<&str> = flows.into_iter().collect();
            sentences.push(format!("Loop {name}, {passes} passes at most: {}.", flows.join(", ")));
        }
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
