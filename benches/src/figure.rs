//! A figure: a median of waldo's beside a median of its peer's, and what it is to be.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// What a figure is to be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// Nothing is promised.
    None,
    /// At least so many times the peer's.
    AtLeastPeer(f64),
    /// At most so many times the peer's.
    AtMostPeer(f64),
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

/// What is measured and beside what.
pub struct Subject {
    /// What is measured.
    pub name: String,
    /// Of both values.
    pub unit: &'static str,
    /// What it is measured beside.
    pub peer: &'static str,
    /// What it is to be.
    pub goal: Goal,
}

/// One line of the table and of `bench.json`.
#[derive(Debug, Serialize)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    peer: &'static str,
    /// `None` where the machine has no such peer.
    peer_value: Option<f64>,
    ratio: Option<f64>,
    goal: Option<String>,
    holds: bool,
}

/// The middle of some measurements; of an even number, the mean of the two in the middle.
///
/// # Panics
/// If there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The value below which this part (0 to 1) of the sorted values lies; 0 if there are none.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = (sorted.len() as f64 * part) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

impl Subject {
    /// The figure that these measurements make: waldo's and the peer's, of the same runs. No measurements of the peer: the
    /// machine hasn't got it.
    pub fn figure(self, own: &[f64], peer: &[f64]) -> Figure {
        let value = median(own);
        let peer_value = (!peer.is_empty()).then(|| median(peer));
        let ratio = peer_value.map(|peer| value / peer);
        let (goal, holds) = match self.goal {
            Goal::None => (None, true),
            Goal::AtLeastPeer(times) => (Some(format!("≥ {times} × peer")), ratio.is_some_and(|ratio| ratio >= times)),
            Goal::AtMostPeer(times) => (Some(format!("≤ {times} × peer")), ratio.is_some_and(|ratio| ratio <= times)),
            Goal::AtLeast(least) => (Some(format!("≥ {} {}", number(least), self.unit)), value >= least),
            Goal::AtMost(most) => (Some(format!("≤ {} {}", number(most), self.unit)), value <= most),
        };
        Figure { name: self.name, value, unit: self.unit, peer: self.peer, peer_value, ratio, goal, holds }
    }
}

/// A number with three digits that count, and separators between thousands.
fn number(value: f64) -> String {
    if value < 99.95 {
        let decimals = if value < 9.995 { 2 } else { 1 };
        return format!("{value:.decimals$}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// All figures as a table for a terminal.
pub fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["figure", "waldo", "unit", "peer's", "peer", "ratio", "goal", ""]);
    for figure in figures {
        let holds = match (&figure.goal, figure.holds) {
            (None, _) => "",
            (Some(_), true) => "holds",
            (Some(_), false) => "MISSED",
        };
        table.add_row([
            figure.name.clone(),
            number(figure.value),
            figure.unit.to_owned(),
            figure.peer_value.map_or_else(|| "-".to_owned(), number),
            figure.peer.to_owned(),
            figure.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            figure.goal.clone().unwrap_or_default(),
            holds.to_owned(),
        ]);
    }
    for column in [1, 3, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(goal: Goal) -> Subject {
        Subject { name: "relay".into(), unit: "records/s", peer: "zmq_proxy", goal }
    }

    #[test]
    fn a_figure_is_the_medians_and_their_ratio() {
        let figure = subject(Goal::AtLeastPeer(6.0)).figure(&[700.0, 1.0, 650.0], &[100.0, 90.0, 2000.0]);
        assert!((figure.value - 650.0).abs() < 1e-9 && figure.peer_value == Some(100.0));
        assert!(figure.ratio == Some(6.5) && figure.holds);
    }

    #[test]
    fn a_goal_that_is_missed_does_not_hold() {
        assert!(!subject(Goal::AtLeastPeer(6.0)).figure(&[599.0], &[100.0]).holds);
        assert!(!subject(Goal::AtMostPeer(1.2)).figure(&[121.0], &[100.0]).holds);
        assert!(!subject(Goal::AtMost(200.0)).figure(&[200.1], &[1.0]).holds);
        assert!(subject(Goal::None).figure(&[1.0], &[100.0]).holds);
    }

    #[test]
    fn a_goal_beside_a_peer_that_is_missing_does_not_hold() {
        assert!(!subject(Goal::AtMostPeer(1.5)).figure(&[1.0], &[]).holds);
        let figure = subject(Goal::AtMost(5.0)).figure(&[1.0], &[]);
        assert!(figure.holds && figure.peer_value.is_none() && figure.ratio.is_none());
    }

    #[test]
    fn numbers_keep_three_digits_that_count() {
        for (value, text) in [(0.5, "0.50"), (9.999, "10.0"), (99.96, "100"), (1234.6, "1,235"), (1e6, "1,000,000")] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_quantile_lies_among_the_values() {
        let sorted: Vec<f64> = (0..100).map(f64::from).collect();
        assert!((quantile(&sorted, 0.5) - 50.0).abs() < 1e-9 && (quantile(&sorted, 1.0) - 99.0).abs() < 1e-9);
        assert!(quantile(&[], 0.5).abs() < 1e-9);
    }
}
