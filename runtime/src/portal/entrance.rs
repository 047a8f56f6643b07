//! A portal's door for links: numbers checked, doubles dropped, gaps asked for, receipts given.
//!
//! What it knows of each sender stands in the portal's page and so survives the portal: the number of the last record
//! and of which incarnation ([`SlotKind::Last`]), and how many records of each flow ([`SlotKind::Accepted`]).
//!
//! When a sender has been replaced, its successor asks how far the dead one came. What that one sent may still be on its
//! way through another connection, so the entrance goes on taking it in for [`SETTLE`] and until the door has been dry
//! once (at most [`SETTLE_AT_MOST`]); then it takes no more of it and gives its word.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use waldo_sdk::{
    Result,
    inbox::{SETTLE, SETTLE_AT_MOST},
    page::{Kind as SlotKind, Page, Slot},
    wire::{self, Header, Kind},
    wiring::Place,
};
use zmq::{DONTWAIT, Message, SNDMORE, Socket};

use super::{io, quarantine::Quarantine};

/// How often the same gap is asked for at most.
const ASK_AGAIN: Duration = Duration::from_millis(20);

struct Sender {
    name: String,
    /// What ROUTER calls the connection that it was last heard on.
    connection: Vec<u8>,
    last: Slot,
    incarnation: u64,
    number: u64,
    accepted: HashMap<String, Slot>,
    receipt_due: bool,
    resend_due: bool,
    asked: Option<Instant>,
    closing: Option<Closing>,
}

struct Closing {
    incarnation: u64,
    since: Instant,
    dry: bool,
}

/// A data message, whole and well-formed, not yet numbered.
pub struct Batch {
    /// The message.
    pub message: Arc<Message>,
    /// The flow's name.
    pub flow: String,
    /// Where its records begin.
    pub records_at: usize,
    /// How many they are.
    pub count: u32,
    /// The version of the guide that they were sent by.
    pub version: u64,
    sender: usize,
    incarnation: u64,
    number: u64,
}

/// The door for links.
pub struct Entrance {
    socket: Socket,
    portal: String,
    senders: Vec<Sender>,
    by_name: HashMap<String, usize>,
    rejected: Slot,
    page: Page,
}

impl Entrance {
    /// A door that is bound, with what the page remembers of senders.
    pub fn new(socket: Socket, page: &Page, place: &Place) -> Result<Self> {
        let rejected = page.slot(SlotKind::Count, "rejected").map_err(io("add the count of rejected records"))?;
        let mut entrance = Self {
            socket,
            portal: format!("{}/{}", place.server, place.process),
            senders: Vec::new(),
            by_name: HashMap::new(),
            rejected,
            page: page.clone(),
        };
        for index in 0..page.len() {
            if let (Some(SlotKind::Last), name) = page.name(index) {
                let name = name.to_owned();
                entrance.sender(&name)?;
            }
        }
        Ok(entrance)
    }

    fn sender(&mut self, name: &str) -> Result<usize> {
        if let Some(&index) = self.by_name.get(name) {
            return Ok(index);
        }
        let last = self.page.slot(SlotKind::Last, name).map_err(io(format!("add link from {name}")))?;
        let mut sender = Sender {
            name: name.to_owned(),
            connection: Vec::new(),
            incarnation: last.succession(),
            number: last.done(),
            last,
            accepted: HashMap::new(),
            receipt_due: false,
            resend_due: false,
            asked: None,
            closing: None,
        };
        for index in 0..self.page.len() {
            let (kind, slot_name) = self.page.name(index);
            if kind == Some(SlotKind::Accepted)
                && let Some((flow, from)) = slot_name.split_once('<')
                && from == name
            {
                sender.accepted.insert(flow.to_owned(), self.page.at(index));
            }
        }
        self.senders.push(sender);
        self.by_name.insert(name.to_owned(), self.senders.len() - 1);
        Ok(self.senders.len() - 1)
    }

    /// How many records of a flow were ever numbered.
    pub fn accepted(&self, flow: &str) -> u64 {
        self.senders.iter().filter_map(|sender| sender.accepted.get(flow)).map(Slot::done).sum()
    }

    /// The count of what couldn't be read at all.
    pub fn rejected(&self) -> &Slot {
        &self.rejected
    }

    /// The socket, to poll for input.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether it is waiting to close a dead sender's account.
    pub fn is_closing(&self) -> bool {
        self.senders.iter().any(|sender| sender.closing.is_some())
    }

    /// The next data message, if one is there; answers the rest by itself.
    pub fn take(&mut self, quarantine: &mut Quarantine) -> Result<Option<Batch>> {
        loop {
            let Some((connection, message)) = self.receive()? else {
                self.close_what_is_due(true);
                return Ok(None);
            };
            let Ok((header, records_at)) = Header::read(&message) else {
                self.rejected.add_done(1);
                quarantine.keep("link", "not a message of waldo's", &message);
                continue;
            };
            if header.sender.is_empty() || !matches!(header.kind, Kind::Data | Kind::Succession) {
                self.rejected.add_done(1);
                continue;
            }
            let name = header.sender.to_owned();
            if header.kind == Kind::Succession {
                let incarnation = header.incarnation;
                let sender = self.sender(&name)?;
                self.senders[sender].connection = connection;
                self.succeed(sender, incarnation);
                continue;
            }
            if wire::check_records(&message, records_at, header.count).is_err() || header.number == 0 {
                self.rejected.add_done(u64::from(header.count));
                quarantine.keep("link", "records that don't add up", &message);
                continue;
            }
            let (flow, count, version) = (header.flow.to_owned(), header.count, header.version);
            let (incarnation, number) = (header.incarnation, header.number);
            let sender = self.sender(&name)?;
            if incarnation < self.senders[sender].incarnation {
                // From a dead one whose account is closed.
                continue;
            }
            self.senders[sender].connection = connection;
            let message = Arc::new(message);
            return Ok(Some(Batch { message, flow, records_at, count, version, sender, incarnation, number }));
        }
    }

