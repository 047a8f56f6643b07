//! Which loops a record counts while it is on a flow.
//!
//! A count may only be dropped where the record can't come back to the loop. Were it dropped on every flow that the loop
//! doesn't list, a stage in two loops could send a record round the two in turn, for ever: each would begin anew.

use std::collections::BTreeMap;

use super::Graph;
use crate::topology::{Loop, Topology};

/// The loops of each tangle, and the tangles that each flow is in.
#[derive(Debug, Clone, Default)]
pub struct Counts<'t> {
    tangles: Vec<Vec<(&'t str, &'t Loop)>>,
    of_flow: BTreeMap<&'t str, Vec<usize>>,
}

impl<'t> Counts<'t> {
    /// The counts of a topology: in a tangle every flow carries those of all loops that begin there.
    pub fn of(topology: &'t Topology, graph: &Graph<'t>) -> Self {
        let mut begins: BTreeMap<&str, Vec<(&str, &Loop)>> = BTreeMap::new();
        for (name, declared) in &topology.loops {
            if let Some(first) = declared.flows.first() {
                begins.entry(first.value.as_str()).or_default().push((name, declared));
            }
        }
        let mut counts = Self::default();
        if begins.is_empty() {
            return counts;
        }
        for (number, tangle) in graph.tangles().iter().enumerate() {
            let mut loops = Vec::new();
            for flow in tangle.flows() {
                loops.extend(begins.get(flow).into_iter().flatten().copied());
                counts.of_flow.entry(flow).or_default().push(number);
            }
            loops.sort_by_key(|(name, _)| *name);
            counts.tangles.push(loops);
        }
        counts
    }

    /// The loops that a record on a flow counts, by name.
    pub fn on(&self, flow: &str) -> BTreeMap<&'t str, &'t Loop> {
        let tangles = self.of_flow.get(flow).into_iter().flatten();
        tangles.flat_map(|tangle| &self.tangles[*tangle]).copied().collect()
    }

    /// The loops of each tangle, by name.
    pub fn by_tangle(&self) -> impl Iterator<Item = &[(&'t str, &'t Loop)]> {
        self.tangles.iter().map(Vec::as_slice)
    }
}
