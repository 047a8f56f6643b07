//! Which weights the servers should have, by what was measured: a pure function from rates to weights.
//!
//! A server's **load** is how busy its busiest stage is: for every flow, records a second × how long a record keeps the stage
//! busy there. 1 is all that it can do; above that its queue grows. So a server that takes twice as long for a record counts each
//! record twice, and ends up with half as many. Which slots a weight stands for is known beforehand ([`slots`](super::slots)),
//! and so is what comes for each slot: so the load that new weights lead to is computed, not guessed.
//!
//! The weights that are proposed are those that move the fewest slots among all that were tried ([`search`]) whose highest load
//! is within [`GOOD_ENOUGH`] of the best, and below [`AT_EASE`] if that can be. Nothing is proposed where the highest load as it
//! is comes within [`WORTH_IT`] of the best, unless a queue grows that needn't: what was just proposed is therefore good enough the
//! next time too, also if what is measured differs a little.

mod model;
mod search;

use std::collections::BTreeMap;

use waldo_sdk::guide::Guide;

use self::model::Model;
use crate::topology::literal::Weight;

/// How much above the best the highest load may be that weights lead to which move fewer slots.
pub const GOOD_ENOUGH: f64 = 1.10;
/// How many times the best the highest load must be before anything is proposed.
pub const WORTH_IT: f64 = 1.25;
/// A load that leaves some room for what isn't even.
pub const AT_EASE: f64 = 0.95;
/// A load below which nobody is busy, and nothing is proposed.
pub const BUSY: f64 = 0.05;
/// A key is hot if it has at least this part of what each server would have of its flow.
const HOT: f64 = 0.25;

/// What was measured of a flow on all servers. Servers are by the guide's indexes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlowLoad {
    /// Records a second by slot, on all servers together.
    pub slots: Vec<f64>,
    /// Records a second by server whose keys the guide's table names.
    pub named: Vec<f64>,
    /// The stages that receive it.
    pub stages: Vec<StageLoad>,
    /// Keys that come often.
    pub keys: Vec<KeyLoad>,
}

/// How long a stage takes for records of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct StageLoad {
    /// Its name.
    pub stage: String,
    /// By server: for how many seconds a record keeps all of its instances busy. `None` where nothing was measured.
    pub seconds: Vec<Option<f64>>,
}

/// A key that comes often.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyLoad {
    /// Its first bytes.
    pub key: Vec<u8>,
    /// How many bytes it has.
    pub length: usize,
    /// How many of its records come in a second.
    pub records: f64,
}

/// What is proposed at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// How many slots of a flow may move.
    pub slots: usize,
    /// The lowest weight.
    pub lowest: Weight,
    /// The highest weight.
    pub highest: Weight,
}

impl Limits {
    /// Whatever can be written.
    pub const NONE: Self = Self { slots: usize::MAX, lowest: Weight(1_000), highest: Weight(999_999_000_000) };
}

/// How a server would fare.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerLoad {
    /// Its name.
    pub server: String,
    /// Its weight.
    pub weight: Weight,
    /// How many slots it has, of all flows.
    pub slots: usize,
    /// How busy it is: 1 is all that it can do. In records a second where nobody says how long records take.
    pub load: f64,
}

/// A key that is much of its flow. No guide can split it.
#[derive(Debug, Clone, PartialEq)]
pub struct Hot {
    /// Of which flow.
    pub flow: String,
    /// The key.
    pub key: KeyLoad,
    /// Which part of the flow's records have it.
    pub share: f64,
    /// How busy it alone keeps the fastest server, if that is known.
    pub load: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The servers as they are.
    pub before: Vec<ServerLoad>,
    /// How low the highest load could be, with the best weights that were found.
    pub best: f64,
    /// Whether loads are in records a second.
    pub in_records: bool,
    /// Keys that no guide can split.
    pub hot: Vec<Hot>,
    /// What to do.
    pub verdict: Verdict,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing was measured.
    Unmeasured,
    /// No flow goes by the weights of two servers.
    NoChoice,
    /// Nobody is busy.
    Quiet,
    /// It is good as it is.
    Balanced,
    /// There are better weights.
    Better(Proposal),
}

/// Better weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The servers as they would be, in the order of [`Judgement::before`].
    pub after: Vec<ServerLoad>,
    /// How many slots move, of all flows.
    pub moved: usize,
    /// How few would have to, for servers to have as many slots as then.
    pub least: usize,
}

impl Proposal {
    /// The weights that change.
    pub fn changed<'p>(&'p self, before: &'p [ServerLoad]) -> impl Iterator<Item = (&'p str, Weight)> {
        let both = self.after.iter().zip(before);
        both.filter(|(after, before)| after.weight != before.weight)
            .map(|(after, _)| (after.server.as_str(), after.weight))
    }
}

/// Judges the weights that servers have, by what was measured of each flow, and looks for better ones.
pub fn judge(
    guide: &Guide,
    weights: &BTreeMap<String, Weight>,
    flows: &BTreeMap<String, FlowLoad>,
    limits: &Limits,
) -> Judgement {
    let model = Model::new(guide, flows);
    let current: Vec<u64> =
        guide.servers.iter().map(|server| weights.get(server).copied().unwrap_or(Weight::ONE).0).collect();
    let state = model.as_it_is();
    let mut judgement = Judgement {
        before: model.server_loads(&current, &state),
        best: state.peak(),
        in_records: model.in_records(),
        hot: hot(guide, flows),
        verdict: Verdict::Unmeasured,
    };
    judgement.verdict = if state.peak() <= 0.0 {
        Verdict::Unmeasured
    } else if !model.has_choice() {
        Verdict::NoChoice
    } else if !model.in_records() && state.peak() < BUSY {
        Verdict::Quiet
    } else {
        let found = search::search(&model, &current, &state, limits);
        judgement.best = found.best.min(state.peak());
        match found.weights {
            Some((weights, outcome)) if model.is_worth_it(state.peak(), found.best) => Verdict::Better(Proposal {
                after: model.server_loads(&weights, &outcome),
                moved: outcome.moved,
                least: outcome.least,
            }),
            _ => Verdict::Balanced,
        }
    };
    judgement
}

fn hot(guide: &Guide, flows: &BTreeMap<String, FlowLoad>) -> Vec<Hot> {
    let mut all = Vec::new();
    for (name, flow) in flows {
        let Some(flow_guide) = guide.flows.get(name) else { continue };
        let servers = guide.owners(flow_guide).len().max(1) as f64;
        let total: f64 = flow.slots.iter().chain(&flow.named).sum();
        let slowest = |stage: &StageLoad| stage.seconds.iter().flatten().copied().reduce(f64::min);
        let seconds = flow.stages.iter().filter_map(slowest).reduce(f64::max);
        let is_hot = |key: &&KeyLoad| total > 0.0 && key.records >= HOT * total / servers;
        all.extend(flow.keys.iter().filter(is_hot).map(|key| Hot {
            flow: name.clone(),
            key: key.clone(),
            share: key.records / total,
            load: seconds.map(|seconds| key.records * seconds),
        }));
    }
    all.sort_by(|one, other| other.share.total_cmp(&one.share));
    all
}

#[cfg(test)]
mod tests;