    fn receive(&self) -> Result<Option<(Vec<u8>, Message)>> {
        let failed = |source| waldo_sdk::Error::Zmq { doing: "receive from links".to_owned(), source };
        loop {
            let connection = match self.socket.recv_bytes(DONTWAIT) {
                Ok(connection) => connection,
                Err(zmq::Error::EAGAIN) => return Ok(None),
                Err(zmq::Error::EINTR) => continue,
                Err(error) => return Err(failed(error)),
            };
            // All frames of a message arrive together. Ours has one besides the connection's name.
            let mut frames = Vec::with_capacity(1);
            let mut more = self.socket.get_rcvmore().map_err(failed)?;
            while more {
                let frame = self.socket.recv_msg(0).map_err(failed)?;
                more = frame.get_more();
                frames.push(frame);
            }
            match frames.pop() {
                Some(message) if frames.is_empty() => return Ok(Some((connection, message))),
                _ => self.rejected.add_done(1),
            }
        }
    }

    /// Counts a batch that can't be used. It has been numbered, or its sender would offer it for ever.
    pub fn reject(&mut self, batch: &Batch, reason: &str, quarantine: &mut Quarantine) {
        self.rejected.add_done(u64::from(batch.count));
        quarantine.keep(&self.senders[batch.sender].name, reason, &batch.message);
    }

    /// Checks a batch's number and takes it into the account; answers how many of its records, the last ones, are new.
    /// `None` if none is, or records before it are missing.
    pub fn number(&mut self, page: &Page, batch: &Batch) -> Result<Option<u32>> {
        let sender = &mut self.senders[batch.sender];
        if batch.incarnation > sender.incarnation {
            // Its predecessor left nothing in hand, or it would have asked first.
            sender.begin(batch.incarnation);
        }
        sender.receipt_due = true;
        if batch.number > sender.number + 1 {
            sender.resend_due = true;
            return Ok(None);
        }
        let last = batch.number + u64::from(batch.count) - 1;
        if batch.count == 0 || last <= sender.number {
            return Ok(None);
        }
        let fresh = (last - sender.number) as u32;
        if !sender.accepted.contains_key(&batch.flow) {
            let name = format!("{}<{}", batch.flow, sender.name);
            let slot = page.slot(SlotKind::Accepted, &name).map_err(io(format!("add link {name}")))?;
            sender.accepted.insert(batch.flow.clone(), slot);
        }
        sender.number = last;
        sender.last.set_done(last);
        if let Some(accepted) = sender.accepted.get(&batch.flow) {
            accepted.add_done(u64::from(fresh));
        }
        Ok(Some(fresh))
    }

    fn succeed(&mut self, sender: usize, incarnation: u64) {
        let known = &mut self.senders[sender];
        if incarnation == known.incarnation {
            self.give_word(sender);
        } else if incarnation > known.incarnation && known.closing.is_none() {
            known.closing = Some(Closing { incarnation, since: Instant::now(), dry: false });
        }
    }

    fn close_what_is_due(&mut self, dry: bool) {
        for index in 0..self.senders.len() {
            let sender = &mut self.senders[index];
            let Some(closing) = &mut sender.closing else { continue };
            let waited = closing.since.elapsed();
            closing.dry |= dry && waited >= SETTLE;
            if closing.dry || waited >= SETTLE_AT_MOST {
                let incarnation = closing.incarnation;
                sender.closing = None;
                sender.begin(incarnation);
                self.give_word(index);
            }
        }
    }

    /// Says how many records of each flow were taken from the sender's earlier incarnations.
    fn give_word(&self, index: usize) {
        let sender = &self.senders[index];
        let word = |flow: &str, number: u64| {
            let header = self.answer(sender, Kind::Closed, flow, number);
            self.send(sender, &header);
        };
        for (flow, accepted) in &sender.accepted {
            word(flow, accepted.done());
        }
        word("", 0);
    }

    fn answer<'a>(&'a self, sender: &Sender, kind: Kind, flow: &'a str, number: u64) -> Header<'a> {
        let incarnation = sender.incarnation;
        Header { kind, sender: &self.portal, flow, incarnation, number, version: 0, count: 0 }
    }

    fn send(&self, sender: &Sender, header: &Header<'_>) {
        // A connection that is gone gets nothing: the sender asks again on its next one.
        if self.socket.send(&sender.connection, DONTWAIT | SNDMORE).is_ok() {
            let _ = self.socket.send(header.message(), DONTWAIT);
        }
    }

    /// Gives receipts to all that have sent something since the last time, and closes dead senders' accounts.
    pub fn give_receipts(&mut self, now: Instant) {
        self.close_what_is_due(false);
        for index in 0..self.senders.len() {
            let sender = &mut self.senders[index];
            if !std::mem::take(&mut sender.receipt_due) {
                continue;
            }
            let ask = std::mem::take(&mut sender.resend_due)
                && sender.asked.is_none_or(|at| now.duration_since(at) >= ASK_AGAIN);
            if ask {
                sender.asked = Some(now);
            }
            let sender = &self.senders[index];
            let kind = if ask { Kind::Resend } else { Kind::Receipt };
            self.send(sender, &self.answer(sender, kind, "", sender.number));
        }
    }
}

impl Sender {
    /// From now on only records of this incarnation are taken.
    fn begin(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        self.number = 0;
        self.last.set_done(0);
        self.last.set_succession(incarnation);
        self.asked = None;
    }
}
