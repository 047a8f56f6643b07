//! The ports of portals. What the topology doesn't write is taken in order from the namespace's base: first the `port`s,
//! then the `link`s, by portal, then by server on the same address, passing over written ones.

use std::collections::{BTreeMap, BTreeSet};

use super::{Placement, portals::Carriers};
use crate::{source::Place, topology::Topology};

/// The first port of a namespace that doesn't say.
pub const BASE: u16 = 7000;
/// Where every server of a local namespace is.
pub const LOOPBACK: &str = "127.0.0.1";

/// One of a portal's two doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// The portal's `port`: for clients if it takes any, else for links.
    Port,
    /// Its `link`, if it takes clients.
    Link,
}

/// A port that a portal binds on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The portal.
    pub portal: String,
    /// The server.
    pub server: String,
    /// Where others reach the server.
    pub address: String,
    /// Which of the portal's doors.
    pub door: Door,
    /// The number. Above `u16::MAX` if the base leaves too few.
    pub port: u32,
    /// Where it is written; `None` if it was taken from the base.
    pub written: Option<Place>,
}

/// Where others reach a server.
pub fn address<'t>(topology: &'t Topology, server: &str) -> &'t str {
    let address = topology.servers.get(server).and_then(|server| server.address.as_ref());
    match address {
        Some(address) if !topology.namespace.local => &address.value,
        _ => LOOPBACK,
    }
}

/// The ports of all portals on all servers that run anything. With `base`, as if the namespace said `ports: base`.
pub fn assign(topology: &Topology, placement: &Placement, carriers: &Carriers, base: Option<u16>) -> Vec<Binding> {
    let stated_base = base.or(topology.namespace.ports.as_ref().map(|ports| ports.value));
    let keep_written = stated_base.is_none();
    let mut wanted = Vec::new();
    for door in [Door::Port, Door::Link] {
        for (portal, carrier) in carriers.iter().filter(|(_, carrier)| door == Door::Port || carrier.takes_clients) {
            let written = if door == Door::Port { &carrier.port } else { &carrier.link };
            for server in placement.used_servers() {
                wanted.push((door, portal, server, written.as_ref().filter(|_| keep_written)));
            }
        }
    }
    // On this machine, several servers that want one written port can't all have it: the first does. Elsewhere that is
    // for the topology's author to see.
    let mut taken: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    let mut ports = vec![None; wanted.len()];
    for (index, (_, _, server, written)) in wanted.iter().enumerate() {
        if let Some(written) = written {
            let is_new = taken.entry(address(topology, server)).or_default().insert(u32::from(written.value));
            if is_new || !topology.namespace.local {
                ports[index] = Some(u32::from(written.value));
            }
        }
    }
    let first = u32::from(stated_base.unwrap_or(BASE));
    let mut next: BTreeMap<&str, u32> = BTreeMap::new();
    let mut bindings = Vec::with_capacity(wanted.len());
    for ((door, portal, server, written), fixed) in wanted.into_iter().zip(ports) {
        let address = address(topology, server);
        let port = fixed.unwrap_or_else(|| {
            let taken = taken.entry(address).or_default();
            let candidate = next.entry(address).or_insert(first);
            while taken.contains(candidate) {
                *candidate += 1;
            }
            taken.insert(*candidate);
            *candidate
        });
        bindings.push(Binding {
            portal: portal.to_owned(),
            server: server.clone(),
            address: address.to_owned(),
            door,
            port,
            written: fixed.and(written.map(|written| written.place)),
        });
    }
    bindings
}
