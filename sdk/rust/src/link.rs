//! The sending side of a link: numbered batches to one portal, kept until its receipts cover them.
//!
//! ```text
//! Succeeding --Closed for every flow--> Open
//! ```
//!
//! A link begins in `Succeeding` if an earlier incarnation of this process left records without a receipt: the portal
//! first says how many of them it took and that it will take no more; the rest is written off. Nothing is sent before.
//!
//! The wiring may change while a link lives. A flow that gets a new guide version sends what is in its batch by the old
//! one first; the number of its last record is kept, and receipts that reach it say that the flow is flushed. A portal
//! that moves to another endpoint is reached over a socket of its own, which sends again all that is kept: the portal
//! knows the sender by its name and the records by their numbers. The former socket is closed when everything that went
//! through it has receipts: not before, as closing a DEALER with unread receipts resets its connection, and what the
//! portal hadn't read yet would be lost. A link that no flow uses any more is closed in the same way.
//!
//! A portal whose server was stopped, or left out of the plan, and is brought back later knows nothing of its senders. It
//! asks for the first record, though what was sent before has receipts: then numbers begin again at 1.
//!
//! While `Open`: when receipts fail to come for `PATIENCE`, and then for twice as long each time, a batch without records
//! asks for them; the portal answers with a receipt, or asks for all that is missing. It drops what it has already, by
//! number.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use zmq::{Context, Socket};

use crate::{
    batch::Batch,
    error::{Error, Result},
    frame::Frame,
    page::{Kind as SlotKind, Page, Slot},
    socket,
    wire::{self, Header, Kind, RecordRef},
};

/// How many bytes may be without a receipt.
pub const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// How many batches may be without a receipt.
const WINDOW_BATCHES: usize = 4096;
/// How long receipts may fail to come before they are asked for.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long at most between two such questions: with a portal that doesn't read they pile up.
const PATIENCE_AT_MOST: Duration = Duration::from_secs(4);
/// How often a succession is announced until it is answered.
const REPEAT: Duration = Duration::from_millis(100);

struct Kept {
    first: u64,
    count: u32,
    flow: usize,
    /// libzmq has the same bytes: they don't change.
    message: Frame,
}

struct LinkFlow {
    name: String,
    slot: Slot,
    version: u64,
    batch: Batch,
    /// The number of its last record.
    last: u64,
    /// The number of its last record that went by an older version of the guide, 0 if there was none.
    last_of_older: u64,
    /// Whether earlier incarnations have left records that the portal hasn't given its word on.
    succeeding: bool,
    /// Whether the wiring has it.
    wanted: bool,
}

/// A socket to an endpoint that the portal doesn't live at any more.
struct Former {
    socket: Socket,
    /// The number of the last record that it has sent.
    last: u64,
}

#[derive(PartialEq, Eq)]
enum State {
    /// Waiting for the portal's word on what earlier incarnations sent.
    Succeeding,
    /// Records may be sent.
    Open,
}

/// A link to one portal.
pub struct Link {
    /// `server/portal`.
    target: String,
    own_name: String,
    incarnation: u64,
    endpoint: String,
    /// `None` once the wiring has no flow for it any more and everything has receipts.
    socket: Option<Socket>,
    former: Vec<Former>,
    flows: Vec<LinkFlow>,
    state: State,
    next_number: u64,
    receipted: u64,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// When something was last heard or sent again.
    patient_since: Instant,
    patience: Duration,
    resent_all: Option<(u64, Instant)>,
}

/// The index of a flow within its link.
pub type FlowIndex = usize;

impl Link {
    /// Connects to the portal `target` (`server/portal`) at `endpoint`; `own_name` is `server/process`.
    pub fn connect(context: &Context, endpoint: &str, target: &str, own_name: &str, incarnation: u64) -> Result<Self> {
        Ok(Self {
            target: target.to_owned(),
            own_name: own_name.to_owned(),
            incarnation,
            endpoint: endpoint.to_owned(),
            socket: Some(socket::to_portal(context, endpoint)?),
            former: Vec::new(),
            flows: Vec::new(),
            state: State::Open,
            next_number: 1,
            receipted: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            patient_since: Instant::now(),
            patience: PATIENCE,
            resent_all: None,
        })
    }

