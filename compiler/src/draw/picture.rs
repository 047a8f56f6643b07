//! What a picture shows: panels of boxes and arrows, whatever they are drawn with.

use std::collections::BTreeSet;

use super::{layout, loops::Loops, processes, servers, topology};
use crate::plan::Plan;

/// How much a picture shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// Stages and flows.
    #[default]
    Topology,
    /// Servers, what runs on them, and the flows between them.
    Servers,
    /// Every process of every server, and who sends to whom inside.
    Processes,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its heading.
    pub title: String,
    /// Its parts; each stands for itself.
    pub panels: Vec<Panel>,
    /// The loops that arrows belong to, with the passes that each allows.
    pub loops: Vec<(String, u16)>,
}

/// A part of a picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Panel {
    /// Its heading; empty if the picture has only this one.
    pub title: String,
    /// Boxes.
    pub nodes: Vec<Node>,
    /// Arrows.
    pub edges: Vec<Edge>,
}

/// A box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it stands for.
    pub kind: Kind,
    /// What is written into it; the first line is its name, and no other box of its panel has the same.
    pub lines: Vec<String>,
    /// Whether it stands for several of a kind.
    pub is_several: bool,
    /// Whether a change would make it hold.
    pub holds: bool,
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A stage, or processes of one.
    Stage,
    /// A stage without inputs, or processes of one.
    Source,
    /// A portal.
    Portal,
    /// Programs outside the topology.
    Clients,
    /// A server.
    Server,
    /// Flows that cross servers.
    Flow,
}

/// An arrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// From which box of the panel.
    pub from: usize,
    /// To which.
    pub to: usize,
    /// What is written at it.
    pub label: String,
    /// Whether it crosses servers through portals, which spool.
    pub keyed: bool,
    /// Which of the picture's loops it belongs to.
    pub loops: Vec<usize>,
    /// The servers whose portals a change would make hold what flows here.
    pub held: Vec<String>,
}

/// A line of text, and the loop that it tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// Which of the picture's loops it is about.
    pub about: Option<usize>,
    /// Whether it says who would hold.
    pub holds: bool,
}

/// Where arrows lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From left to right.
    Right,
    /// From above to below.
    Down,
}

/// How many boxes may stand beside each other before arrows lead down instead.
const WIDEST: usize = 7;

impl Picture {
    /// A picture of a plan. What `holds` names (servers) is marked.
    pub fn of(plan: &Plan, level: Level, holds: &BTreeSet<&str>) -> Self {
        let loops = Loops::of(plan);
        let panels = match level {
            Level::Topology => vec![topology::panel(plan, &loops, holds)],
            Level::Servers => vec![servers::panel(plan, &loops, holds)],
            Level::Processes => processes::panels(plan, &loops, holds),
        };
        Self { title: format!("{}/{}", plan.topology, plan.namespace), panels, loops: loops.named() }
    }

    /// Where arrows should lead so that the picture fits a page, as far as the number of boxes in a row tells.
    pub fn direction(&self) -> Direction {
        let row = |panel: &Panel| {
            let arrows: Vec<(usize, usize)> = panel.edges.iter().map(|edge| (edge.from, edge.to)).collect();
            layout::longest_row(panel.nodes.len(), &arrows)
        };
        if self.panels.iter().any(|panel| row(panel) > WIDEST) { Direction::Down } else { Direction::Right }
    }

    /// What is written at an arrow.
    pub fn lines(&self, edge: &Edge) -> Vec<Line> {
        if edge.label.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![Line { text: edge.label.clone(), about: None, holds: false }];
        for &about in &edge.loops {
            if let Some((name, passes)) = self.loops.get(about) {
                lines.push(Line { text: format!("↻ {name} ≤{passes}"), about: Some(about), holds: false });
            }
        }
        if !edge.held.is_empty() {
            lines.push(Line { text: format!("held at {}", edge.held.join(", ")), about: None, holds: true });
        }
        lines
    }
}

impl Panel {
    pub(super) fn node(&mut self, kind: Kind, lines: Vec<String>, holds: bool) -> usize {
        self.nodes.push(Node { kind, lines, is_several: false, holds });
        self.nodes.len() - 1
    }

    /// Adds an arrow, unless it is there.
    pub(super) fn edge(&mut self, edge: Edge) {
        if !self.edges.contains(&edge) {
            self.edges.push(edge);
        }
    }
}

impl Edge {
    /// An arrow that crosses servers.
    pub(super) fn keyed(from: usize, to: usize, label: &str, loops: Vec<usize>) -> Self {
        Self { from, to, label: label.to_owned(), keyed: true, loops, held: Vec::new() }
    }
}

/// A number of things.
pub(super) fn counted(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}
