//! What the portals of all servers of a namespace on this machine have measured, put together flow by flow.

use std::collections::BTreeMap;

use waldo_compiler::{
    guide::rebalance::{FlowLoad, KeyLoad, StageLoad},
    plan::Plan,
};
use waldo_sdk::guide::SLOTS;

use super::page;
use crate::paths::Paths;

/// How many keys are told of a flow.
const KEYS: usize = 16;

/// What was measured of a namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Over how long, by the portal that has measured for the shortest time. Seconds, decaying: they never exceed 43.
    pub seconds: f64,
    /// Rates, by flow.
    pub flows: BTreeMap<String, FlowLoad>,
    /// What waits on each server.
    pub queues: BTreeMap<String, Queue>,
    /// `server/portal` of which nothing can be read.
    pub missing: Vec<String>,
}

/// What waits in a server's portals.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Queue {
    /// Records.
    pub held: u64,
    /// How many more they become in a second.
    pub growth: f64,
}

/// Reads it. `takes_part` says of which flows.
pub fn measured(paths: &Paths, plan: &Plan, takes_part: impl Fn(&str) -> bool) -> Measured {
    let servers = &plan.guide.servers;
    let mut measured = Measured { seconds: f64::INFINITY, ..Measured::default() };
    for (index, server) in servers.iter().enumerate() {
        let Some(server_plan) = plan.servers.get(server) else { continue };
        let portals = server_plan.processes.iter().filter(|process| process.wiring.portal.is_some());
        let queue = measured.queues.entry(server.clone()).or_default();
        for portal in portals {
            let Ok(read) = page::read(&paths.server(server).rates(&portal.name)) else {
                measured.missing.push(format!("{server}/{}", portal.name));
                continue;
            };
            let carries = |flow: &str| plan.guide.flows.get(flow).is_some_and(|guide| guide.portal == portal.name);
            for rates in read.into_iter().filter(|rates| takes_part(&rates.flow) && carries(&rates.flow)) {
                if rates.summary.seconds <= 0.0 {
                    continue;
                }
                measured.seconds = measured.seconds.min(rates.summary.seconds);
                queue.held += rates.summary.held;
                queue.growth += rates.summary.growth;
                let flow = measured.flows.entry(rates.flow.clone()).or_insert_with(|| FlowLoad {
                    slots: vec![0.0; SLOTS],
                    named: vec![0.0; servers.len()],
                    ..FlowLoad::default()
                });
                add(flow, &rates, index, servers.len());
            }
        }
    }
    if measured.flows.is_empty() {
        measured.seconds = 0.0;
    }
    for flow in measured.flows.values_mut() {
        flow.keys.sort_by(|one, other| other.records.total_cmp(&one.records));
        flow.keys.truncate(KEYS);
    }
    measured
}

/// Adds what one server's portal has measured of a flow.
fn add(flow: &mut FlowLoad, rates: &page::Rates, server: usize, servers: usize) {
    let seconds = rates.summary.seconds;
    for (sum, slot) in flow.slots.iter_mut().zip(&rates.slots) {
        *sum += f64::from(slot.records) / seconds;
    }
    flow.named[server] += rates.summary.named_records / seconds;
    for work in &rates.summary.stages {
        let known = flow.stages.iter().position(|stage| stage.stage == work.stage);
        let place = known.unwrap_or(flow.stages.len());
        if known.is_none() {
            flow.stages.push(StageLoad { stage: work.stage.clone(), seconds: vec![None; servers] });
        }
        flow.stages[place].seconds[server] = work.seconds_per_record();
    }
    for key in &rates.summary.keys {
        let records = key.records / seconds;
        // A key that has moved meanwhile is told by two.
        match flow.keys.iter_mut().find(|known| known.key == key.key && known.length == key.length) {
            Some(known) => known.records += records,
            None => flow.keys.push(KeyLoad { key: key.key.clone(), length: key.length, records }),
        }
    }
}