    /// `server/portal`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Goes on at this endpoint, if it is another one than before or the link has been closed.
    pub fn reach(&mut self, context: &Context, endpoint: &str) -> Result<()> {
        if self.socket.is_some() && self.endpoint == endpoint {
            return Ok(());
        }
        let socket = socket::to_portal(context, endpoint)?;
        endpoint.clone_into(&mut self.endpoint);
        if let Some(socket) = self.socket.replace(socket)
            && !self.kept.is_empty()
        {
            self.former.push(Former { socket, last: self.next_number - 1 });
        }
        self.patience = PATIENCE;
        self.patient_since = Instant::now();
        self.send_all_again()
    }

    /// Adds a flow, of this guide version, or lets the flow go on with it.
    pub fn add(&mut self, page: &Page, flow: &str, version: u64) -> Result<FlowIndex> {
        if let Some(index) = self.flows.iter().position(|known| known.name == flow) {
            self.flows[index].wanted = true;
            if self.flows[index].version != version {
                self.flush(index)?;
                let known = &mut self.flows[index];
                known.last_of_older = known.last;
                known.version = version;
                known.batch.set_version(version);
                if known.last > self.receipted {
                    self.ask()?;
                }
            }
            return Ok(index);
        }
        let name = format!("{flow}>{}", self.target);
        let slot = page.slot(SlotKind::Link, &name).map_err(Error::io(format!("add edge {name}")))?;
        let succeeding = slot.under_way() > 0;
        if succeeding && self.state == State::Open {
            self.state = State::Succeeding;
            self.patient_since = Instant::now().checked_sub(REPEAT).unwrap_or_else(Instant::now);
        }
        // The portal puts its own name in the place of this process's, and sends the message on as it is.
        let portal = self.target.split_once('/').map_or("", |(_, portal)| portal);
        let room = u8::try_from(portal.len().saturating_sub(self.own_name.len())).unwrap_or(u8::MAX);
        let batch = Batch::new(&self.own_name, flow, self.incarnation, version, room);
        let name = flow.to_owned();
        self.flows.push(LinkFlow { name, slot, version, batch, last: 0, last_of_older: 0, succeeding, wanted: true });
        Ok(self.flows.len() - 1)
    }

    /// Forgets which flows the wiring has; [`Link::add`] says it again.
    pub fn begin_rewiring(&mut self) {
        self.close_what_is_done();
        for flow in &mut self.flows {
            flow.wanted = false;
        }
    }

    /// How many records of this flow were ever sent.
    pub fn flow_sent(&self, flow: FlowIndex) -> u64 {
        self.flows[flow].slot.sent()
    }

    /// How many of them have receipts or are given up.
    pub fn flow_settled(&self, flow: FlowIndex) -> u64 {
        let slot = &self.flows[flow].slot;
        slot.done() + slot.written_off()
    }

    /// Whether what this flow sent by older versions of the guide has receipts.
    pub fn is_flow_flushed(&self, flow: FlowIndex) -> bool {
        let flow = &self.flows[flow];
        !flow.succeeding && flow.last_of_older <= self.receipted
    }

    /// Whether what was sent by older versions of the guide, or of flows that the wiring doesn't have any more, has
    /// receipts.
    pub fn is_flushed(&self) -> bool {
        let flow_is = |index: FlowIndex| {
            let flow = &self.flows[index];
            self.is_flow_flushed(index) && (flow.wanted || flow.batch.is_empty() && flow.last <= self.receipted)
        };
        (0..self.flows.len()).all(flow_is)
    }

    /// Closes what isn't needed any more.
    fn close_what_is_done(&mut self) {
        let receipted = self.receipted;
        self.former.retain(|former| former.last > receipted);
        if self.all_receipted() && self.flows.iter().all(|flow| !flow.wanted) {
            self.socket = None;
        }
    }

    /// Whether a record can be taken now.
    #[inline]
    pub fn ready(&self) -> bool {
        self.kept_bytes < WINDOW_BYTES && self.kept.len() < WINDOW_BATCHES && self.state == State::Open
    }

