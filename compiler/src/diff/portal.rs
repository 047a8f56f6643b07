//! Portals that come, go, are reached elsewhere, or carry something else; and ports that two of them would need at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use waldo_sdk::{
    guide::Endpoints,
    wiring::{Doors, SpoolLimits},
};

use crate::plan::{Plan, ServerPlan};

/// What changes about a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalChange<'p> {
    /// Its server.
    pub server: &'p str,
    /// Its name.
    pub portal: &'p str,
    /// Where it was reached; `None` if there was none.
    pub from: Option<&'p Endpoints>,
    /// Where it is reached; `None` if there is none any more.
    pub to: Option<&'p Endpoints>,
    /// Flows that it carries in addition. Empty for a portal that is new.
    pub gained: BTreeSet<&'p str>,
    /// Flows that it carries no more. Empty for a portal that goes.
    pub lost: BTreeSet<&'p str>,
    /// What its spool may hold, before and after, if that changes.
    pub spool: Option<(SpoolLimits, SpoolLimits)>,
}

impl PortalChange<'_> {
    /// Whether it stays, and links reach it elsewhere.
    pub fn is_moved(&self) -> bool {
        matches!((self.from, self.to), (Some(from), Some(to)) if from.links != to.links)
    }
}

/// All that change, by server and name.
pub(super) fn changes<'p>(old: &'p Plan, new: &'p Plan) -> Vec<PortalChange<'p>> {
    let mut changes = Vec::new();
    let servers: BTreeSet<&String> = old.servers.keys().chain(new.servers.keys()).collect();
    for server in servers {
        let (before, after) = (portals(old, server), portals(new, server));
        let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
        for portal in names {
            let (before, after) = (before.get(portal), after.get(portal));
            let mut change = PortalChange {
                server,
                portal,
                from: before.and_then(|portal| portal.reached),
                to: after.and_then(|portal| portal.reached),
                gained: BTreeSet::new(),
                lost: BTreeSet::new(),
                spool: None,
            };
            if let (Some(before), Some(after)) = (before, after) {
                change.gained = after.flows().difference(&before.flows()).copied().collect();
                change.lost = before.flows().difference(&after.flows()).copied().collect();
                change.spool =
                    (before.doors.spool != after.doors.spool).then_some((before.doors.spool, after.doors.spool));
            }
            let is_other = before.is_some() != after.is_some() || change.from != change.to || change.spool.is_some();
            if is_other || !change.gained.is_empty() || !change.lost.is_empty() {
                changes.push(change);
            }
        }
    }
    changes
}

struct Portal<'p> {
    doors: &'p Doors,
    reached: Option<&'p Endpoints>,
}

impl<'p> Portal<'p> {
    fn flows(&self) -> BTreeSet<&'p str> {
        self.doors.flows.iter().map(|carried| carried.flow.as_str()).collect()
    }
}

fn portals<'p>(plan: &'p Plan, server: &str) -> BTreeMap<&'p str, Portal<'p>> {
    let reached = plan.guide.portals.get(server);
    let processes = plan.servers.get(server).into_iter().flat_map(|server: &ServerPlan| &server.processes);
    let portals = processes.filter_map(|process| Some((process.name.as_str(), process.wiring.portal.as_ref()?)));
    portals
        .map(|(name, doors)| (name, Portal { doors, reached: reached.and_then(|portals| portals.get(name)) }))
        .collect()
}

/// Why a change can't be made in one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A port is needed by one door before another has given it up: it stays bound until the rollout is over.
    PortTaken {
        /// The address and port.
        endpoint: String,
        /// Who has it: `server/portal`.
        holder: String,
        /// Who is to have it.
        heir: String,
    },
    /// The servers of a namespace are on this machine before, and on others after, or the other way: nothing of what runs can
    /// go on.
    OtherMachines {
        /// Whether they are on this machine after.
        local: bool,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortTaken { endpoint, holder, heir } if holder == heir => write!(
                formatter,
                "the doors of {heir} would exchange {endpoint}, which stays bound until a rollout is over: give it other \
                 ports first"
            ),
            Self::PortTaken { endpoint, holder, heir } => write!(
                formatter,
                "{endpoint} would go from {holder} to {heir}, but stays bound until a rollout is over: give {heir} another \
                 port first"
            ),
            Self::OtherMachines { local: true } => formatter.write_str(
                "the namespace would become local: its servers would be other machines. Stop it with `waldo down` first",
            ),
            Self::OtherMachines { local: false } => formatter.write_str(
                "the namespace would be local no more: its servers would be other machines. Stop it with `waldo down` first",
            ),
        }
    }
}

/// All reasons.
pub(super) fn refusals(old: &Plan, new: &Plan) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if old.local != new.local {
        refusals.push(Refusal::OtherMachines { local: new.local });
    }
    let holders: HashMap<&str, Door<'_>> = doors(old).map(|door| (door.endpoint, door)).collect();
    refusals.extend(doors(new).filter_map(|heir| {
        let holder = holders.get(heir.endpoint).filter(|holder| **holder != heir)?;
        let name = |door: &Door<'_>| format!("{}/{}", door.server, door.portal);
        Some(Refusal::PortTaken { endpoint: heir.endpoint.to_owned(), holder: name(holder), heir: name(&heir) })
    }));
    refusals
}

#[derive(PartialEq, Eq)]
struct Door<'p> {
    endpoint: &'p str,
    server: &'p str,
    portal: &'p str,
    is_for_clients: bool,
}

fn doors(plan: &Plan) -> impl Iterator<Item = Door<'_>> {
    plan.guide.portals.iter().flat_map(|(server, portals)| {
        portals.iter().flat_map(move |(portal, endpoints)| {
            let door = move |endpoint, is_for_clients| Door { endpoint, server, portal, is_for_clients };
            let clients = endpoints.clients.as_deref().map(|endpoint| door(endpoint, true));
            std::iter::once(door(&endpoints.links, false)).chain(clients)
        })
    })
}
