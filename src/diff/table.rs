//! The differences for people: a summary first, then what happens on each server and why.

use std::{collections::BTreeMap, io::Write};

use waldo_compiler::diff::{Action, Diff, Keys, ProcessChange};

use super::{drift::Drift, report::counts};
use crate::{numbers::grouped, topology_file::counted};

/// How many moves of keys between two servers are shown for each flow.
const MOVES: usize = 6;

/// Prints them.
pub fn print(old: &str, new: &str, diff: &Diff<'_>, drift: &[Drift], all: bool) {
    let mut lines = vec![format!("{old} → {new}")];
    if diff.is_empty() {
        lines.push("no differences".to_owned());
    } else {
        lines.push(summary(diff));
        servers(diff, all, &mut lines);
        guide(diff, &mut lines);
        portals(diff, &mut lines);
        lines.extend(diff.settings.iter().map(|setting| format!("  {setting}")));
    }
    if !drift.is_empty() {
        lines.push(String::new());
        lines.push("drift (what runs is not what was deployed):".to_owned());
        lines.extend(drift.iter().map(|drift| match &drift.process {
            Some(process) => format!("  {}/{process}: {}", drift.server, drift.what),
            None => format!("  {}: {}", drift.server, drift.what),
        }));
    }
    let mut stdout = anstream::stdout().lock();
    for line in lines {
        // Nobody is left to tell if the reader is gone.
        let _ = writeln!(stdout, "{line}");
    }
}

fn summary(diff: &Diff<'_>) -> String {
    let count = |action| diff.processes.iter().filter(|change| change.action == action).count();
    let acts = [
        (Action::Start, "start"),
        (Action::Stop, "stop"),
        (Action::Restart, "restart"),
        (Action::Rewire, "rewire in place"),
        (Action::Keep, "go on untouched"),
    ];
    let parts = acts.into_iter().filter_map(|(action, words)| {
        let count = count(action);
        (count > 0).then(|| format!("{} {words}", grouped(count as u64)))
    });
    let processes = parts.collect::<Vec<_>>().join(", ");
    let who = |servers: &std::collections::BTreeSet<&str>, words: &str| {
        let names: Vec<_> = servers.iter().copied().collect();
        match names.len() {
            0 => None,
            1..=5 => Some(format!("{words}: {}", names.join(", "))),
            count => Some(format!("{words}: {}", counted(count, "server"))),
        }
    };
    let sets = [who(&diff.hold, "hold"), who(&diff.rewire, "rewire only"), who(&diff.untouched, "untouched")];
    let sets = sets.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    format!("processes: {processes}\nservers: {sets}")
}

/// Equal things on one server are said once: the processes that they happen to, and why.
fn servers(diff: &Diff<'_>, all: bool, lines: &mut Vec<String>) {
    let mut by_server: BTreeMap<&str, Vec<&ProcessChange<'_>>> = BTreeMap::new();
    for change in &diff.processes {
        by_server.entry(change.server).or_default().push(change);
    }
    for (server, changes) in by_server {
        let mut groups: Vec<(Action, String, Vec<&str>)> = Vec::new();
        let mut untouched = 0;
        for change in changes {
            if change.because.is_empty() && !all {
                untouched += 1;
                continue;
            }
            let because = change.because.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            match groups.iter_mut().find(|group| group.0 == change.action && group.1 == because) {
                Some(group) => group.2.push(change.process),
                None => groups.push((change.action, because, vec![change.process])),
            }
        }
        if groups.is_empty() {
            continue;
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.0));
        let how = if diff.hold.contains(server) { " (holds)" } else { "" };
        lines.push(String::new());
        lines.push(format!("{server}{how}"));
        for (action, because, processes) in groups {
            let (sign, colour) = sign(action);
            let because = if because.is_empty() { String::new() } else { format!("  because {because}") };
            let names = ranges(&processes);
            lines.push(format!("  {colour}{sign} {names}{}{because}", if colour.is_empty() { "" } else { "\x1b[0m" }));
        }
        if untouched > 0 {
            lines.push(format!("    {} untouched", grouped(untouched)));
        }
    }
}

/// What stands before a process, and the colour of the line.
fn sign(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Keep => ("= keep   ", ""),
        Action::Rewire => ("~ rewire ", "\x1b[36m"),
        Action::Restart => ("! restart", "\x1b[33m"),
        Action::Start => ("+ start  ", "\x1b[32m"),
        Action::Stop => ("- stop   ", "\x1b[31m"),
    }
}

/// `score.0, score.1, score.2` as `score.0–2`.
fn ranges(processes: &[&str]) -> String {
    let mut runs: Vec<(&str, u64, u64)> = Vec::new();
    let mut words = Vec::new();
    for process in processes {
        let instance = process.rsplit_once('.').and_then(|(stage, number)| Some((stage, number.parse::<u64>().ok()?)));
        match (instance, runs.last_mut()) {
            (Some((stage, number)), Some(run)) if run.0 == stage && run.2 + 1 == number => run.2 = number,
            (Some((stage, number)), _) => runs.push((stage, number, number)),
            (None, _) => words.push((*process).to_owned()),
        }
    }
    words.extend(runs.into_iter().map(|(stage, first, last)| match last - first {
        0 => format!("{stage}.{first}"),
        _ => format!("{stage}.{first}–{last}"),
    }));
    words.join(", ")
}

fn guide(diff: &Diff<'_>, lines: &mut Vec<String>) {
    if diff.guide.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push("keys that move".to_owned());
    for change in &diff.guide {
        let of = format!("{} of {} {}", grouped(change.moved as u64), grouped(change.of as u64), counts(change.keys));
        lines.push(match change.keys {
            Keys::All => format!("  {}: all keys may move, as they are found or guided otherwise", change.flow),
            _ => format!("  {}: {of} (least possible {})", change.flow, grouped(change.least as u64)),
        });
        let mut moves: Vec<_> = change.moves.iter().collect();
        moves.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for ((from, to), count) in moves.iter().take(MOVES) {
            lines.push(format!("    {from} → {to}: {}", grouped(**count as u64)));
        }
        if moves.len() > MOVES {
            lines.push(format!("    and {} other pairs of servers", grouped((moves.len() - MOVES) as u64)));
        }
    }
}

fn portals(diff: &Diff<'_>, lines: &mut Vec<String>) {
    if diff.portals.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push("portals".to_owned());
    for change in &diff.portals {
        let name = format!("{}/{}", change.server, change.portal);
        lines.push(match (change.from, change.to) {
            (Some(from), Some(to)) if from == to => format!("  ~ {name}: another door for clients"),
            (Some(from), Some(to)) => format!("  ~ {name}: {from} → {to}"),
            (Some(from), None) => format!("  - {name}: {from}"),
            (None, Some(to)) => format!("  + {name}: {to}"),
            (None, None) => format!("  ~ {name}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn instances_that_follow_each_other_are_one_word() {
        assert_eq!(ranges(&["relay", "a.0", "a.1", "a.2", "b.0", "a.4"]), "relay, a.0–2, b.0, a.4");
    }
}
