//! The receiving side of an inbox: messages apart into records, each counted as done once it has been handled.
//!
//! For each edge (flow, sender) the inbox settles what was lost when one of the two ends was killed:
//!
//! - **own death**: the sender's fence says how many records it had ever sent; all before it have arrived or are lost;
//! - **the sender's death**: its successor says how many records earlier incarnations had sent. What they sent may
//!   still be on its way through another connection, so the inbox goes on taking it in for [`SETTLE`] and until it has
//!   been dry once (at most [`SETTLE_AT_MOST`]); then it takes no more from them, and what is missing is written off.
//!   As late records are refused from then on, the account is exact whatever the delay.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use zmq::{Context, Socket};

use crate::{
    error::{Error, Result},
    frame::Frame,
    page::{Kind as SlotKind, Page, Slot},
    socket,
    wire::{self, Header, Kind, Passes, read_record},
    wiring::Place,
};

/// How long records of a dead sender are still taken in.
pub const SETTLE: Duration = Duration::from_millis(100);
/// The same for an inbox that is never dry.
pub const SETTLE_AT_MOST: Duration = Duration::from_secs(1);

struct Edge {
    flow: Arc<str>,
    done: Slot,
    /// The newest incarnation of the sender.
    incarnation: u64,
    /// How many records of that incarnation are done.
    done_of_incarnation: u64,
    /// Records of incarnations below this one are refused.
    closed_below: u64,
    /// Which incarnation of the sender has sent the fence that was seen. Where it is a successor, the fence has settled
    /// what its predecessors sent too: they were dead before this inbox was bound.
    fenced_by: u64,
    closing: Option<Closing>,
    /// How long records of this flow take, from all senders; without room in the page nobody is told.
    work: Option<Slot>,
}

struct Closing {
    incarnation: u64,
    prior: u64,
    since: Instant,
    dry: bool,
}

/// A message and what is the same for all of its records.
struct Delivery {
    flow: Arc<str>,
    message: Frame,
}

struct Current {
    delivery: Arc<Delivery>,
    edge: usize,
    incarnation: u64,
    at: usize,
    left: u32,
}

/// A message that is being worked on.
struct Begun {
    edge: usize,
    records: u32,
    at: Instant,
}

/// One record, taken from an inbox. Cheap to clone; its bytes stay in the message that they came in.
#[derive(Clone)]
pub struct Record {
    delivery: Arc<Delivery>,
    passes_at: usize,
    passes_end: usize,
    key_at: usize,
    payload_at: usize,
    end: usize,
}

impl Record {
    /// The flow's name.
    pub fn flow(&self) -> &str {
        &self.delivery.flow
    }

    /// The key; empty for an unkeyed flow.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.delivery.message[self.key_at..self.payload_at]
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.delivery.message[self.payload_at..self.end]
    }

    /// How often it went round each loop.
    #[inline]
    pub fn passes(&self) -> Passes<'_> {
        Passes::from_bytes(&self.delivery.message[self.passes_at..self.passes_end])
    }
}

/// The inbox of a process.
pub struct Inbox {
    socket: Socket,
    page: Page,
    incarnation: u64,
    /// By what stands in a message between the fixed header and the records, with the lengths in front.
    by_names: HashMap<Vec<u8>, usize>,
    edges: Vec<Edge>,
    last: usize,
    last_names: Vec<u8>,
    rejected: Slot,
    current: Option<Current>,
    in_hand: bool,
    closings: usize,
    begun: Option<Begun>,
    /// Whether it says how long records take.
    is_timed: bool,
}

impl Inbox {
    /// Binds the inbox of the process at `place`, and says so in its page.
    pub fn bind(context: &Context, place: &Place, page: &Page, incarnation: u64) -> Result<Self> {
        let socket = socket::inbox(context, &place.inbox(&place.process))?;
        page.set_bound(incarnation);
        let rejected =
            page.slot(SlotKind::Count, "rejected").map_err(Error::io("add the count of rejected records"))?;
        Ok(Self {
            socket,
            page: page.clone(),
            incarnation,
            by_names: HashMap::new(),
            edges: Vec::new(),
            last: 0,
            last_names: Vec::new(),
            rejected,
            current: None,
            in_hand: false,
            closings: 0,
            begun: None,
            is_timed: true,
        })
    }

    /// Doesn't say how long records take any more: for who hands them on before they have been worked on.
    pub fn without_times(&mut self) {
        self.is_timed = false;
    }

    /// The socket, to poll for input.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Counts the record in hand, if there is one, as done: all that it caused has been counted as sent.
    #[inline]
    pub fn done(&mut self) {
        if std::mem::take(&mut self.in_hand)
            && let Some(current) = &self.current
        {
            let edge = &mut self.edges[current.edge];
            edge.done.add_done(1);
            if current.incarnation == edge.incarnation {
                edge.done_of_incarnation += 1;
            }
        }
    }

    /// The next record, if one is there; it is in hand until [`Inbox::done`] or the next call.
    #[inline]
    pub fn take_record(&mut self) -> Result<Option<Record>> {
        self.done();
        loop {
            if let Some(current) = &mut self.current
                && current.left > 0
            {
                // Checked as a whole when it came in.
                let Ok((record, end)) = read_record(&current.delivery.message, current.at) else {
                    self.current = None;
                    continue;
                };
                let payload_at = end - record.payload.len();
                let key_at = payload_at - record.key.len();
                let passes_at = current.at + wire::RECORD_HEADER;
                let passes_end = passes_at + record.passes.as_bytes().len();
                current.at = end;
                current.left -= 1;
                self.in_hand = true;
                let delivery = Arc::clone(&current.delivery);
                return Ok(Some(Record { delivery, passes_at, passes_end, key_at, payload_at, end }));
            }
            // The clock is read once a message, as long as there are messages.
            let ended = self.end_work();
            if self.closings > 0 {
                self.close_what_is_due(false);
            }
            let received = Frame::receive(&mut self.socket).map_err(Error::zmq("receive from the inbox"))?;
            if let Some(message) = received {
                self.take_in(message, ended)?;
                continue;
            }
            if self.closings > 0 {
                self.close_what_is_due(true);
            }
            return Ok(None);
        }
    }

