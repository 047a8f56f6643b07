//! What portals measure: how much of each flow comes for which slot, how long its consumers take for it, and how much waits.
//!
//! Every number is a decaying sum: what is a [`HALF_LIFE`] old counts half. A sum divided by [`Summary::seconds`], which decays
//! likewise, is a rate, right from the start. Sums of two portals over the same time add up, also for a slot that has moved from
//! one to the other meanwhile.

pub mod page;
pub mod read;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// After how long what was measured counts half.
pub const HALF_LIFE: Duration = Duration::from_secs(30);

/// What a portal has measured of a flow, slots aside: of records that are for its own server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Over how long, decaying.
    pub seconds: f64,
    /// How many records came whose keys the guide's table names; slots have all others.
    pub named_records: f64,
    /// Their bytes, key and header included.
    pub named_bytes: f64,
    /// How many records are held now for the consumer that is furthest behind.
    pub held: u64,
    /// How many more they become in a second, averaged.
    pub growth: f64,
    /// The consumers on this server.
    pub stages: Vec<StageWork>,
    /// Keys that come most often, the most frequent first.
    pub keys: Vec<HotKey>,
}

/// How long a stage's instances on a server have worked on records of a flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageWork {
    /// The stage's name.
    pub stage: String,
    /// How long one instance has worked, on average over the instances. Decaying seconds.
    pub busy: f64,
    /// How many of the flow's records were worked on by any instance, or for `spread: all` by each. Decaying.
    pub worked: f64,
}

impl StageWork {
    /// For how long a record keeps the whole stage busy: with two instances half as long as it keeps one.
    pub fn seconds_per_record(&self) -> Option<f64> {
        (self.worked >= 1.0).then(|| self.busy / self.worked)
    }
}

/// A key that comes often.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HotKey {
    /// Its first bytes.
    pub key: Vec<u8>,
    /// How many bytes it has.
    pub length: usize,
    /// How many of its records came, at least. Decaying.
    pub records: f64,
}

/// What came for one slot. Decaying.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SlotSum {
    /// How many records.
    pub records: f32,
    /// Their bytes.
    pub bytes: f32,
}
