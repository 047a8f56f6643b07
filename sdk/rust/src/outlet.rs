//! The sending side of inboxes on the same server: channels kept within their credit, and how records are spread.
//!
//! A **channel** is a flow on its way from this process to one receiver. What is under way on it is
//! `sent - done - written_off`, `sent` standing in the own page and the others in the receiver's; it is kept within the
//! channel's share of the receiver's queue. So the socket needs no high-water mark.
//!
//! When a receiver has been replaced, each channel puts a **fence** behind what it has sent, again until the new
//! incarnation confirms it in its page: what went before has then arrived or is lost. When this process has itself
//! replaced one that left records under way, it announces its **succession** in the same way.
//!
//! A receiver may **leave**: asked to end, it works off what has been sent to it, and nothing more is. A sender says in its
//! page that it begins a batch, and then looks whether the receiver is leaving; a receiver says that it leaves, and then
//! looks who has begun one (`leaving`). What can't be begun stays with the sender until the receiver's next incarnation
//! is there, as if the inbox were full.
//!
//! The wiring may change: a channel that it has before and after stays as it is, with another share; one that it doesn't
//! have any more sends what is in its batch, and its place is given to another once the receiver has settled it.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;
use zmq::{Context, Socket};

use crate::{
    batch::Batch,
    error::{Error, Result},
    frame::Frame,
    page::{Kind as SlotKind, Page, Slot},
    socket,
    wire::{Header, Kind, RecordRef},
    wiring::{Consumer, Place, Receiver, Spread},
};

/// How often a fence or succession is repeated until it is confirmed, and receivers' pages are looked at.
const REPEAT: Duration = Duration::from_millis(50);

/// Keys are spread by another seed than the guide's, or the instances of a server would share its slots unevenly.
const SPREAD_SEED: u64 = 1;

struct Peer {
    process: String,
    /// `None` while no channel leads there.
    socket: Option<Socket>,
    endpoint: String,
    page_path: PathBuf,
    page: Option<Page>,
    bound: u64,
}

impl Peer {
    fn page(&mut self) -> Option<&Page> {
        if self.page.is_none() {
            self.page = Page::open(&self.page_path).ok();
        }
        self.page.as_ref()
    }

    fn is_leaving(&mut self) -> bool {
        self.page().is_some_and(Page::is_leaving)
    }

    /// Leaves the old connection, in which nothing is any more, and makes a new one. Libzmq may not have noticed yet that
    /// the other end is gone, and what it writes there would be lost.
    fn reconnect(&self) -> Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let outcome = socket.disconnect(&self.endpoint).and_then(|()| socket.connect(&self.endpoint));
        outcome.map_err(Error::zmq(format!("connect to {} again", self.process)))
    }

    fn send(&mut self, message: impl Into<Frame>) -> Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        message.into().send(socket, false).map_err(|error| Error::zmq(format!("send to {}", self.process))(error))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The wiring has it.
    Wanted,
    /// The wiring doesn't have it any more; the receiver still has records of it.
    Leaving,
    /// Nothing is left of it.
    Gone,
}

struct Channel {
    peer: usize,
    used: Use,
    flow: String,
    sent: Slot,
    done: Option<Slot>,
    share: u64,
    settled: u64,
    /// Whether the page says that a batch is begun.
    begun: bool,
    batch: Batch,
    next_number: u64,
    /// What earlier incarnations had put on their way, while the receiver hasn't confirmed the succession.
    succession: Option<u64>,
    /// The receiver's incarnation that a fence is needed for, while it hasn't confirmed it.
    fence: Option<u64>,
}

/// The index of a channel within its outlet.
pub type ChannelIndex = usize;

/// All channels of a process.
pub struct Outlet {
    own_name: String,
    incarnation: u64,
    peers: Vec<Peer>,
    channels: Vec<Channel>,
    looked: Instant,
}

/// How one consumer's records are spread among its instances.
pub struct Route {
    /// The consumer's stage.
    pub stage: String,
    spread: Spread,
    channels: Vec<ChannelIndex>,
    current: usize,
}

impl Outlet {
    /// An outlet without channels for the process at `place`.
    pub fn new(place: &Place, incarnation: u64) -> Self {
        Self {
            own_name: place.process.clone(),
            incarnation,
            peers: Vec::new(),
            channels: Vec::new(),
            looked: Instant::now(),
        }
    }