    /// Counts the time that the message took which has been worked on, if one has; answers when it ended.
    fn end_work(&mut self) -> Option<Instant> {
        let begun = self.begun.take()?;
        let now = Instant::now();
        let took = u64::try_from(now.duration_since(begun.at).as_nanos()).unwrap_or(u64::MAX);
        if let Some(work) = &self.edges[begun.edge].work {
            work.add_sent(u64::from(begun.records));
            work.add_done(took);
        }
        Some(now)
    }

    /// Takes a message in. `now` is when the one before was through, if that was just now.
    fn take_in(&mut self, message: Frame, now: Option<Instant>) -> Result<()> {
        let Ok((header, records_at)) = Header::read(&message) else {
            self.rejected.add_done(1);
            return Ok(());
        };
        match header.kind {
            Kind::Data => {
                if wire::check_records(&message, records_at, header.count).is_err() {
                    self.rejected.add_done(u64::from(header.count));
                    return Ok(());
                }
                let edge = self.edge(&message, &header)?;
                let known = &mut self.edges[edge];
                if header.incarnation < known.closed_below {
                    // Written off already.
                    return Ok(());
                }
                if header.incarnation > known.incarnation {
                    known.incarnation = header.incarnation;
                    known.done_of_incarnation = 0;
                }
                if self.is_timed && header.count > 0 {
                    let at = now.unwrap_or_else(Instant::now);
                    self.begun = Some(Begun { edge, records: header.count, at });
                }
                let (incarnation, left) = (header.incarnation, header.count);
                let flow = Arc::clone(&known.flow);
                let delivery = Arc::new(Delivery { flow, message });
                self.current = Some(Current { delivery, edge, incarnation, at: records_at, left });
            }
            Kind::Fence if header.version == self.incarnation => {
                let edge = self.edge(&message, &header)?;
                if header.incarnation < self.edges[edge].closed_below {
                    // A dead sender's, whose account is closed.
                    return Ok(());
                }
                self.edges[edge].fenced_by = header.incarnation;
                let done = &self.edges[edge].done;
                done.set_written_off(header.number.saturating_sub(done.done()));
                done.set_fence(self.incarnation);
            }
            Kind::Succession => {
                let edge = self.edge(&message, &header)?;
                let known = &mut self.edges[edge];
                if known.done.succession() >= header.incarnation || known.closing.is_some() {
                    return Ok(());
                }
                if header.incarnation > known.incarnation {
                    known.incarnation = header.incarnation;
                    known.done_of_incarnation = 0;
                }
                known.closing = Some(Closing {
                    incarnation: header.incarnation,
                    prior: header.number,
                    since: Instant::now(),
                    dry: false,
                });
                self.closings += 1;
            }
            Kind::Fence | Kind::Receipt | Kind::Resend | Kind::Closed => {}
        }
        Ok(())
    }

    fn edge(&mut self, message: &[u8], header: &Header<'_>) -> Result<usize> {
        let names = &message[wire::HEADER..header.length()];
        let lengths = [message[5], message[6]];
        if self.last_names.len() == names.len() + 2 && self.last_names[..2] == lengths && self.last_names[2..] == *names
        {
            return Ok(self.last);
        }
        let mut key = lengths.to_vec();
        key.extend_from_slice(names);
        let edge = match self.by_names.get(&key) {
            Some(&edge) => edge,
            None => self.add_edge(&key, header)?,
        };
        self.last = edge;
        self.last_names = key;
        Ok(edge)
    }

    fn add_edge(&mut self, key: &[u8], header: &Header<'_>) -> Result<usize> {
        let name = format!("{}<{}", header.flow, header.sender);
        let done = self.page.slot(SlotKind::Done, &name).map_err(Error::io(format!("add edge {name}")))?;
        self.edges.push(Edge {
            work: self.page.slot(SlotKind::Work, header.flow).ok(),
            flow: header.flow.into(),
            done,
            incarnation: header.incarnation,
            done_of_incarnation: 0,
            closed_below: 0,
            fenced_by: 0,
            closing: None,
        });
        self.by_names.insert(key.to_vec(), self.edges.len() - 1);
        Ok(self.edges.len() - 1)
    }

    fn close_what_is_due(&mut self, dry: bool) {
        let now = Instant::now();
        for edge in &mut self.edges {
            let Some(closing) = &mut edge.closing else { continue };
            let waited = now.duration_since(closing.since);
            closing.dry |= dry && waited >= SETTLE;
            if !closing.dry && waited < SETTLE_AT_MOST {
                continue;
            }
            if edge.fenced_by != closing.incarnation {
                let newer = if edge.incarnation == closing.incarnation { edge.done_of_incarnation } else { 0 };
                let of_earlier = edge.done.done() - newer.min(edge.done.done());
                edge.done.set_written_off(closing.prior.saturating_sub(of_earlier));
            }
            edge.closed_below = closing.incarnation;
            edge.done.set_succession(closing.incarnation);
            edge.closing = None;
            self.closings -= 1;
        }
    }
}
