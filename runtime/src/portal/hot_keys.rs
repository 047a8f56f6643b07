//! The keys of a flow that come most often, found with a bounded number of counters: Space-Saving (Metwally, Agrawal, El Abbadi:
//! Efficient computation of frequent and top-k elements in data streams, ICDT 2005). A key without a counter takes over the
//! lowest one with its count, so every key that makes up more than one in [`COUNTERS`] of the records has a counter, and what a
//! count has from others is known.

use std::array::from_fn;

use crate::rates::HotKey;

/// How many keys are counted.
const COUNTERS: usize = 64;
/// How many are told.
const TOLD: usize = 16;
/// How much of a key is kept. Bytes.
const KEPT: usize = 64;

/// The counters. Each place of the three arrays is one counter; hashes stand together, as every record is looked up among them.
pub struct HotKeys {
    hashes: [u64; COUNTERS],
    counts: [f64; COUNTERS],
    /// How much of its count each may have from other keys.
    inherited: [f64; COUNTERS],
    keys: Vec<HotKey>,
}

impl HotKeys {
    /// None yet.
    pub fn new() -> Self {
        let keys = vec![HotKey::default(); COUNTERS];
        Self { hashes: from_fn(|_| 0), counts: [0.0; COUNTERS], inherited: [0.0; COUNTERS], keys }
    }

    /// Counts records of a key. `hash` is `xxh3_64` of it.
    pub fn count(&mut self, hash: u64, key: &[u8], records: f64) {
        let known = self.hashes.iter().zip(&self.counts).position(|(&known, &count)| known == hash && count > 0.0);
        if let Some(known) = known {
            self.counts[known] += records;
            return;
        }
        let (lowest, least) =
            self.counts.iter().enumerate().fold((0, f64::INFINITY), |(at, least), (other, &count)| {
                if count < least { (other, count) } else { (at, least) }
            });
        self.hashes[lowest] = hash;
        self.inherited[lowest] = least;
        self.counts[lowest] = least + records;
        let kept = &mut self.keys[lowest];
        kept.key.clear();
        kept.key.extend_from_slice(&key[..key.len().min(KEPT)]);
        kept.length = key.len();
    }

    /// Lets all counts decay.
    pub fn decay(&mut self, by: f64) {
        for count in self.counts.iter_mut().chain(&mut self.inherited) {
            *count *= by;
            // Below this it would only cost time: numbers that small are slow.
            if *count < 1e-9 {
                *count = 0.0;
            }
        }
    }

    /// The most frequent ones, with what they have been counted for certain.
    pub fn told(&self) -> Vec<HotKey> {
        let certain = |at: usize| self.counts[at] - self.inherited[at];
        let mut told: Vec<HotKey> = (0..COUNTERS)
            .filter(|&at| certain(at) > 0.0)
            .map(|at| HotKey { records: certain(at), ..self.keys[at].clone() })
            .collect();
        told.sort_by(|one, other| other.records.total_cmp(&one.records));
        told.truncate(TOLD);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: &str) -> u64 {
        xxhash_rust::xxh3::xxh3_64(key.as_bytes())
    }

    #[test]
    fn a_key_that_comes_often_is_found_among_thousands_and_counted_closely() {
        let mut hot = HotKeys::new();
        let mut random = fastrand::Rng::with_seed(7);
        let mut often = 0.0;
        for _ in 0..100_000 {
            let key = if random.u32(..10) == 0 { "often".to_owned() } else { format!("key{}", random.u32(..5_000)) };
            often += f64::from(u32::from(key == "often"));
            hot.count(hash(&key), key.as_bytes(), 1.0);
        }
        let told = hot.told();
        assert_eq!(told[0].key, b"often");
        assert!((often * 0.8..=often).contains(&told[0].records), "{} of {often}", told[0].records);
        assert!(told[1].records < often / 10.0, "nobody else comes often: {:?}", told[1]);
    }

    #[test]
    fn what_came_long_ago_is_forgotten() {
        let mut hot = HotKeys::new();
        hot.count(hash("then"), b"then", 1_000.0);
        (0..60).for_each(|_| hot.decay(0.5));
        hot.count(hash("now"), b"now", 1.0);
        let told = hot.told();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].key, b"now");
    }

    #[test]
    fn of_a_long_key_the_beginning_is_kept() {
        let mut hot = HotKeys::new();
        hot.count(1, &[b'x'; 1_000], 1.0);
        assert_eq!((hot.told()[0].key.len(), hot.told()[0].length), (KEPT, 1_000));
    }
}
