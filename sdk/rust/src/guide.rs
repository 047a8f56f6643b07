//! The guide: which server a key of a flow lives on.
//!
//! `slot = xxh3_64(key) mod 4096` with seed 0; a hash guide maps each slot to a server. Test vectors stand in
//! `docs/protocol.md` and in this file's tests. The tables themselves are made by the compiler.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// How many slots a hash guide has.
pub const SLOTS: usize = 4096;

/// The version of `guide.json` that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The slot of a key.
#[inline]
pub fn slot(key: &[u8]) -> usize {
    (xxh3_64(key) % SLOTS as u64) as usize
}

/// A server, as an index into [`Guide::servers`].
pub type ServerIndex = u16;

/// The whole guide of a plan: `guide.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guide {
    /// [`FORMAT`].
    pub format: u32,
    /// The servers that the rest names by index.
    pub servers: Vec<String>,
    /// Slot tables, each [`SLOTS`] long; flows with the same servers and weights share one.
    pub tables: Vec<Vec<ServerIndex>>,
    /// What is known of each keyed flow.
    pub flows: BTreeMap<String, FlowGuide>,
    /// Server → portal → where it is reached.
    pub portals: BTreeMap<String, BTreeMap<String, Endpoints>>,
}

/// Which server each key of one flow lives on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowGuide {
    /// The generation in which this flow's guide last changed.
    pub version: u64,
    /// The portal that carries the flow, on every server.
    pub portal: String,
    /// Key → server.
    pub map: Map,
}

/// Key → server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Map {
    /// By slot, through the table of this index in [`Guide::tables`].
    Hash(usize),
    /// By the greatest start that isn't above the key, in order of bytes; the first start is empty.
    Ranges(Vec<(String, ServerIndex)>),
    /// Named keys, and where all others go.
    Table {
        /// Key → server.
        keys: BTreeMap<String, ServerIndex>,
        /// The rest.
        default: Otherwise,
    },
}

/// Where keys go that a table doesn't name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// By slot, through the table of this index.
    Hash(usize),
    /// To this server.
    Server(ServerIndex),
}

/// Where one portal is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// For links: `tcp://address:port`.
    pub links: String,
    /// For clients, where it takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<String>,
}

impl Guide {
    /// The server on which a key of this flow lives.
    ///
    /// # Panics
    /// Never for a guide that [`Guide::check`] has passed.
    #[inline]
    pub fn owner(&self, flow: &FlowGuide, key: &[u8]) -> ServerIndex {
        match &flow.map {
            Map::Hash(table) => self.tables[*table][slot(key)],
            Map::Ranges(ranges) => {
                let after = ranges.partition_point(|(start, _)| start.as_bytes() <= key);
                ranges[after - 1].1
            }
            Map::Table { keys, default } => {
                let named = std::str::from_utf8(key).ok().and_then(|key| keys.get(key));
                match (named, default) {
                    (Some(server), _) | (None, Otherwise::Server(server)) => *server,
                    (None, Otherwise::Hash(table)) => self.tables[*table][slot(key)],
                }
            }
        }
    }

    /// Checks what [`Guide::owner`] relies on: every index is within bounds, every table whole, ranges sorted from "".
    pub fn check(&self) -> Result<(), String> {
        let servers = self.servers.len();
        let server = |index: ServerIndex| {
            if usize::from(index) < servers { Ok(()) } else { Err(format!("server index {index} of {servers}")) }
        };
        let table = |index: usize| {
            if index < self.tables.len() { Ok(()) } else { Err(format!("table {index} of {}", self.tables.len())) }
        };
        if self.format != FORMAT {
            return Err(format!("guide format {}, this program reads {FORMAT}", self.format));
        }
        for slots in &self.tables {
            if slots.len() != SLOTS {
                return Err(format!("a table of {} slots, not {SLOTS}", slots.len()));
            }
            slots.iter().try_for_each(|&index| server(index))?;
        }
        for flow in self.flows.values() {
            match &flow.map {
                Map::Hash(index) => table(*index)?,
                Map::Ranges(ranges) => {
                    if ranges.first().is_none_or(|(start, _)| !start.is_empty()) {
                        return Err("ranges that don't begin with \"\"".to_owned());
                    }
                    if !ranges.is_sorted_by(|a, b| a.0.as_bytes() < b.0.as_bytes()) {
                        return Err("ranges out of order".to_owned());
                    }
                    ranges.iter().try_for_each(|&(_, index)| server(index))?;
                }
                Map::Table { keys, default } => {
                    keys.values().try_for_each(|&index| server(index))?;
                    match default {
                        Otherwise::Hash(index) => table(*index)?,
                        Otherwise::Server(index) => server(*index)?,
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_agree_with_the_published_vectors() {
        for (key, hash, expected) in [
            ("", 0x2d06_8005_38d3_94c2_u64, 1218),
            ("a", 0xe6c6_32b6_1e96_4e1f, 3615),
            ("abc", 0x78af_5f94_892f_3950, 2384),
        ] {
            assert_eq!(xxh3_64(key.as_bytes()), hash, "hash of {key:?}");
            assert_eq!(slot(key.as_bytes()), expected, "slot of {key:?}");
        }
    }

    #[test]
    fn a_range_owns_from_its_start_up_to_the_next() {
        let guide = Guide {
            format: FORMAT,
            servers: vec!["s1".into(), "s2".into()],
            tables: vec![],
            flows: BTreeMap::new(),
            portals: BTreeMap::new(),
        };
        let flow = FlowGuide {
            version: 1,
            portal: "relay".into(),
            map: Map::Ranges(vec![(String::new(), 0), ("5".into(), 1)]),
        };
        for (key, server) in [("", 0), ("4999", 0), ("5", 1), ("50", 1), ("z", 1)] {
            assert_eq!(guide.owner(&flow, key.as_bytes()), server, "{key}");
        }
    }
}
