//! The sending side of a process: each output flow to its consumers' inboxes or, by the guide, to portals.

use std::time::Instant;

use zmq::Context;

use crate::{
    error::{Error, Result},
    guide::{FlowGuide, Guide, ServerIndex},
    link::{FlowIndex, Link},
    outlet::{Outlet, Route},
    page::Page,
    wire::{MAX_KEY, RecordRef},
    wiring::{Output, Place, Wiring},
};

/// Everything that a process sends through.
pub struct Outbox {
    guide: Guide,
    outputs: Vec<Way>,
    outlet: Outlet,
    links: Links,
}

struct Way {
    output: Output,
    to: To,
}

enum To {
    /// To inboxes on this server: a copy to each consumer.
    Inboxes(Vec<Route>),
    /// To the portal of the server that the guide names: by server, which link and which of its flows.
    Portals(FlowGuide, Vec<Option<(usize, FlowIndex)>>),
}

/// The links of a process, one to each portal that it sends to.
pub struct Links {
    own_name: String,
    incarnation: u64,
    links: Vec<Link>,
}

impl Links {
    /// No links yet, for the process at `place`.
    pub fn new(place: &Place, incarnation: u64) -> Self {
        Self { own_name: format!("{}/{}", place.server, place.process), incarnation, links: Vec::new() }
    }

    /// The link to the portal that carries `flow` on `server`, connected if need be, with this flow added.
    pub fn add(
        &mut self,
        context: &Context,
        page: &Page,
        guide: &Guide,
        flow: (&str, &FlowGuide),
        server: ServerIndex,
    ) -> Result<(usize, FlowIndex)> {
        let (name, flow) = flow;
        let server = &guide.servers[usize::from(server)];
        let target = format!("{server}/{}", flow.portal);
        let endpoints = guide.portals.get(server).and_then(|portals| portals.get(&flow.portal));
        let Some(endpoints) = endpoints else {
            return Err(Error::File {
                path: "guide.json".into(),
                reason: format!("no portal {target} for flow {name}"),
            });
        };
        let known = self.links.iter().position(|link| link.target() == target);
        let index = known.unwrap_or(self.links.len());
        if known.is_none() {
            self.links.push(Link::connect(context, &endpoints.links, &target, &self.own_name, self.incarnation)?);
        }
        let flow = self.links[index].add(page, name, flow.version)?;
        Ok((index, flow))
    }

    /// The links.
    pub fn all(&mut self) -> &mut [Link] {
        &mut self.links
    }
}

impl Guide {
    /// Which servers a flow's guide names.
    pub fn owners(&self, flow: &FlowGuide) -> Vec<ServerIndex> {
        use crate::guide::{Map, Otherwise};
        let mut owners: Vec<ServerIndex> = match &flow.map {
            Map::Hash(table) => self.tables[*table].clone(),
            Map::Ranges(ranges) => ranges.iter().map(|&(_, server)| server).collect(),
            Map::Table { keys, default } => {
                let mut owners: Vec<ServerIndex> = keys.values().copied().collect();
                match default {
                    Otherwise::Hash(table) => owners.extend_from_slice(&self.tables[*table]),
                    Otherwise::Server(server) => owners.push(*server),
                }
                owners
            }
        };
        owners.sort_unstable();
        owners.dedup();
        owners
    }
}

impl Outbox {
    /// Connects all outputs of a process.
    pub fn connect(
        context: &Context,
        place: &Place,
        wiring: &Wiring,
        guide: Guide,
        page: &Page,
        incarnation: u64,
    ) -> Result<Self> {
        let mut outlet = Outlet::new(place, incarnation);
        let mut links = Links::new(place, incarnation);
        let mut outputs = Vec::with_capacity(wiring.outputs.len());
        for output in &wiring.outputs {
            let to = match guide.flows.get(&output.flow) {
                Some(flow) if output.key.is_some() => {
                    let mut by_server = vec![None; guide.servers.len()];
                    for server in guide.owners(flow) {
                        let link = links.add(context, page, &guide, (&output.flow, flow), server)?;
                        by_server[usize::from(server)] = Some(link);
                    }
                    To::Portals(flow.clone(), by_server)
                }
                _ => To::Inboxes(
                    output
                        .consumers
                        .iter()
                        .map(|consumer| outlet.add(context, place, page, &output.flow, consumer))
                        .collect::<Result<_>>()?,
                ),
            };
            outputs.push(Way { output: output.clone(), to });
        }
        Ok(Self { guide, outputs, outlet, links })
    }