    /// Adds the channels of a flow to a consumer.
    pub fn add(&mut self, context: &Context, place: &Place, page: &Page, flow: &str, to: &Consumer) -> Result<Route> {
        let channels = to
            .receivers
            .iter()
            .map(|receiver| self.channel(context, place, page, flow, receiver))
            .collect::<Result<Vec<_>>>()?;
        Ok(Route { stage: to.stage.clone(), spread: to.spread, channels, current: 0 })
    }

    fn channel(
        &mut self,
        context: &Context,
        place: &Place,
        page: &Page,
        flow: &str,
        receiver: &Receiver,
    ) -> Result<ChannelIndex> {
        let share = receiver.share.max(1);
        let peer = self.peer(context, place, &receiver.process)?;
        let is_known = |channel: &Channel| channel.used != Use::Gone && channel.peer == peer && channel.flow == flow;
        if let Some(index) = self.channels.iter().position(is_known) {
            self.channels[index].used = Use::Wanted;
            self.channels[index].share = share;
            return Ok(index);
        }
        let name = format!("{flow}>{}", receiver.process);
        let sent = page.slot(SlotKind::Sent, &name).map_err(Error::io(format!("add edge {name}")))?;
        let channel = Channel {
            peer,
            used: Use::Wanted,
            flow: flow.to_owned(),
            batch: Batch::new(&self.own_name, flow, self.incarnation, 0, 0),
            sent,
            done: None,
            share,
            settled: 0,
            begun: false,
            next_number: 1,
            succession: None,
            fence: None,
        };
        let index = self.channels.iter().position(|channel| channel.used == Use::Gone).unwrap_or(self.channels.len());
        if index < self.channels.len() {
            self.channels[index] = channel;
        } else {
            self.channels.push(channel);
        }
        let under_way = self.channels[index].sent.sent() - self.settled(index);
        if under_way > 0 {
            self.channels[index].succession = Some(self.channels[index].sent.sent());
        }
        Ok(index)
    }

    fn peer(&mut self, context: &Context, place: &Place, process: &str) -> Result<usize> {
        let known = self.peers.iter().position(|peer| peer.process == process);
        let index = known.unwrap_or(self.peers.len());
        if known.is_none() {
            self.peers.push(Peer {
                process: process.to_owned(),
                socket: None,
                endpoint: place.inbox(process),
                page_path: place.page(process),
                page: None,
                bound: 0,
            });
        }
        let peer = &mut self.peers[index];
        if peer.socket.is_none() {
            peer.socket = Some(socket::to_inbox(context, &peer.endpoint)?);
            peer.page = None;
            peer.bound = peer.page().map_or(0, Page::bound);
        }
        Ok(index)
    }

    /// Forgets which channels the wiring has; [`Outlet::add`] says it again, and [`Outlet::end_rewiring`] that it has.
    pub fn begin_rewiring(&mut self) {
        for channel in self.channels.iter_mut().filter(|channel| channel.used == Use::Wanted) {
            channel.used = Use::Leaving;
        }
    }

    /// Sends what is in batches of channels that the wiring doesn't have any more.
    pub fn end_rewiring(&mut self) -> Result<()> {
        let leaving = |outlet: &Self, index: ChannelIndex| outlet.channels[index].used == Use::Leaving;
        (0..self.channels.len()).try_for_each(|index| if leaving(self, index) { self.flush(index) } else { Ok(()) })
    }

