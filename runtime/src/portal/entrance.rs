//! A portal's door for links: numbers checked, doubles dropped, gaps asked for, receipts given.
//!
//! `Accepted` grows before the number is stored: a portal killed in between takes the batch again when it is sent again,
//! and books as lost what it counted twice.
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
    frame::Frame,
    inbox::{SETTLE, SETTLE_AT_MOST},
    page::{Kind as SlotKind, Page, Slot},
    socket,
    wire::{self, Header, Kind},
    wiring::Place,
};
use zmq::{Context, Socket};

use super::{
    io,
    quarantine::{Quarantine, Rejected},
};

/// How often the same gap is asked for at most.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A receipt is given at the latest when so many bytes have come, an eighth of a link's window.
const OWED_AT_MOST: usize = 512 * 1024;

/// And at the latest after this time, if its sender doesn't ask for it: each one wakes two threads, and where records come
/// one by one it is half of the work.
const OWED_FOR_AT_MOST: Duration = Duration::from_millis(1);

/// How long libzmq may take to let go of an endpoint.
const REBIND: Duration = Duration::from_secs(5);

struct Sender {
    name: String,
    /// What ROUTER calls the connection that it was last heard on.
    connection: Frame,
    last: Slot,
    incarnation: u64,
    number: u64,
    accepted: HashMap<String, Slot>,
    /// It has asked, or is to send something again.
    receipt_due: bool,
    /// How many bytes have come since the last receipt, and since when they have been waiting for one.
    owed: usize,
    owed_since: Option<Instant>,
    resend_due: bool,
    /// Whether batches weren't taken in that the sender must send again.
    put_off: bool,
    /// The number of the last record that must be taken in, however full the spool is, for a rollout to go on.
    due: u64,
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
    pub message: Arc<Frame>,
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

/// What [`Entrance::take`] found.
pub enum Taken {
    /// A batch.
    Batch(Batch),
    /// Something else, which has been seen to.
    Other,
    /// Nothing is there.
    Nothing,
}

/// The door for links.
pub struct Entrance {
    socket: Socket,
    /// The endpoints that it is bound to.
    bound: Vec<String>,
    portal: String,
    servers: Vec<String>,
    senders: Vec<Sender>,
    by_name: HashMap<String, usize>,
    rejected: Slot,
    page: Page,
}

impl Entrance {
    /// A door at this endpoint for messages of up to `greatest` bytes, with what the page remembers of senders.
    pub fn new(context: &Context, endpoint: &str, greatest: i64, page: &Page, place: &Place) -> Result<Self> {
        let socket = socket::portal_links(context, endpoint, greatest)?;
        let rejected = page.slot(SlotKind::Count, "rejected").map_err(io("add the count of rejected records"))?;
        let mut entrance = Self {
            socket,
            bound: vec![endpoint.to_owned()],
            portal: format!("{}/{}", place.server, place.process),
            servers: Vec::new(),
            senders: Vec::new(),
            by_name: HashMap::new(),
            rejected,
            page: page.clone(),
        };
        for index in 0..page.len() {
            if let (Some(SlotKind::Last), name) = page.name(index) {
                let name = name.to_owned();
                entrance.remember(&name);
            }
        }
        Ok(entrance)
    }

    /// What is known of the sender with this name; `None` for a name that no process of the cluster can have, or when the
    /// page has no room left.
    fn sender(&mut self, name: &str) -> Option<usize> {
        if let Some(&index) = self.by_name.get(name) {
            return Some(index);
        }
        let (server, process) = name.split_once('/')?;
        if process.is_empty() || !self.servers.iter().any(|known| known == server) {
            return None;
        }
        self.remember(name)
    }

