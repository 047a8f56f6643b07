//! What it costs to give a slot to a server: drawn from the server's name and the slot, lower for a greater weight.
//!
//! Weighted rendezvous hashing gives a slot to the server with the least `E / weight`, where `E` is drawn from an exponential
//! distribution for each pair of name and slot; a server wins in proportion to its weight. A cost here is the logarithm of
//! that, `log2(E) - log2(weight)`: the order is the same, and a price added to a server's costs acts like another weight.
//!
//! Integers only, so costs are the same on every machine.

use waldo_sdk::guide::SLOTS;
use xxhash_rust::xxh3::xxh3_64;

use super::slots::Weights;

/// Bits after the point in a cost.
const FRACTION: u32 = 32;
/// Bits of a number's mantissa, after its leading one, by which the table of logarithms is looked up.
const LOOKED_UP: u32 = 11;

/// What a server would take a slot for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// Lower is better.
    pub cost: i64,
    /// The server's place in the weights.
    pub server: u32,
}

/// The offers for every slot, the best first.
#[derive(Debug)]
pub struct Offers {
    each: usize,
    offers: Vec<Offer>,
}

impl Offers {
    /// The best `each` offers for every slot, or all if there are fewer servers.
    pub fn best(weights: &Weights<'_>, each: usize) -> Self {
        let each = each.min(weights.len());
        let logarithms = Logarithms::new();
        let divisor = weights.values().fold(0, |divisor, weight| greatest_common_divisor(divisor, weight.0)).max(1);
        // Only proportions of weights count.
        let servers: Vec<(u64, i64)> = weights
            .iter()
            .map(|(name, weight)| (xxh3_64(name.as_bytes()), logarithms.of((weight.0 / divisor).max(1)) as i64))
            .collect();
        let mut offers = Vec::with_capacity(SLOTS * each);
        let mut best: Vec<Offer> = Vec::with_capacity(each + 1);
        for slot in 0..SLOTS {
            best.clear();
            for (server, &(seed, weight)) in servers.iter().enumerate() {
                let drawn = mixed(seed, slot);
                let full = best.len() == each;
                if full && best.last().is_some_and(|worst| least_cost(drawn) - weight > worst.cost) {
                    continue;
                }
                let offer = Offer { cost: logarithms.cost(drawn) - weight, server: server as u32 };
                let place = best.partition_point(|other| *other < offer);
                if place < each {
                    best.truncate(each - 1);
                    best.insert(place.min(best.len()), offer);
                }
            }
            offers.extend_from_slice(&best);
        }
        Self { each, offers }
    }

    /// How many there are for each slot.
    pub fn each(&self) -> usize {
        self.each
    }

    /// Those for one slot.
    #[inline]
    pub fn of(&self, slot: usize) -> &[Offer] {
        &self.offers[slot * self.each..][..self.each]
    }
}

/// 64 evenly spread bits for a server and a slot: the output of `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom
/// number generators, OOPSLA 2014), with the hash of the server's name as its seed.
#[inline]
fn mixed(seed: u64, slot: usize) -> u64 {
    let mut bits = seed.wrapping_add((slot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A quick lower bound of [`Logarithms::cost`]: the exponential variable is at least `drawn / 2^64`.
#[inline]
fn least_cost(drawn: u64) -> i64 {
    (i64::from(FRACTION) - 1 - i64::from(drawn.leading_zeros())) << FRACTION
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Binary logarithms with [`FRACTION`] bits after the point: looked up, and interpolated between.
struct Logarithms {
    of_mantissa: Vec<u64>,
}

impl Logarithms {
    fn new() -> Self {
        let entries = 1_u64 << LOOKED_UP;
        let one = 1_u64 << FRACTION;
        Self { of_mantissa: (0..entries).map(|entry| exact(entries + entry)).chain([one]).collect() }
    }

    /// Of a number above 0.
    #[inline]
    fn of(&self, number: u64) -> u64 {
        let zeros = number.leading_zeros();
        let mantissa = number << zeros << 1;
        let entry = (mantissa >> (64 - LOOKED_UP)) as usize;
        let within = (mantissa << LOOKED_UP) >> (64 - FRACTION);
        let (below, above) = (self.of_mantissa[entry], self.of_mantissa[entry + 1]);
        (u64::from(63 - zeros) << FRACTION) + below + (((above - below) * within) >> FRACTION)
    }

    /// `log2(E)`, with `E` the exponential variable that these bits stand for: `-log2(1 - drawn / 2^64)`, in units of
    /// 2^-FRACTION so that the logarithm isn't below 0.
    #[inline]
    fn cost(&self, drawn: u64) -> i64 {
        let exponential = (64 << FRACTION) - self.of((!drawn).max(1));
        self.of(exponential.max(1)) as i64
    }
}

/// The logarithm of a number's mantissa (the number over the greatest power of two in it), by repeated squaring.
fn exact(number: u64) -> u64 {
    // In [1, 2), with 63 bits after the point.
    let mut mantissa = u128::from(number) << (63 - number.ilog2());
    let mut result = 0;
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
    use super::*;
    use crate::topology::literal::Weight;

    #[test]
    fn logarithms_are_exact_at_powers_of_two_and_near_between() {
        let logarithms = Logarithms::new();
        for power in 0..64 {
            assert_eq!(logarithms.of(1 << power), power << FRACTION);
        }
        for number in [3_u64, 10, 4_095, 1_000_003, u64::MAX / 3, u64::MAX] {
            let expected = (number as f64).log2() * (1_u64 << FRACTION) as f64;
            assert!((logarithms.of(number) as f64 - expected).abs() < 400.0, "{number}");
        }
    }

    #[test]
    fn a_cost_grows_with_what_is_drawn_and_is_never_below_its_bound() {
        let logarithms = Logarithms::new();
        let mut before = 0;
        for power in 0..64 {
            for drawn in [1_u64 << power, (1 << power) | (1 << power >> 1)] {
                let cost = logarithms.cost(drawn);
                assert!(cost >= before && cost >= least_cost(drawn), "{drawn}");
                before = cost;
            }
        }
    }

    #[test]
    fn the_best_offers_are_the_best_of_all() {
        let names: Vec<String> = (0..40).map(|number| format!("s{number}")).collect();
        let weights: Weights<'_> =
            names.iter().zip(1..).map(|(name, weight)| (name.as_str(), Weight(weight * 250_000))).collect();
        let (few, all) = (Offers::best(&weights, 5), Offers::best(&weights, 40));
        for slot in 0..SLOTS {
            assert_eq!(few.of(slot), &all.of(slot)[..5]);
            assert!(all.of(slot).is_sorted());
        }
    }
}
