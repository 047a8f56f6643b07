//! How many slots a server may own: its fair share rounded down or up.

use waldo_sdk::guide::SLOTS;

use super::slots::Weights;

/// The fewest and the most slots that a server may own. Equal where its fair share is a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// The fair share rounded down.
    pub fewest: usize,
    /// The fair share rounded up.
    pub most: usize,
}

/// The band of each server, in the order of `weights`. Empty if there is no weight above 0.
pub fn bands(weights: &Weights<'_>) -> Vec<Band> {
    let total: u128 = weights.values().map(|weight| u128::from(weight.0)).sum();
    if total == 0 {
        return Vec::new();
    }
    let band = |weight: u64| {
        let share = u128::from(weight) * SLOTS as u128;
        Band { fewest: (share / total) as usize, most: share.div_ceil(total) as usize }
    };
    weights.values().map(|weight| band(weight.0)).collect()
}
