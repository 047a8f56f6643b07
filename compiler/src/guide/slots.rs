//! Slot → server by weighted rendezvous hashing with quotas: a pure function of names and weights.
//!
//! Every pair of server and slot has a cost `-log2(u) / weight`, with `u` in (0, 1] drawn from a hash of name and slot.
//! Plain rendezvous hashing gives each slot to the cheapest server, and shares come out fair only on average. Here each
//! server has a quota, its fair share rounded by largest remainders, and pairs are taken from the cheapest on: a slot goes
//! to a server while it has room. So shares are exact to a slot, and as costs don't depend on the other servers, a change
//! moves little more than it must.
//!
//! Costs are compared as integers: the same table on every machine.

use std::collections::BTreeMap;

use waldo_sdk::guide::SLOTS;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::topology::literal::Weight;

/// Servers that can own slots, and their weights, all above 0.
pub type Weights<'t> = BTreeMap<&'t str, Weight>;

/// Bits after the point in a cost.
const FRACTION: u32 = 32;
/// A weight of 1, in the units of [`Weight`].
const UNIT: u128 = 1_000_000;
/// How many of the cheapest pairs are looked at for each slot before any other.
const OFFERS: usize = 24;
/// In a table: a slot that nobody has yet.
const FREE: usize = usize::MAX;

/// For each slot the position in `weights` of the server that owns it. Empty if there is no weight.
pub fn table(weights: &Weights<'_>) -> Vec<usize> {
    let mut room = quotas(weights);
    if room.iter().sum::<usize>() != SLOTS {
        return Vec::new();
    }
    let weight: Vec<u128> = weights.values().map(|weight| u128::from(weight.0)).collect();
    let mut table = vec![FREE; SLOTS];
    // Almost all slots are given away by the cheapest pairs: with many servers the others needn't even be looked at closely.
    let bound = bound(&weight);
    let cheap = weights.keys().enumerate().flat_map(|(owner, name)| {
        let least = least_hash(bound, weight[owner]);
        (0..SLOTS).filter_map(move |slot| {
            let hash = hash(name, slot);
            (hash >= least).then(|| (u128::from(cost(hash)), owner, slot))
        })
    });
    let cheap = cheap.filter(|(cost, owner, _)| *cost <= u128::from(bound) * weight[*owner] / UNIT).collect();
    give_away(cheap, &weight, &mut table, &mut room);
    let open: Vec<(usize, &str)> = weights.keys().copied().enumerate().filter(|(owner, _)| room[*owner] > 0).collect();
    let rest = (0..SLOTS)
        .filter(|slot| table[*slot] == FREE)
        .flat_map(|slot| open.iter().map(move |&(owner, name)| (u128::from(cost(hash(name, slot))), owner, slot)));
    give_away(rest.collect(), &weight, &mut table, &mut room);
    table
}

/// Goes through pairs from the cheapest on: a slot that is free goes to a server that has room.
fn give_away(mut pairs: Vec<(u128, usize, usize)>, weight: &[u128], table: &mut [usize], room: &mut [usize]) {
    // Cost over weight, compared without dividing; ties by name and slot.
    pairs.sort_unstable_by(|(cost_a, a, slot_a), (cost_b, b, slot_b)| {
        (cost_a * weight[*b], a, slot_a).cmp(&(cost_b * weight[*a], b, slot_b))
    });
    for (_, owner, slot) in pairs {
        if table[slot] == FREE && room[owner] > 0 {
            table[slot] = owner;
            room[owner] -= 1;
        }
    }
}

/// A cost for a weight of 1 below which there are about [`OFFERS`] pairs for each slot; without end if all are needed. Which it
/// is doesn't change the table, only how fast it is made.
fn bound(weight: &[u128]) -> u64 {
    let total: u128 = weight.iter().sum();
    if weight.len() <= OFFERS {
        return 64 << FRACTION;
    }
    // The chance that a cost is below c · w is 1 - 2^(-c · w), about ln 2 · c · w where that is small.
    let bound = ((OFFERS as u128 * UNIT) << FRACTION) * 1_000 / (693 * total);
    u64::try_from(bound).unwrap_or(u64::MAX).clamp(1, 64 << FRACTION)
}

