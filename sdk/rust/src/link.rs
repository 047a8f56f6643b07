//! The sending side of a link: numbered batches to one portal, kept until its receipts cover them.
//!
//! ```text
//! Succeeding --Closed for every flow--> Open
//! ```
//!
//! A link begins in `Succeeding` if an earlier incarnation of this process left records without a receipt: the portal
//! first says how many of them it took and that it will take no more; the rest is written off. Nothing is sent before.
//!
//! While `Open`: when receipts fail to come for `PATIENCE`, and then for twice as long each time, a batch without records
//! asks for them; the portal answers with a receipt, or asks for all that is missing. It drops what it has already, by
//! number.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use zmq::{Context, DONTWAIT, Socket};

use crate::{
    batch::Batch,
    error::{Error, Result},
    page::{Kind as SlotKind, Page, Slot},
    socket,
    wire::{Header, Kind, RecordRef},
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
    message: Vec<u8>,
}

struct LinkFlow {
    name: String,
    slot: Slot,
    batch: Batch,
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
    socket: Socket,
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
            socket: socket::to_portal(context, endpoint)?,
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

    /// Adds a flow, of this guide version.
    pub fn add(&mut self, page: &Page, flow: &str, version: u64) -> Result<FlowIndex> {
        let name = format!("{flow}>{}", self.target);
        let slot = page.slot(SlotKind::Link, &name).map_err(Error::io(format!("add edge {name}")))?;
        if slot.under_way() > 0 && self.state == State::Open {
            self.state = State::Succeeding;
            self.patient_since = Instant::now().checked_sub(REPEAT).unwrap_or_else(Instant::now);
        }
        let batch = Batch::new(&self.own_name, flow, self.incarnation, version);
        self.flows.push(LinkFlow { name: flow.to_owned(), slot, batch });
        Ok(self.flows.len() - 1)
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

    fn flush(&mut self, flow: FlowIndex) -> Result<()> {
        let batch = &mut self.flows[flow].batch;
        if batch.is_empty() {
            return Ok(());
        }
        let (first, count) = (self.next_number, batch.count());
        let message = batch.take(first);
        self.next_number += u64::from(count);
        self.send(&message)?;
        if self.kept.is_empty() {
            self.patient_since = Instant::now();
        }
        self.kept_bytes += message.len();
        self.kept.push_back(Kept { first, count, flow, message });
        Ok(())
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        self.socket.send(message, DONTWAIT).map_err(Error::zmq(format!("send to {}", self.target)))
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
                self.send(&header.message())
            }
            State::Open if !self.kept.is_empty() && now.duration_since(self.patient_since) >= self.patience => {
                self.patient_since = now;
                self.patience = (self.patience * 2).min(PATIENCE_AT_MOST);
                let header = Header {
                    kind: Kind::Data,
                    sender: &self.own_name,
                    flow: "",
                    incarnation: self.incarnation,
                    number: self.next_number,
                    version: 0,
                    count: 0,
                };
                self.send(&header.message())
            }
            State::Succeeding | State::Open => Ok(()),
        }
    }

    /// Reads what the portal says.
    pub fn hear(&mut self, now: Instant) -> Result<()> {
        loop {
            let message = match self.socket.recv_msg(DONTWAIT) {
                Ok(message) => message,
                Err(zmq::Error::EAGAIN) => return Ok(()),
                Err(zmq::Error::EINTR) => continue,
                Err(error) => return Err(Error::zmq(format!("receive from {}", self.target))(error)),
            };
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
        self.receipt(number, now);
        // The portal asks once for each batch behind a gap: one answer is enough.
        if self.resent_all.is_some_and(|(from, at)| from == number && now.duration_since(at) < PATIENCE) {
            return Ok(());
        }
        self.resent_all = Some((number, now));
        self.patient_since = now;
        self.kept.iter().try_for_each(|kept| self.send(&kept.message))
    }

    fn closed(&mut self, flow: &str, accepted: u64) {
        if self.state != State::Succeeding {
            return;
        }
        if flow.is_empty() {
            for flow in &self.flows {
                // A flow that the portal didn't name: it took nothing beyond what it gave receipts for.
                flow.slot.add_written_off(flow.slot.under_way());
            }
            self.state = State::Open;
            self.patient_since = Instant::now();
        } else if let Some(flow) = self.flows.iter().find(|known| known.name == flow) {
            let taken = accepted.clamp(flow.slot.done(), flow.slot.sent() - flow.slot.written_off());
            flow.slot.set_done(taken);
        }
    }

    /// Whether the portal has given receipts for everything.
    pub fn all_receipted(&self) -> bool {
        self.state == State::Open && self.kept.is_empty() && self.flows.iter().all(|flow| flow.batch.is_empty())
    }

    /// Whether there is something that must be tended soon.
    pub fn busy(&self) -> bool {
        !self.kept.is_empty() || self.state == State::Succeeding
    }

    /// The socket, to poll for what the portal says.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }
}
