//! What changes outside of a process and concerns it: the guides of the flows that it sends or carries, and where their
//! portals are reached.

use std::collections::{BTreeMap, BTreeSet};

use super::{Because, GuideChange, PortalChange};
use crate::plan::{Plan, ProcessPlan};

pub(super) struct Elsewhere<'p> {
    /// The flows whose guide changes.
    guides: BTreeSet<&'p str>,
    /// Flow → the portal that carries it, if that is reached elsewhere on a server that owns keys of the flow. On others
    /// nobody sends to it.
    moved: BTreeMap<&'p str, Because>,
    /// Server and portal → the same for processes of that server: what can't reach another server goes through its own.
    moved_here: BTreeMap<(&'p str, &'p str), Because>,
    /// Flow → the portal that carries it.
    carriers: BTreeMap<&'p str, &'p str>,
}

impl<'p> Elsewhere<'p> {
    pub(super) fn of(new: &'p Plan, guide: &[GuideChange<'p>], portals: &[PortalChange<'p>]) -> Self {
        let mut moved_on: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut moved_here = BTreeMap::new();
        for change in portals.iter().filter(|change| change.is_moved()) {
            moved_on.entry(change.portal).or_default().insert(change.server);
            let because = Because::portal_moved(change.portal, &[change.server]);
            moved_here.insert((change.server, change.portal), because);
        }
        let moved = new.guide.flows.iter().filter_map(|(name, flow)| {
            let moved_on = moved_on.get(flow.portal.as_str())?;
            let owners =
                new.guide.owners(flow).into_iter().map(|server| new.guide.servers[usize::from(server)].as_str());
            let concerned: Vec<&str> = owners.filter(|server| moved_on.contains(server)).collect();
            let because = || Because::portal_moved(&flow.portal, &concerned);
            (!concerned.is_empty()).then(|| (name.as_str(), because()))
        });
        Self {
            guides: guide.iter().map(|change| change.flow).collect(),
            moved: moved.collect(),
            moved_here,
            carriers: new.guide.flows.iter().map(|(name, flow)| (name.as_str(), flow.portal.as_str())).collect(),
        }
    }

    /// Adds what of it concerns a process.
    pub(super) fn concerns(&self, server: &str, process: &ProcessPlan, reasons: &mut Vec<Because>) {
        if self.guides.is_empty() && self.moved_here.is_empty() {
            return;
        }
        let sent = process.wiring.outputs.iter().filter(|output| output.key.is_some()).map(|output| &output.flow);
        let carried = process.wiring.portal.iter().flat_map(|doors| &doors.flows).map(|carried| &carried.flow);
        for flow in sent.chain(carried) {
            if self.guides.contains(flow.as_str()) {
                reasons.push(Because::GuideOf(flow.clone()));
            }
            let own = || self.moved_here.get(&(server, *self.carriers.get(flow.as_str())?));
            if let Some(reason) = self.moved.get(flow.as_str()).or_else(own)
                && !reasons.contains(reason)
            {
                reasons.push(reason.clone());
            }
        }
    }
}
