//! Where a portal hands records on to: a consumer stage on its server, or the portal of another.

use waldo_sdk::{
    Result,
    guide::{FlowGuide, Guide, ServerIndex},
    link::FlowIndex,
    outbox::Links,
    outlet::{Outlet, Route},
    page::{Kind as SlotKind, Page, Slot},
    wire::{RecordRef, read_record},
    wiring::{Consumer, Place, Spread},
};
use zmq::Context;

use super::io;
use crate::spool::{Budget, Bytes, Log};

/// How many blocks a destination may take before another gets its turn.
const TURN: usize = 64;

enum To {
    Stage(Route),
    Portal(usize, FlowIndex),
}

/// A destination, what is held for it, and the account of both.
///
/// In its [`SlotKind::Spool`] slot, `sent` is the index of the next record to be appended, `succession` that of the next
/// to be handed on (so that both survive the portal), and `fence` what `sent` was when the page was new. `succession`
/// moves before a record is handed on and `done` after: a portal killed in between has lost it, at most, and not
/// repeated it.
pub struct Destination {
    log: Log,
    slot: Slot,
    to: To,
}

/// What is needed to open a destination.
pub struct Opening<'a> {
    /// For sockets.
    pub context: &'a Context,
    /// The portal's place.
    pub place: &'a Place,
    /// The portal's page.
    pub page: &'a Page,
    /// The guide.
    pub guide: &'a Guide,
    /// Where channels to stages are added.
    pub outlet: &'a mut Outlet,
    /// Where links to portals are added.
    pub links: &'a mut Links,
    /// What the spool may hold.
    pub budget: &'a mut Budget,
}

impl Opening<'_> {
    /// A consumer stage on the portal's server.
    pub fn local(&mut self, flow: &str, consumer: &Consumer) -> Result<Destination> {
        let route = self.outlet.add(self.context, self.place, self.page, flow, consumer)?;
        self.open(flow, &consumer.stage, To::Stage(route))
    }

    /// The portal that carries the flow on another server.
    pub fn forward(&mut self, flow: &str, guide: &FlowGuide, server: ServerIndex) -> Result<Destination> {
        let (link, index) = self.links.add(self.context, self.page, self.guide, (flow, guide), server)?;
        let target = self.links.all()[link].target().to_owned();
        self.open(flow, &target, To::Portal(link, index))
    }

    fn open(&mut self, flow: &str, consumer: &str, to: To) -> Result<Destination> {
        let name = format!("{flow}@{consumer}");
        let directory = self.place.spool.join(name.replace('/', "@"));
        let known = self.page.find(SlotKind::Spool, &name).map(|slot| (slot.succession(), slot.sent()));
        let (log, found) = Log::open(directory.clone(), known, self.budget)
            .map_err(io(format!("open the spool {}", directory.display())))?;
        let slot = self.page.slot(SlotKind::Spool, &name).map_err(io(format!("add edge {name}")))?;
        if known.is_none() {
            slot.set_fence(found.next);
            slot.set_done(found.cursor);
            if found.held > 0 {
                let name = format!("resumed {flow}");
                self.page.slot(SlotKind::Count, &name).map_err(io(name))?.add_done(found.held);
            }
        }
        slot.set_succession(found.cursor);
        slot.set_sent(found.next);
        slot.set_written_off(found.next.saturating_sub(slot.done() + found.held));
        Ok(Destination { log, slot, to })
    }
}

impl Destination {
    /// How many records have been appended since the page was new.
    pub fn ever_appended(&self) -> u64 {
        self.slot.sent() - self.slot.fence()
    }

    /// Counts records that were taken in but never appended.
    pub fn write_off_unseen(&mut self, count: u64) {
        if count > 0 {
            // In this order, so that the edge is never in balance while it isn't settled.
            self.slot.add_sent(count);
            self.slot.add_written_off(count);
            self.log.skip(count);
        }
    }

    /// How many records are held for it.
    pub fn held(&self) -> u64 {
        self.log.held()
    }

    /// Whether the disk takes what it has to.
    pub fn disk_takes(&self) -> bool {
        self.log.has_room()
    }

    /// Holds records for it.
    pub fn append(&mut self, bytes: &Bytes, count: u32, budget: &mut Budget) {
        self.slot.add_sent(u64::from(count));
        self.log.append(bytes, count, budget);
    }

    /// Tries again what the disk has refused; answers its words if it still does.
    pub fn retry(&mut self, budget: &mut Budget) -> Option<String> {
        self.log.retry(budget);
        self.log.refused().map(ToString::to_string)
    }

    /// Hands on what it can; answers whether anything moved.
    pub fn hand_on(&mut self, outlet: &mut Outlet, links: &mut Links, budget: &mut Budget) -> Result<bool> {
        let mut moved = false;
        for _ in 0..TURN {
            self.log.fill_front(budget).map_err(io("read the spool"))?;
            let cursor = self.log.cursor();
            let Some((records, left)) = self.log.front() else { break };
            let slot = &self.slot;
            let (count, bytes) = match &mut self.to {
                To::Stage(route) if route.spread() == Spread::Any => {
                    hand_block(route, outlet, records, left, |count| slot.set_succession(cursor + u64::from(count)))?
                }
                To::Stage(route) => hand_each(records, left, |at, record| {
                    slot.set_succession(cursor + u64::from(at) + 1);
                    route.push(outlet, record)
                })?,
                To::Portal(link, flow) => {
                    let link = &mut links.all()[*link];
                    hand_each(records, left, |at, record| {
                        let ready = link.ready();
                        if ready {
                            slot.set_succession(cursor + u64::from(at) + 1);
                            link.push(*flow, record)?;
                        }
                        Ok(ready)
                    })?
                }
            };
            slot.set_succession(cursor + u64::from(count));
            if count == 0 {
                break;
            }
            moved = true;
            slot.add_done(u64::from(count));
            self.log.consume(count, bytes, budget);
        }
        Ok(moved)
    }

    /// Writes what is held to disk.
    pub fn close(self, budget: &mut Budget) -> Result<()> {
        self.log.close(budget).map_err(io("write the spool to disk"))
    }
}

/// As many of the records as one instance has credit for, in one piece.
fn hand_block(
    route: &mut Route,
    outlet: &mut Outlet,
    records: &[u8],
    left: u32,
    before: impl FnOnce(u32),
) -> Result<(u32, usize)> {
    let Some(channel) = route.pick(outlet, b"") else { return Ok((0, 0)) };
    let count = u32::try_from(outlet.credit(channel)).unwrap_or(u32::MAX).min(left);
    let mut end = 0;
    if count == left {
        end = records.len();
    } else {
        for _ in 0..count {
            end = next_record(records, end)?;
        }
    }
    before(count);
    outlet.push_block(channel, &records[..end], count)?;
    Ok((count, end))
}

/// Record by record, until one isn't taken.
fn hand_each(
    records: &[u8],
    left: u32,
    mut push: impl FnMut(u32, RecordRef<'_>) -> Result<bool>,
) -> Result<(u32, usize)> {
    let mut at = 0;
    for count in 0..left {
        let (record, next) = read_record(records, at).map_err(malformed)?;
        if !push(count, record)? {
            return Ok((count, at));
        }
        at = next;
    }
    Ok((left, at))
}

fn next_record(records: &[u8], at: usize) -> Result<usize> {
    read_record(records, at).map(|(_, next)| next).map_err(malformed)
}

fn malformed(reason: waldo_sdk::wire::Malformed) -> waldo_sdk::Error {
    waldo_sdk::Error::Io {
        doing: "read the spool".to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, reason.to_string()),
    }
}