    /// Takes a record, after [`Link::ready`] has said yes.
    #[inline]
    pub fn push(&mut self, flow: FlowIndex, record: RecordRef<'_>) -> Result<()> {
        let link_flow = &mut self.flows[flow];
        link_flow.slot.add_sent(1);
        link_flow.batch.push(record);
        if link_flow.batch.is_full() {
            self.flush(flow)?;
        }
        Ok(())
    }

    /// Takes a record that stands in `record` as on the wire, after [`Link::ready`] has said yes.
    #[inline]
    pub fn push_whole(&mut self, flow: FlowIndex, record: &[u8]) -> Result<()> {
        let link_flow = &mut self.flows[flow];
        link_flow.slot.add_sent(1);
        link_flow.batch.push_block(record, 1);
        if link_flow.batch.is_full() {
            self.flush(flow)?;
        }
        Ok(())
    }

    fn flush(&mut self, flow: FlowIndex) -> Result<()> {
        let batch = &mut self.flows[flow].batch;
        if batch.is_empty() {
            return Ok(());
        }
        let (first, count) = (self.next_number, batch.count());
        let mut message = Frame::from(batch.take(first));
        self.next_number += u64::from(count);
        self.flows[flow].last = self.next_number - 1;
        self.send(message.share())?;
        if self.kept.is_empty() {
            self.patient_since = Instant::now();
        }
        self.kept_bytes += message.len();
        self.kept.push_back(Kept { first, count, flow, message });
        Ok(())
    }

