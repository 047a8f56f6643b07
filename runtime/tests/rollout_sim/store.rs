//! The store of the model: lock, decisions, plans, what is under way.

use std::{collections::BTreeMap, rc::Rc};

use waldo_runtime::rollout::Decision;

use crate::plan::Plan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    pub from: u64,
    pub is_over: bool,
}

pub struct Store {
    /// The deployer that leads.
    pub lock: Option<usize>,
    pub live: u64,
    pub plans: BTreeMap<u64, Rc<Plan>>,
    pub intents: BTreeMap<u64, Intent>,
    pub decisions: BTreeMap<u64, Decision>,
}

impl Store {
    pub fn new(first: Rc<Plan>) -> Self {
        Self {
            lock: None,
            live: 1,
            plans: BTreeMap::from([(1, first)]),
            intents: BTreeMap::new(),
            decisions: BTreeMap::new(),
        }
    }

    pub fn newest(&self) -> u64 {
        self.plans.keys().next_back().copied().unwrap_or(0)
    }

    /// The first decision holds.
    pub fn decide(&mut self, generation: u64, wish: Decision) -> Decision {
        *self.decisions.entry(generation).or_insert(wish)
    }

    pub fn decision(&self, generation: u64) -> Option<Decision> {
        self.decisions.get(&generation).copied()
    }

    /// The newest rollout that nobody has brought to its end.
    pub fn unfinished(&self) -> Option<(u64, Intent)> {
        self.intents.iter().rev().find(|(_, intent)| !intent.is_over).map(|(&generation, &intent)| (generation, intent))
    }

    /// Whether some rollout was decided and isn't over.
    pub fn unfinished_commit(&self) -> bool {
        let is_decided = |generation: &u64| self.decision(*generation) == Some(Decision::Commit);
        self.intents.iter().any(|(generation, intent)| !intent.is_over && is_decided(generation))
    }

    /// The newest plan that was decided on.
    pub fn newest_committed(&self) -> u64 {
        let committed = self.decisions.iter().rev().find(|(_, decision)| **decision == Decision::Commit);
        committed.map_or(1, |(&generation, _)| generation)
    }

    pub fn is_over(&mut self, generation: u64) {
        if let Some(intent) = self.intents.get_mut(&generation) {
            intent.is_over = true;
        }
    }

    /// A plan is live: what led to others before is over.
    pub fn goes_live(&mut self, generation: u64) {
        self.live = generation;
        self.intents.range_mut(..=generation).for_each(|(_, intent)| intent.is_over = true);
    }
}