    /// Gives up channels that are leaving and have been settled, and sockets that no channel needs.
    fn give_up_what_is_done(&mut self) {
        if self.channels.iter().all(|channel| channel.used == Use::Wanted) {
            return;
        }
        for channel in &mut self.channels {
            if channel.used == Use::Leaving && channel.batch.is_empty() && channel.settled == channel.sent.sent() {
                channel.used = Use::Gone;
            }
        }
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if !self.channels.iter().any(|channel| channel.peer == index && channel.used != Use::Gone) {
                peer.socket = None;
            }
        }
    }

    /// What the receiver has settled of this channel: done or written off.
    fn settled(&mut self, index: ChannelIndex) -> u64 {
        let channel = &mut self.channels[index];
        if channel.done.is_none() {
            let name = format!("{}<{}", channel.flow, self.own_name);
            channel.done = self.peers[channel.peer].page().and_then(|page| page.find(SlotKind::Done, &name));
        }
        if let Some(done) = &channel.done {
            channel.settled = (done.done() + done.written_off()).min(channel.sent.sent());
        }
        channel.settled
    }

    /// How many more records may be put on this channel now, by what was last read from the receiver's page.
    #[inline]
    fn known_credit(&self, index: ChannelIndex) -> u64 {
        let channel = &self.channels[index];
        (channel.settled + channel.share).saturating_sub(channel.sent.sent())
    }

    /// How many more records may be put on this channel now; the receiver's page is read if none seems left. If there are
    /// any a batch is begun, which the next flush ends, with or without records.
    ///
    /// A channel that was used up has credit again once a quarter of its share is free: a sender that took each record's
    /// place as it is given back would send batches of one.
    #[inline]
    pub fn credit(&mut self, index: ChannelIndex) -> Result<u64> {
        let mut credit = self.known_credit(index);
        if credit == 0 {
            self.settled(index);
            credit = self.known_credit(index);
            if credit * 4 < self.channels[index].share {
                return Ok(0);
            }
        }
        self.begun(index, credit)
    }

    /// `credit`, if it isn't 0 and a batch is begun or can be.
    #[inline]
    fn begun(&mut self, index: ChannelIndex, credit: u64) -> Result<u64> {
        let may_send = credit > 0 && (self.channels[index].begun || self.begin(index)?);
        Ok(if may_send { credit } else { 0 })
    }

    /// Begins a batch, unless the receiver is leaving; answers whether it did.
    fn begin(&mut self, index: ChannelIndex) -> Result<bool> {
        let channel = &mut self.channels[index];
        channel.sent.begin(self.incarnation);
        let peer = channel.peer;
        if self.peers[peer].is_leaving() {
            channel.sent.end();
            return Ok(false);
        }
        channel.begun = true;
        self.look_who_is_there(peer)?;
        Ok(true)
    }

    /// Looks whether another incarnation has bound a receiver's inbox.
    fn look_who_is_there(&mut self, index: usize) -> Result<()> {
        let peer = &mut self.peers[index];
        let bound = peer.page().map_or(0, Page::bound);
        let before = std::mem::replace(&mut peer.bound, bound);
        if bound == before {
            return Ok(());
        }
        let mut under_way = false;
        for channel in 0..self.channels.len() {
            if self.channels[channel].peer == index && self.channels[channel].used != Use::Gone {
                under_way |= self.settled(channel) != self.channels[channel].sent.sent();
                self.channels[channel].fence = Some(bound);
            }
        }
        if before != 0 && !under_way { self.peers[index].reconnect() } else { Ok(()) }
    }

    /// How many of so many records should be put on this channel now: none if it is better to wait until there is credit
    /// for more of them. The receiver's page is read if what was last read isn't enough. Begins a batch as
    /// [`Outlet::credit`] does.
    pub fn credit_for(&mut self, index: ChannelIndex, records: u64) -> Result<u64> {
        if self.known_credit(index) < records {
            self.settled(index);
        }
        let credit = self.known_credit(index);
        let is_worth_it = credit >= records || credit * 4 >= self.channels[index].share;
        self.begun(index, if is_worth_it { credit.min(records) } else { 0 })
    }

    /// Puts a record on a channel that has credit.
    #[inline]
    pub fn push(&mut self, index: ChannelIndex, record: RecordRef<'_>) -> Result<()> {
        let channel = &mut self.channels[index];
        channel.sent.add_sent(1);
        channel.batch.push(record);
        self.flush_if_full(index)
    }

    /// Puts `count` records, standing in `records` as they do on the wire, on a channel that has credit for them.
    pub fn push_block(&mut self, index: ChannelIndex, records: &[u8], count: u32) -> Result<()> {
        let channel = &mut self.channels[index];
        channel.sent.add_sent(u64::from(count));
        channel.batch.push_block(records, count);
        self.flush_if_full(index)
    }

    /// Sends on a message from a link, whose records begin at `records_at`, on a channel that has credit for them; only
    /// the header changes. Answers whether it did, and took the message: not if nobody may change it, or its header has no
    /// room for this one.
    pub fn push_message(
        &mut self,
        index: ChannelIndex,
        message: &mut Frame,
        records_at: usize,
        count: u32,
    ) -> Result<bool> {
        self.send_batch(index)?;
        let channel = &mut self.channels[index];
        let header = Header {
            kind: Kind::Data,
            sender: &self.own_name,
            flow: &channel.flow,
            incarnation: self.incarnation,
            number: channel.next_number,
            version: 0,
            count,
        };
        if !message.exclusive().is_some_and(|bytes| header.write_over(bytes, records_at)) {
            return Ok(false);
        }
        channel.sent.add_sent(u64::from(count));
        channel.next_number += u64::from(count);
        self.peers[channel.peer].send(std::mem::take(message))?;
        self.flush(index)?;
        Ok(true)
    }

    #[inline]
    fn flush_if_full(&mut self, index: ChannelIndex) -> Result<()> {
        let channel = &self.channels[index];
        // A quarter of the share, so that the receiver works on one batch while the next is filled.
        if channel.batch.is_full() || u64::from(channel.batch.count()) * 4 >= channel.share {
            self.flush(index)?;
        }
        Ok(())
    }

    #[inline]
    fn flush(&mut self, index: ChannelIndex) -> Result<()> {
        self.send_batch(index)?;
        let channel = &mut self.channels[index];
        if std::mem::take(&mut channel.begun) {
            channel.sent.end();
        }
        Ok(())
    }

    #[inline]
    fn send_batch(&mut self, index: ChannelIndex) -> Result<()> {
        let channel = &mut self.channels[index];
        if channel.batch.is_empty() {
            return Ok(());
        }
        let number = channel.next_number;
        channel.next_number += u64::from(channel.batch.count());
        let message = channel.batch.take(number);
        self.peers[channel.peer].send(message)
    }

    /// Sends what is in batches.
    pub fn flush_all(&mut self) -> Result<()> {
        (0..self.channels.len()).try_for_each(|index| self.flush(index))
    }

    /// Sends batches whose oldest record is from before `limit`; answers whether any batch is left with records.
    pub fn flush_older(&mut self, limit: Instant) -> Result<bool> {
        let mut left = false;
        for index in 0..self.channels.len() {
            match self.channels[index].batch.oldest() {
                Some(oldest) if oldest <= limit => self.flush(index)?,
                Some(_) => left = true,
                None => self.flush(index)?,
            }
        }
        Ok(left)
    }

    /// Looks at the receivers' pages for new incarnations, and repeats fences and successions that aren't confirmed.
    /// To be called now and then; does nothing more often than it needs to.
    pub fn tend(&mut self, now: Instant) -> Result<()> {
        if now.duration_since(self.looked) < REPEAT {
            return Ok(());
        }
        self.looked = now;
        for index in 0..self.peers.len() {
            if self.peers[index].socket.is_none() {
                continue;
            }
            self.look_who_is_there(index)?;
        }
        for index in 0..self.channels.len() {
            if self.channels[index].used == Use::Gone {
                continue;
            }
            self.settled(index);
            self.repeat_fence(index)?;
            self.repeat_succession(index)?;
        }
        self.give_up_what_is_done();
        Ok(())
    }

    fn is_leaving(&mut self, index: ChannelIndex) -> bool {
        self.peers[self.channels[index].peer].is_leaving()
    }

    fn repeat_fence(&mut self, index: ChannelIndex) -> Result<()> {
        let Some(bound) = self.channels[index].fence else { return Ok(()) };
        let channel = &mut self.channels[index];
        if channel.done.as_ref().is_some_and(|done| done.fence() == bound) || channel.sent.sent() == 0 {
            channel.fence = None;
            return Ok(());
        }
        self.flush(index)?;
        let sent = self.channels[index].sent.sent();
        self.announce(index, Kind::Fence, sent, bound)
    }

    fn repeat_succession(&mut self, index: ChannelIndex) -> Result<()> {
        let Some(prior) = self.channels[index].succession else { return Ok(()) };
        let confirmed = self.channels[index].done.as_ref().is_some_and(|done| done.succession() == self.incarnation);
        if confirmed {
            self.channels[index].succession = None;
            return Ok(());
        }
        self.announce(index, Kind::Succession, prior, 0)
    }

    fn announce(&mut self, index: ChannelIndex, kind: Kind, number: u64, version: u64) -> Result<()> {
        let channel = &self.channels[index];
        let header = Header {
            kind,
            sender: &self.own_name,
            flow: &channel.flow,
            incarnation: self.incarnation,
            number,
            version,
            count: 0,
        };
        self.peers[channel.peer].send(header.message())
    }

    /// Whether receivers have settled everything that was ever put on any channel of the wiring.
    pub fn all_settled(&mut self) -> bool {
        self.under_way() == 0
    }

    /// How many records receivers haven't settled, of all that were ever put on any channel of the wiring. (A receiver that
    /// has left it may be gone; that it had nothing in hand was seen to before.)
    pub fn under_way(&mut self) -> u64 {
        let mut under_way = 0;
        for index in 0..self.channels.len() {
            if self.channels[index].used == Use::Wanted {
                let settled = self.settled(index);
                under_way += self.channels[index].sent.sent() - settled;
            }
        }
        under_way
    }
}

