//! Which arrows belong to which declared loop.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{FlowPlan, Plan};

/// The loops of a plan, by name.
pub struct Loops<'p> {
    flows: &'p BTreeMap<String, FlowPlan>,
    loops: BTreeMap<&'p str, Loop<'p>>,
}

#[derive(Default)]
struct Loop<'p> {
    passes: u16,
    flows: BTreeSet<&'p str>,
    /// Stage → stages that its records get to without leaving the loop's flows.
    reach: BTreeMap<&'p str, BTreeSet<&'p str>>,
}

impl<'p> Loops<'p> {
    /// Those of a plan.
    pub fn of(plan: &'p Plan) -> Self {
        let mut loops: BTreeMap<&str, Loop<'_>> = BTreeMap::new();
        let processes = plan.servers.values().flat_map(|server| &server.processes);
        for output in processes.flat_map(|process| &process.wiring.outputs) {
            for step in output.loops.iter().filter(|step| step.listed) {
                let known = loops.entry(&step.name).or_default();
                known.passes = step.passes;
                known.flows.insert(&output.flow);
            }
        }
        for known in loops.values_mut() {
            known.reach = reach(&plan.flows, &known.flows);
        }
        Self { flows: &plan.flows, loops }
    }

    /// Their names, with the passes that each allows.
    pub fn named(&self) -> Vec<(String, u16)> {
        self.loops.iter().map(|(name, known)| ((*name).to_owned(), known.passes)).collect()
    }

    /// The loops that a flow is listed in.
    pub fn of_flow(&self, flow: &str) -> Vec<usize> {
        self.all(|known| known.flows.contains(flow))
    }

    /// The loops that a flow is part of on its way from one stage to another.
    pub fn between(&self, producer: &str, flow: &str, consumer: &str) -> Vec<usize> {
        self.all(|known| self.is_part(known, producer, flow, consumer))
    }

    /// The loops that a flow is part of on its way to a stage, whoever sends it.
    pub fn towards(&self, flow: &str, consumer: &str) -> Vec<usize> {
        let producers = self.flows.get(flow).map_or(&[][..], |ends| &ends.producers);
        self.all(|known| producers.iter().any(|producer| self.is_part(known, producer, flow, consumer)))
    }

    /// The loops that a flow is part of on its way from a stage, whoever gets it.
    pub fn onwards(&self, producer: &str, flow: &str) -> Vec<usize> {
        let consumers = self.flows.get(flow).map_or(&[][..], |ends| &ends.consumers);
        self.all(|known| consumers.iter().any(|consumer| self.is_part(known, producer, flow, consumer)))
    }

    fn all(&self, is_part: impl Fn(&Loop<'_>) -> bool) -> Vec<usize> {
        self.loops.values().enumerate().filter(|(_, known)| is_part(known)).map(|(at, _)| at).collect()
    }

    /// Whether a cycle of the loop leads along here: back from the consumer to the producer, and, as a cycle has all flows of
    /// its loop, in on another flow and out on another unless there is only one.
    fn is_part(&self, known: &Loop<'_>, producer: &str, flow: &str, consumer: &str) -> bool {
        let comes_back = producer == consumer || known.reach.get(consumer).is_some_and(|to| to.contains(producer));
        let mut others = known.flows.iter().filter(|other| **other != flow).filter_map(|other| self.flows.get(*other));
        let is_alone = known.flows.len() == 1;
        known.flows.contains(flow)
            && comes_back
            && (is_alone
                || others.clone().any(|other| other.consumers.iter().any(|stage| stage == producer))
                    && others.any(|other| other.producers.iter().any(|stage| stage == consumer)))
    }
}

fn reach<'p>(flows: &'p BTreeMap<String, FlowPlan>, own: &BTreeSet<&'p str>) -> BTreeMap<&'p str, BTreeSet<&'p str>> {
    let ends: Vec<&FlowPlan> = own.iter().filter_map(|flow| flows.get(*flow)).collect();
    let next = |stage: &str| {
        let sent = ends.iter().filter(|flow| flow.producers.iter().any(|producer| producer == stage));
        sent.flat_map(|flow| flow.consumers.iter().map(String::as_str)).collect::<Vec<&'p str>>()
    };
    let producers: BTreeSet<&str> = ends.iter().flat_map(|flow| flow.producers.iter().map(String::as_str)).collect();
    let from = |producer: &'p str| {
        let mut reached = BTreeSet::new();
        let mut ahead = next(producer);
        while let Some(stage) = ahead.pop() {
            if reached.insert(stage) {
                ahead.extend(next(stage));
            }
        }
        (producer, reached)
    };
    producers.into_iter().map(from).collect()
}
