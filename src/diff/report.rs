//! The differences for scripts: `diff --json`.

use serde::Serialize;
use waldo_compiler::diff::{Action, Diff, Keys, PortalChange};

use super::drift::Drift;
use crate::exit::Failure;

/// The version of this document.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Report<'a> {
    format: u32,
    equal: bool,
    processes: Vec<Process<'a>>,
    guide: Vec<Guide<'a>>,
    portals: &'a [PortalChange<'a>],
    settings: Vec<String>,
    hold: Vec<&'a str>,
    rewire: Vec<&'a str>,
    untouched: Vec<&'a str>,
    refused: &'a [String],
    drift: &'a [Drift],
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
    counts: &'static str,
    moved: usize,
    least: usize,
    of: usize,
    moves: Vec<Move<'a>>,
}

#[derive(Serialize)]
struct Move<'a> {
    from: &'a str,
    to: &'a str,
    count: usize,
}

/// Prints them.
pub fn print(diff: &Diff<'_>, drift: &[Drift]) -> Result<(), Failure> {
    let process = |change: &waldo_compiler::diff::ProcessChange<'_>| {
        let because = change.because.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        (change.server.to_owned(), change.process.to_owned(), change.action, because)
    };
    let processes: Vec<_> = diff.processes.iter().map(process).collect();
    let report = Report {
        format: FORMAT,
        equal: diff.is_empty(),
        processes: processes
            .iter()
            .map(|(server, process, action, because)| Process {
                server,
                process,
                action: *action,
                because: because.clone(),
            })
            .collect(),
        guide: diff
            .guide
            .iter()
            .map(|change| Guide {
                flow: change.flow,
                counts: counts(change.keys),
                moved: change.moved,
                least: change.least,
                of: change.of,
                moves: change.moves.iter().map(|(&(from, to), &count)| Move { from, to, count }).collect(),
            })
            .collect(),
        portals: &diff.portals,
        settings: diff.settings.iter().map(ToString::to_string).collect(),
        hold: diff.hold.iter().copied().collect(),
        rewire: diff.rewire.iter().copied().collect(),
        untouched: diff.untouched.iter().copied().collect(),
        refused: &diff.refusals,
        drift,
    };
    let json = serde_json::to_string_pretty(&report)
        .map_err(|error| Failure::new(format!("the differences can't be written as JSON: {error}")))?;
    println!("{json}");
    Ok(())
}

/// What a guide's numbers count.
pub fn counts(keys: Keys) -> &'static str {
    match keys {
        Keys::Slots => "slots",
        Keys::Ranges => "ranges",
        Keys::Named => "keys and slots",
        Keys::All => "all keys",
    }
}
