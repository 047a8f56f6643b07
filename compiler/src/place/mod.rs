//! Which stage runs on which server, which portal carries which flow, and on which ports.

mod live_ports;
pub mod portals;
pub mod ports;

use std::collections::{BTreeMap, BTreeSet};

use crate::topology::Topology;

/// Which stages run where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    stages: BTreeMap<String, BTreeSet<String>>,
    servers: BTreeMap<String, BTreeSet<String>>,
}

impl Placement {
    /// Places every stage on the active servers that its `on` names, or on all of them.
    pub fn of(topology: &Topology) -> Self {
        let mut placement = Self::default();
        for server in topology.servers.keys() {
            placement.servers.insert(server.clone(), BTreeSet::new());
        }
        for (name, stage) in &topology.stages {
            let servers: BTreeSet<String> = match &stage.on {
                None => topology.servers.keys().cloned().collect(),
                Some(on) => on.value.iter().flat_map(|name| topology.servers_named(&name.value)).cloned().collect(),
            };
            let active: BTreeSet<_> = servers.into_iter().filter(|server| topology.is_active(server)).collect();
            for server in &active {
                placement.servers.entry(server.clone()).or_default().insert(name.clone());
            }
            placement.stages.insert(name.clone(), active);
        }
        placement
    }

    /// The servers that a stage runs on, by name.
    pub fn servers_of(&self, stage: &str) -> impl Iterator<Item = &String> {
        self.stages.get(stage).into_iter().flatten()
    }

    /// The stages that run on a server, by name.
    pub fn stages_on(&self, server: &str) -> impl Iterator<Item = &String> {
        self.servers.get(server).into_iter().flatten()
    }

    /// Whether a stage runs on a server.
    pub fn runs(&self, stage: &str, server: &str) -> bool {
        self.stages.get(stage).is_some_and(|servers| servers.contains(server))
    }

    /// Whether anything runs on a server: portals run where stages do.
    pub fn is_used(&self, server: &str) -> bool {
        self.stages_on(server).next().is_some()
    }

    /// The servers on which anything runs.
    pub fn used_servers(&self) -> impl Iterator<Item = &String> {
        self.servers.iter().filter(|(_, stages)| !stages.is_empty()).map(|(server, _)| server)
    }
}
