//! The differences for people: a summary first, then what happens on each server and why, then keys, portals and settings.
//! What is equal is said once, what goes on untouched is counted.

use std::collections::{BTreeMap, BTreeSet};

use waldo_compiler::diff::{Action, Because, Diff, Hold, Keys, PortalChange, ProcessChange, ServerFate, words::listed};

use super::{
    Shown,
    report::counts,
    text::{BOLD, RESET, Text},
};
use crate::numbers::grouped;

/// How many moves of keys between two servers are shown for each flow, and how many lines of anything else that there may
/// be one of for each server.
const MOVES: usize = 6;
const LINES: usize = 20;
/// How many reasons are shown for each group of processes.
const REASONS: usize = 6;

/// Writes them.
pub fn print(Shown { old, new, diff, drift }: &Shown<'_>, all: bool) {
    let mut text = Text::of_terminal();
    text.line(0, &format!("{BOLD}{} → {}{RESET}", old.name, new.name));
    if diff.is_empty() {
        text.line(0, if drift.is_empty() { "no differences" } else { "no differences between the plans" });
    } else {
        text.gap();
        summary(diff, &mut text);
        servers(diff, all, &mut text);
        guide(diff, all, &mut text);
        portals(diff, all, &mut text);
        settings(diff, all, &mut text);
    }
    if !drift.is_empty() {
        text.heading("drift: what runs isn't what was deployed");
        text.some(all, LINES, drift, |text, drift| {
            let who: Vec<&str> = [&drift.server, &drift.process].into_iter().flatten().map(String::as_str).collect();
            let who = if who.is_empty() { String::new() } else { format!("{}: ", who.join("/")) };
            text.line(2, &format!("{who}{}", drift.what));
        });
    }
    super::write(text.as_str());
}

fn summary(diff: &Diff<'_>, text: &mut Text) {
    let acts = [
        (Action::Start, "starts", "start"),
        (Action::Stop, "stops", "stop"),
        (Action::Restart, "restarts", "restart"),
        (Action::Rewire, "rewires in place", "rewire in place"),
        (Action::Keep, "goes on", "go on"),
    ];
    let mut said = Vec::new();
    for (action, one, more) in acts {
        let count = diff.count(action);
        if count > 0 {
            let noun = if said.is_empty() { if count == 1 { " process" } else { " processes" } } else { "" };
            said.push(format!("{}{noun} {}", grouped(count as u64), if count == 1 { one } else { more }));
        }
    }
    text.line(0, &said.join(", "));
    let sets = [
        (diff.hold.keys().copied().collect(), "holds", "hold"),
        (diff.rewire.iter().copied().collect(), "only rewires", "only rewire"),
        (diff.untouched.iter().copied().collect::<Vec<_>>(), "is untouched", "are untouched"),
    ];
    let mut said = Vec::new();
    for (names, one, more) in sets.iter().filter(|(names, ..)| !names.is_empty()) {
        let noun = if said.is_empty() { if names.len() == 1 { " server" } else { " servers" } } else { "" };
        let verb = if names.len() == 1 { one } else { more };
        said.push(format!("{}{noun} {verb} ({})", grouped(names.len() as u64), listed(names)));
    }
    text.line(0, &said.join(", "));
    let counted: Vec<_> = diff.guide.iter().filter(|change| change.keys == Keys::Slots && change.moved > 0).collect();
    let total = |of: fn(&&waldo_compiler::diff::GuideChange<'_>) -> usize| {
        grouped(counted.iter().map(of).sum::<usize>() as u64)
    };
    if !counted.is_empty() {
        let (moved, least, of) = (total(|flow| flow.moved), total(|flow| flow.least), total(|flow| flow.of));
        let flows = if counted.len() > 1 { format!(" in {} flows", counted.len()) } else { String::new() };
        text.line(0, &format!("{moved} of {of} slots move{flows} (least possible {least})"));
    }
}

/// What happens on one server: the same on another is said once for both.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    fate: Option<ServerFate>,
    hold: Vec<String>,
    groups: Vec<Group>,
    untouched: usize,
}

/// What happens to some processes of a server, for the same reasons.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    action: std::cmp::Reverse<Action>,
    because: Vec<String>,
    processes: String,
}

