//! The idle proof: two readings of the counters pages that together show that no record is queued or in work.
//!
//! First every D (what is done) and everything written off is read, and only then every S (what was sent). If
//! `S = D + written off` on every edge and no incarnation changed, nothing was queued or in work at the moment *b*
//! between the two readings:
//!
//! ```text
//! D(read) + W(read)  ≤  D(b) + W(b)  ≤  S(b)  ≤  S(read)
//! ```
//!
//! Counters only grow, so the outer two hold; S grows before a record is handed on and D after all that it caused has
//! been counted in some S, so the middle one holds. Equal ends make all four equal. It stays so while the injectors
//! (sources, portals) are gated; that is for the caller to see to, *before* the first reading. What is written off may
//! shrink, when a record that was given up turns up: it is read after D, and read again with S, and must be the same.
//!
//! An edge lies within the pages of one server, so each server judges its own; only the order crosses servers: all
//! first readings of all servers come before any second one.
//!
//! `tests/idle_model` explores every interleaving of this rule, and of simpler ones that are wrong.

mod pages;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use pages::Pages;

/// What is done with on each edge of a server, and who does it. Made by [`Pages::read_done`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstReading {
    /// Which set of pages was read; grows when one is added or taken away.
    pub set: u64,
    /// Each page's incarnation, read before any D.
    pub incarnations: Vec<u64>,
    /// Each edge's records done and written off. Edges have the same places in both readings.
    pub settled: Vec<Settled>,
}

/// The records of one edge that need nothing more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// D.
    pub done: u64,
    /// Given up, after a death.
    pub written_off: u64,
}

/// What has been sent on each edge of a server. Made by [`Pages::read_sent`], after all first readings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondReading {
    /// As in the first reading, or the readings don't belong together.
    pub set: u64,
    /// Each page's incarnation, read after every S.
    pub incarnations: Vec<u64>,
    /// Each edge's records sent and written off; edges found since the first reading stand at the end.
    pub sent: Vec<Sent>,
}

/// The records of one edge that are on their way or have been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// S.
    pub sent: u64,
    /// What is written off now.
    pub written_off: u64,
}

/// Which edges a proof is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those that end in the server's own stages: enough to hold a server, whatever is on its way to portals.
    Stages,
    /// All, links and spools included.
    All,
}

/// What two readings show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "verdict")]
pub enum Verdict {
    /// Nothing was queued or in work between the readings.
    Idle,
    /// Some record may be queued or in work.
    Busy {
        /// Where.
        edges: Vec<Unequal>,
    },
    /// Something was started, stopped or written off between the readings: read again.
    Changed {
        /// `server/process` of each page that changed.
        processes: Vec<String>,
    },
    /// More is settled than was ever sent. While a death is being settled that may be so for a moment; otherwise some
    /// process counts wrongly, and no proof is possible.
    Miscounted {
        /// Where.
        edges: Vec<Unequal>,
    },
}

/// An edge whose S and D + W differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unequal {
    /// `server/process`, whose page has S, and the slot's name there.
    pub edge: String,
    /// `server/process` that has the records, or is to have them next.
    pub who: String,
    /// By how many records they differ.
    pub records: u64,
}

/// What the rule finds, by the places of pages and edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// S = D + W on every edge.
    Idle,
    /// These edges have S > D + W.
    Busy(Vec<usize>),
    /// These pages' incarnations changed, or what is written off on these edges.
    Changed {
        /// Places of pages; empty if the set of pages is another.
        pages: Vec<usize>,
        /// Places of edges.
        edges: Vec<usize>,
    },
    /// These edges have S < D + W.
    Miscounted(Vec<usize>),
}

/// The rule itself. `counts` tells which edges matter.
pub fn rule(first: &FirstReading, second: &SecondReading, counts: impl Fn(usize) -> bool) -> Finding {
    if first.set != second.set {
        return Finding::Changed { pages: Vec::new(), edges: Vec::new() };
    }
    let unknown = Settled::default();
    let edges = || {
        let settled = first.settled.iter().chain(std::iter::repeat(&unknown));
        second.sent.iter().zip(settled).enumerate().filter(|&(edge, _)| counts(edge))
    };
    let places = |differs: fn(&Sent, &Settled) -> bool| {
        edges().filter(|(_, (sent, settled))| differs(sent, settled)).map(|(edge, _)| edge).collect::<Vec<_>>()
    };
    let pages: Vec<usize> = (0..second.incarnations.len())
        .filter(|&page| first.incarnations.get(page) != second.incarnations.get(page))
        .collect();
    let rewritten = places(|sent, settled| sent.written_off != settled.written_off);
    if !pages.is_empty() || !rewritten.is_empty() {
        return Finding::Changed { pages, edges: rewritten };
    }
    let miscounted = places(|sent, settled| sent.sent < settled.total());
    if !miscounted.is_empty() {
        return Finding::Miscounted(miscounted);
    }
    let busy = places(|sent, settled| sent.sent > settled.total());
    if busy.is_empty() { Finding::Idle } else { Finding::Busy(busy) }
}

