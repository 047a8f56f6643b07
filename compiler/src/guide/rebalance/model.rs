//! What weights lead to: which slots move, and how busy each server is then.

use std::collections::{BTreeMap, BTreeSet};

use waldo_sdk::guide::{Guide, Map, Otherwise};

use super::{AT_EASE, FlowLoad, GOOD_ENOUGH, ServerLoad, WORTH_IT};
use crate::{
    guide::{
        movement::{self, Share},
        slots,
    },
    topology::literal::Weight,
};

/// A guide, and what was measured of its flows, in a form in which weights are quickly judged.
pub struct Model<'m> {
    guide: &'m Guide,
    /// Which of the guide's slot tables are used, and how many flows use it.
    tables: Vec<Table>,
    flows: Vec<FlowModel<'m>>,
    stages: usize,
    in_records: bool,
}

struct Table {
    index: usize,
    /// The servers that own slots of it.
    able: Vec<usize>,
    flows: usize,
}

struct FlowModel<'m> {
    /// Its slot table, as a place in [`Model::tables`].
    table: Option<usize>,
    slots: &'m [f64],
    /// Records a second by server that stay where they are.
    fixed: Vec<f64>,
    /// For each stage that receives it: which, and by server how long a record keeps it busy.
    stages: Vec<(usize, Vec<f64>)>,
}

/// What some weights lead to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// By server.
    pub loads: Vec<f64>,
    /// Slots by server, of all flows.
    pub slots: Vec<usize>,
    /// How many slots move, of all flows.
    pub moved: usize,
    /// How few would have to for servers to have so many slots.
    pub least: usize,
    /// The most that move of a single flow.
    pub moved_of_one: usize,
}

impl Outcome {
    /// The highest load.
    pub fn peak(&self) -> f64 {
        self.loads.iter().copied().fold(0.0, f64::max)
    }
}

impl<'m> Model<'m> {
    /// Of what was measured.
    pub fn new(guide: &'m Guide, measured: &'m BTreeMap<String, FlowLoad>) -> Self {
        let mut model = Self { guide, tables: Vec::new(), flows: Vec::new(), stages: 0, in_records: false };
        model.in_records =
            measured.values().flat_map(|flow| &flow.stages).all(|stage| stage.seconds.iter().all(Option::is_none));
        let mut names: Vec<&str> = Vec::new();
        for (name, flow) in measured {
            let Some(flow_guide) = guide.flows.get(name) else { continue };
            let table = match &flow_guide.map {
                Map::Hash(table) | Map::Table { default: Otherwise::Hash(table), .. } => Some(model.table(*table)),
                Map::Ranges(_) | Map::Table { .. } => None,
            };
            let stages = if model.in_records {
                vec![("", vec![1.0; guide.servers.len()])]
            } else {
                flow.stages.iter().filter_map(|stage| Some((stage.stage.as_str(), filled(&stage.seconds)?))).collect()
            };
            let mut indexed = Vec::new();
            for (stage, seconds) in stages {
                let place = names.iter().position(|known| *known == stage).unwrap_or(names.len());
                if place == names.len() {
                    names.push(stage);
                }
                indexed.push((place, seconds));
            }
            let fixed = (0..guide.servers.len()).map(|server| flow.named.get(server).copied().unwrap_or(0.0));
            model.flows.push(FlowModel { table, slots: &flow.slots, fixed: fixed.collect(), stages: indexed });
        }
        model.stages = names.len();
        model
    }

    fn table(&mut self, index: usize) -> usize {
        let place = self.tables.iter().position(|table| table.index == index).unwrap_or(self.tables.len());
        if place == self.tables.len() {
            let able: BTreeSet<usize> = self.guide.tables[index].iter().map(|&owner| usize::from(owner)).collect();
            self.tables.push(Table { index, able: able.into_iter().collect(), flows: 0 });
        }
        self.tables[place].flows += 1;
        place
    }

    /// Whether loads are in records a second, as nobody says how long records take.
    pub fn in_records(&self) -> bool {
        self.in_records
    }

    /// Whether it is worth a rollout to go from one highest load to about another.
    pub fn is_worth_it(&self, from: f64, to: f64) -> bool {
        let needs_not_grow = !self.in_records && from > 1.0 && to <= AT_EASE;
        from > WORTH_IT * to || needs_not_grow
    }