impl Route {
    /// How records are spread.
    pub fn spread(&self) -> Spread {
        self.spread
    }

    /// All channels, for [`Spread::All`].
    pub fn channels(&self) -> &[ChannelIndex] {
        &self.channels
    }

    /// The channel that a record with this key takes, if it has credit. For [`Spread::Any`] the same as last time
    /// while that has a batch begun and credit left, then the one with the least under way.
    #[inline]
    pub fn pick(&mut self, outlet: &mut Outlet, key: &[u8]) -> Result<Option<ChannelIndex>> {
        let index = match self.spread {
            Spread::Key => {
                let instance = xxh3_64_with_seed(key, SPREAD_SEED) % self.channels.len() as u64;
                self.channels[instance as usize]
            }
            Spread::Any => self.least(outlet),
            Spread::All => self.channels[0],
        };
        Ok((outlet.credit(index)? > 0).then_some(index))
    }

    #[inline]
    fn least(&mut self, outlet: &mut Outlet) -> ChannelIndex {
        let current = self.channels[self.current];
        if self.channels.len() > 1 && (outlet.channels[current].batch.is_empty() || outlet.known_credit(current) == 0) {
            let under_way = |outlet: &mut Outlet, index: ChannelIndex| {
                if outlet.is_leaving(index) {
                    return u64::MAX;
                }
                let settled = outlet.settled(index);
                outlet.channels[index].sent.sent() - settled
            };
            // From the one after the current on, so that equals take turns.
            let count = self.channels.len();
            let next = (1..=count).map(|step| (self.current + step) % count);
            self.current = next.min_by_key(|&at| under_way(outlet, self.channels[at])).unwrap_or(self.current);
        }
        self.channels[self.current]
    }