/// A hash below which costs are surely above the bound.
fn least_hash(bound: u64, weight: u128) -> u64 {
    let cost = (u128::from(bound) * weight / UNIT) >> FRACTION;
    // Costs of up to `cost` and a part belong to hashes from 2^(64 - cost - 1) on.
    let zeros = cost + 1;
    if zeros >= 64 { 0 } else { u64::MAX >> zeros }
}

/// How many slots each server gets: its fair share rounded down, and one more for the largest remainders.
pub fn quotas(weights: &Weights<'_>) -> Vec<usize> {
    let total: u128 = weights.values().map(|weight| u128::from(weight.0)).sum();
    if total == 0 {
        return vec![0; weights.len()];
    }
    let shares: Vec<(u128, u128)> = weights
        .values()
        .map(|weight| u128::from(weight.0) * SLOTS as u128)
        .map(|share| (share / total, share % total))
        .collect();
    let mut quotas: Vec<usize> = shares.iter().map(|(whole, _)| *whole as usize).collect();
    let left = SLOTS - quotas.iter().sum::<usize>();
    let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
    by_remainder.sort_by_key(|&index| (std::cmp::Reverse(shares[index].1), index));
    for &index in by_remainder.iter().take(left) {
        quotas[index] += 1;
    }
    quotas
}

/// What a server's cost for a slot is drawn from.
fn hash(name: &str, slot: usize) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), slot as u64) | 1
}

/// `-log2(u)` with [`FRACTION`] bits after the point, for `u` a hash over 2^64.
fn cost(hash: u64) -> u64 {
    (64 << FRACTION) - log2(hash)
}

