//! Which portal carries which flow: as stated, else `intake` for flows from clients and `relay` for the others.

use std::collections::BTreeMap;

use waldo_sdk::wiring::SpoolLimits;

use crate::{
    source::{Located, Place},
    topology::Topology,
};

/// What a spool may keep in memory where the topology doesn't say. Bytes.
pub const SPOOL_MEMORY: u64 = 64 << 20;
/// What a spool may keep on disk where the topology doesn't say. Bytes.
pub const SPOOL_DISK: u64 = 10 << 30;

/// A portal that some flow needs or that the topology states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// The flows that it carries, by name.
    pub flows: Vec<String>,
    /// Whether clients send any of them.
    pub takes_clients: bool,
    /// Its written port: for clients if it takes any, else for links.
    pub port: Option<Located<u16>>,
    /// Its written port for links if it takes clients.
    pub link: Option<Located<u16>>,
    /// How much it may keep.
    pub spool: SpoolLimits,
    /// Where it is stated; for a default portal, where its first flow is.
    pub place: Place,
}

/// All portals by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carriers(pub BTreeMap<String, Carrier>);

/// The portal that carries a flow which no portal names.
pub fn default_portal(from_clients: bool) -> &'static str {
    if from_clients { "intake" } else { "relay" }
}

impl Carriers {
    /// The portals of a topology. A flow that several portals name is with the first.
    pub fn of(topology: &Topology) -> Self {
        let mut carriers = BTreeMap::new();
        let mut stated = BTreeMap::new();
        for (name, portal) in &topology.portals {
            for flow in portal.flows.iter().flatten() {
                stated.entry(flow.value.as_str()).or_insert(name.as_str());
            }
            let room = |size: &Option<Located<u64>>, default| size.as_ref().map_or(default, |size| size.value);
            let spool = SpoolLimits {
                memory: room(&portal.spool.memory, SPOOL_MEMORY),
                disk: room(&portal.spool.disk, SPOOL_DISK),
            };
            let carrier = Carrier {
                flows: Vec::new(),
                takes_clients: false,
                port: portal.port.clone(),
                link: portal.link.clone(),
                spool,
                place: portal.place,
            };
            carriers.insert(name.clone(), carrier);
        }
        for (name, flow) in topology.flows.iter().filter(|(_, flow)| flow.is_keyed()) {
            let from_clients = flow.from_clients.is_some();
            let portal = stated.get(name.as_str()).copied().unwrap_or(default_portal(from_clients));
            let carrier = carriers.entry(portal.to_owned()).or_insert_with(|| Carrier {
                flows: Vec::new(),
                takes_clients: false,
                port: None,
                link: None,
                spool: SpoolLimits { memory: SPOOL_MEMORY, disk: SPOOL_DISK },
                place: flow.place,
            });
            carrier.flows.push(name.clone());
            carrier.takes_clients |= from_clients;
        }
        Self(carriers)
    }

    /// The portal that carries a flow.
    pub fn carrier_of(&self, flow: &str) -> Option<&str> {
        self.iter().find(|(_, carrier)| carrier.flows.iter().any(|carried| carried == flow)).map(|(name, _)| name)
    }

    /// The portals that carry anything, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Carrier)> {
        self.0.iter().filter(|(_, carrier)| !carrier.flows.is_empty()).map(|(name, carrier)| (name.as_str(), carrier))
    }
}
