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
//!
//! In a rollout it adopts another plan while it goes on (`adopt`): flows whose guide differs make a `passage` from the
//! former guide to the new one, and until all portals have settled it remembers the plan before (`transition`).

mod adopt;
mod clients;
mod destination;
mod door;
mod draining;
mod entrance;
mod flow;
mod hot_keys;
mod passage;
pub mod quarantine;
mod rates;
mod shelf;
mod transition;

use std::{
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use door::Door;
use draining::Draining;
use entrance::{Entrance, Taken};
use flow::{Flow, From};
use quarantine::Quarantine;
use rates::Measurements;
pub use transition::Transition;
use transition::{Asked, UnderWay};
use waldo_sdk::{
    Result,
    control::{FromProcess, ToProcess},
    exit,
    guide::Guide,
    outbox::Links,
    outlet::Outlet,
    page::Page,
    service::Control,
    stage::{Pause, catch_termination, from_environment, read_guide},
    wire,
    wiring::{Doors, Place, Placed},
};
use zmq::{Context, POLLIN, PollItem};

use crate::spool::{Budget, Bytes};

/// How many messages are taken from links, or from clients, before anything else gets its turn.
const ROUND: usize = 128;
/// How many bytes are taken from links before anything else gets its turn.
const ROUND_BYTES: usize = 1024 * 1024;
/// How long a portal that has nothing to do sleeps at most. Milliseconds.
const QUIET: i64 = 50;
/// How long there must have been no trouble before it is said to be over.
const OVER: Duration = Duration::from_secs(1);
/// What a link's message may have beyond one record. Bytes.
const MESSAGE_SLACK: u64 = 1024 * 1024;
/// How long a portal that stops waits until receivers have done, and portals receipted, what it has handed on, when none of
/// them gets any further.
const LAST_RECEIPTS: Duration = Duration::from_secs(2);

/// A portal and all that it holds.
struct Portal {
    place: Place,
    doors: Doors,
    guide: Arc<Guide>,
    page: Page,
    flows: Vec<Flow>,
    outlet: Outlet,
    links: Links,
    budget: Budget,
    entrance: Entrance,
    clients: Option<Door>,
    quarantine: Quarantine,
    measurements: Measurements,
    /// From adoption until settled.
    transition: Option<UnderWay>,
    holding: bool,
    /// What is delivered though it holds.
    draining: Draining,
    stopping: bool,
    /// When there was trouble last, while it is said that there is.
    said_trouble: Option<Instant>,
    // Last, so that sockets are closed before it is terminated.
    context: Context,
}

/// Runs the portal that the launcher started this process for, until it is asked to stop.
pub fn run() -> Result<()> {
    let (placed, incarnation) = from_environment()?;
    let page = placed.place.page(&placed.place.process);
    let page = Page::open(&page).map_err(io(format!("open {}", page.display())))?;
    exit::tell(&page, incarnation);
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

/// How large a message may be. Bytes.
fn greatest_message(doors: &Doors) -> i64 {
    let largest = doors.flows.iter().map(|flow| flow.max_record).max().unwrap_or(0);
    i64::try_from(largest + MESSAGE_SLACK).unwrap_or(i64::MAX)
}

impl Portal {
    fn open(context: &Context, place: Place, doors: Doors, incarnation: u64) -> Result<Self> {
        let guide = read_guide(&place.guide)?;
        let page_path = place.page(&place.process);
        let page = Page::open(&page_path).map_err(io(format!("open {}", page_path.display())))?;
        // One of another generation is still to be adopted, or was settled.
        let transition = Transition::read(&place.spool)
            .map_err(io(format!("read what the plan before said, in {}", place.spool.display())))?
            .filter(|transition| transition.generation == place.generation);
        let entrance = Entrance::new(context, &doors.links, greatest_message(&doors), &page, &place)?;
        let mut portal = Self {
            outlet: Outlet::new(&place, incarnation),
            links: Links::new(&place, incarnation),
            budget: Budget::new(doors.spool),
            quarantine: Quarantine::new(place.spool.clone()),
            measurements: Measurements::new(&place, 0),
            guide: Arc::new(guide.clone()),
            flows: Vec::new(),
            holding: page.gate_closed(),
            page,
            entrance,
            clients: None,
            transition: None,
            draining: Draining::default(),
            stopping: false,
            said_trouble: None,
            context: context.clone(),
            place,
            doors,
        };
        let carried = portal.doors.flows.clone();
        if let Some(Transition { guide: former, flows, .. }) = transition {
            let former = Arc::new(former);
            portal.rewire(&flows, former.as_ref().clone(), None, true)?;
            portal.rewire(&carried, guide, Some(&former), true)?;
            portal.transition = Some(UnderWay {
                old_links: Vec::new(),
                old_clients: Vec::new(),
                asked: Asked::Adopt,
                handed_over: false,
            });
        } else {
            portal.rewire(&carried, guide, None, true)?;
            portal.recover_aside()?;
        }
        portal.account_for_the_dead();
        let doors = portal.doors.clone();
        portal.bind_clients(&doors)?;
        Ok(portal)
    }

    /// What a killed portal had numbered but not yet put into the spool is lost, and is counted so.
    fn account_for_the_dead(&mut self) {
        for flow in &mut self.flows {
            let taken = self.entrance.accepted(&flow.carried.flow) + flow.from_clients.done();
            flow.write_off_unseen(taken);
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
            if self.transition.is_some() || !control.is_flushed() {
                moved |= self.go_on(control)?;
            }
            moved |= self.hand_on()?;
            moved |= self.hand_on_before_cuts()?;
            self.say_drained(control);
            // First what somebody waits for.
            self.outlet.flush_all()?;
            for link in self.links.all() {
                link.flush_all()?;
            }
            self.entrance.give_receipts(now);
            self.tend(control, now)?;
            self.measurements.tick(now, &mut self.flows, &self.place);
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
        match message {
            ToProcess::Gate { closed, but } => {
                self.holding = *closed;
                self.drain(*closed, but);
                self.outlet.flush_all()?;
                self.page.set_gate(*closed);
                control.say(FromProcess::Gate { closed: *closed });
            }
            ToProcess::Finish => control.say(FromProcess::Finished),
            ToProcess::Stop => self.stopping = true,
            &ToProcess::Adopt { generation } => self.adopt(control, generation)?,
            &ToProcess::HandOver { generation } if generation == self.place.generation => match &mut self.transition {
                Some(under_way) if !under_way.handed_over => under_way.asked = under_way.asked.max(Asked::HandOver),
                _ => control.say(FromProcess::HandedOver { generation }),
            },
            &ToProcess::Settle { generation } if generation == self.place.generation => match &mut self.transition {
                Some(under_way) => under_way.asked = Asked::Settle,
                None => control.say(FromProcess::Settled { generation }),
            },
            // Of a rollout that this portal has nothing to do with any more, or not yet.
            ToProcess::HandOver { .. } | ToProcess::Settle { .. } => {}
        }
        Ok(())
    }

    fn has_room(&self, for_clients: bool) -> bool {
        self.budget.has_room(for_clients) && self.disk_takes()
    }

    fn disk_takes(&self) -> bool {
        self.flows.iter().all(Flow::disk_takes)
    }

    fn take_from_links(&mut self) -> Result<bool> {
        let mut moved = false;
        let mut bytes_taken = 0;
        for _ in 0..ROUND {
            if bytes_taken >= ROUND_BYTES {
                break;
            }
            let has_room = self.has_room(false);
            // What a rollout waits for is taken in whatever the limit.
            if !has_room && (self.transition.is_none() || !self.disk_takes()) {
                break;
            }
            let batch = match self.entrance.take(&mut self.quarantine)? {
                Taken::Batch(batch) => batch,
                Taken::Other => continue,
                Taken::Nothing => break,
            };
            let index = self.flows.iter().position(|flow| flow.carried.flow == batch.flow);
            let version = index.map_or(self.place.generation, |index| self.flows[index].guide.version);
            let is_too_new = batch.count > 0 && batch.version > version;
            if is_too_new || (!has_room && !self.must_take(index, &batch)) {
                self.entrance.put_off(&batch);
                continue;
            }
            moved = true;
            bytes_taken += batch.message.len();
            let Some(count) = self.entrance.number(&self.page, &batch, index.is_some()) else { continue };
            let Some(index) = index else {
                self.entrance.reject(&batch, "a flow that this portal does not carry", &mut self.quarantine);
                continue;
            };
            let records_at = if count == batch.count {
                batch.records_at
            } else {
                // The first part of it is here already.
                wire::skip_records(&batch.message, batch.records_at, batch.count - count).unwrap_or(batch.records_at)
            };
            let bytes = Bytes::of(&batch.message, records_at);
            let Self { flows, entrance, guide, budget, .. } = self;
            let flow = &mut flows[index];
            let from = From::Link { sender: entrance.name_of(&batch), version: batch.version };
            let handed = flow.keep(&bytes, count, from, guide, budget);
            flow.received.add_done(u64::from(count - handed));
            if let Some(passage) = flow.passage.as_ref().filter(|_| handed > 0) {
                passage.handed.add_done(u64::from(handed));
                budget.allow(bytes.get().len() as u64);
            }
        }
        Ok(moved)
    }

    /// Whether a rollout can't go on without a batch: it is from a portal that owned keys of its flow before, or was
    /// sent by the guide before.
    fn must_take(&mut self, flow: Option<usize>, batch: &entrance::Batch) -> bool {
        let passage = flow.and_then(|index| self.flows[index].passage.as_ref());
        passage.is_some_and(|it| it.former_portal(self.entrance.name_of(batch)).is_some())
            || self.entrance.is_due(batch)
    }

    fn hand_on(&mut self) -> Result<bool> {
        let mut moved = false;
        for index in 0..self.flows.len() {
            let (to_stages, to_portals) = self.may_hand_on(&self.flows[index]);
            let Self { flows, outlet, links, budget, .. } = self;
            let flow = &mut flows[index];
            if to_stages {
                for local in &mut flow.locals {
                    moved |= local.hand_on(outlet, links, budget)?;
                }
            }
            if to_portals {
                for portal in flow.portals_mut() {
                    moved |= portal.hand_on(outlet, links, budget)?;
                }
            }
        }
        Ok(moved)
    }

    /// Whether a flow's records may be handed on: to stages, and to portals.
    fn may_hand_on(&self, flow: &Flow) -> (bool, bool) {
        let is_open = !self.holding || self.draining.has(&flow.carried.flow);
        // What hasn't been sorted may be another's; what is another's goes there also while this portal holds.
        match &flow.passage {
            None => (is_open, is_open),
            Some(passage) => (is_open && !passage.is_sorting, true),
        }
    }

    fn has_backlog(&self) -> bool {
        self.has_before_cuts()
            || self.flows.iter().any(|flow| {
                let (to_stages, to_portals) = self.may_hand_on(flow);
                let leaving = flow.passage.iter().flat_map(|passage| &passage.leaving);
                let portals = || flow.forwards.iter().flatten().chain(leaving.clone());
                (to_stages && flow.locals.iter().any(|local| local.held() > 0))
                    || (to_portals && portals().any(|portal| portal.held() > 0))
            })
    }

    fn tend(&mut self, control: &mut Control, now: Instant) -> Result<()> {
        self.outlet.tend(now)?;
        for link in self.links.all() {
            link.tend(now)?;
        }
        let mut trouble = None;
        for flow in &mut self.flows {
            let mut refused = None;
            for destination in flow.destinations_mut() {
                refused = destination.retry(&mut self.budget).or(refused);
            }
            if let Some(passage) = &mut flow.passage {
                refused = passage.aside.retry(&mut self.budget).or(refused);
            }
            if let Some(text) = refused {
                trouble = Some(format!("the spool of flow {} refuses records: {text}", flow.carried.flow));
            }
        }
        if self.budget.has_room(false) {
            self.entrance.ask_again();
        }
        if trouble.is_none() && !self.budget.has_room(false) {
            let (memory, disk) = self.budget.used();
            trouble = Some(format!(
                "the spool is full ({memory} bytes in memory, {disk} on disk; limits {} and {}): senders wait",
                self.doors.spool.memory, self.doors.spool.disk
            ));
        }
        let is_new = trouble.is_some() && self.said_trouble.replace(now).is_none();
        match trouble {
            Some(text) if is_new => {
                eprintln!("{}: {text}", self.place.process);
                control.say(FromProcess::Trouble { text });
            }
            // A spool that senders keep full has room a thousand times a second.
            None if self.said_trouble.is_some_and(|last| now.duration_since(last) >= OVER) => {
                control.say(FromProcess::Trouble { text: String::new() });
                self.said_trouble = None;
            }
            _ => {}
        }
        Ok(())
    }

    fn wait(&mut self, control: &Control) {
        let room = (self.has_room(false), self.has_room(true));
        let mut timeout = match () {
            () if self.entrance.owes() => 1,
            () if self.entrance.is_closing() || self.said_trouble.is_some() => 10,
            () => QUIET,
        };
        let mut items = Vec::with_capacity(3 + self.links.all().len());
        if room.0 || self.transition.is_some() {
            items.push(self.entrance.socket().as_poll_item(POLLIN));
        }
        if let (Some(clients), true) = (&self.clients, room.1 && !self.keeps_clients_waiting()) {
            items.push(PollItem::from_fd(clients.descriptor(), POLLIN));
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
            if let Err(error) = flow.close(&mut self.budget) {
                first_failure.get_or_insert(error);
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    fn wait_for_the_last(&mut self) -> Result<()> {
        self.outlet.flush_all()?;
        self.entrance.give_all_receipts(Instant::now());
        let mut left = (0, Instant::now());
        let mut pause = Pause::new();
        loop {
            let now = Instant::now();
            let mut waiting = self.outlet.under_way();
            for link in self.links.all() {
                link.flush_all()?;
                link.tend(now)?;
                waiting += link.under_way();
            }
            if waiting != left.0 {
                left = (waiting, now);
            }
            if waiting == 0 || now.duration_since(left.1) > LAST_RECEIPTS {
                return Ok(());
            }
            self.outlet.tend(now)?;
            self.page.beat();
            pause.wait();
        }
    }
}

fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> waldo_sdk::Error {
    let doing = doing.into();
    move |source| waldo_sdk::Error::Io { doing, source }
}
