//! Which keys move to other servers, flow by flow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use waldo_sdk::guide::{FlowGuide, Guide, Map, Otherwise, SLOTS, ServerIndex};

use crate::plan::Plan;

/// What kind of guide a flow has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Slots: `of` is their number.
    Slots,
    /// Ranges: what is counted is the stretches between the bounds of both guides.
    Ranges,
    /// Named keys, and the slots behind them if the rest is hashed.
    Named,
    /// All: the guide is of another kind, or the key is found otherwise.
    All,
}

/// The keys of one flow that move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuideChange<'p> {
    /// The flow.
    pub flow: &'p str,
    /// What is counted.
    pub keys: Keys,
    /// How many move.
    pub moved: usize,
    /// How few could have.
    pub least: usize,
    /// Of how many.
    pub of: usize,
    /// From server to server, how many.
    pub moves: BTreeMap<(&'p str, &'p str), usize>,
    /// The servers that give keys up, or, if another portal carries the flow or the key is found otherwise, all that own any.
    pub losers: BTreeSet<&'p str>,
    /// The servers that get some.
    pub gainers: BTreeSet<&'p str>,
}

/// The flows of both plans whose keys move.
pub(super) fn changes<'p>(old: &'p Plan, new: &'p Plan) -> Vec<GuideChange<'p>> {
    let mut tables = Tables::default();
    let rules = (key_rules(old), key_rules(new));
    new.guide
        .flows
        .iter()
        .filter_map(|(flow, after)| {
            let before = old.guide.flows.get(flow)?;
            let same_keys = rules.0.get(flow.as_str()) == rules.1.get(flow.as_str());
            let change = if same_keys && before.portal == after.portal {
                changed_map(&mut tables, flow, (&old.guide, before), (&new.guide, after))
            } else {
                all_keys(flow, (&old.guide, before), (&new.guide, after))
            };
            (change.moved > 0 || !change.losers.is_empty()).then_some(change)
        })
        .collect()
}

/// How each flow's key is found, as any of its senders has it.
fn key_rules(plan: &Plan) -> BTreeMap<&str, &waldo_sdk::wiring::KeyRule> {
    let processes = plan.servers.values().flat_map(|server| &server.processes);
    let doors = processes.filter_map(|process| process.wiring.portal.as_ref());
    doors.flat_map(|doors| &doors.flows).map(|carried| (carried.flow.as_str(), &carried.key)).collect()
}

type Of<'p> = (&'p Guide, &'p FlowGuide);

impl<'p> GuideChange<'p> {
    fn none(flow: &'p str, keys: Keys, of: usize) -> Self {
        let (moves, losers, gainers) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { flow, keys, moved: 0, least: 0, of, moves, losers, gainers }
    }

    fn count(&mut self, from: &'p str, to: &'p str, count: usize) {
        if from != to && count > 0 {
            self.moved += count;
            *self.moves.entry((from, to)).or_default() += count;
            self.losers.insert(from);
            self.gainers.insert(to);
        }
    }
}

fn changed_map<'p>(tables: &mut Tables<'p>, flow: &'p str, old: Of<'p>, new: Of<'p>) -> GuideChange<'p> {
    match (&old.1.map, &new.1.map) {
        (Map::Hash(before), Map::Hash(after)) => {
            let mut change = GuideChange::none(flow, Keys::Slots, SLOTS);
            tables.compare(&mut change, (old.0, *before), (new.0, *after));
            change
        }
        (Map::Ranges(before), Map::Ranges(after)) => {
            let bounds: BTreeSet<&[u8]> = before.iter().chain(after).map(|(start, _)| start.as_bytes()).collect();
            let mut change = GuideChange::none(flow, Keys::Ranges, bounds.len());
            for bound in bounds {
                change.count(owner(old, bound), owner(new, bound), 1);
            }
            change.least = change.moved;
            change
        }
        (Map::Table { keys: before, default: rest_before }, Map::Table { keys: after, default: rest_after }) => {
            let named: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            let mut change = GuideChange::none(flow, Keys::Named, named.len());
            for key in named {
                change.count(owner(old, key.as_bytes()), owner(new, key.as_bytes()), 1);
            }
            change.least = change.moved;
            match (rest_before, rest_after) {
                (Otherwise::Hash(before), Otherwise::Hash(after)) => {
                    change.of += SLOTS;
                    tables.compare(&mut change, (old.0, *before), (new.0, *after));
                }
                (Otherwise::Server(before), Otherwise::Server(after)) => {
                    let (from, to) = (name(old.0, *before), name(new.0, *after));
                    change.of += 1;
                    change.count(from, to, 1);
                    change.least += usize::from(from != to);
                }
                _ => return all_keys(flow, old, new),
            }
            change
        }
        _ => all_keys(flow, old, new),
    }
}

/// Any key may be anywhere else: whoever owned some gives it up.
fn all_keys<'p>(flow: &'p str, old: Of<'p>, new: Of<'p>) -> GuideChange<'p> {
    let owners = |(guide, flow): Of<'p>| guide.owners(flow).into_iter().map(|server| name(guide, server)).collect();
    let (losers, gainers): (BTreeSet<&str>, BTreeSet<&str>) = (owners(old), owners(new));
    GuideChange { moved: SLOTS, least: SLOTS, losers, gainers, ..GuideChange::none(flow, Keys::All, SLOTS) }
}

fn owner<'p>((guide, flow): Of<'p>, key: &[u8]) -> &'p str {
    name(guide, guide.owner(flow, key))
}

fn name(guide: &Guide, server: ServerIndex) -> &str {
    &guide.servers[usize::from(server)]
}

/// Slot tables of both plans, compared once for all flows that share them.
#[derive(Default)]
struct Tables<'p> {
    compared: HashMap<(usize, usize), Compared<'p>>,
}

#[derive(Clone, Default)]
struct Compared<'p> {
    moves: BTreeMap<(&'p str, &'p str), usize>,
    least: usize,
}

impl<'p> Tables<'p> {
    fn compare(&mut self, change: &mut GuideChange<'p>, old: (&'p Guide, usize), new: (&'p Guide, usize)) {
        let compared = self.compared.entry((old.1, new.1)).or_insert_with(|| compare(old, new));
        for (&(from, to), &count) in &compared.moves {
            change.count(from, to, count);
        }
        change.least += compared.least;
    }
}

fn compare<'p>((old, before): (&'p Guide, usize), (new, after): (&'p Guide, usize)) -> Compared<'p> {
    let mut moves = BTreeMap::new();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (&from, &to) in old.tables[before].iter().zip(&new.tables[after]) {
        let (from, to) = (name(old, from), name(new, to));
        counts.entry(from).or_default().0 += 1;
        counts.entry(to).or_default().1 += 1;
        if from != to {
            *moves.entry((from, to)).or_default() += 1;
        }
    }
    // With the shares that the new table has, whoever has more than before must be given the rest.
    let least = counts.values().map(|&(before, after)| after.saturating_sub(before)).sum();
    Compared { moves, least }
}