fn servers(diff: &Diff<'_>, all: bool, text: &mut Text) {
    let fates: BTreeMap<&str, ServerFate> = diff.servers.iter().map(|change| (change.server, change.change)).collect();
    let mut by_server: BTreeMap<&str, Vec<&ProcessChange<'_>>> = BTreeMap::new();
    for change in &diff.processes {
        by_server.entry(change.server).or_default().push(change);
    }
    for server in fates.keys() {
        by_server.entry(server).or_default();
    }
    // Blocks stand in the order of their first servers.
    let mut blocks: Vec<(Block, Vec<&str>)> = Vec::new();
    let mut places: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for (server, changes) in by_server {
        let hold = diff.hold.get(server).map_or(&[][..], Vec::as_slice);
        let block = Block::of(fates.get(server).copied(), hold, &changes, all);
        if block.groups.is_empty() && block.fate.is_none() {
            continue;
        }
        let place = *places.entry(block.fingerprint()).or_insert_with(|| {
            blocks.push((block, Vec::new()));
            blocks.len() - 1
        });
        blocks[place].1.push(server);
    }
    text.some(all, LINES, &blocks, |text, (block, servers)| block.write(servers, text));
}

impl Block {
    fn of(fate: Option<ServerFate>, hold: &[Hold<'_>], changes: &[&ProcessChange<'_>], all: bool) -> Self {
        let mut groups: BTreeMap<(Action, Vec<String>), Vec<&str>> = BTreeMap::new();
        let mut untouched = 0;
        for change in changes {
            if change.because.is_empty() && !all {
                untouched += 1;
                continue;
            }
            groups.entry((change.action, said(&change.because))).or_default().push(change.process);
        }
        let mut groups: Vec<_> = groups
            .into_iter()
            .map(|((action, because), processes)| Group {
                action: std::cmp::Reverse(action),
                because,
                processes: ranges(&processes),
            })
            .collect();
        groups.sort();
        Self { fate, hold: hold.iter().map(ToString::to_string).collect(), groups, untouched }
    }

    /// Equal for equal blocks.
    fn fingerprint(&self) -> Vec<u8> {
        let mut print = format!("{:?}\0{}\0{}", self.fate, self.hold.join("\0"), self.untouched).into_bytes();
        for group in &self.groups {
            print.extend(format!("\u{1}{:?}\0{}\0{}", group.action, group.processes, group.because.join("\0")).bytes());
        }
        print
    }

    fn write(&self, servers: &[&str], text: &mut Text) {
        let one = servers.len() == 1;
        let fate = match self.fate {
            None => "",
            Some(ServerFate::Added) => " (new)",
            Some(ServerFate::Removed) => " (removed)",
            Some(ServerFate::Drained) => " (drained)",
            Some(ServerFate::Returned) => " (in action again)",
        };
        let how = match (self.hold.is_empty(), self.fate, one) {
            (false, _, true) => " holds",
            (false, _, false) => " hold",
            (true, Some(_), _) => "",
            (true, None, true) => " rewires",
            (true, None, false) => " rewire",
        };
        text.gap();
        text.line(0, &format!("{BOLD}{}{fate}{how}{RESET}", listed(servers)));
        if !self.hold.is_empty() {
            text.hanging(2, 4, &format!("because {}", self.hold.join("; ")));
        }
        for group in &self.groups {
            let (sign, colour) = sign(group.action.0);
            text.hanging(2, 13, &format!("{colour}{sign}{RESET} {}", group.processes));
            for because in &group.because {
                text.hanging(15, 17, because);
            }
        }
        if self.untouched > 0 {
            let words = if self.untouched == 1 { "process goes" } else { "processes go" };
            text.line(2, &format!("  {} {words} on untouched", grouped(self.untouched as u64)));
        }
    }
}

/// Reasons of a kind in one.
fn said(because: &[Because]) -> Vec<String> {
    let guides: Vec<&str> = because
        .iter()
        .filter_map(|reason| if let Because::GuideOf(flow) = reason { Some(flow.as_str()) } else { None })
        .collect();
    let others = because.iter().filter(|reason| !matches!(reason, Because::GuideOf(_)));
    let mut said: Vec<String> = others.map(ToString::to_string).collect();
    if !guides.is_empty() {
        said.push(format!("guide of {}", listed(&guides)));
    }
    if said.len() > REASONS {
        let more = said.len() - (REASONS - 1);
        said.truncate(REASONS - 1);
        said.push(format!("and {more} other reasons"));
    }
    said
}

/// What stands before a process, and its colour.
fn sign(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Keep => ("= keep   ", ""),
        Action::Rewire => ("~ rewire ", "\x1b[36m"),
        Action::Restart => ("! restart", "\x1b[33m"),
        Action::Start => ("+ start  ", "\x1b[32m"),
        Action::Stop => ("- stop   ", "\x1b[31m"),
    }
}

