//! Which keys live on other servers than before, flow by flow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use waldo_sdk::{
    guide::{FlowGuide, Guide, Map, Otherwise, SLOTS, ServerIndex},
    wiring::KeyRule,
};

use super::{Because, words::word};
use crate::{
    guide::movement::{self, Share},
    plan::Plan,
};

/// What the numbers of a [`GuideChange`] count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Slots.
    Slots,
    /// Ranges: the stretches between the bounds of both guides.
    Ranges,
    /// Named keys, and the slots of all others.
    Named,
    /// Nothing that can be counted: one guide goes by ranges and the other by slots, so any key may be anywhere. All slots
    /// count as moved.
    All,
}

/// How one flow's guide changes. Its senders and portals adopt it, and it gets a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuideChange<'p> {
    /// The flow.
    pub flow: &'p str,
    /// What is counted.
    pub keys: Keys,
    /// How many move.
    pub moved: usize,
    /// How few could have, with the shares that the servers have now.
    pub least: usize,
    /// Of how many.
    pub of: usize,
    /// From server to server, how many. Empty for [`Keys::All`].
    pub moves: BTreeMap<(&'p str, &'p str), usize>,
    /// What else changes: the portal that carries the flow, how its key is found.
    pub because: Vec<Because>,
    /// The servers that give keys up.
    pub losers: BTreeSet<&'p str>,
    /// The servers that get some.
    pub gainers: BTreeSet<&'p str>,
}

/// The flows of both plans whose guide changes. Versions don't count.
pub(super) fn changes<'p>(old: &'p Plan, new: &'p Plan) -> Vec<GuideChange<'p>> {
    let mut tables = Tables::default();
    let rules = (key_rules(old), key_rules(new));
    let changed = |(flow, after): (&'p String, &'p FlowGuide)| {
        let before = old.guide.flows.get(flow)?;
        let mut change = changed_map(&mut tables, flow, Side::of(&old.guide, before), Side::of(&new.guide, after));
        if before.portal != after.portal {
            change.because.push(Because::changed("portal", &before.portal, &after.portal));
        }
        if let (Some(before), Some(after)) = (rules.0.get(flow.as_str()), rules.1.get(flow.as_str()))
            && before != after
        {
            change.because.push(Because::changed("key", word(before), word(after)));
        }
        (change.moved > 0 || !change.because.is_empty()).then_some(change)
    };
    new.guide.flows.iter().filter_map(changed).collect()
}

/// The flows whose guide says the same in other words: as a table and as ranges, say. Nobody has to adopt it.
pub(super) fn rewritten(old: &Plan, new: &Plan, changes: &[GuideChange<'_>]) -> Vec<Because> {
    let is_rewritten = |(flow, after): &(&String, &FlowGuide)| {
        let is_changed = changes.iter().any(|change| change.flow == flow.as_str());
        let Some(before) = old.guide.flows.get(*flow).filter(|_| !is_changed) else { return false };
        let (before, after) = (Side::of(&old.guide, before), Side::of(&new.guide, after));
        before.written() != after.written()
    };
    new.guide.flows.iter().filter(is_rewritten).map(|(flow, _)| Because::Rewritten(flow.clone())).collect()
}

/// How each flow's key is found, as the portals of some server have it: all servers have the same.
fn key_rules(plan: &Plan) -> BTreeMap<&str, &KeyRule> {
    let server = plan.servers.values().find(|server| !server.processes.is_empty());
    let processes = server.into_iter().flat_map(|server| &server.processes);
    let carried = processes.filter_map(|process| process.wiring.portal.as_ref()).flat_map(|doors| &doors.flows);
    carried.map(|carried| (carried.flow.as_str(), &carried.key)).collect()
}

/// One plan's guide of a flow: a map from key to server, in one of two forms.
#[derive(Clone, Copy)]
struct Side<'p> {
    guide: &'p Guide,
    flow: &'p FlowGuide,
    form: Form<'p>,
}

#[derive(Clone, Copy)]
enum Form<'p> {
    /// Named keys, and the slots of all others.
    Slots(Option<&'p BTreeMap<String, ServerIndex>>, Rest),
    Ranges(&'p [(String, ServerIndex)]),
}

/// Where keys go that aren't named.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Rest {
    /// By slot, through the table of this index.
    Table(usize),
    /// All to one server.
    One(ServerIndex),
}

impl<'p> Side<'p> {
    fn of(guide: &'p Guide, flow: &'p FlowGuide) -> Self {
        let form = match &flow.map {
            Map::Hash(table) => Form::Slots(None, Rest::Table(*table)),
            Map::Table { keys, default: Otherwise::Hash(table) } => Form::Slots(Some(keys), Rest::Table(*table)),
            Map::Table { keys, default: Otherwise::Server(server) } => Form::Slots(Some(keys), Rest::One(*server)),
            // Where all is on one server, it doesn't matter how that is said.
            Map::Ranges(ranges) => match guide.owners(flow)[..] {
                [only] => Form::Slots(None, Rest::One(only)),
                _ => Form::Ranges(ranges),
            },
        };
        Self { guide, flow, form }
    }

