//! The ports of portals. What the topology doesn't write is taken in order from the namespace's base: first the `port`s,
//! then the `link`s, by portal, then by server on the same address, passing over written ones.
//!
//! A change to a plan that is live moves no port that it needn't: a door whose port isn't written keeps the one that it has, as
//! long as the base stays; and nobody is given a port that is bound until the rollout is over.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Placement,
    live_ports::{LiveDoor, LivePorts},
    portals::Carriers,
};
use crate::{
    plan::Plan,
    source::{Located, Place},
    topology::{Egress, Topology},
};

/// The first port of a namespace that doesn't say.
pub const BASE: u16 = 7000;
/// Where every server of a local namespace is.
pub const LOOPBACK: &str = "127.0.0.1";

/// One of a portal's two doors, or another port that is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// The portal's `port`: for clients if it takes any, else for links.
    Port,
    /// Its `link`, if it takes clients.
    Link,
    /// Not a portal's: where a flow leaves.
    Egress,
}

/// A port that a portal binds on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The portal, or the stage by which a flow leaves.
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

/// What is said about ports beside the topology.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortChoice<'p> {
    /// The namespace's base, whatever the topology says of it.
    pub base: Option<u16>,
    /// The plan that is live in the namespace, which is to change.
    pub live: Option<&'p Plan>,
}

/// The base that is stated for all ports; written ones are replaced then.
pub fn stated_base(topology: &Topology, choice: PortChoice<'_>) -> Option<u16> {
    choice.base.or(topology.namespace.ports.as_ref().map(|ports| ports.value))
}

/// Where others reach a server.
pub fn address<'t>(topology: &'t Topology, server: &str) -> &'t str {
    let address = topology.servers.get(server).and_then(|server| server.address.as_ref());
    match address {
        Some(address) if !topology.namespace.local => &address.value,
        _ => LOOPBACK,
    }
}

/// The ports of all portals on all servers that run anything.
pub fn assign<'t>(
    topology: &'t Topology,
    placement: &'t Placement,
    carriers: &'t Carriers,
    choice: PortChoice<'t>,
) -> Vec<Binding> {
    let base = stated_base(topology, choice);
    let live = choice.live.filter(|live| live.local == topology.namespace.local);
    let mut ports = Assignment {
        is_local: topology.namespace.local,
        first: u32::from(base.unwrap_or(BASE)),
        live: LivePorts::of(live),
        // Another base is a wish for other ports.
        keeps: live.is_some_and(|live| live.port_base == base),
        taken: BTreeMap::new(),
    };
    let leaving = egress(topology, placement);
    for binding in &leaving {
        ports.taken.entry(address(topology, &binding.server)).or_default().insert(binding.port);
    }
    let mut doors = doors(topology, placement, carriers, base.is_none());
    ports.give_written(&mut doors);
    ports.keep(&mut doors);
    ports.give_free(&mut doors);
    doors.into_iter().map(Wanted::bound).chain(leaving).collect()
}

/// The ports that are bound where flows leave, as they are written.
fn egress(topology: &Topology, placement: &Placement) -> Vec<Binding> {
    let flows = topology.flows.iter().filter_map(|(flow, declared)| {
        let egress = declared.to.as_ref()?;
        Some((Egress::stage(flow), egress.endpoint.place, egress.port()?))
    });
    let on_servers = flows.flat_map(|(stage, place, port)| {
        let servers = placement.used_servers().filter(|server| placement.runs(&stage, server)).cloned();
        let binding = |server: String| Binding {
            portal: stage.clone(),
            address: address(topology, &server).to_owned(),
            server,
            door: Door::Egress,
            port,
            written: Some(place),
        };
        servers.map(binding).collect::<Vec<_>>()
    });
    on_servers.collect()
}

/// A door that wants a port.
struct Wanted<'t> {
    door: Door,
    portal: &'t str,
    server: &'t str,
    address: &'t str,
    is_for_clients: bool,
    written: Option<&'t Located<u16>>,
    port: Option<u32>,
    has_written: bool,
}

