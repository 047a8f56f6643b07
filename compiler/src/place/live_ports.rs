//! The ports that portals have in the plan that is live: a change leaves them where they are.

use std::collections::BTreeMap;

use waldo_sdk::guide::Endpoints;

use crate::plan::Plan;

/// One door of a portal on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LiveDoor<'p> {
    pub server: &'p str,
    pub portal: &'p str,
    /// Whether clients come by it; else links do.
    pub is_for_clients: bool,
}

/// Which doors have which ports. Without a live plan nobody has any.
#[derive(Debug, Default)]
pub(super) struct LivePorts<'p> {
    ports: BTreeMap<LiveDoor<'p>, u16>,
    /// Address → port → whose it is.
    holders: BTreeMap<&'p str, BTreeMap<u32, LiveDoor<'p>>>,
}

impl<'p> LivePorts<'p> {
    pub(super) fn of(plan: Option<&'p Plan>) -> Self {
        let mut live = Self::default();
        for (server, portals) in plan.into_iter().flat_map(|plan| &plan.guide.portals) {
            let address = plan.and_then(|plan| plan.servers.get(server)).map(|server| server.address.as_str());
            let Some(address) = address else { continue };
            for (portal, Endpoints { links, clients }) in portals {
                for (endpoint, is_for_clients) in [(Some(links), false), (clients.as_ref(), true)] {
                    let Some(port) = endpoint.and_then(|endpoint| port_of(endpoint)) else { continue };
                    let door = LiveDoor { server, portal, is_for_clients };
                    live.ports.insert(door, port);
                    live.holders.entry(address).or_default().insert(u32::from(port), door);
                }
            }
        }
        live
    }

    /// The port that a door has.
    pub(super) fn port(&self, door: LiveDoor<'_>) -> Option<u32> {
        self.ports.get(&door).map(|port| u32::from(*port))
    }

    /// Who has this port on this address: it is bound until a rollout is over.
    pub(super) fn holder(&self, address: &str, port: u32) -> Option<LiveDoor<'p>> {
        self.holders.get(address)?.get(&port).copied()
    }
}

fn port_of(endpoint: &str) -> Option<u16> {
    endpoint.rsplit_once(':')?.1.parse().ok()
}
