//! Slot → server: weighted rendezvous hashing whose counts are exact, a pure function of names and weights.
//!
//! Plain rendezvous hashing gives each slot to the server with the best offer for it, and shares come out fair only on
//! average. Here the whole table is the one of least total cost ([`transport`]) among those in which every server owns its
//! fair share, rounded down or up ([`band`](super::band)). Seen from a slot it is still rendezvous hashing: each server's
//! offers are raised or lowered by one price of its own, and the best offer gets the slot. A change of servers or weights
//! changes prices a little, so little more moves than must. `docs/guide.md` has the figures, and what was tried besides.

use std::collections::BTreeMap;

use super::{band, cost::Offers, transport};
use crate::topology::literal::Weight;

/// Servers that can own slots, and their weights, all above 0.
pub type Weights<'t> = BTreeMap<&'t str, Weight>;

/// How many offers are looked at for each slot, at first: more hardly ever change the table, and cost time.
const OFFERS: usize = 8;

/// For each slot the position in `weights` of the server that owns it. Empty if there is no weight.
pub fn table(weights: &Weights<'_>) -> Vec<usize> {
    let bands = band::bands(weights);
    let mut offers = OFFERS;
    loop {
        if bands.is_empty() {
            return Vec::new();
        }
        // With the offers of all servers there is always a table.
        let best = Offers::best(weights, offers);
        if let Some(table) = transport::cheapest(&best, &bands) {
            return table;
        }
        if best.each() == weights.len() {
            return Vec::new();
        }
        offers *= 4;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use waldo_sdk::guide::SLOTS;

    use super::*;

    fn weights(of: &[(&'static str, u64)]) -> Weights<'static> {
        of.iter().map(|(name, weight)| (*name, Weight(weight * 1_000_000))).collect()
    }

    fn counts(weights: &Weights<'_>, table: &[usize]) -> Vec<usize> {
        (0..weights.len()).map(|server| table.iter().filter(|&&owner| owner == server).count()).collect()
    }

    /// These stand in `docs/guide.md`.
    #[test]
    fn tables_stay_the_same_from_version_to_version() {
        let three = weights(&[("s1", 1), ("s2", 2), ("s3", 3)]);
        let table = table(&three);
        let bytes: Vec<u8> = table.iter().map(|&owner| owner as u8).collect();
        assert_eq!(bytes[..16], [2, 1, 1, 0, 2, 2, 1, 2, 2, 2, 2, 1, 2, 2, 2, 1], "first slots");
        assert_eq!(counts(&three, &table), [682, 1366, 2048]);
        assert_eq!(xxhash_rust::xxh3::xxh3_64(&bytes), 0xa4d8_138f_ba11_979d, "all slots");
    }

    #[test]
    fn a_few_offers_for_each_slot_are_enough_or_more_are_looked_at() {
        // Most have hardly any weight beside a few: shares from a fraction of a slot up, and few good offers.
        let names: Vec<String> = (0..300).map(|number| format!("s{number}")).collect();
        for heavy in [1, 10_000, 100_000_000] {
            let weights: Weights<'_> = names
                .iter()
                .enumerate()
                .map(|(place, name)| (name.as_str(), Weight(if place < 8 { heavy } else { 1 })))
                .collect();
            let table = table(&weights);
            assert_eq!(table.len(), SLOTS);
            assert_within(&weights, &table);
        }
    }

    #[test]
    fn without_weight_there_is_no_table() {
        assert!(table(&Weights::new()).is_empty());
        assert_eq!(table(&weights(&[("s1", 1)])), vec![0; SLOTS]);
    }

    fn assert_within(weights: &Weights<'_>, table: &[usize]) {
        let total: u128 = weights.values().map(|weight| u128::from(weight.0)).sum();
        for (owned, weight) in counts(weights, table).into_iter().zip(weights.values()) {
            let (owned, fair) = (owned as u128 * total, u128::from(weight.0) * SLOTS as u128);
            assert!(owned.abs_diff(fair) < total, "{owned} / {total} slots where {fair} / {total} are fair");
        }
    }

    fn cluster() -> impl Strategy<Value = BTreeMap<String, u64>> {
        proptest::collection::btree_map("[a-z][a-z0-9]{0,4}", 1_u64..5_000_000, 1..24)
    }

    fn borrowed(cluster: &BTreeMap<String, u64>) -> Weights<'_> {
        cluster.iter().map(|(name, weight)| (name.as_str(), Weight(*weight))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn no_server_is_off_its_fair_share_by_a_whole_slot(cluster in cluster()) {
            let weights = borrowed(&cluster);
            assert_within(&weights, &table(&weights));
        }

        #[test]
        fn only_proportions_of_weights_matter(cluster in cluster(), factor in 2_u64..50) {
            let scaled: BTreeMap<_, _> = cluster.iter().map(|(name, weight)| (name.clone(), weight * factor)).collect();
            prop_assert_eq!(table(&borrowed(&cluster)), table(&borrowed(&scaled)));
        }
    }
}