impl<'t> Wanted<'t> {
    fn as_live(&self) -> LiveDoor<'t> {
        LiveDoor { server: self.server, portal: self.portal, is_for_clients: self.is_for_clients }
    }

    fn bound(self) -> Binding {
        Binding {
            portal: self.portal.to_owned(),
            server: self.server.to_owned(),
            address: self.address.to_owned(),
            door: self.door,
            port: self.port.unwrap_or_default(),
            written: self.written.filter(|_| self.has_written).map(|written| written.place),
        }
    }
}

/// All doors, in the order in which they are given ports.
fn doors<'t>(
    topology: &'t Topology,
    placement: &'t Placement,
    carriers: &'t Carriers,
    keep_written: bool,
) -> Vec<Wanted<'t>> {
    let mut doors = Vec::new();
    for door in [Door::Port, Door::Link] {
        for (portal, carrier) in carriers.iter().filter(|(_, carrier)| door == Door::Port || carrier.takes_clients) {
            let written = if door == Door::Port { &carrier.port } else { &carrier.link };
            doors.extend(placement.used_servers().map(|server| Wanted {
                door,
                portal,
                server,
                address: address(topology, server),
                is_for_clients: door == Door::Port && carrier.takes_clients,
                written: written.as_ref().filter(|_| keep_written),
                port: None,
                has_written: false,
            }));
        }
    }
    doors
}

struct Assignment<'p> {
    is_local: bool,
    first: u32,
    live: LivePorts<'p>,
    keeps: bool,
    taken: BTreeMap<&'p str, BTreeSet<u32>>,
}

impl<'p> Assignment<'p> {
    /// On this machine, several servers that want one written port can't all have it: who has it keeps it, else the first gets
    /// it, as soon as no server of before has it. Elsewhere that is for the topology's author to see.
    fn give_written(&mut self, doors: &mut [Wanted<'p>]) {
        let wanted = |door: &Wanted<'_>| door.written.map(|written| u32::from(written.value));
        for door in doors.iter_mut() {
            if let Some(port) = wanted(door)
                && (!self.is_local || self.live.holder(door.address, port) == Some(door.as_live()))
            {
                self.take(door, port);
                door.has_written = true;
            }
        }
        for door in doors.iter_mut().filter(|door| door.port.is_none()) {
            let Some(port) = wanted(door).filter(|port| !self.is_taken(door.address, *port)) else { continue };
            let is_like = |holder: LiveDoor<'_>| LiveDoor { server: door.server, ..holder } == door.as_live();
            if !self.live.holder(door.address, port).is_some_and(is_like) {
                self.take(door, port);
                door.has_written = true;
            }
        }
    }

    /// Leaves doors the ports that they have; on servers that are elsewhere than before, as far as those are free there.
    fn keep(&mut self, doors: &mut [Wanted<'p>]) {
        if !self.keeps {
            return;
        }
        for has_moved in [false, true] {
            for door in doors.iter_mut().filter(|door| door.port.is_none()) {
                let Some(port) = self.live.port(door.as_live()).filter(|port| *port >= self.first) else { continue };
                let holder = self.live.holder(door.address, port);
                let is_own = if has_moved { holder.is_none() } else { holder == Some(door.as_live()) };
                if is_own && !self.is_taken(door.address, port) {
                    self.take(door, port);
                }
            }
        }
    }

    /// Gives the others the first ports from the base that are neither taken nor bound by another door until the change is over.
    fn give_free(&mut self, doors: &mut [Wanted<'p>]) {
        let mut next: BTreeMap<&str, u32> = BTreeMap::new();
        for door in doors.iter_mut().filter(|door| door.port.is_none()) {
            let candidate = next.entry(door.address).or_insert(self.first);
            let is_bound = |port| self.live.holder(door.address, port).is_some();
            while self.is_taken(door.address, *candidate) || is_bound(*candidate) {
                *candidate += 1;
            }
            self.take(door, *candidate);
        }
    }

    fn is_taken(&self, address: &str, port: u32) -> bool {
        self.taken.get(address).is_some_and(|taken| taken.contains(&port))
    }

    fn take(&mut self, door: &mut Wanted<'p>, port: u32) {
        self.taken.entry(door.address).or_default().insert(port);
        door.port = Some(port);
    }
}
