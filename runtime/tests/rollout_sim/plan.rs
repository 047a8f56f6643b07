//! Plans of the model: which server owns which slot of each flow, and what runs where.

use std::rc::Rc;

use fastrand::Rng;
use waldo_runtime::rollout::Part;

/// Flow 0 is always there; flow 1 comes and goes.
pub const FLOWS: usize = 2;

/// The guide of a flow: the server of each slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guide {
    pub owners: Vec<u16>,
    pub version: u64,
}

/// A program, and whether it ever gets ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    pub edition: u32,
    pub works: bool,
}

/// What runs on a server beside its portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Receives both flows, and sends both.
    pub stage: Option<Program>,
    /// Sends both flows.
    pub source: Option<Program>,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub flows: [Option<Guide>; FLOWS],
    pub servers: Vec<Placed>,
}

impl Plan {
    /// One that runs everything everywhere but for a few servers.
    pub fn first(rng: &mut Rng, servers: usize, slots: usize) -> Self {
        let program = Some(Program { edition: 0, works: true });
        let mut placed = vec![Placed { stage: program, source: None }; servers];
        for (server, placed) in placed.iter_mut().enumerate() {
            if server > 0 && rng.u8(..) < 40 {
                placed.stage = None;
            }
            if server == 0 || rng.bool() {
                placed.source = program;
            }
        }
        let mut plan = Self { flows: [None, None], servers: placed };
        plan.flows[0] = Some(plan.random_guide(rng, slots));
        if rng.bool() {
            plan.flows[1] = Some(plan.random_guide(rng, slots));
        }
        plan
    }

    fn consumers(&self) -> Vec<u16> {
        (0..self.servers.len() as u16).filter(|&server| self.servers[usize::from(server)].stage.is_some()).collect()
    }

    fn random_guide(&self, rng: &mut Rng, slots: usize) -> Guide {
        let consumers = self.consumers();
        Guide { owners: (0..slots).map(|_| consumers[rng.usize(..consumers.len())]).collect(), version: 1 }
    }

    /// A plan that follows this one: one to three changes, of any kind. `may_fail`: some new programs don't work.
    pub fn changed(&self, rng: &mut Rng, may_fail: bool) -> Self {
        let mut plan = self.clone();
        for _ in 0..rng.usize(1..=3) {
            plan.change(rng, may_fail);
        }
        plan
    }

    fn change(&mut self, rng: &mut Rng, may_fail: bool) {
        let server = rng.usize(..self.servers.len());
        let works = !may_fail || rng.u8(..) > 50;
        let next = |program: Option<Program>| {
            Some(Program { edition: program.map_or(0, |program| program.edition) + 1, works })
        };
        match rng.u8(..8) {
            0..=2 => {
                let consumers = self.consumers();
                let flow = rng.usize(..FLOWS);
                if let Some(guide) = &mut self.flows[flow] {
                    for _ in 0..rng.usize(1..=4) {
                        let slot = rng.usize(..guide.owners.len());
                        guide.owners[slot] = consumers[rng.usize(..consumers.len())];
                    }
                }
            }
            3 => {
                if self.servers[server].stage.is_some() {
                    self.servers[server].stage = next(self.servers[server].stage);
                }
            }
            4 => {
                self.servers[server].source = if rng.bool() { next(self.servers[server].source) } else { None };
            }
            5 => {
                self.flows[1] = match self.flows[1] {
                    None => Some(self.random_guide(rng, self.flows[0].as_ref().map_or(0, |guide| guide.owners.len()))),
                    Some(_) => None,
                };
            }
            6 => {
                // A server is drained: its slots go elsewhere.
                let others: Vec<u16> =
                    self.consumers().into_iter().filter(|&other| usize::from(other) != server).collect();
                if self.servers[server].stage.is_some() && !others.is_empty() {
                    self.servers[server] = Placed { stage: None, source: None };
                    for guide in self.flows.iter_mut().flatten() {
                        for owner in guide.owners.iter_mut().filter(|owner| usize::from(**owner) == server) {
                            *owner = others[rng.usize(..others.len())];
                        }
                    }
                }
            }
            _ => {
                // A server is taken in, and gets some slots.
                if self.servers[server].stage.is_none() {
                    self.servers[server].stage = next(None);
                    for guide in self.flows.iter_mut().flatten() {
                        for owner in &mut guide.owners {
                            if rng.u8(..) < 80 {
                                *owner = server as u16;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Gives each guide its version: the generation in which it last changed.
    pub fn versioned(mut self, before: &Self, generation: u64) -> Self {
        for (guide, before) in self.flows.iter_mut().zip(&before.flows) {
            if let Some(guide) = guide {
                let same = before.as_ref().filter(|before| before.owners == guide.owners);
                guide.version = same.map_or(generation, |before| before.version);
            }
        }
        self
    }

    /// Whether it says the same as another, but for versions.
    pub fn equals(&self, other: &Self) -> bool {
        let owners = |plan: &Self, flow: usize| plan.flows[flow].as_ref().map(|guide| guide.owners.clone());
        self.servers == other.servers && (0..FLOWS).all(|flow| owners(self, flow) == owners(other, flow))
    }
}

/// A server's name: names are in the order of their numbers.
pub fn name(server: usize) -> String {
    format!("s{server:04}")
}

pub fn number(name: &str) -> usize {
    name[1..].parse().expect("a name of the model's")
}

/// What each server has to do in a rollout: the rules of docs/rollout.md, as far as the model has what they speak of.
pub fn parts(before: &Plan, after: &Plan) -> Vec<Part> {
    let owners = |plan: &Plan, flow: usize| plan.flows[flow].as_ref().map(|guide| guide.owners.clone());
    let before_owners: Vec<_> = (0..FLOWS).map(|flow| owners(before, flow)).collect();
    let after_owners: Vec<_> = (0..FLOWS).map(|flow| owners(after, flow)).collect();
    let guides_differ = before_owners != after_owners;
    let count = before.servers.len();
    let mut holds: Vec<bool> = (0..count).map(|at| before.servers[at].stage != after.servers[at].stage).collect();
    let mut drains: Vec<Vec<String>> = vec![Vec::new(); count];
    for flow in 0..FLOWS {
        match (&before_owners[flow], &after_owners[flow]) {
            (Some(before_owners), Some(after_owners)) => {
                for (&old, &new) in before_owners.iter().zip(after_owners) {
                    holds[usize::from(old)] |= old != new;
                }
            }
            (Some(owners), None) => {
                for server in 0..count {
                    let placed = before.servers[server];
                    let sends = placed.stage.is_some() || placed.source.is_some();
                    if sends || owners.contains(&(server as u16)) {
                        holds[server] = true;
                        drains[server].push(flow.to_string());
                    }
                }
            }
            (None, Some(_)) => {
                for (holds, placed) in holds.iter_mut().zip(&after.servers) {
                    *holds |= placed.stage.is_some();
                }
            }
            (None, None) => {}
        }
    }
    (0..count)
        .map(|server| Part {
            server: name(server),
            holds: holds[server],
            changes: holds[server] || guides_differ || before.servers[server] != after.servers[server],
            drains: drains[server].clone(),
            rebuilt: Vec::new(),
        })
        .collect()
}

/// A plan and the generation in which it went live.
#[derive(Debug, Clone)]
pub struct Live {
    pub generation: u64,
    pub plan: Rc<Plan>,
}