    /// The channel for records that any instance may get: the same as last time while that has a batch begun and credit
    /// left, then the one with the least under way.
    pub fn pick_for_any(&mut self, outlet: &mut Outlet) -> ChannelIndex {
        self.least(outlet)
    }

    /// Whether any instance may get any record.
    pub fn is_free(&self) -> bool {
        self.spread == Spread::Any || self.channels.len() == 1
    }

    /// Whether every channel has credit, for [`Spread::All`].
    pub fn all_have_credit(&self, outlet: &mut Outlet) -> Result<bool> {
        for &index in &self.channels {
            if outlet.credit(index)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a record with this key can be put on its way now, and if so how.
    #[inline]
    pub fn ready(&mut self, outlet: &mut Outlet, key: &[u8]) -> Result<bool> {
        match self.spread {
            Spread::All => self.all_have_credit(outlet),
            Spread::Any | Spread::Key => Ok(self.pick(outlet, key)?.is_some()),
        }
    }

    /// Puts a record on its way after [`Route::ready`] has said yes.
    #[inline]
    pub fn push(&mut self, outlet: &mut Outlet, record: RecordRef<'_>) -> Result<bool> {
        if self.spread == Spread::All {
            if !self.all_have_credit(outlet)? {
                return Ok(false);
            }
            self.channels.iter().try_for_each(|&index| outlet.push(index, record))?;
            return Ok(true);
        }
        let Some(index) = self.pick(outlet, record.key)? else { return Ok(false) };
        outlet.push(index, record)?;
        Ok(true)
    }
}