    fn owner(&self, key: &[u8]) -> &'p str {
        self.name(self.guide.owner(self.flow, key))
    }

    fn owners(&self) -> BTreeSet<&'p str> {
        self.guide.owners(self.flow).into_iter().map(|server| self.name(server)).collect()
    }

    fn name(&self, server: ServerIndex) -> &'p str {
        &self.guide.servers[usize::from(server)]
    }

    /// What it says, slot tables aside: its kind, and the servers of bounds, of named keys, and of all others.
    fn written(&self) -> (&'static str, BTreeMap<&'p str, &'p str>, Option<&'p str>) {
        let named = |keys: &'p BTreeMap<String, ServerIndex>| {
            keys.iter().map(|(key, server)| (key.as_str(), self.name(*server))).collect()
        };
        match &self.flow.map {
            Map::Hash(_) => ("hash", BTreeMap::new(), None),
            Map::Ranges(ranges) => {
                let bounds = ranges.iter().map(|(start, server)| (start.as_str(), self.name(*server)));
                ("ranges", bounds.collect(), None)
            }
            Map::Table { keys, default: Otherwise::Hash(_) } => ("table", named(keys), None),
            Map::Table { keys, default: Otherwise::Server(server) } => ("table", named(keys), Some(self.name(*server))),
        }
    }

    /// The owner of a slot, of keys that aren't named.
    fn slot(&self, rest: Rest, slot: usize) -> &'p str {
        self.name(match rest {
            Rest::Table(table) => self.guide.tables[table][slot],
            Rest::One(server) => server,
        })
    }
}

impl<'p> GuideChange<'p> {
    fn none(flow: &'p str, keys: Keys, of: usize) -> Self {
        let (moves, losers, gainers) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { flow, keys, moved: 0, least: 0, of, moves, because: Vec::new(), losers, gainers }
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

fn changed_map<'p>(tables: &mut Tables<'p>, flow: &'p str, old: Side<'p>, new: Side<'p>) -> GuideChange<'p> {
    match (old.form, new.form) {
        (Form::Ranges(before), Form::Ranges(after)) => {
            let bounds: BTreeSet<&[u8]> = before.iter().chain(after).map(|(start, _)| start.as_bytes()).collect();
            let mut change = GuideChange::none(flow, Keys::Ranges, bounds.len());
            for bound in bounds {
                change.count(old.owner(bound), new.owner(bound), 1);
            }
            change.least = change.moved;
            change
        }
        (Form::Slots(before, rest_before), Form::Slots(after, rest_after)) => {
            let named: BTreeSet<&String> = [before, after].into_iter().flatten().flat_map(BTreeMap::keys).collect();
            let keys = if named.is_empty() { Keys::Slots } else { Keys::Named };
            let mut change = GuideChange::none(flow, keys, named.len() + SLOTS);
            for key in named {
                change.count(old.owner(key.as_bytes()), new.owner(key.as_bytes()), 1);
            }
            // Where a named key lives is stated, so it couldn't have stayed.
            change.least = change.moved;
            tables.compare(&mut change, (old, rest_before), (new, rest_after));
            change
        }
        _ => {
            let (before, after) = (old.owners(), new.owners());
            let others = |these: &BTreeSet<&'p str>, those: &BTreeSet<&'p str>| {
                these.iter().copied().filter(|server| those.iter().any(|other| other != server)).collect()
            };
            GuideChange {
                moved: SLOTS,
                least: SLOTS,
                losers: others(&before, &after),
                gainers: others(&after, &before),
                ..GuideChange::none(flow, Keys::All, SLOTS)
            }
        }
    }
}

/// Slots of both plans, compared once for all flows that share them.
#[derive(Default)]
struct Tables<'p> {
    compared: HashMap<(Rest, Rest), Compared<'p>>,
}

#[derive(Clone, Default)]
struct Compared<'p> {
    moves: BTreeMap<(&'p str, &'p str), usize>,
    least: usize,
}

impl<'p> Tables<'p> {
    fn compare(&mut self, change: &mut GuideChange<'p>, old: (Side<'p>, Rest), new: (Side<'p>, Rest)) {
        let compared = self.compared.entry((old.1, new.1)).or_insert_with(|| compare(old, new));
        for (&(from, to), &count) in &compared.moves {
            change.count(from, to, count);
        }
        change.least += compared.least;
    }
}

fn compare<'p>((old, before): (Side<'p>, Rest), (new, after): (Side<'p>, Rest)) -> Compared<'p> {
    let mut moves = BTreeMap::new();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for slot in 0..SLOTS {
        let (from, to) = (old.slot(before, slot), new.slot(after, slot));
        counts.entry(from).or_default().0 += 1;
        counts.entry(to).or_default().1 += 1;
        if from != to {
            *moves.entry((from, to)).or_default() += 1;
        }
    }
    // With the shares that the new table has, whoever has more than before must be given the rest.
    let least = movement::least(counts.values().map(|&(before, after)| Share::exactly(before, after)));
    Compared { moves, least }
}
