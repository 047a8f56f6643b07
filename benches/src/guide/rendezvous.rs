//! The peer: weighted rendezvous hashing with quotas. Pairs of server and slot are taken greedily, the cheapest first; a slot
//! that is free goes to a server that has room.

use waldo_compiler::guide::slots::Weights;
use waldo_sdk::guide::SLOTS;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many of the cheapest pairs are looked at for each slot before any other: it only makes it quicker.
const OFFERS: f64 = 24.0;
/// A slot that nobody has yet.
const FREE: usize = usize::MAX;

struct Pair {
    cost: f64,
    owner: usize,
    slot: usize,
}

/// For each slot the position of the server that owns it.
pub fn table(weights: &Weights<'_>) -> Vec<usize> {
    let mut room = quotas(weights);
    let mut table = vec![FREE; SLOTS];
    let total: f64 = weights.values().map(|weight| weight.0 as f64).sum();
    give_away(pairs(weights, &table, &room, OFFERS / total), &mut table, &mut room);
    give_away(pairs(weights, &table, &room, f64::INFINITY), &mut table, &mut room);
    table
}

/// Pairs of free slots and servers with room, up to a cost.
fn pairs(weights: &Weights<'_>, table: &[usize], room: &[usize], most: f64) -> Vec<Pair> {
    let free: Vec<usize> = (0..SLOTS).filter(|&slot| table[slot] == FREE).collect();
    let mut pairs = Vec::new();
    for (owner, (name, weight)) in weights.iter().enumerate().filter(|(owner, _)| room[*owner] > 0) {
        let weight = weight.0 as f64;
        // Below this hash, costs are above the bound.
        let least = ((-most * weight).exp() * 2_f64.powi(64)) as u64;
        for &slot in &free {
            let hash = xxh3_64_with_seed(name.as_bytes(), slot as u64);
            if hash >= least {
                pairs.push(Pair { cost: -(hash as f64 / 2_f64.powi(64)).ln() / weight, owner, slot });
            }
        }
    }
    pairs
}

fn give_away(mut pairs: Vec<Pair>, table: &mut [usize], room: &mut [usize]) {
    pairs.sort_unstable_by(|a, b| a.cost.total_cmp(&b.cost));
    for Pair { owner, slot, .. } in pairs {
        if table[slot] == FREE && room[owner] > 0 {
            table[slot] = owner;
            room[owner] -= 1;
        }
    }
}

/// The fair shares rounded down, and one more for the largest remainders.
fn quotas(weights: &Weights<'_>) -> Vec<usize> {
    let total: f64 = weights.values().map(|weight| weight.0 as f64).sum();
    let shares: Vec<f64> = weights.values().map(|weight| weight.0 as f64 * SLOTS as f64 / total).collect();
    let mut quotas: Vec<usize> = shares.iter().map(|share| *share as usize).collect();
    let left = SLOTS - quotas.iter().sum::<usize>();
    let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
    by_remainder.sort_by(|&a, &b| shares[b].fract().total_cmp(&shares[a].fract()));
    for &owner in by_remainder.iter().take(left) {
        quotas[owner] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;
    use waldo_compiler::topology::literal::Weight;

    #[test]
    fn every_slot_is_owned_and_every_quota_kept() {
        let names: Vec<String> = (0..60).map(|number| format!("s{number}")).collect();
        let weights: Weights<'_> = names.iter().map(|name| (name.as_str(), Weight::ONE)).collect();
        let table = table(&weights);
        let owned: Vec<usize> = (0..60).map(|server| table.iter().filter(|&&owner| owner == server).count()).collect();
        assert_eq!(owned, quotas(&weights));
        assert_eq!(owned.iter().sum::<usize>(), SLOTS);
    }
}
