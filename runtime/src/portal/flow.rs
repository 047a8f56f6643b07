//! One flow as a portal carries it, and where each record of it is put.

use std::sync::Arc;

use waldo_sdk::{
    guide::{FlowGuide, Guide, ServerIndex},
    page::Slot,
    wire,
    wiring::{Carried, Place},
};

use super::{destination::Destination, passage::Passage, rates::FlowRates};
use crate::spool::{Budget, Bytes};

/// One flow, as this portal carries it.
pub struct Flow {
    /// What the wiring says of it.
    pub carried: Carried,
    /// What the guide says of it.
    pub guide: FlowGuide,
    /// This server's place in the guide, if this portal is the flow's here.
    pub own: Option<ServerIndex>,
    /// For people: how many records were taken in.
    pub received: Slot,
    /// How many of them came from clients.
    pub from_clients: Slot,
    /// How many records were refused.
    pub rejected: Slot,
    /// The consumer stages on this server.
    pub locals: Vec<Destination>,
    /// By server; `None` for this one and for servers that own no key.
    pub forwards: Vec<Option<Destination>>,
    /// While the flow changes over from one guide to the next.
    pub passage: Option<Passage>,
    /// What comes for this server.
    pub rates: FlowRates,
}

/// Where records come from.
#[derive(Clone, Copy)]
pub enum From<'a> {
    /// Clients: they know nothing of guides, so their records are as new as the portal's own.
    Clients,
    /// A link.
    Link {
        /// `server/process`.
        sender: &'a str,
        /// The version of the guide that it sends by.
        version: u64,
    },
}

/// Some of this server's own records, in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// All consumers.
    All,
    /// The consumer of this index.
    One(usize),
    /// A consumer that this server doesn't have.
    Nobody,
}

/// Records that are being gathered for one place.
#[derive(Default)]
struct Gathered {
    records: Vec<u8>,
    count: u32,
}

impl Gathered {
    fn add(&mut self, record: &[u8]) {
        self.records.extend_from_slice(record);
        self.count += 1;
    }

    fn take(&mut self) -> Option<(Bytes, u32)> {
        let Self { records, count } = std::mem::take(self);
        (count > 0).then(|| (Bytes::Owned(Arc::new(records)), count))
    }
}

impl Flow {
    /// Puts records where they belong; answers how many of them were handed over by their former owner.
    pub fn keep(&mut self, bytes: &Bytes, count: u32, from: From<'_>, guide: &Guide, budget: &mut Budget) -> u32 {
        // Guided by the same guide: they are for this server.
        if self.passage.is_none() && matches!(from, From::Link { version, .. } if version == self.guide.version) {
            for local in &mut self.locals {
                local.append(bytes, count, budget);
            }
            self.rates.note(bytes.get(), count, &self.guide);
            return 0;
        }
        self.keep_each(bytes.get(), count, from, guide, budget)
    }

    /// The same, each record on its own.
    fn keep_each(&mut self, bytes: &[u8], count: u32, from: From<'_>, guide: &Guide, budget: &mut Budget) -> u32 {
        let weight = self.rates.sample(count);
        let sender = match (&self.passage, from) {
            (Some(passage), From::Link { sender, .. }) => passage.former_portal(sender),
            _ => None,
        };
        let is_older = matches!(from, From::Link { version, .. } if version < self.guide.version);
        let mut own = Gathered::default();
        let mut own_for = For::All;
        let mut aside = Gathered::default();
        let mut by_server: Vec<Gathered> = guide.servers.iter().map(|_| Gathered::default()).collect();
        let mut handed = 0;
        let mut at = 0;
        while let Ok((record, next)) = wire::read_record(bytes, at) {
            let whole = &bytes[at..next];
            let only_for = wire::only_for(bytes, at);
            at = next;
            let owner = guide.owner(&self.guide, record.key);
            let is_own = self.own == Some(owner);
            let before = self.passage.as_ref().map(|passage| (passage, passage.former_owner(record.key)));
            let mut is_for_all = is_own;
            let mut is_handed_over = false;
            if let Some((passage, former)) = before {
                let was_own = passage.former_own == Some(former);
                is_handed_over = !was_own && sender == Some(former);
                handed += u32::from(is_handed_over);
                if was_own && passage.is_sorting {
                    // It stands behind others of its key, which haven't been sorted.
                    is_for_all = true;
                } else if is_own && !was_own && !is_older && !is_handed_over {
                    aside.add(whole);
                    if let Some(weight) = weight {
                        self.rates.note_record(record.key, whole.len(), &self.guide, weight);
                    }
                    continue;
                }
            }
            if !is_for_all {
                by_server[usize::from(owner)].add(whole);
                continue;
            }
            // Its former owner has counted what it hands over.
            if let Some(weight) = weight.filter(|_| !is_handed_over) {
                self.rates.note_record(record.key, whole.len(), &self.guide, weight);
            }
            let wanted = match only_for {
                b"" => For::All,
                name => {
                    self.locals.iter().position(|local| local.name().as_bytes() == name).map_or(For::Nobody, For::One)
                }
            };
            if wanted != own_for {
                self.put(&mut own, own_for, budget);
                own_for = wanted;
            }
            if only_for.is_empty() {
                own.add(whole);
            } else {
                wire::write_only_for(&mut own.records, whole, b"");
                own.count += 1;
            }
        }
        self.put(&mut own, own_for, budget);
        if let (Some((bytes, count)), Some(passage)) = (aside.take(), &mut self.passage) {
            passage.aside.append(&bytes, count, budget);
        }
        for (gathered, forward) in by_server.iter_mut().zip(&mut self.forwards) {
            match (gathered.take(), forward) {
                (Some((bytes, count)), Some(forward)) => forward.append(&bytes, count, budget),
                (Some((_, count)), None) => self.rejected.add_done(u64::from(count)),
                (None, _) => {}
            }
        }
        handed
    }