/// The binary logarithm of a number above 0, with [`FRACTION`] bits after the point, by repeated squaring.
fn log2(number: u64) -> u64 {
    let whole = u64::from(number.ilog2());
    // The mantissa in [1, 2) with 63 bits after the point.
    let mut mantissa = u128::from(number) << (63 - whole);
    let mut result = whole;
    for _ in 0..FRACTION {
        mantissa = (mantissa * mantissa) >> 63;
        result <<= 1;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            result |= 1;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(of: &[(&'static str, u64)]) -> Weights<'static> {
        of.iter().map(|(name, weight)| (*name, Weight(weight * 1_000_000))).collect()
    }

    /// How many slots are with another server, and the least that the quotas allow.
    fn moved(before: &Weights<'_>, after: &Weights<'_>) -> (usize, usize) {
        let names = |weights: &Weights<'_>| -> Vec<String> {
            let names: Vec<_> = weights.keys().map(|name| (*name).to_owned()).collect();
            table(weights).into_iter().map(|owner| names[owner].clone()).collect()
        };
        let moved = names(before).iter().zip(names(after)).filter(|(before, after)| *before != after).count();
        let quota = |weights: &Weights<'_>| -> BTreeMap<String, usize> {
            weights.keys().map(|name| (*name).to_owned()).zip(quotas(weights)).collect()
        };
        let (old, new) = (quota(before), quota(after));
        let gained = new.iter().map(|(name, count)| count.saturating_sub(old.get(name).copied().unwrap_or(0)));
        (moved, gained.sum())
    }

    #[test]
    fn logarithms_are_exact_at_powers_of_two_and_grow_between() {
        for power in 0..64 {
            assert_eq!(log2(1 << power), power << FRACTION);
        }
        assert_eq!(log2(3) >> (FRACTION - 8), (1.584_962_5_f64 * 256.0) as u64);
        assert!(log2(u64::MAX) < 64 << FRACTION && log2(u64::MAX - (1 << 40)) < log2(u64::MAX));
    }

    #[test]
    fn looking_at_the_cheapest_pairs_first_changes_nothing() {
        let names: Vec<String> = (0..60).map(|number| format!("s{number}")).collect();
        for number in 0..3_u64 {
            let weight = |place: usize| Weight(1 + (place as u64 * 7_919 + number * 104_729) % 3_000_000);
            let weights: Weights<'_> =
                names.iter().enumerate().map(|(place, name)| (name.as_str(), weight(place))).collect();
            let all = weights.keys().enumerate().flat_map(|(owner, name)| {
                (0..SLOTS).map(move |slot| (u128::from(cost(hash(name, slot))), owner, slot))
            });
            let mut expected = vec![FREE; SLOTS];
            let of: Vec<u128> = weights.values().map(|weight| u128::from(weight.0)).collect();
            give_away(all.collect(), &of, &mut expected, &mut quotas(&weights));
            assert_eq!(table(&weights), expected);
        }
    }

    #[test]
    fn tables_stay_the_same_from_version_to_version() {
        let bytes: Vec<u8> =
            table(&weights(&[("s1", 1), ("s2", 2), ("s3", 3)])).iter().map(|&owner| owner as u8).collect();
        assert_eq!(&bytes[..16], [1, 2, 1, 2, 0, 2, 2, 1, 1, 2, 1, 2, 2, 2, 1, 1], "first slots");
        assert_eq!(xxhash_rust::xxh3::xxh3_64(&bytes), 14_325_681_127_648_184_045, "all slots");
    }

    #[test]
    fn one_more_server_takes_its_share_and_little_else_moves() {
        let few = weights(&[("s1", 1), ("s2", 1), ("s3", 1)]);
        let more = weights(&[("s1", 1), ("s2", 1), ("s3", 1), ("s4", 1)]);
        for (before, after) in [(&few, &more), (&more, &few)] {
            let (moved, least) = moved(before, after);
            assert_eq!(least, 1024);
            assert!(moved <= least + SLOTS / 20, "{moved} moved, least {least}");
        }
    }

    fn cluster() -> impl Strategy<Value = BTreeMap<String, u64>> {
        proptest::collection::btree_map("[a-z][a-z0-9]{0,4}", 1_u64..5_000_000, 1..12)
    }

    fn borrowed(cluster: &BTreeMap<String, u64>) -> Weights<'_> {
        cluster.iter().map(|(name, weight)| (name.as_str(), Weight(*weight))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn no_server_is_off_its_fair_share_by_more_than_a_slot(cluster in cluster()) {
            let weights = borrowed(&cluster);
            let table = table(&weights);
            let total: u64 = cluster.values().sum();
            for (index, weight) in cluster.values().enumerate() {
                let owned = table.iter().filter(|&&owner| owner == index).count() as f64;
                let fair = *weight as f64 * SLOTS as f64 / total as f64;
                prop_assert!((owned - fair).abs() <= 1.0, "{owned} of {fair}");
            }
        }

        #[test]
        fn only_proportions_of_weights_matter(cluster in cluster(), factor in 2_u64..50) {
            let scaled: BTreeMap<_, _> = cluster.iter().map(|(name, weight)| (name.clone(), weight * factor)).collect();
            prop_assert_eq!(table(&borrowed(&cluster)), table(&borrowed(&scaled)));
        }

        #[test]
        fn a_change_moves_close_to_the_least_possible(cluster in cluster(), name in "[a-z][a-z0-9]{0,4}", weight in 1_u64..5_000_000) {
            let mut changed = cluster.clone();
            changed.insert(name, weight);
            let (moved, least) = moved(&borrowed(&cluster), &borrowed(&changed));
            prop_assert!(moved >= least);
            prop_assert!(moved <= least + SLOTS * 6 / 100, "{} moved, least {}", moved, least);
        }
    }
}
