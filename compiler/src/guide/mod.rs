//! Makes the guide: for every keyed flow the map from key to server, and where each portal is reached.

pub mod band;
pub mod cost;
pub mod movement;
pub mod owners;
pub mod rebalance;
pub mod slots;
pub mod transport;
pub mod weights;

use std::collections::{BTreeMap, HashMap};

use waldo_sdk::guide::{FORMAT, FlowGuide, Guide, Map, Otherwise, ServerIndex};

use crate::{
    check::Whole,
    topology::{self, TableDefault},
    wiring,
};

/// The generation in which the flows' guides of a first plan last changed.
pub(crate) const FIRST: u64 = 1;

/// The guide of a topology that keeps all rules.
pub fn build(whole: &Whole<'_>) -> Guide {
    let topology = whole.topology;
    let servers: Vec<String> = topology.servers.keys().cloned().collect();
    let places: HashMap<&str, ServerIndex> =
        servers.iter().enumerate().map(|(place, server)| (server.as_str(), place as ServerIndex)).collect();
    let index = |name: &str| places.get(name).copied().unwrap_or_default();
    let mut tables = Tables::default();
    let mut flows = BTreeMap::new();
    for (name, flow) in &topology.flows {
        let (Some(guide), Some(portal)) = (&flow.guide, whole.carriers.carrier_of(name)) else { continue };
        let mut hashed = || {
            let able = owners::able(topology, &whole.placement, name);
            let weights = able.iter().map(|server| (server.as_str(), topology.servers[*server].weight)).collect();
            tables.index_of(weights, index)
        };
        let map = match &guide.value {
            topology::Guide::Hash => Map::Hash(hashed()),
            topology::Guide::Ranges(ranges) => {
                let mut ranges: Vec<_> =
                    ranges.iter().map(|(start, server)| (start.value.clone(), index(&server.value))).collect();
                ranges.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
                Map::Ranges(ranges)
            }
            topology::Guide::Table { keys, default } => Map::Table {
                keys: keys.iter().map(|(key, server)| (key.value.clone(), index(&server.value))).collect(),
                default: match default.as_ref().map(|default| &default.value) {
                    Some(TableDefault::Server(server)) => Otherwise::Server(index(server)),
                    Some(TableDefault::Hash) | None => Otherwise::Hash(hashed()),
                },
            },
        };
        flows.insert(name.clone(), FlowGuide { version: FIRST, portal: portal.to_owned(), map });
    }
    Guide { format: FORMAT, servers: servers.clone(), tables: tables.tables, flows, portals: wiring::endpoints(whole) }
}

/// Slot tables, one for each set of servers and weights.
#[derive(Default)]
struct Tables<'t> {
    known: Vec<slots::Weights<'t>>,
    tables: Vec<Vec<ServerIndex>>,
}

impl<'t> Tables<'t> {
    fn index_of(&mut self, weights: slots::Weights<'t>, index: impl Fn(&str) -> ServerIndex) -> usize {
        if let Some(known) = self.known.iter().position(|known| *known == weights) {
            return known;
        }
        let owners: Vec<ServerIndex> = weights.keys().map(|server| index(server)).collect();
        let table = slots::table(&weights).into_iter().map(|owner| owners[owner]).collect();
        self.known.push(weights);
        self.tables.push(table);
        self.tables.len() - 1
    }
}