    fn send(&mut self, message: impl Into<Frame>) -> Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        message.into().send(socket, false).map_err(|error| Error::zmq(format!("send to {}", self.target))(error))
    }

    fn send_all_again(&mut self) -> Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let target = &self.target;
        let mut send = |kept: &mut Kept| kept.message.share().send(socket, false);
        self.kept.iter_mut().try_for_each(&mut send).map_err(|error| Error::zmq(format!("send to {target}"))(error))
    }

    /// Sends what is in batches.
    pub fn flush_all(&mut self) -> Result<()> {
        (0..self.flows.len()).try_for_each(|flow| self.flush(flow))
    }

    /// Sends batches whose oldest record is from before `limit`; answers whether any batch is left with records.
    pub fn flush_older(&mut self, limit: Instant) -> Result<bool> {
        let mut left = false;
        for flow in 0..self.flows.len() {
            match self.flows[flow].batch.oldest() {
                Some(oldest) if oldest <= limit => self.flush(flow)?,
                Some(_) => left = true,
                None => {}
            }
        }
        Ok(left)
    }

    /// Reads what the portal says, and says again what it seems to have missed.
    pub fn tend(&mut self, now: Instant) -> Result<()> {
        self.hear(now)?;
        self.close_what_is_done();
        match self.state {
            State::Succeeding if now.duration_since(self.patient_since) >= REPEAT => {
                self.patient_since = now;
                let header = Header {
                    kind: Kind::Succession,
                    sender: &self.own_name,
                    flow: "",
                    incarnation: self.incarnation,
                    number: 0,
                    version: 0,
                    count: 0,
                };
                self.send(header.message())
            }
            State::Open if !self.kept.is_empty() && now.duration_since(self.patient_since) >= self.patience => {
                self.patient_since = now;
                self.patience = (self.patience * 2).min(PATIENCE_AT_MOST);
                self.ask()
            }
            State::Succeeding | State::Open => Ok(()),
        }
    }

    /// Asks for a receipt, and says up to which number the portal must take records in for a rollout to go on.
    fn ask(&mut self) -> Result<()> {
        let due = |flow: &LinkFlow| if flow.wanted { flow.last_of_older } else { flow.last };
        let header = Header {
            kind: Kind::Data,
            sender: &self.own_name,
            flow: "",
            incarnation: self.incarnation,
            number: self.next_number,
            version: self.flows.iter().map(due).max().unwrap_or(0),
            count: 0,
        };
        self.send(header.message())
    }

    /// Reads what the portal says.
    pub fn hear(&mut self, now: Instant) -> Result<()> {
        while let Some(message) = self.receive()? {
            let Ok((header, _)) = Header::read(&message) else { continue };
            if header.incarnation != self.incarnation {
                continue;
            }
            self.patience = PATIENCE;
            match header.kind {
                Kind::Receipt => self.receipt(header.number, now),
                Kind::Resend => self.resend(header.number, now)?,
                Kind::Closed => self.closed(header.flow, header.number),
                Kind::Data | Kind::Fence | Kind::Succession => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Frame>> {
        for socket in self.socket.iter_mut().chain(self.former.iter_mut().map(|former| &mut former.socket)) {
            let received = Frame::receive(socket).map_err(|error| {
                let target = &self.target;
                Error::zmq(format!("receive from {target}"))(error)
            })?;
            if received.is_some() {
                return Ok(received);
            }
        }
        Ok(None)
    }

    fn receipt(&mut self, number: u64, now: Instant) {
        if number <= self.receipted {
            return;
        }
        self.receipted = number;
        self.patient_since = now;
        while let Some(kept) = self.kept.front() {
            if kept.first + u64::from(kept.count) - 1 > number {
                break;
            }
            self.flows[kept.flow].slot.add_done(u64::from(kept.count));
            self.kept_bytes -= kept.message.len();
            self.kept.pop_front();
        }
    }

    fn resend(&mut self, number: u64, now: Instant) -> Result<()> {
        // On one connection receipts come in order; on two of them this may be an older one.
        if number < self.receipted && self.former.is_empty() {
            self.begin_anew();
        }
        self.receipt(number, now);
        // The portal asks once for each batch behind a gap: one answer is enough.
        if self.resent_all.is_some_and(|(from, at)| from == number && now.duration_since(at) < PATIENCE) {
            return Ok(());
        }
        self.resent_all = Some((number, now));
        self.patient_since = now;
        self.send_all_again()
    }

    /// Numbers what is kept from 1 on. Nothing that was sent by the numbers before can be taken in for one of these: it
    /// goes over the same connection, before them.
    fn begin_anew(&mut self) {
        let before = std::mem::take(&mut self.receipted);
        self.next_number -= before;
        self.resent_all = None;
        for flow in &mut self.flows {
            flow.last = flow.last.saturating_sub(before);
            flow.last_of_older = flow.last_of_older.saturating_sub(before);
        }
        for kept in &mut self.kept {
            kept.first -= before;
            let mut message = kept.message.to_vec();
            wire::set_number_and_count(&mut message, kept.first, kept.count);
            kept.message = message.into();
        }
    }

    fn closed(&mut self, flow: &str, accepted: u64) {
        if self.state != State::Succeeding {
            return;
        }
        if flow.is_empty() {
            for flow in self.flows.iter_mut().filter(|flow| flow.succeeding) {
                // A flow that the portal didn't name: it took nothing beyond what it gave receipts for.
                flow.slot.add_written_off(flow.slot.under_way());
                flow.succeeding = false;
            }
            self.state = State::Open;
            self.patient_since = Instant::now();
        } else if let Some(flow) = self.flows.iter().find(|known| known.name == flow && known.succeeding) {
            let taken = accepted.clamp(flow.slot.done(), flow.slot.sent() - flow.slot.written_off());
            flow.slot.set_done(taken);
        }
    }

    /// Whether the portal has given receipts for everything.
    pub fn all_receipted(&self) -> bool {
        self.state == State::Open && self.kept.is_empty() && self.flows.iter().all(|flow| flow.batch.is_empty())
    }

    /// How many batches have no receipt yet; also counts a succession that isn't answered.
    pub fn under_way(&self) -> u64 {
        let begun = self.flows.iter().filter(|flow| !flow.batch.is_empty()).count();
        (self.kept.len() + begun + usize::from(self.state != State::Open)) as u64
    }

    /// Whether there is something that must be tended soon.
    pub fn busy(&self) -> bool {
        !self.kept.is_empty() || self.state == State::Succeeding
    }

    /// The sockets, to poll for what the portal says.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.socket.iter().chain(self.former.iter().map(|former| &former.socket))
    }
}
