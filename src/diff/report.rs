//! The differences for scripts: `diff --json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use waldo_compiler::diff::{Action, Keys, ServerChange};
use waldo_sdk::{guide::Endpoints, wiring::SpoolLimits};

use super::{Shown, drift::Drift};
use crate::exit::Failure;

/// The version of this document.
const FORMAT: u32 = 1;

/// What `diff --json` prints.
#[derive(Serialize)]
pub struct Report<'a> {
    format: u32,
    equal: bool,
    old: Side<'a>,
    new: Side<'a>,
    processes: Vec<Process<'a>>,
    guide: Vec<Guide<'a>>,
    portals: Vec<Portal<'a>>,
    servers: &'a [ServerChange<'a>],
    settings: Vec<String>,
    hold: Vec<&'a str>,
    hold_because: BTreeMap<&'a str, String>,
    rewire: &'a BTreeSet<&'a str>,
    untouched: &'a BTreeSet<&'a str>,
    refused: Vec<String>,
    drift: &'a [Drift],
}

/// What was compared.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Side<'a> {
    /// What people call it.
    pub name: &'a str,
    /// Its digest.
    pub digest: &'a str,
}

#[derive(Serialize)]
struct Process<'a> {
    server: &'a str,
    process: &'a str,
    action: Action,
    because: String,
}

#[derive(Serialize)]
struct Guide<'a> {
    flow: &'a str,
    moved: usize,
    least: usize,
    of: usize,
    counts: &'static str,
    moves: Vec<Move<'a>>,
    because: String,
}

#[derive(Serialize)]
struct Move<'a> {
    from: &'a str,
    to: &'a str,
    count: usize,
}

#[derive(Serialize)]
struct Portal<'a> {
    server: &'a str,
    portal: &'a str,
    from: Option<&'a Endpoints>,
    to: Option<&'a Endpoints>,
    gained: &'a BTreeSet<&'a str>,
    lost: &'a BTreeSet<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spool: Option<Spool>,
}

#[derive(Serialize)]
struct Spool {
    from: SpoolLimits,
    to: SpoolLimits,
}

impl<'a> Report<'a> {
    /// The report of these differences.
    pub fn of(&Shown { old, new, diff, drift }: &Shown<'a>) -> Self {
        Self {
            format: FORMAT,
            equal: diff.is_empty(),
            old,
            new,
            processes: diff
                .processes
                .iter()
                .map(|change| Process {
                    server: change.server,
                    process: change.process,
                    action: change.action,
                    because: joined(&change.because),
                })
                .collect(),
            guide: diff
                .guide
                .iter()
                .map(|change| Guide {
                    flow: change.flow,
                    moved: change.moved,
                    least: change.least,
                    of: change.of,
                    counts: counts(change.keys),
                    moves: change.moves.iter().map(|(&(from, to), &count)| Move { from, to, count }).collect(),
                    because: joined(&change.because),
                })
                .collect(),
            portals: diff
                .portals
                .iter()
                .map(|change| Portal {
                    server: change.server,
                    portal: change.portal,
                    from: change.from,
                    to: change.to,
                    gained: &change.gained,
                    lost: &change.lost,
                    spool: change.spool.map(|(from, to)| Spool { from, to }),
                })
                .collect(),
            servers: &diff.servers,
            settings: diff.settings.iter().map(ToString::to_string).collect(),
            hold: diff.hold.keys().copied().collect(),
            hold_because: diff.hold.iter().map(|(server, reasons)| (*server, joined(reasons))).collect(),
            rewire: &diff.rewire,
            untouched: &diff.untouched,
            refused: diff.refusals.iter().map(ToString::to_string).collect(),
            drift,
        }
    }

    /// As a document of its own.
    pub fn document(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Failure::new(format!("the differences can't be written as JSON: {error}")))
    }
}

/// Reasons, one behind the other.
pub fn joined(reasons: &[impl ToString]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a guide's numbers count.
pub fn counts(keys: Keys) -> &'static str {
    match keys {
        Keys::Slots => "slots",
        Keys::Ranges => "ranges",
        Keys::Named => "named keys and slots",
        Keys::All => "all keys",
    }
}
