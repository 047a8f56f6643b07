//! What portals must have delivered before the switch, as the new plan has no place for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::plan::{Plan, ProcessPlan};

/// What a server's portals must deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drain<'p> {
    /// A flow.
    pub flow: &'p str,
    /// The one consumer that is to have it, if the flow goes on; else all are.
    pub consumer: Option<&'p str>,
}

impl fmt::Display for Drain<'_> {
    /// As portals are told: names have no `@`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.consumer {
            None => formatter.write_str(self.flow),
            Some(stage) => write!(formatter, "{}@{stage}", self.flow),
        }
    }
}

/// Records for which the new plan has no place where the old plan has them. (What only moves to other servers is handed
/// over to them.)
pub(super) struct Leaving<'p> {
    /// Flows that have no guide any more, or go through another portal; and whether clients could send them.
    flows: BTreeMap<&'p str, bool>,
    /// Flow → the stages that consumed it and don't any more.
    consumers: BTreeMap<&'p str, Vec<&'p str>>,
}

impl<'p> Leaving<'p> {
    pub(super) fn of(old: &'p Plan, new: &Plan) -> Self {
        let mut leaving = Self { flows: BTreeMap::new(), consumers: BTreeMap::new() };
        for (name, guide) in &old.guide.flows {
            let Some(flow) = old.flows.get(name) else { continue };
            if new.guide.flows.get(name).is_none_or(|after| after.portal != guide.portal) {
                leaving.flows.insert(name, flow.from_clients);
            }
            let after = new.flows.get(name).map_or(&[][..], |flow| &flow.consumers);
            let gone = flow.consumers.iter().filter(|stage| !after.contains(stage)).map(String::as_str);
            let gone: Vec<_> = gone.collect();
            if !gone.is_empty() {
                leaving.consumers.insert(name, gone);
            }
        }
        leaving
    }

    /// What a server's portals have to have delivered before the switch. A flow that leaves, wherever it may still be: where
    /// it is consumed, where stages send it (so they have to be idle, or it would never end), and wherever clients can. Of one
    /// that loses a consumer only what is for that one, where it is.
    pub(super) fn from(&self, processes: &'p [ProcessPlan]) -> BTreeSet<Drain<'p>> {
        if self.flows.is_empty() && self.consumers.is_empty() {
            return BTreeSet::new();
        }
        let whole = |flow| Drain { flow, consumer: None };
        let sent = processes.iter().flat_map(|process| &process.wiring.outputs);
        let sent = sent.map(|output| output.flow.as_str()).filter(|flow| self.flows.contains_key(flow));
        let mut leaving: BTreeSet<Drain<'p>> = sent.map(whole).collect();
        let carried =
            processes.iter().filter_map(|process| process.wiring.portal.as_ref()).flat_map(|doors| &doors.flows);
        for carried in carried {
            let flow = carried.flow.as_str();
            if let Some(&from_clients) = self.flows.get(flow) {
                if from_clients || !carried.consumers.is_empty() {
                    leaving.insert(whole(flow));
                }
                continue;
            }
            let gone = self.consumers.get(flow).map_or(&[][..], Vec::as_slice);
            let here = carried.consumers.iter().map(|consumer| consumer.stage.as_str());
            leaving
                .extend(here.filter(|stage| gone.contains(stage)).map(|stage| Drain { flow, consumer: Some(stage) }));
        }
        leaving
    }
}
