//! Wires processes: who receives from whom, who sends to whom, and within which share of an inbox.

use std::collections::BTreeMap;

use waldo_sdk::{
    guide::Endpoints,
    wiring::{Carried, Consumer, Doors, Egress, Input, LoopStep, Output, Receiver, Wiring, loop_id},
};

use crate::{
    check::Whole,
    place::{portals::Carrier, ports},
    plan::Speaks,
    topology::Stage,
};

/// A process's name: `<stage>.<n>`.
pub fn process(stage: &str, instance: u32) -> String {
    format!("{stage}.{instance}")
}

/// The wiring of a stage's instance on a server.
pub fn stage(whole: &Whole<'_>, server: &str, name: &str, stage: &Stage, instance: u32) -> Wiring {
    let inputs = stage
        .inputs
        .iter()
        .map(|input| Input { flow: input.flow.value.clone(), from: senders(whole, server, &input.flow.value) })
        .collect();
    let outputs = stage.outputs.iter().filter_map(|output| {
        let flow = whole.topology.flows.get(&output.value)?;
        Some(Output {
            flow: output.value.clone(),
            key: flow.is_keyed().then(|| flow.key_rule()),
            max_record: flow.max_record,
            loops: loops(whole, &output.value),
            consumers: if flow.is_keyed() { Vec::new() } else { consumers(whole, server, &output.value) },
        })
    });
    let egress = stage.inputs.first().filter(|_| stage.speaks.value == Speaks::Egress).and_then(|input| {
        let to = whole.topology.flows.get(&input.flow.value)?.to.as_ref()?;
        let endpoint = to.endpoint.value.clone();
        Some(if to.binds { Egress::Bind(endpoint) } else { Egress::Connect(endpoint) })
    });
    Wiring { stage: name.to_owned(), instance, inputs, outputs: outputs.collect(), portal: None, egress }
}

/// The wiring of a portal on a server.
pub fn portal(whole: &Whole<'_>, server: &str, name: &str, carrier: &Carrier) -> Wiring {
    let flows = carrier.flows.iter().filter_map(|flow| {
        let declared = whole.topology.flows.get(flow)?;
        Some(Carried {
            flow: flow.clone(),
            key: declared.key_rule(),
            max_record: declared.max_record,
            from_clients: declared.from_clients.is_some(),
            consumers: consumers(whole, server, flow),
        })
    });
    let bound = endpoints_at(whole, server, name, &listen(whole, server));
    let doors = Doors { links: bound.links, clients: bound.clients, flows: flows.collect(), spool: carrier.spool };
    Wiring { stage: name.to_owned(), portal: Some(doors), ..Wiring::default() }
}

/// Server → portal → where it is reached.
pub fn endpoints(whole: &Whole<'_>) -> BTreeMap<String, BTreeMap<String, Endpoints>> {
    let mut all: BTreeMap<String, BTreeMap<String, Endpoints>> = BTreeMap::new();
    for server in whole.placement.used_servers() {
        for (portal, _) in whole.carriers.iter() {
            let host = bracketed(ports::address(whole.topology, server));
            let endpoints = endpoints_at(whole, server, portal, &host);
            all.entry(server.clone()).or_default().insert(portal.to_owned(), endpoints);
        }
    }
    all
}

fn endpoints_at(whole: &Whole<'_>, server: &str, portal: &str, host: &str) -> Endpoints {
    let doors = whole.doors.get(&(server.to_owned(), portal.to_owned())).copied().unwrap_or_default();
    let endpoint = |port: Option<u32>| port.map(|port| format!("tcp://{host}:{port}"));
    match (endpoint(doors.0), endpoint(doors.1)) {
        (clients, Some(links)) => Endpoints { links, clients },
        (links, None) => Endpoints { links: links.unwrap_or_default(), clients: None },
    }
}

/// What a server's portals bind: what is stated, else the address; a host name can't be bound, so all interfaces, but for
/// `localhost`, which is to be reached from here alone.
fn listen(whole: &Whole<'_>, server: &str) -> String {
    let address = ports::address(whole.topology, server);
    let stated = whole.topology.servers.get(server).and_then(|server| server.listen.as_ref());
    let host = match stated {
        Some(listen) if !whole.topology.namespace.local => &listen.value,
        _ => address,
    };
    if host == "localhost" {
        return ports::LOOPBACK.to_owned();
    }
    if host.parse::<std::net::IpAddr>().is_ok() { bracketed(host) } else { "*".to_owned() }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// The processes of a server that put a flow into inboxes: for a keyed flow the portal that carries it.
fn senders(whole: &Whole<'_>, server: &str, flow: &str) -> Vec<String> {
    if let Some(portal) = whole.carriers.carrier_of(flow) {
        return vec![portal.to_owned()];
    }
    let producers = whole.topology.producers(flow).filter(|(name, _)| whole.placement.runs(name, server));
    producers.flat_map(|(name, stage)| instances(name, stage)).collect()
}

/// The stages of a server that get a copy each of a flow.
fn consumers(whole: &Whole<'_>, server: &str, flow: &str) -> Vec<Consumer> {
    let consumers = whole.topology.consumers(flow).filter(|(name, _)| whole.placement.runs(name, server));
    consumers
        .filter_map(|(name, stage)| {
            let input = stage.inputs.iter().find(|input| input.flow.value == flow)?;
            let share = share(whole, server, stage);
            let receiver = |process| Receiver { process, share };
            Some(Consumer {
                stage: name.clone(),
                spread: input.spread.value,
                receivers: instances(name, stage).map(receiver).collect(),
            })
        })
        .collect()
}

/// The share of one sender and flow in an inbox of a stage: the queue divided among all of them, at least 1.
fn share(whole: &Whole<'_>, server: &str, stage: &Stage) -> u64 {
    let pairs: usize = stage.inputs.iter().map(|input| senders(whole, server, &input.flow.value).len()).sum();
    (stage.queue / (pairs as u64).max(1)).max(1)
}

fn instances(name: &str, stage: &Stage) -> impl Iterator<Item = String> {
    (0..stage.instances.value).map(move |instance| process(name, instance))
}

fn loops(whole: &Whole<'_>, flow: &str) -> Vec<LoopStep> {
    let step = |(name, declared): (&str, &crate::topology::Loop)| {
        let position = declared.flows.iter().position(|listed| listed.value == flow);
        Some(LoopStep {
            name: name.to_owned(),
            id: loop_id(name),
            passes: declared.passes?,
            first: position == Some(0),
            listed: position.is_some(),
        })
    };
    whole.counts.on(flow).into_iter().filter_map(step).collect()
}