    /// Puts own records where they are for.
    fn put(&mut self, own: &mut Gathered, own_for: For, budget: &mut Budget) {
        let Some((bytes, count)) = own.take() else { return };
        let departing = self.passage.iter_mut().filter(|passage| passage.is_sorting);
        let all = self.locals.iter_mut().chain(departing.flat_map(|passage| &mut passage.departing));
        match own_for {
            For::All => all.for_each(|local| local.append(&bytes, count, budget)),
            For::One(index) => {
                let others = all.enumerate().filter(|&(at, _)| at != index);
                others.for_each(|(_, other)| other.last().pass_over(count));
                self.locals[index].append(&bytes, count, budget);
            }
            For::Nobody => {
                all.for_each(|other| other.last().pass_over(count));
                self.rejected.add_done(u64::from(count));
            }
        }
    }

    /// All destinations.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let passage = self.passage.iter().flat_map(|passage| passage.departing.iter().chain(&passage.leaving));
        self.locals.iter().chain(self.forwards.iter().flatten()).chain(passage)
    }

    /// All destinations, to be changed.
    pub fn destinations_mut(&mut self) -> impl Iterator<Item = &mut Destination> {
        let passage = self.passage.iter_mut();
        let passage = passage.flat_map(|passage| passage.departing.iter_mut().chain(&mut passage.leaving));
        self.locals.iter_mut().chain(self.forwards.iter_mut().flatten()).chain(passage)
    }

    /// All destinations that are other portals.
    pub fn portals_mut(&mut self) -> impl Iterator<Item = &mut Destination> {
        let leaving = self.passage.iter_mut().flat_map(|passage| &mut passage.leaving);
        self.forwards.iter_mut().flatten().chain(leaving)
    }

    /// How many records are held: each consumer's copy, and what is aside.
    pub fn held(&self) -> u64 {
        let aside = self.passage.as_ref().map_or(0, |passage| passage.aside.held());
        self.destinations().map(Destination::held).sum::<u64>() + aside
    }

    /// Lets what was measured decay, and takes in what consumers and spool say now.
    pub fn measure(&mut self, seconds: f64, place: &Place) {
        let held = self.locals.iter().map(Destination::held).max().unwrap_or(0);
        self.rates.tick(seconds, held, &self.carried.flow, place);
    }

    /// Whether the disk takes what it has to.
    pub fn disk_takes(&self) -> bool {
        self.destinations().all(Destination::disk_takes)
            && self.passage.as_ref().is_none_or(|passage| passage.aside.disk_takes())
    }

    /// How many of the records that were ever taken in were put elsewhere than to this server's consumers.
    fn put_elsewhere(&self) -> i64 {
        let leaving = self.passage.iter().flat_map(|passage| &passage.leaving);
        let portals = self.forwards.iter().flatten().chain(leaving);
        let aside = self.passage.as_ref().map_or(0, |passage| passage.aside.ever_appended());
        portals.map(Destination::ever_appended).sum::<i64>() + aside
    }

    /// Says that all of the `taken` records that were ever taken in have been put somewhere; of consumers that are not
    /// `only_new`, or of all.
    pub fn balance(&mut self, taken: u64, only_new: bool) {
        let missing = taken.cast_signed() - self.put_elsewhere();
        let departing = self.passage.iter_mut().flat_map(|passage| &mut passage.departing);
        for local in self.locals.iter_mut().chain(departing) {
            let last = local.last();
            if last.is_new() || !only_new {
                last.set_ever_appended(missing);
            }
        }
    }

    /// Counts what a killed portal had taken in but not put anywhere as lost.
    pub fn write_off_unseen(&mut self, taken: u64) {
        let missing = taken.cast_signed() - self.put_elsewhere();
        if self.locals.is_empty()
            && self.passage.as_ref().is_none_or(|passage| passage.departing.is_empty())
            && let Some(forward) = self.forwards.iter_mut().flatten().next()
        {
            forward.last().write_off_unseen(u64::try_from(missing).unwrap_or(0));
        }
        let departing = self.passage.iter_mut().flat_map(|passage| &mut passage.departing);
        for local in self.locals.iter_mut().chain(departing) {
            let unseen = missing - local.ever_appended();
            local.last().write_off_unseen(u64::try_from(unseen).unwrap_or(0));
        }
    }

    /// Writes what is held to disk, as the plan doesn't have the flow here any more; answers the first failure.
    pub fn part(self, budget: &mut Budget) -> waldo_sdk::Result<()> {
        self.end(budget, Destination::part)
    }

    /// Writes what is held to disk; answers the first failure.
    pub fn close(self, budget: &mut Budget) -> waldo_sdk::Result<()> {
        self.end(budget, Destination::close)
    }

    fn end(
        self,
        budget: &mut Budget,
        end: impl Fn(Destination, &mut Budget) -> waldo_sdk::Result<()>,
    ) -> waldo_sdk::Result<()> {
        let (departing, leaving, aside) = match self.passage {
            Some(Passage { departing, leaving, aside, .. }) => (departing, leaving, Some(aside)),
            None => (Vec::new(), Vec::new(), None),
        };
        let destinations = self.locals.into_iter().chain(self.forwards.into_iter().flatten());
        let mut outcome = Ok(());
        for destination in destinations.chain(departing).chain(leaving) {
            outcome = outcome.and(end(destination, budget));
        }
        outcome.and(aside.map_or(Ok(()), |aside| aside.close(budget)))
    }
}
