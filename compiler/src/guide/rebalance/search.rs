//! Looks for weights with a low highest load, and among those for some that move few slots.
//!
//! Loads come in lumps: a slot with a hot key is a large part of a server's load, and moves with a small change of weights or not
//! at all. So no formula leads to the best weights. What is tried: weights moved step by step towards equal loads; less and less for the
//! fullest server; weights on the way from those that are to the best; the fullest and the emptiest server changed a little. Each is computed in full, with the
//! weights rounded as they will be written.

use std::collections::HashMap;

use super::{
    Limits,
    model::{Model, Outcome},
};

/// How often weights are moved towards equal loads.
const STEPS: usize = 12;
/// How often the fullest and the emptiest server are changed.
const ROUNDS: usize = 8;
/// How often the fullest server's weight is taken down.
const LESS: usize = 24;
/// In how many parts a way is divided.
const PARTS: usize = 8;
/// How much more a server's weight may change in one step.
const STRIDE: f64 = 4.0;

/// What was found.
pub struct Found {
    /// The lowest highest load.
    pub best: f64,
    /// Weights that come close to it, and move few slots; `None` if no other weights are within the limits.
    pub weights: Option<(Vec<u64>, Outcome)>,
}

struct Search<'s> {
    model: &'s Model<'s>,
    limits: &'s Limits,
    current: &'s [u64],
    tried: HashMap<Vec<u64>, Outcome>,
    best: Option<Vec<u64>>,
}

/// Looks for better weights than `current`, which lead to `state`.
pub fn search(model: &Model<'_>, current: &[u64], state: &Outcome, limits: &Limits) -> Found {
    let mut search = Search { model, limits, current, tried: HashMap::new(), best: None };
    search.towards_equal_loads(state);
    search.less_and_less_for_the_fullest(state);
    search.on_the_way_to_the_best();
    search.a_little_up_and_down();
    search.on_the_way_to_the_best();
    let Some(best) = search.best.as_ref().map(|best| search.tried[best].peak()) else {
        return Found { best: state.peak(), weights: None };
    };
    let bound = model.good_enough(best);
    search.with_fewer_changes(bound);
    let weights = search.fewest_moves(bound).map(|(weights, outcome)| (weights.clone(), outcome.clone()));
    Found { best, weights }
}

/// To three digits, as a person would write it. Millionths.
fn rounded(weight: f64) -> u64 {
    let step = 10_f64.powf((weight.max(1.0).log10().floor() - 2.0).max(3.0));
    ((weight / step).round() * step) as u64
}