    /// What the page remembers of the sender with this name, or nothing yet.
    fn remember(&mut self, name: &str) -> Option<usize> {
        let last = self.page.slot(SlotKind::Last, name).ok()?;
        let mut sender = Sender {
            name: name.to_owned(),
            connection: Frame::from(Vec::new()),
            incarnation: last.succession(),
            number: last.done(),
            last,
            accepted: HashMap::new(),
            receipt_due: false,
            owed: 0,
            owed_since: None,
            resend_due: false,
            put_off: false,
            due: 0,
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
        Some(self.senders.len() - 1)
    }

    /// The servers that senders may live on.
    pub fn set_servers(&mut self, servers: &[String], former: &[String]) {
        self.servers = servers.iter().chain(former).cloned().collect();
    }

    /// Opens the door at this endpoint too.
    pub fn bind(&mut self, endpoint: &str) -> Result<()> {
        if !self.bound.iter().any(|bound| bound == endpoint) {
            let doing = || format!("bind {endpoint}");
            self.socket.bind(endpoint).map_err(|source| waldo_sdk::Error::Zmq { doing: doing(), source })?;
            self.bound.push(endpoint.to_owned());
        }
        Ok(())
    }

    /// Closes the door at this endpoint. Senders that are still connected to it know another one.
    pub fn unbind(&mut self, endpoint: &str) {
        self.bound.retain(|bound| bound != endpoint);
        // One that isn't bound needn't be unbound.
        let _ = self.socket.unbind(endpoint);
    }

    /// Takes in larger messages from now on, at this endpoint.
    pub fn raise_greatest(&mut self, greatest: i64, endpoint: &str) -> Result<()> {
        raise_greatest(&self.socket, greatest, endpoint)
    }

    /// The name of a batch's sender.
    pub fn name_of(&self, batch: &Batch) -> &str {
        &self.senders[batch.sender].name
    }

    /// Whether a batch must be taken in for a rollout to go on, however full the spool is: it was sent before its sender
    /// adopted the new guide. A batch without records says up to where that is so.
    pub fn is_due(&mut self, batch: &Batch) -> bool {
        let sender = &mut self.senders[batch.sender];
        if batch.count == 0 && batch.incarnation >= sender.incarnation {
            sender.due = batch.version;
        }
        batch.number <= sender.due || batch.count == 0
    }

    /// Leaves a batch to its sender, which will be asked for it again.
    pub fn put_off(&mut self, batch: &Batch) {
        self.senders[batch.sender].put_off = true;
    }

    /// Asks for all that was put off.
    pub fn ask_again(&mut self) {
        for sender in self.senders.iter_mut().filter(|sender| sender.put_off) {
            sender.put_off = false;
            sender.receipt_due = true;
            sender.resend_due = true;
            sender.asked = None;
        }
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

    /// The next message, if one is there.
    pub fn take(&mut self, quarantine: &mut Quarantine) -> Result<Taken> {
        let Some((connection, message)) = self.receive()? else {
            self.close_what_is_due(true);
            return Ok(Taken::Nothing);
        };
        let Ok((header, records_at)) = Header::read(&message) else {
            return Ok(self.refuse(1, "not a message of waldo's", &message, quarantine));
        };
        if !matches!(header.kind, Kind::Data | Kind::Succession) {
            return Ok(self.refuse(1, "a message that portals send", &message, quarantine));
        }
        let (incarnation, number, count, version) = (header.incarnation, header.number, header.count, header.version);
        let (kind, flow) = (header.kind, header.flow.to_owned());
        let whole = wire::check_records(&message, records_at, count).is_ok();
        if kind == Kind::Data && (!whole || number == 0) {
            return Ok(self.refuse(u64::from(count), "records that don't add up", &message, quarantine));
        }
        let Some(sender) = self.sender(header.sender) else {
            return Ok(self.refuse(u64::from(count), "a sender that can't be", &message, quarantine));
        };
        if kind == Kind::Succession {
            self.senders[sender].connection = connection;
            self.succeed(sender, incarnation);
            return Ok(Taken::Other);
        }
        if incarnation < self.senders[sender].incarnation {
            // From a dead one whose account is closed.
            return Ok(Taken::Other);
        }
        self.senders[sender].connection = connection;
        let message = Arc::new(message);
        Ok(Taken::Batch(Batch { message, flow, records_at, count, version, sender, incarnation, number }))
    }

    fn refuse(&self, records: u64, reason: &str, message: &[u8], quarantine: &mut Quarantine) -> Taken {
        self.rejected.add_done(records);
        quarantine.keep(&Rejected { reason, size: message.len() as u64, sample: message, ..Rejected::default() });
        Taken::Other
    }

    /// The name of the connection and the message.
    fn receive(&mut self) -> Result<Option<(Frame, Frame)>> {
        loop {
            let Some(connection) = self.frame()? else { return Ok(None) };
            // All frames of a message arrive together. Ours has one besides the connection's name.
            let mut more = connection.has_more();
            let mut frames = 0;
            let mut last = None;
            while more {
                let Some(frame) = self.frame()? else { break };
                more = frame.has_more();
                frames += 1;
                last = Some(frame);
            }
            match last {
                Some(message) if frames == 1 => return Ok(Some((connection, message))),
                _ => self.rejected.add_done(1),
            }
        }
    }

    fn frame(&mut self) -> Result<Option<Frame>> {
        let failed = |source| waldo_sdk::Error::Zmq { doing: "receive from links".to_owned(), source };
        Frame::receive(&mut self.socket).map_err(failed)
    }

    /// Counts a batch that can't be used. It has been numbered, or its sender would offer it for ever.
    pub fn reject(&mut self, batch: &Batch, reason: &str, quarantine: &mut Quarantine) {
        self.rejected.add_done(u64::from(batch.count));
        quarantine.keep(&Rejected {
            sender: Some(&self.senders[batch.sender].name),
            flow: Some(&batch.flow),
            reason,
            size: batch.message.len() as u64,
            sample: &batch.message[batch.records_at..],
            ..Rejected::default()
        });
    }

    /// Checks a batch's number and takes it into the account; answers how many of its records, the last ones, are new.
    /// `None` if none is, or records before it are missing. A batch without records only asks for a receipt.
    pub fn number(&mut self, page: &Page, batch: &Batch, carried: bool) -> Option<u32> {
        let sender = &mut self.senders[batch.sender];
        if batch.incarnation > sender.incarnation {
            // Its predecessor left nothing in hand, or it would have asked first.
            sender.begin(batch.incarnation);
        }
        if batch.number > sender.number + 1 {
            sender.receipt_due = true;
            sender.resend_due = true;
            return None;
        }
        let last = batch.number + u64::from(batch.count) - 1;
        if batch.count == 0 || last <= sender.number {
            // It asks, or hasn't heard of what it had.
            sender.receipt_due = true;
            return None;
        }
        sender.owed += batch.message.len();
        let fresh = (last - sender.number) as u32;
        if carried && !sender.accepted.contains_key(&batch.flow) {
            let name = format!("{}<{}", batch.flow, sender.name);
            match page.slot(SlotKind::Accepted, &name) {
                Ok(slot) => drop(sender.accepted.insert(batch.flow.clone(), slot)),
                // Without an account it isn't taken in: the sender keeps it.
                Err(_) => return None,
            }
        }
        if let Some(accepted) = sender.accepted.get(&batch.flow) {
            accepted.add_done(u64::from(fresh));
        }
        sender.number = last;
        sender.last.set_done(last);
        Some(fresh)
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
    fn give_word(&mut self, index: usize) {
        let accepted = &self.senders[index].accepted;
        let words: Vec<(String, u64)> = accepted.iter().map(|(flow, slot)| (flow.clone(), slot.done())).collect();
        for (flow, accepted) in &words {
            self.answer(index, Kind::Closed, flow, *accepted);
        }
        self.answer(index, Kind::Closed, "", 0);
    }

    fn answer(&mut self, index: usize, kind: Kind, flow: &str, number: u64) {
        let sender = &mut self.senders[index];
        let header =
            Header { kind, sender: &self.portal, flow, incarnation: sender.incarnation, number, version: 0, count: 0 };
        // A connection that is gone gets nothing: the sender asks again on its next one.
        if sender.connection.share().send(&mut self.socket, true).is_ok() {
            let _ = Frame::from(header.message()).send(&mut self.socket, false);
        }
    }

    /// Whether somebody waits for a receipt.
    pub fn owes(&self) -> bool {
        self.senders.iter().any(|sender| sender.owed > 0)
    }

    /// Gives all receipts that are owed, also those that could wait.
    pub fn give_all_receipts(&mut self, now: Instant) {
        for sender in self.senders.iter_mut().filter(|sender| sender.owed > 0) {
            sender.receipt_due = true;
        }
        self.give_receipts(now);
    }

    /// Gives receipts to all that ask, or have been waiting for long enough, and closes dead senders' accounts.
    pub fn give_receipts(&mut self, now: Instant) {
        self.close_what_is_due(false);
        for index in 0..self.senders.len() {
            let sender = &mut self.senders[index];
            let mut due = std::mem::take(&mut sender.receipt_due);
            if sender.owed > 0 {
                let since = *sender.owed_since.get_or_insert(now);
                due |= sender.owed >= OWED_AT_MOST || now.duration_since(since) >= OWED_FOR_AT_MOST;
            }
            if !due {
                continue;
            }
            sender.owed = 0;
            sender.owed_since = None;
            let ask = std::mem::take(&mut sender.resend_due)
                && sender.asked.is_none_or(|at| now.duration_since(at) >= ASK_AGAIN);
            if ask {
                sender.asked = Some(now);
            }
            let number = sender.number;
            self.answer(index, if ask { Kind::Resend } else { Kind::Receipt }, "", number);
        }
    }
}

/// Lets a bound socket take in larger messages. What is connected is cut off, as libzmq gives a connection its limit when
/// the endpoint is bound; senders connect again and send again what they keep.
pub fn raise_greatest(socket: &Socket, greatest: i64, endpoint: &str) -> Result<()> {
    let failed = |source| waldo_sdk::Error::Zmq { doing: format!("bind {endpoint} for larger messages"), source };
    socket.set_maxmsgsize(greatest).map_err(failed)?;
    socket.unbind(endpoint).map_err(failed)?;
    let end = Instant::now() + REBIND;
    loop {
        // libzmq closes the old one in its own time.
        match socket.bind(endpoint) {
            Err(zmq::Error::EADDRINUSE) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            outcome => return outcome.map_err(failed),
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