    /// How high the highest load may be for weights that move fewer slots than those that lead to the `best`.
    pub fn good_enough(&self, best: f64) -> f64 {
        let bound = best * GOOD_ENOUGH;
        if self.in_records || best > AT_EASE { bound } else { bound.min(AT_EASE) }
    }

    /// Whether weights decide anything.
    pub fn has_choice(&self) -> bool {
        self.tables.iter().any(|table| table.able.len() > 1)
    }

    /// The servers whose weights decide something.
    pub fn choosable(&self) -> Vec<usize> {
        let able: BTreeSet<usize> =
            self.tables.iter().filter(|table| table.able.len() > 1).flat_map(|table| table.able.clone()).collect();
        able.into_iter().collect()
    }

    /// What the guide's own tables lead to.
    pub fn as_it_is(&self) -> Outcome {
        let own = |table: &Table| self.guide.tables[table.index].iter().map(|&owner| usize::from(owner)).collect();
        self.outcome(&self.tables.iter().map(own).collect::<Vec<_>>())
    }

    /// What these weights lead to.
    pub fn with(&self, weights: &[u64]) -> Outcome {
        let tables: Vec<Vec<usize>> = self
            .tables
            .iter()
            .map(|table| {
                // In the order of names, as the table's own weights are.
                let by_name: BTreeMap<&str, usize> =
                    table.able.iter().map(|&server| (self.guide.servers[server].as_str(), server)).collect();
                let servers: Vec<usize> = by_name.values().copied().collect();
                let weights = by_name.iter().map(|(&name, &server)| (name, Weight(weights[server].max(1)))).collect();
                slots::table(&weights).into_iter().map(|owner| servers[owner]).collect()
            })
            .collect();
        self.outcome(&tables)
    }

    fn outcome(&self, tables: &[Vec<usize>]) -> Outcome {
        let servers = self.guide.servers.len();
        let mut busy = vec![vec![0.0; self.stages]; servers];
        for flow in &self.flows {
            let mut rates = flow.fixed.clone();
            match flow.table {
                Some(table) => {
                    for (&owner, rate) in tables[table].iter().zip(flow.slots) {
                        rates[owner] += rate;
                    }
                }
                None => debug_assert!(flow.slots.is_empty(), "what has no slots is fixed"),
            }
            for (stage, seconds) in &flow.stages {
                for server in 0..servers {
                    busy[server][*stage] += rates[server] * seconds[server];
                }
            }
        }
        let mut outcome = Outcome {
            loads: busy.iter().map(|stages| stages.iter().copied().fold(0.0, f64::max)).collect(),
            slots: vec![0; servers],
            moved: 0,
            least: 0,
            moved_of_one: 0,
        };
        for (table, after) in self.tables.iter().zip(tables) {
            let before = &self.guide.tables[table.index];
            let mut counts = vec![(0, 0); servers];
            let mut moved = 0;
            for (&before, &after) in before.iter().zip(after) {
                counts[usize::from(before)].0 += 1;
                counts[after].1 += 1;
                moved += usize::from(usize::from(before) != after);
            }
            for (slots, (_, after)) in outcome.slots.iter_mut().zip(&counts) {
                *slots += after * table.flows;
            }
            outcome.moved += moved * table.flows;
            outcome.moved_of_one = outcome.moved_of_one.max(moved);
            let shares = counts.iter().map(|&(before, after)| Share::exactly(before, after));
            outcome.least += movement::least(shares) * table.flows;
        }
        outcome
    }

    /// The servers that own anything, with these weights and what they lead to.
    pub fn server_loads(&self, weights: &[u64], outcome: &Outcome) -> Vec<ServerLoad> {
        let takes_part = |server: usize| {
            self.tables.iter().any(|table| table.able.contains(&server))
                || self.flows.iter().any(|flow| flow.fixed[server] > 0.0)
        };
        (0..self.guide.servers.len())
            .filter(|&server| takes_part(server))
            .map(|server| ServerLoad {
                server: self.guide.servers[server].clone(),
                weight: Weight(weights[server]),
                slots: outcome.slots[server],
                load: outcome.loads[server],
            })
            .collect()
    }
}

/// What was measured; where nothing was, the middle of what was measured elsewhere. `None` if nothing was at all.
fn filled(seconds: &[Option<f64>]) -> Option<Vec<f64>> {
    let mut known: Vec<f64> = seconds.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    let middle = *known.get(known.len() / 2)?;
    Some(seconds.iter().map(|seconds| seconds.unwrap_or(middle)).collect())
}