/// `score.0, score.1, score.2` as `score.0–score.2`.
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
        1 => format!("{stage}.{first}, {stage}.{last}"),
        _ => format!("{stage}.{first}–{stage}.{last}"),
    }));
    words.join(", ")
}

fn guide(diff: &Diff<'_>, all: bool, text: &mut Text) {
    if diff.guide.is_empty() {
        return;
    }
    text.heading("keys");
    text.some(all, LINES, &diff.guide, |text, change| {
        let (moved, of, least) =
            (grouped(change.moved as u64), grouped(change.of as u64), grouped(change.least as u64));
        let mut said: Vec<String> = change.because.iter().map(ToString::to_string).collect();
        match change.keys {
            Keys::All => said.push("any key may move: one guide goes by ranges, the other by slots".to_owned()),
            _ if change.moved == 0 => said.push("no key moves".to_owned()),
            keys => said.push(format!("{moved} of {of} {} move (least possible {least})", counts(keys))),
        }
        text.hanging(2, 4, &format!("{}: {}", change.flow, said.join("; ")));
        let mut moves: Vec<_> = change.moves.iter().collect();
        moves.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = if all { moves.len() } else { MOVES };
        for ((from, to), count) in moves.iter().take(shown) {
            text.line(4, &format!("{from} → {to}: {}", grouped(**count as u64)));
        }
        if moves.len() > shown {
            text.line(4, &format!("and between {} other pairs of servers", grouped((moves.len() - shown) as u64)));
        }
    });
}

fn portals(diff: &Diff<'_>, all: bool, text: &mut Text) {
    if diff.portals.is_empty() {
        return;
    }
    text.heading("portals");
    // What is the same on several servers is said once: where a portal is reached never is.
    let mut lines: Vec<(&str, String, Vec<&str>)> = Vec::new();
    let mut places: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for change in &diff.portals {
        for what in changes(change) {
            let place = *places.entry((change.portal, what.clone())).or_insert_with(|| {
                lines.push((change.portal, what, Vec::new()));
                lines.len() - 1
            });
            lines[place].2.push(change.server);
        }
    }
    text.some(all, LINES, &lines, |text, (portal, what, servers)| {
        let (sign, what) = what.split_at(1);
        text.hanging(2, 6, &format!("{sign} {portal} of {}:{what}", listed(servers)));
    });
}

/// What changes about a portal, each with its sign in front.
fn changes(change: &PortalChange<'_>) -> Vec<String> {
    let mut changes = Vec::new();
    match (change.from, change.to) {
        (None, Some(to)) => changes.push(format!("+ {}", to.links)),
        (Some(from), None) => changes.push(format!("- {}", from.links)),
        (Some(from), Some(to)) => {
            if from.links != to.links {
                changes.push(format!("~ {} → {}", from.links, to.links));
            }
            if from.clients != to.clients {
                let words = |clients: &Option<String>| clients.clone().unwrap_or_else(|| "none".to_owned());
                changes.push(format!("~ for clients {} → {}", words(&from.clients), words(&to.clients)));
            }
        }
        (None, None) => {}
    }
    let names = |flows: &BTreeSet<&str>| listed(&flows.iter().copied().collect::<Vec<_>>());
    if !change.gained.is_empty() {
        changes.push(format!("~ carries {} too", names(&change.gained)));
    }
    if !change.lost.is_empty() {
        changes.push(format!("~ doesn't carry {} any more", names(&change.lost)));
    }
    if let Some((from, to)) = change.spool {
        let words = |from, to| format!("{} → {} bytes", grouped(from), grouped(to));
        let mut said = Vec::new();
        if from.memory != to.memory {
            said.push(format!("{} in memory", words(from.memory, to.memory)));
        }
        if from.disk != to.disk {
            said.push(format!("{} on disk", words(from.disk, to.disk)));
        }
        changes.push(format!("~ spool {}", said.join(", ")));
    }
    changes
}

fn settings(diff: &Diff<'_>, all: bool, text: &mut Text) {
    if diff.settings.is_empty() {
        return;
    }
    text.heading("flows and settings");
    text.some(all, LINES, &diff.settings, |text, setting| text.hanging(2, 4, &setting.to_string()));
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn instances_that_follow_each_other_are_one_word() {
        assert_eq!(ranges(&["relay", "a.0", "a.1", "a.2", "b.0", "a.4"]), "relay, a.0–a.2, b.0, a.4");
        assert_eq!(ranges(&["a.0", "a.1"]), "a.0, a.1");
    }
}
