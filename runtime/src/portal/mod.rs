//! The portal: the process through which keyed flows enter a server.
//!
//! One thread, one loop: take in from links and clients, hand on what the spool holds, give receipts, wait. A record's
//! way, and what is counted when:
//!
//! ```text
//! link ── number and `Accepted` ── `Spool` sent ── (receipt) ── channel or link sent ── `Spool` done
//! ```
//!
//! The number goes first: a portal that is killed in the middle of a batch has lost records of it, and knows how many,
//! but has repeated none.

mod clients;
mod destination;
mod entrance;
mod quarantine;

use std::{
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use destination::Destination;
use entrance::{Entrance, Taken};
use quarantine::Quarantine;
use waldo_sdk::{
    Result,
    control::{FromProcess, ToProcess},
    guide::{FlowGuide, Guide, ServerIndex},
    outbox::Links,
    outlet::Outlet,
    page::{Kind as SlotKind, Page, Slot},
    service::Control,
    socket,
    stage::{Pause, catch_termination, from_environment, read_guide},
    wire,
    wiring::{Carried, Doors, Place, Placed},
};
use zmq::{Context, POLLIN, PollItem, Socket};

use crate::spool::{Budget, Bytes};

/// How many messages are taken from links, or from clients, before anything else gets its turn.
const ROUND: usize = 128;
/// How long a portal that has nothing to do sleeps at most. Milliseconds.
const QUIET: i64 = 50;
/// What a link's message may have beyond one record. Bytes.
const MESSAGE_SLACK: u64 = 1024 * 1024;
/// How long a portal that stops waits until receivers have done, and portals receipted, what it has handed on.
const LAST_RECEIPTS: Duration = Duration::from_secs(2);

/// One flow, as this portal carries it.
struct Flow {
    carried: Carried,
    guide: FlowGuide,
    received: Slot,
    from_clients: Slot,
    rejected: Slot,
    locals: Vec<Destination>,
    /// By server; `None` for this one and for servers that own no key.
    forwards: Vec<Option<Destination>>,
}

/// A portal and all that it holds.
struct Portal {
    place: Place,
    doors: Doors,
    guide: Guide,
    own_server: Option<ServerIndex>,
    page: Page,
    flows: Vec<Flow>,
    outlet: Outlet,
    links: Links,
    budget: Budget,
    entrance: Entrance,
    clients: Option<Socket>,
    quarantine: Quarantine,
    holding: bool,
    stopping: bool,
    said_trouble: bool,
}

/// Runs the portal that the launcher started this process for, until it is asked to stop.
pub fn run() -> Result<()> {
    let (placed, incarnation) = from_environment()?;
    run_at(placed, incarnation, &catch_termination(&[])?)
}

/// The same with what the environment would say, until `term` is set.
pub fn run_at(placed: Placed, incarnation: u64, term: &Arc<AtomicBool>) -> Result<()> {
    let Placed { place, wiring, .. } = placed;
    let Some(doors) = wiring.portal else {
        return Err(waldo_sdk::Error::File {
            path: place.directory(&place.process).join("wiring.json"),
            reason: "not the wiring of a portal".to_owned(),
        });
    };
    let context = Context::new();
    let mut control = Control::new(place.control(), place.process.clone(), place.generation, incarnation);
    let mut portal = Portal::open(&context, place, doors, incarnation)?;
    portal.page.set_bound(incarnation);
    portal.page.set_ready();
    control.connect(Instant::now());
    control.say_ready();
    let worked = portal.work(&mut control, term);
    // Whatever went wrong, what is held goes to disk.
    let left = portal.leave();
    worked.and(left)
}

impl Portal {
    fn open(context: &Context, place: Place, doors: Doors, incarnation: u64) -> Result<Self> {
        let guide = read_guide(&place.guide)?;
        let page_path = place.page(&place.process);
        let page = Page::open(&page_path).map_err(io(format!("open {}", page_path.display())))?;
        let own_server = guide.servers.iter().position(|server| *server == place.server).map(|at| at as ServerIndex);
        let mut outlet = Outlet::new(&place, incarnation);
        let mut links = Links::new(&place, incarnation);
        let mut budget = Budget::new(doors.spool);
        let mut flows = Vec::with_capacity(doors.flows.len());
        for carried in &doors.flows {
            let Some(flow_guide) = guide.flows.get(&carried.flow).cloned() else {
                let reason = format!("no guide for flow {}", carried.flow);
                return Err(waldo_sdk::Error::File { path: place.guide.clone(), reason });
            };
            let mut at = destination::Opening {
                context,
                place: &place,
                page: &page,
                guide: &guide,
                outlet: &mut outlet,
                links: &mut links,
                budget: &mut budget,
            };
            let locals: Vec<Destination> =
                carried.consumers.iter().map(|consumer| at.local(&carried.flow, consumer)).collect::<Result<_>>()?;
            let mut forwards: Vec<Option<Destination>> = guide.servers.iter().map(|_| None).collect();
            for owner in guide.owners(&flow_guide) {
                if Some(owner) != own_server {
                    forwards[usize::from(owner)] = Some(at.forward(&carried.flow, &flow_guide, owner)?);
                }
            }
            let count = |what: &str| {
                let name = format!("{what} {}", carried.flow);
                page.slot(SlotKind::Count, &name).map_err(io(name))
            };
            flows.push(Flow {
                received: count("received")?,
                from_clients: count("clients")?,
                rejected: count("rejected")?,
                carried: carried.clone(),
                guide: flow_guide,
                locals,
                forwards,
            });
        }
        let largest = doors.flows.iter().map(|flow| flow.max_record).max().unwrap_or(0);
        let greatest = i64::try_from(largest + MESSAGE_SLACK).unwrap_or(i64::MAX);
        let entrance =
            Entrance::new(socket::portal_links(context, &doors.links, greatest)?, &page, &place, &guide.servers)?;
        let clients = match &doors.clients {
            Some(endpoint) => Some(socket::portal_clients(context, endpoint, greatest)?),
            None => None,
        };
        let quarantine = Quarantine::new(place.spool.join("rejects"));
        let mut portal = Self {
            place,
            doors,
            guide,
            own_server,
            page,
            flows,
            outlet,
            links,
            budget,
            entrance,
            clients,
            quarantine,
            holding: false,
            stopping: false,
            said_trouble: false,
        };
        portal.account_for_the_dead();
        Ok(portal)
    }

    /// What a killed portal had numbered but not yet put into the spool is lost, and is counted so.
    fn account_for_the_dead(&mut self) {
        for flow in &mut self.flows {
            let taken = self.entrance.accepted(&flow.carried.flow) + flow.from_clients.done();
            let forwarded: u64 = flow.forwards.iter().flatten().map(Destination::ever_appended).sum();
            for local in &mut flow.locals {
                let missing = taken.saturating_sub(forwarded + local.ever_appended());
                local.write_off_unseen(missing);
            }
            if flow.locals.is_empty()
                && let Some(forward) = flow.forwards.iter_mut().flatten().next()
            {
                forward.write_off_unseen(taken.saturating_sub(forwarded));
            }
        }
    }

    fn work(&mut self, control: &mut Control, term: &Arc<AtomicBool>) -> Result<()> {
        let mut pause = Pause::new();
        while !self.stopping {
            let now = Instant::now();
            control.connect(now);
            for message in control.hear() {
                self.obey(control, &message)?;
            }
            self.stopping |= term.load(Ordering::Acquire);
            let mut moved = self.take_from_links()?;
            moved |= self.take_from_clients()?;
            if !self.holding {
                moved |= self.hand_on()?;
            }
            self.entrance.give_receipts(now);
            self.outlet.flush_all()?;
            for link in self.links.all() {
                link.flush_all()?;
            }
            self.tend(control, now)?;
            self.page.beat();
            if moved {
                pause = Pause::new();
            } else if self.has_backlog() {
                // Receivers' credit comes back through their pages, which can't be polled.
                pause.wait();
            } else {
                self.wait(control);
            }
        }
        Ok(())
    }

    fn obey(&mut self, control: &mut Control, message: &ToProcess) -> Result<()> {
        match *message {
            ToProcess::Gate { closed, .. } => {
                self.holding = closed;
                self.outlet.flush_all()?;
                self.page.set_gate(closed);
                control.say(FromProcess::Gate { closed });
            }
            ToProcess::Finish => control.say(FromProcess::Finished),
            ToProcess::Stop => self.stopping = true,
            ToProcess::Adopt { generation } => {
                control.say(FromProcess::Refused { generation, text: "portals can't adopt yet".to_owned() });
            }
            ToProcess::HandOver { .. } | ToProcess::Settle { .. } => {}
        }
        Ok(())
    }

    fn has_room(&self, for_clients: bool) -> bool {
        self.budget.has_room(for_clients)
            && self
                .flows
                .iter()
                .all(|flow| flow.locals.iter().chain(flow.forwards.iter().flatten()).all(Destination::disk_takes))
    }

    fn take_from_links(&mut self) -> Result<bool> {
        let mut moved = false;
        for _ in 0..ROUND {
            if !self.has_room(false) {
                break;
            }
            let batch = match self.entrance.take(&mut self.quarantine)? {
                Taken::Batch(batch) => batch,
                Taken::Other => continue,
                Taken::Nothing => break,
            };
            moved = true;
            let index = self.flows.iter().position(|flow| flow.carried.flow == batch.flow);
            let Some(count) = self.entrance.number(&self.page, &batch, index.is_some()) else { continue };
            let Some(index) = index else {
                self.entrance.reject(&batch, "a flow that this portal does not carry", &mut self.quarantine);
                continue;
            };
            self.flows[index].received.add_done(u64::from(count));
            let records_at = if count == batch.count {
                batch.records_at
            } else {
                // The first part of it is here already.
                wire::skip_records(&batch.message, batch.records_at, batch.count - count).unwrap_or(batch.records_at)
            };
            let bytes = Bytes::Message(Arc::clone(&batch.message), records_at);
            self.keep(index, &bytes, count, batch.version);
        }
        Ok(moved)
    }

    /// Puts records into the spool for whom they are for.
    fn keep(&mut self, index: usize, bytes: &Bytes, count: u32, version: u64) {
        let Self { flows, guide, own_server, budget, .. } = self;
        let flow = &mut flows[index];
        // Guided by the same guide: they are for this server.
        if version == flow.guide.version {
            for local in &mut flow.locals {
                local.append(bytes, count, budget);
            }
            return;
        }
        let mut by_server: Vec<(Vec<u8>, u32)> = vec![(Vec::new(), 0); guide.servers.len()];
        let mut at = 0;
        while let Ok((record, next)) = wire::read_record(bytes.get(), at) {
            let (records, count) = &mut by_server[usize::from(guide.owner(&flow.guide, record.key))];
            records.extend_from_slice(&bytes.get()[at..next]);
            *count += 1;
            at = next;
        }
        for (server, (records, count)) in by_server.into_iter().enumerate().filter(|(_, (_, count))| *count > 0) {
            let bytes = Bytes::Owned(Arc::new(records));
            if own_server.map(usize::from) == Some(server) {
                for local in &mut flow.locals {
                    local.append(&bytes, count, budget);
                }
            } else if let Some(forward) = &mut flow.forwards[server] {
                forward.append(&bytes, count, budget);
            }
        }
    }

    fn hand_on(&mut self) -> Result<bool> {
        let Self { flows, outlet, links, budget, .. } = self;
        let mut moved = false;
        for flow in flows {
            for destination in flow.locals.iter_mut().chain(flow.forwards.iter_mut().flatten()) {
                moved |= destination.hand_on(outlet, links, budget)?;
            }
        }
        Ok(moved)
    }

    fn has_backlog(&self) -> bool {
        let held = |destination: &Destination| destination.held() > 0;
        !self.holding
            && self.flows.iter().any(|flow| flow.locals.iter().chain(flow.forwards.iter().flatten()).any(held))
    }

    fn tend(&mut self, control: &mut Control, now: Instant) -> Result<()> {
        self.outlet.tend(now)?;
        for link in self.links.all() {
            link.tend(now)?;
        }
        let mut trouble = None;
        for flow in &mut self.flows {
            for destination in flow.locals.iter_mut().chain(flow.forwards.iter_mut().flatten()) {
                if let Some(text) = destination.retry(&mut self.budget) {
                    trouble = Some(format!("the spool of flow {} refuses records: {text}", flow.carried.flow));
                }
            }
        }
        if trouble.is_none() && !self.budget.has_room(false) {
            let (memory, disk) = self.budget.used();
            trouble = Some(format!(
                "the spool is full ({memory} bytes in memory, {disk} on disk; limits {} and {}): senders wait",
                self.doors.spool.memory, self.doors.spool.disk
            ));
        }
        match trouble {
            Some(text) if !self.said_trouble => {
                eprintln!("{}: {text}", self.place.process);
                control.say(FromProcess::Trouble { text });
                self.said_trouble = true;
            }
            None if self.said_trouble => {
                control.say(FromProcess::Trouble { text: String::new() });
                self.said_trouble = false;
            }
            _ => {}
        }
        Ok(())
    }

    fn wait(&mut self, control: &Control) {
        let room = (self.has_room(false), self.has_room(true));
        let mut timeout = if self.entrance.is_closing() || self.said_trouble { 10 } else { QUIET };
        let mut items = Vec::with_capacity(3 + self.links.all().len());
        if room.0 {
            items.push(self.entrance.socket().as_poll_item(POLLIN));
        }
        if let (Some(clients), true) = (&self.clients, room.1) {
            items.push(clients.as_poll_item(POLLIN));
        }
        if let Some(stream) = control.stream() {
            items.push(PollItem::from_fd(stream.as_raw_fd(), POLLIN));
        }
        for link in self.links.all() {
            if link.busy() {
                timeout = timeout.min(20);
            }
            items.extend(link.sockets().map(|socket| socket.as_poll_item(POLLIN)));
        }
        // An interruption only means that the caller looks around sooner.
        let _ = zmq::poll(&mut items, timeout);
    }

    /// Leaves: what is held goes to disk, what was handed on is waited for, as long as may be.
    fn leave(mut self) -> Result<()> {
        let waited = self.wait_for_the_last();
        let mut first_failure = waited.err();
        for flow in self.flows {
            for destination in flow.locals.into_iter().chain(flow.forwards.into_iter().flatten()) {
                if let Err(error) = destination.close(&mut self.budget) {
                    first_failure.get_or_insert(error);
                }
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    fn wait_for_the_last(&mut self) -> Result<()> {
        self.entrance.give_receipts(Instant::now());
        self.outlet.flush_all()?;
        let end = Instant::now() + LAST_RECEIPTS;
        let mut pause = Pause::new();
        loop {
            let now = Instant::now();
            let mut waiting = !self.outlet.all_settled();
            for link in self.links.all() {
                link.flush_all()?;
                link.tend(now)?;
                waiting |= !link.all_receipted();
            }
            if !waiting || now > end {
                return Ok(());
            }
            pause.wait();
        }
    }
}

fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> waldo_sdk::Error {
    let doing = doing.into();
    move |source| waldo_sdk::Error::Io { doing, source }
}
