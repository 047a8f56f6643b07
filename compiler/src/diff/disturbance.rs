//! Which servers must hold, which only rewire, which are untouched. `docs/rollout.md` argues for each rule.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use waldo_sdk::wiring::{Consumer, Spread};

use super::{
    Action, GuideChange, Hold, ProcessChange, ServerChange, ServerFate,
    draining::{Drain, Leaving},
};
use crate::plan::{Plan, ProcessPlan, Program};

#[derive(Default)]
pub(super) struct Disturbance<'p> {
    pub(super) hold: BTreeMap<&'p str, Vec<Hold<'p>>>,
    pub(super) rewire: BTreeSet<&'p str>,
    pub(super) untouched: BTreeSet<&'p str>,
    pub(super) drain: BTreeMap<&'p str, BTreeSet<Drain<'p>>>,
}

pub(super) fn of<'p>(
    (old, new): (&'p Plan, &'p Plan),
    guide: &[GuideChange<'p>],
    servers: &[ServerChange<'p>],
    processes: &[ProcessChange<'p>],
) -> Disturbance<'p> {
    let mut all = Disturbance::default();
    let leaving = Leaving::of(old, new);
    let mut given_up: HashMap<&str, Vec<&str>> = HashMap::new();
    for change in guide {
        for loser in &change.losers {
            given_up.entry(loser).or_default().push(change.flow);
        }
    }
    let mut by_server: HashMap<&str, Vec<&ProcessChange<'p>>> = HashMap::new();
    for change in processes {
        by_server.entry(change.server).or_default().push(change);
    }
    let comes_or_goes: BTreeSet<&str> = servers
        .iter()
        .filter(|change| matches!(change.change, ServerFate::Added | ServerFate::Removed))
        .map(|change| change.server)
        .collect();
    for server in old.servers.keys().chain(new.servers.keys()).map(String::as_str).collect::<BTreeSet<_>>() {
        let changes = by_server.get(server).map_or(&[][..], Vec::as_slice);
        let changes: Vec<_> = changes.iter().copied().filter(|change| !change.because.is_empty()).collect();
        let before = old.servers.get(server).map_or(&[][..], |server| &server.processes);
        let mut reasons = Vec::new();
        // A server that runs nothing yet has nothing to be idle about.
        if !changes.is_empty() && !before.is_empty() {
            reasons.extend(given_up.remove(server).map(Hold::GivesUp));
            let drains = leaving.from(before);
            if !drains.is_empty() {
                let flows: BTreeSet<&str> = drains.iter().map(|drain| drain.flow).collect();
                reasons.push(Hold::Delivers(flows.into_iter().collect()));
                all.drain.insert(server, drains);
            }
            inside(before, &changes, (old, new), &mut reasons);
        }
        if !reasons.is_empty() {
            all.hold.insert(server, reasons);
        } else if !changes.is_empty() || comes_or_goes.contains(server) {
            all.rewire.insert(server);
        } else {
            all.untouched.insert(server);
        }
    }
    all
}

/// What of a server's inside changes so that no record may be in it meanwhile. What a source does disturbs nobody: it leaves
/// when all that it has sent is in others' hands.
fn inside<'p>(
    before: &'p [ProcessPlan],
    changes: &[&ProcessChange<'p>],
    plans: (&'p Plan, &'p Plan),
    reasons: &mut Vec<Hold<'p>>,
) {
    let known: HashMap<&str, &'p ProcessPlan> = before.iter().map(|process| (process.name.as_str(), process)).collect();
    let mut receivers: BTreeMap<Action, Vec<&'p str>> = BTreeMap::new();
    let (mut other_inputs, mut fewer_outputs, mut spreads) = (Vec::new(), Vec::new(), BTreeSet::new());
    for change in changes {
        let old = known.get(change.process).copied();
        let receives = [old, change.new].into_iter().flatten().any(receives);
        match (change.action, old, change.new) {
            (Action::Start | Action::Stop | Action::Restart, ..) if receives => {
                receivers.entry(change.action).or_default().push(change.process);
            }
            (Action::Rewire, Some(old), Some(new)) => {
                if receives && inputs(old, plans.0) != inputs(new, plans.1) {
                    other_inputs.push(change.process);
                }
                if receives && !outputs(old).is_subset(&outputs(new)) {
                    fewer_outputs.push(change.process);
                }
                let after = ways(new);
                spreads.extend(ways(old).into_iter().filter_map(|((flow, stage), before)| {
                    let after = after.get(&(flow, stage))?;
                    (instances(before) != instances(after)).then_some(Hold::Spread { flow, stage })
                }));
            }
            _ => {}
        }
    }
    reasons.extend(receivers.into_iter().map(|(action, processes)| Hold::Receivers { action, processes }));
    if !other_inputs.is_empty() {
        reasons.push(Hold::Inputs(other_inputs));
    }
    if !fewer_outputs.is_empty() {
        reasons.push(Hold::Outputs(fewer_outputs));
    }
    reasons.extend(spreads);
}

fn receives(process: &ProcessPlan) -> bool {
    matches!(process.program, Program::Stage(_)) && !process.wiring.inputs.is_empty()
}

/// The flows that a process receives, and whether each comes from portals or from neighbours.
fn inputs<'p>(process: &'p ProcessPlan, plan: &Plan) -> BTreeSet<(&'p str, bool)> {
    let is_keyed = |flow: &str| plan.flows.get(flow).is_some_and(|flow| flow.keyed);
    process.wiring.inputs.iter().map(|input| (input.flow.as_str(), is_keyed(&input.flow))).collect()
}

fn outputs(process: &ProcessPlan) -> BTreeSet<&str> {
    process.wiring.outputs.iter().map(|output| output.flow.as_str()).collect()
}

/// What a process does with each flow for each consumer.
fn ways(process: &ProcessPlan) -> BTreeMap<(&str, &str), &Consumer> {
    let sent = process.wiring.outputs.iter().map(|output| (&output.flow, &output.consumers));
    let carried = process.wiring.portal.iter().flat_map(|doors| &doors.flows);
    let all = sent.chain(carried.map(|carried| (&carried.flow, &carried.consumers)));
    all.flat_map(|(flow, consumers)| {
        consumers.iter().map(|consumer| ((flow.as_str(), consumer.stage.as_str()), consumer))
    })
    .collect()
}

/// Who gets a record. With a single instance it doesn't matter how records are spread.
fn instances(consumer: &Consumer) -> (Option<Spread>, Vec<&str>) {
    let receivers: Vec<&str> = consumer.receivers.iter().map(|receiver| receiver.process.as_str()).collect();
    ((receivers.len() > 1).then_some(consumer.spread), receivers)
}
