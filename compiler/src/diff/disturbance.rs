//! Which servers must hold, which only rewire, which are untouched. `docs/rollout.md` argues for each rule.

use std::collections::{BTreeMap, BTreeSet};

use waldo_sdk::wiring::{Carried, Consumer, Spread};

use super::{Action, GuideChange, ProcessChange};
use crate::plan::{Plan, ProcessPlan, Program};

#[derive(Default)]
pub(super) struct Disturbance<'p> {
    pub(super) hold: BTreeSet<&'p str>,
    pub(super) rewire: BTreeSet<&'p str>,
    pub(super) untouched: BTreeSet<&'p str>,
    pub(super) drain: BTreeMap<&'p str, BTreeSet<&'p str>>,
}

pub(super) fn of<'p>(
    old: &'p Plan,
    new: &'p Plan,
    guide: &[GuideChange<'p>],
    processes: &[ProcessChange<'p>],
) -> Disturbance<'p> {
    let mut all = Disturbance::default();
    let losers: BTreeSet<&str> = guide.iter().flat_map(|change| &change.losers).copied().collect();
    let mut by_server: BTreeMap<&str, Vec<&ProcessChange<'p>>> = BTreeMap::new();
    for change in processes {
        by_server.entry(change.server).or_default().push(change);
    }
    let servers: BTreeSet<&'p String> = old.servers.keys().chain(new.servers.keys()).collect();
    for server in servers {
        let before = old.servers.get(server).map_or(&[][..], |server| &server.processes);
        let after = new.servers.get(server).map_or(&[][..], |server| &server.processes);
        let changes = by_server.get(server.as_str()).map_or(&[][..], Vec::as_slice);
        let drains = flows_to_drain(before, new);
        let is_new = before.is_empty();
        let set = if !is_new
            && (losers.contains(server.as_str())
                || !drains.is_empty()
                || changes.iter().any(|change| disturbs(change, before))
                || order_depends(before, after))
        {
            &mut all.hold
        } else if changes.iter().any(|change| change.action != Action::Keep || !change.because.is_empty()) {
            &mut all.rewire
        } else {
            &mut all.untouched
        };
        set.insert(server);
        if !drains.is_empty() {
            all.drain.insert(server, drains);
        }
    }
    all
}

/// Whether a process that others send to starts, leaves, or does both. What a source does disturbs nobody: it leaves when
/// all that it has sent is in others' hands.
fn disturbs(change: &ProcessChange<'_>, before: &[ProcessPlan]) -> bool {
    let old = before.iter().find(|process| process.name == change.process);
    let receives = [old, change.new]
        .into_iter()
        .flatten()
        .any(|process| matches!(process.program, Program::Stage(_)) && !process.wiring.inputs.is_empty());
    receives && matches!(change.action, Action::Start | Action::Stop | Action::Restart)
}

/// What one sender does with one flow for one consumer.
type Way<'p> = (&'p str, &'p str, &'p str);

fn consumers(processes: &[ProcessPlan]) -> BTreeMap<Way<'_>, &Consumer> {
    let mut ways = BTreeMap::new();
    for process in processes {
        let sent = process.wiring.outputs.iter().map(|output| (&output.flow, &output.consumers));
        let carried = process.wiring.portal.iter().flat_map(|doors| &doors.flows);
        for (flow, consumers) in sent.chain(carried.map(|carried| (&carried.flow, &carried.consumers))) {
            for consumer in consumers {
                ways.insert((process.name.as_str(), flow.as_str(), consumer.stage.as_str()), consumer);
            }
        }
    }
    ways
}

/// Whether the instance of a key changes: then the server must be idle, or two instances would have records of one key in
/// hand.
fn order_depends(before: &[ProcessPlan], after: &[ProcessPlan]) -> bool {
    let after = consumers(after);
    consumers(before).into_iter().any(|(way, old)| {
        after.get(&way).is_some_and(|new| {
            let by_key = old.spread == Spread::Key || new.spread == Spread::Key;
            let instances = |consumer: &Consumer| {
                consumer.receivers.iter().map(|receiver| receiver.process.clone()).collect::<Vec<_>>()
            };
            by_key && (old.spread != new.spread || instances(old) != instances(new))
        })
    })
}

/// The flows of which a server's portals may hold records that the new plan has no place for: the flow has no guide any
/// more, goes through another portal, or has lost a consumer. (What only moves to other servers is handed over to them.)
fn flows_to_drain<'p>(processes: &'p [ProcessPlan], new: &Plan) -> BTreeSet<&'p str> {
    let doors = processes.iter().filter_map(|process| Some((&process.name, process.wiring.portal.as_ref()?)));
    let carried = doors.flat_map(|(portal, doors)| doors.flows.iter().map(move |carried| (portal, carried)));
    let has_no_place = |(portal, carried): &(&String, &'p Carried)| {
        let is_carried = new.guide.flows.get(&carried.flow).is_some_and(|guide| guide.portal == **portal);
        let consumers = new.flows.get(&carried.flow).map_or(&[][..], |flow| &flow.consumers);
        let loses_one = carried.consumers.iter().any(|consumer| !consumers.contains(&consumer.stage));
        !carried.consumers.is_empty() && (!is_carried || loses_one)
    };
    carried.filter(has_no_place).map(|(_, carried)| carried.flow.as_str()).collect()
}
