//! The sending side of a process: each output flow to its consumers' inboxes or, by the guide, to portals.
//!
//! It is made by adopting a wiring and a guide, and adopts others while it lives: channels and links that both have go on.

use std::time::Instant;

use zmq::Context;

use crate::{
    error::{Error, Result},
    guide::{FlowGuide, Guide, ServerIndex},
    link::{FlowIndex, Link},
    outlet::{Outlet, Route},
    page::{Kind as SlotKind, Page},
    wire::{MAX_KEY, RecordRef},
    wiring::{Output, Place, Wiring},
};

/// Everything that a process sends through.
pub struct Outbox {
    guide: Guide,
    outputs: Vec<Way>,
    outlet: Outlet,
    links: Links,
    revision: u64,
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
            return Err(no_portal(name, &target));
        };
        let known = self.links.iter().position(|link| link.target() == target);
        let index = known.unwrap_or(self.links.len());
        match known {
            Some(index) => self.links[index].reach(context, &endpoints.links)?,
            None => {
                self.links.push(Link::connect(context, &endpoints.links, &target, &self.own_name, self.incarnation)?);
            }
        }
        let flow = self.links[index].add(page, name, flow.version)?;
        Ok((index, flow))
    }

    /// Says that the wiring still has a flow of a link that was added before.
    pub fn keep(&mut self, page: &Page, at: (usize, FlowIndex), flow: &str, version: u64) -> Result<()> {
        let index = self.links[at.0].add(page, flow, version)?;
        debug_assert_eq!(index, at.1, "a flow keeps its place in its link");
        Ok(())
    }

    /// Forgets which flows the wiring has on which link; [`Links::add`] says it again.
    pub fn begin_rewiring(&mut self) {
        self.links.iter_mut().for_each(Link::begin_rewiring);
    }

    /// Whether what was sent by older versions of the guide has receipts.
    pub fn are_flushed(&self) -> bool {
        self.links.iter().all(Link::is_flushed)
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

/// What the guide says of an output, if it is guided.
fn guided<'a>(output: &Output, guide: &'a Guide) -> Option<&'a FlowGuide> {
    output.key.as_ref().and_then(|_| guide.flows.get(&output.flow))
}

/// Adds the slots of all edges to the page, so that nothing can fail for want of one when half of the way is gone.
fn add_edges(wiring: &Wiring, guide: &Guide, page: &Page) -> Result<()> {
    let add =
        |kind: SlotKind, name: String| page.slot(kind, &name).map(drop).map_err(Error::io(format!("add edge {name}")));
    for output in &wiring.outputs {
        let Output { flow, consumers, .. } = output;
        let Some(flow_guide) = guided(output, guide) else {
            for receiver in consumers.iter().flat_map(|consumer| &consumer.receivers) {
                add(SlotKind::Sent, format!("{flow}>{}", receiver.process))?;
            }
            continue;
        };
        for server in guide.owners(flow_guide) {
            let server = &guide.servers[usize::from(server)];
            let portal = &flow_guide.portal;
            if !guide.portals.get(server).is_some_and(|portals| portals.contains_key(portal)) {
                return Err(no_portal(flow, &format!("{server}/{portal}")));
            }
            add(SlotKind::Link, format!("{flow}>{server}/{portal}"))?;
        }
    }
    Ok(())
}

fn no_portal(flow: &str, target: &str) -> Error {
    Error::File { path: "guide.json".into(), reason: format!("no portal {target} for flow {flow}") }
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
        let outlet = Outlet::new(place, incarnation);
        let links = Links::new(place, incarnation);
        let mut outbox = Self { guide: guide.clone(), outputs: Vec::new(), outlet, links, revision: 0 };
        outbox.adopt(context, place, wiring, guide, page)?;
        Ok(outbox)
    }

    /// Goes on with another wiring and guide. What has been sent by an older version of a flow's guide is
    /// [flushed](Outbox::is_flushed) once it has receipts.
    ///
    /// # Errors
    /// If the guide has no portal for a flow, or the page no room for its edges: nothing has changed then. If ZeroMQ
    /// refuses a socket, the process can't go on.
    pub fn adopt(
        &mut self,
        context: &Context,
        place: &Place,
        wiring: &Wiring,
        guide: Guide,
        page: &Page,
    ) -> Result<()> {
        add_edges(wiring, &guide, page)?;
        self.outlet.begin_rewiring();
        self.links.begin_rewiring();
        let mut outputs = Vec::with_capacity(wiring.outputs.len());
        for output in &wiring.outputs {
            let to = match guided(output, &guide) {
                Some(flow) => {
                    let mut by_server = vec![None; guide.servers.len()];
                    for server in guide.owners(flow) {
                        let link = self.links.add(context, page, &guide, (&output.flow, flow), server)?;
                        by_server[usize::from(server)] = Some(link);
                    }
                    To::Portals(flow.clone(), by_server)
                }
                None => To::Inboxes(
                    output
                        .consumers
                        .iter()
                        .map(|consumer| self.outlet.add(context, place, page, &output.flow, consumer))
                        .collect::<Result<_>>()?,
                ),
            };
            outputs.push(Way { output: output.clone(), to });
        }
        self.outlet.end_rewiring()?;
        self.outputs = outputs;
        self.guide = guide;
        self.revision += 1;
        Ok(())
    }

    /// Whether what was sent by older versions of the guide has receipts.
    pub fn is_flushed(&self) -> bool {
        self.links.are_flushed()
    }

    /// How many wirings it has adopted: an index from [`Outbox::find`] is good for one of them.
    #[inline]
    pub fn revision(&self) -> u64 {
        self.revision
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
                for route in routes.iter_mut() {
                    if !route.ready(&mut self.outlet, record.key)? {
                        return Ok(false);
                    }
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