impl Search<'_> {
    /// Tries weights, scaled so that as many as possible stay what they are; answers what they lead to, if they are within the
    /// limits.
    fn attempt(&mut self, weights: &[f64]) -> Option<(Vec<u64>, Outcome)> {
        let weights = self.written(weights);
        let allowed = |server: &usize| {
            let weight = weights[*server];
            weight == self.current[*server] || (self.limits.lowest.0..=self.limits.highest.0).contains(&weight)
        };
        if !self.model.choosable().iter().all(allowed) {
            return None;
        }
        if !self.tried.contains_key(&weights) {
            let outcome = self.model.with(&weights);
            self.tried.insert(weights.clone(), outcome);
        }
        let outcome = self.tried[&weights].clone();
        if outcome.moved_of_one > self.limits.slots {
            return None;
        }
        if self.best.as_ref().is_none_or(|best| outcome.peak() < self.tried[best].peak()) {
            self.best = Some(weights.clone());
        }
        Some((weights, outcome))
    }

    /// Only proportions count. The one whose change is in the middle of all stays as it is, and so do those that change by as much, or
    /// nearly.
    fn written(&self, weights: &[f64]) -> Vec<u64> {
        let servers = self.model.choosable();
        let ratio = |server: usize| weights[server] / self.current[server].max(1) as f64;
        let mut ratios: Vec<f64> = servers.iter().map(|&server| ratio(server)).collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios.get(ratios.len() / 2).copied().unwrap_or(1.0);
        let mut written = self.current.to_vec();
        for server in servers {
            let change = ratio(server) / middle;
            if (change - 1.0).abs() > 0.02 {
                written[server] = rounded(self.current[server].max(1) as f64 * change);
            }
        }
        written
    }

    /// Gives each server more the less it is loaded, again and again.
    fn towards_equal_loads(&mut self, state: &Outcome) {
        let mut weights: Vec<f64> = self.current.iter().map(|&weight| weight as f64).collect();
        let mut loads = state.loads.clone();
        for step in 0..STEPS {
            let servers = self.model.choosable();
            let mean = servers.iter().map(|&server| loads[server]).sum::<f64>() / servers.len().max(1) as f64;
            // Smaller steps later on: lumps would have it jump to and fro.
            let exponent = 1.0 / (1.0 + step as f64 / 3.0);
            for &server in &servers {
                let change = (mean / loads[server].max(mean / 1_000.0)).powf(exponent);
                weights[server] = (weights[server] * change.clamp(1.0 / STRIDE, STRIDE)).max(1_000.0);
            }
            loads = if let Some((_, outcome)) = self.attempt(&weights) {
                outcome.loads
            } else {
                // Beyond the limits: what is on the way may be within.
                self.on_the_way_to(&weights.clone());
                self.model.with(&self.written(&weights)).loads
            };
        }
    }

    /// Takes from the fullest server alone, little by little, until its hottest slot has gone too.
    fn less_and_less_for_the_fullest(&mut self, state: &Outcome) {
        let servers = self.model.choosable();
        let fullest = servers.into_iter().max_by(|&one, &other| state.loads[one].total_cmp(&state.loads[other]));
        let Some(fullest) = fullest else { return };
        let mut weights: Vec<f64> = self.current.iter().map(|&weight| weight as f64).collect();
        for _ in 0..LESS {
            weights[fullest] *= 0.93;
            self.attempt(&weights);
        }
    }

    fn on_the_way_to_the_best(&mut self) {
        let Some(best) = self.best.clone() else { return };
        self.on_the_way_to(&best.iter().map(|&weight| weight as f64).collect::<Vec<_>>());
    }

    /// Tries weights between those that are and these.
    fn on_the_way_to(&mut self, weights: &[f64]) {
        for part in 1..PARTS {
            let part = part as f64 / PARTS as f64;
            let between: Vec<f64> = weights
                .iter()
                .zip(self.current)
                .map(|(&to, &from)| (from as f64) * (to / (from.max(1) as f64)).max(1e-9).powf(part))
                .collect();
            self.attempt(&between);
        }
    }

    /// Changes the fullest and the emptiest server of the best, as long as that leads to a better one.
    fn a_little_up_and_down(&mut self) {
        for _ in 0..ROUNDS {
            let Some(best) = self.best.clone() else { return };
            let loads = self.tried[&best].loads.clone();
            let mut servers = self.model.choosable();
            servers.sort_by(|&one, &other| loads[one].total_cmp(&loads[other]));
            let (Some(&emptiest), Some(&fullest)) = (servers.first(), servers.last()) else { return };
            for (server, changes) in [(fullest, [0.97, 0.9, 0.8, 0.6]), (emptiest, [1.03, 1.1, 1.25, 1.6])] {
                for change in changes {
                    let mut weights: Vec<f64> = best.iter().map(|&weight| weight as f64).collect();
                    weights[server] *= change;
                    self.attempt(&weights);
                }
            }
            if self.best.as_ref() == Some(&best) {
                return;
            }
        }
    }

    /// From the weights that move the fewest slots so far: lets servers keep what they have one by one, and goes back on the
    /// way, as long as the highest load stays below the bound.
    fn with_fewer_changes(&mut self, bound: f64) {
        for _ in 0..3 {
            let Some((weights, _)) = self.fewest_moves(bound) else { return };
            let weights = weights.clone();
            for server in self.model.choosable() {
                let mut fewer: Vec<f64> = weights.iter().map(|&weight| weight as f64).collect();
                fewer[server] = self.current[server] as f64;
                self.attempt(&fewer);
            }
            self.on_the_way_to(&weights.iter().map(|&weight| weight as f64).collect::<Vec<_>>());
            if self.fewest_moves(bound).is_some_and(|(fewest, _)| *fewest == weights) {
                return;
            }
        }
    }

    fn fewest_moves(&self, bound: f64) -> Option<(&Vec<u64>, &Outcome)> {
        let good = self
            .tried
            .iter()
            .filter(|(_, outcome)| outcome.peak() <= bound && outcome.moved_of_one <= self.limits.slots);
        let changes = |weights: &Vec<u64>| weights.iter().zip(self.current).filter(|(one, other)| one != other).count();
        good.min_by(|(one, a), (other, b)| {
            let order = (a.moved, changes(one)).cmp(&(b.moved, changes(other)));
            order.then(a.peak().total_cmp(&b.peak())).then(one.cmp(other))
        })
    }
}