    /// The output flow of this name.
    pub fn find(&self, flow: &str) -> Result<usize> {
        self.outputs.iter().position(|way| way.output.flow == flow).ok_or_else(|| Error::UnknownFlow {
            flow: flow.to_owned(),
            known: match self.outputs.as_slice() {
                [] => "nothing".to_owned(),
                ways => ways.iter().map(|way| way.output.flow.as_str()).collect::<Vec<_>>().join(", "),
            },
        })
    }

    /// What the plan says of an output.
    pub fn output(&self, index: usize) -> &Output {
        &self.outputs[index].output
    }

    /// Refuses a record that its flow doesn't allow.
    pub fn check(&self, index: usize, key: &[u8], payload: &[u8]) -> Result<()> {
        let output = &self.outputs[index].output;
        let size = key.len() + payload.len();
        if size as u64 > output.max_record {
            return Err(Error::RecordTooLarge { flow: output.flow.clone(), size, limit: output.max_record });
        }
        if key.len() > MAX_KEY {
            return Err(Error::KeyTooLong { flow: output.flow.clone(), size: key.len() });
        }
        Ok(())
    }

    /// Takes a record if there is room for it on all its ways; answers whether it did.
    #[inline]
    pub fn try_send(&mut self, index: usize, record: RecordRef<'_>) -> Result<bool> {
        match &mut self.outputs[index].to {
            To::Inboxes(routes) => {
                if let [route] = routes.as_mut_slice() {
                    return route.push(&mut self.outlet, record);
                }
                if !routes.iter_mut().all(|route| route.ready(&mut self.outlet, record.key)) {
                    return Ok(false);
                }
                for route in routes {
                    let sent = route.push(&mut self.outlet, record)?;
                    debug_assert!(sent, "a channel that had credit has it still");
                }
                Ok(true)
            }
            To::Portals(flow, by_server) => {
                let owner = self.guide.owner(flow, record.key);
                let Some((link, flow)) = by_server[usize::from(owner)] else {
                    unreachable!("every owner that the guide names has been connected")
                };
                let link = &mut self.links.links[link];
                if !link.ready() {
                    return Ok(false);
                }
                link.push(flow, record)?;
                Ok(true)
            }
        }
    }

    /// Sends what is in batches.
    pub fn flush(&mut self) -> Result<()> {
        self.outlet.flush_all()?;
        self.links.links.iter_mut().try_for_each(Link::flush_all)
    }

    /// Hears receipts, so that links have room again.
    pub fn hear(&mut self, now: Instant) -> Result<()> {
        self.links.links.iter_mut().try_for_each(|link| link.hear(now))
    }

    /// Sends batches whose oldest record is from before `limit`, hears receipts, repeats what needs it; answers
    /// whether there is something that must be tended again soon.
    pub fn tend(&mut self, limit: Instant, now: Instant) -> Result<bool> {
        let mut busy = self.outlet.flush_older(limit)?;
        self.outlet.tend(now)?;
        for link in &mut self.links.links {
            busy |= link.flush_older(limit)?;
            link.tend(now)?;
            busy |= link.busy();
        }
        Ok(busy)
    }

    /// Whether receivers have done, and portals receipted, everything.
    pub fn all_confirmed(&mut self) -> bool {
        self.links.links.iter().all(Link::all_receipted) && self.outlet.all_settled()
    }
}