impl Settled {
    /// D + W.
    pub fn total(self) -> u64 {
        self.done.saturating_add(self.written_off)
    }
}

impl Verdict {
    /// The verdict over two servers, or two parts of one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        use Verdict::{Busy, Changed, Miscounted};
        match (self, other) {
            (Miscounted { mut edges }, Miscounted { edges: more }) => {
                edges.extend(more);
                Miscounted { edges }
            }
            (Changed { mut processes }, Changed { processes: more }) => {
                processes.extend(more);
                Changed { processes }
            }
            (Busy { mut edges }, Busy { edges: more }) => {
                edges.extend(more);
                Busy { edges }
            }
            (one, another) if one.gravity() >= another.gravity() => one,
            (_, another) => another,
        }
    }

    fn gravity(&self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Busy { .. } => 1,
            Self::Changed { .. } => 2,
            Self::Miscounted { .. } => 3,
        }
    }

    /// Whether it is idle.
    pub fn is_idle(&self) -> bool {
        *self == Self::Idle
    }
}

impl fmt::Display for Unequal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at {} ({})", self.records, self.who, self.edge)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |formatter: &mut fmt::Formatter<'_>, edges: &[Unequal]| {
            edges.iter().enumerate().try_for_each(|(place, edge)| {
                let comma = if place == 0 { "" } else { ", " };
                write!(formatter, "{comma}{edge}")
            })
        };
        match self {
            Self::Idle => formatter.write_str("idle"),
            Self::Busy { edges } => {
                formatter.write_str("records queued or in work: ")?;
                list(formatter, edges)
            }
            Self::Changed { processes } => write!(formatter, "changed meanwhile: {}", processes.join(", ")),
            Self::Miscounted { edges } => {
                formatter.write_str("more done than was sent: ")?;
                list(formatter, edges)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(settled: &[(u64, u64)]) -> FirstReading {
        let settled = settled.iter().map(|&(done, written_off)| Settled { done, written_off }).collect();
        FirstReading { set: 1, incarnations: vec![1, 1], settled }
    }

    fn second(sent: &[(u64, u64)]) -> SecondReading {
        let sent = sent.iter().map(|&(sent, written_off)| Sent { sent, written_off }).collect();
        SecondReading { set: 1, incarnations: vec![1, 1], sent }
    }

    #[test]
    fn equal_on_every_edge_is_idle() {
        assert_eq!(rule(&first(&[(3, 0), (5, 2)]), &second(&[(3, 0), (7, 2)]), |_| true), Finding::Idle);
    }

    #[test]
    fn a_surplus_on_one_edge_does_not_make_up_for_a_lack_on_another() {
        assert_eq!(rule(&first(&[(3, 0), (5, 0)]), &second(&[(4, 0), (5, 0)]), |_| true), Finding::Busy(vec![0]));
        assert_eq!(rule(&first(&[(3, 0), (5, 0)]), &second(&[(4, 0), (4, 0)]), |_| true), Finding::Miscounted(vec![1]));
    }

    #[test]
    fn an_edge_found_after_the_first_reading_counts_with_nothing_done() {
        assert_eq!(rule(&first(&[]), &second(&[(1, 0)]), |_| true), Finding::Busy(vec![0]));
        assert_eq!(rule(&first(&[]), &second(&[(0, 0)]), |_| true), Finding::Idle);
    }

    #[test]
    fn an_incarnation_or_a_written_off_record_that_changed_forbids_a_verdict() {
        let mut restarted = second(&[(3, 0)]);
        restarted.incarnations[1] = 2;
        let changed = |pages: &[usize], edges: &[usize]| Finding::Changed { pages: pages.into(), edges: edges.into() };
        assert_eq!(rule(&first(&[(3, 0)]), &restarted, |_| true), changed(&[1], &[]));
        assert_eq!(rule(&first(&[(2, 1)]), &second(&[(3, 0)]), |_| true), changed(&[], &[0]));
        let other = SecondReading { set: 2, ..second(&[(3, 0)]) };
        assert_eq!(rule(&first(&[(3, 0)]), &other, |_| true), changed(&[], &[]));
    }

    #[test]
    fn edges_out_of_scope_are_not_looked_at() {
        assert_eq!(rule(&first(&[(3, 0), (5, 0)]), &second(&[(3, 0), (9, 0)]), |edge| edge == 0), Finding::Idle);
    }

    #[test]
    fn one_busy_server_makes_the_cluster_busy() {
        let edge = || Unequal { edge: "s1/a b>c".into(), who: "s1/c".into(), records: 1 };
        let busy = || Verdict::Busy { edges: vec![edge()] };
        assert_eq!(Verdict::Idle.and(busy()), busy());
        assert_eq!(busy().and(busy()), Verdict::Busy { edges: vec![edge(), edge()] });
        let changed = Verdict::Changed { processes: vec!["s2/a".into()] };
        assert_eq!(busy().and(changed.clone()), changed);
    }
}
