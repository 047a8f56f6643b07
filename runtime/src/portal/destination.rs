//! Where a portal hands records on to: a consumer stage on its server, or the portal of another.

use waldo_sdk::{
    Result,
    frame::Frame,
    guide::{FlowGuide, Guide, ServerIndex},
    link::FlowIndex,
    outbox::Links,
    outlet::{Outlet, Route},
    page::Page,
    wire::{RecordRef, read_record},
    wiring::{Consumer, Place},
};
use zmq::Context;

use super::shelf::{Cursor, Shelf, kept_shelves};
use crate::spool::{Budget, Bytes};

/// How many blocks a destination may take before another gets its turn.
const TURN: usize = 64;

/// A message from a link that has so many bytes is sent on as it is; smaller ones go together into larger ones.
const WHOLE: usize = 16 * 1024;

enum To {
    Stage(Route),
    Portal(usize, FlowIndex),
}

/// A destination and what is held for it: first what a rollout has left on the shelves of `kept`, then `last`, which
/// takes in.
pub struct Destination {
    flow: String,
    /// A stage's name, or `server/portal`.
    name: String,
    kept: Vec<Shelf>,
    last: Shelf,
    /// The index in `last` of the first record that is not for it any more, as it is about to go.
    cut: Option<u64>,
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

    fn open(&mut self, flow: &str, name: &str, to: To) -> Result<Destination> {
        let kept = kept_shelves(self.place, self.page, flow, name, self.budget)?;
        let last = Shelf::open(self.place, self.page, flow, name, self.budget)?;
        Ok(Destination { flow: flow.to_owned(), name: name.to_owned(), kept, last, cut: None, to })
    }

    /// Lets a consumer's destination go on as the wiring has it now.
    pub fn local_again(&mut self, destination: &mut Destination, consumer: &Consumer) -> Result<()> {
        let route = self.outlet.add(self.context, self.place, self.page, &destination.flow, consumer)?;
        destination.to = To::Stage(route);
        Ok(())
    }

    /// Lets a portal's destination go on as the guide has it now.
    pub fn forward_again(
        &mut self,
        destination: &mut Destination,
        guide: &FlowGuide,
        server: ServerIndex,
    ) -> Result<()> {
        let flow = (destination.flow.as_str(), guide);
        let (link, index) = self.links.add(self.context, self.page, self.guide, flow, server)?;
        destination.to = To::Portal(link, index);
        Ok(())
    }
}

impl Destination {
    /// The stage's name, or `server/portal`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its link and which of the link's flows, if it is another portal.
    pub fn link(&self) -> Option<(usize, FlowIndex)> {
        match self.to {
            To::Portal(link, flow) => Some((link, flow)),
            To::Stage(_) => None,
        }
    }

    /// The account of what is appended.
    pub fn last(&mut self) -> &mut Shelf {
        &mut self.last
    }

    /// How many records have been appended since the page was new.
    pub fn ever_appended(&self) -> i64 {
        self.last.ever_appended()
    }

    /// It is about to go: what is there now is the last that it gets. Doesn't move an earlier cut.
    pub fn cut(&mut self) {
        self.cut.get_or_insert(self.last.next());
    }

    /// It stays after all, or has gone.
    pub fn forget_cut(&mut self) {
        self.cut = None;
    }

    /// Whether it is about to go.
    pub fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Whether it is about to go and has got all that it is to get.
    pub fn is_done(&self) -> bool {
        self.cut.is_some_and(|cut| self.last.cursor() >= cut) && self.kept.iter().all(|shelf| shelf.held() == 0)
    }

    /// Gives up what came after the cut: its consumer isn't there any more.
    pub fn give_up_the_rest(mut self, budget: &mut Budget) -> Result<()> {
        while self.last.move_front(budget, |_, _, _| {})? > 0 {}
        self.part(budget)
    }

    /// How many records are held for it.
    pub fn held(&self) -> u64 {
        self.shelves().map(Shelf::held).sum()
    }

    /// Whether the disk takes what it has to.
    pub fn disk_takes(&self) -> bool {
        self.shelves().all(Shelf::disk_takes)
    }

    fn shelves(&self) -> impl Iterator<Item = &Shelf> {
        self.kept.iter().chain([&self.last])
    }

    /// Holds records for it.
    pub fn append(&mut self, bytes: &Bytes, count: u32, budget: &mut Budget) {
        self.last.append(bytes, count, budget);
    }

    /// Tries again what the disk has refused; answers its words if it still does.
    pub fn retry(&mut self, budget: &mut Budget) -> Option<String> {
        self.kept.iter_mut().chain([&mut self.last]).filter_map(|shelf| shelf.retry(budget)).last()
    }

    /// Whether anything is left that [`Destination::sort_out`] hasn't looked at.
    pub fn is_sorted_out(&self, generation: u64) -> bool {
        self.last.held() == 0 && self.kept.iter().all(|shelf| shelf.generation() == generation || shelf.held() == 0)
    }

    /// Takes up to `bytes` bytes of records in hand and sorts them: `sort` appends a block's records that stay to the
    /// shelf that it is given, in order, and sees to the others. What stays comes before all that hasn't been sorted.
    pub fn sort_out(
        &mut self,
        (place, page, generation): (&Place, &Page, u64),
        bytes: usize,
        budget: &mut Budget,
        mut sort: impl FnMut(&Bytes, u32, &mut Shelf, &mut Budget),
    ) -> Result<()> {
        if self.kept.first().is_none_or(|shelf| shelf.generation() != generation) {
            self.kept.insert(0, Shelf::open_kept(place, page, &self.flow, &self.name, generation, budget)?);
        }
        let Some((sorted, unsorted)) = self.kept.split_first_mut() else { return Ok(()) };
        let mut left = bytes;
        for shelf in unsorted.iter_mut().chain([&mut self.last]) {
            while left > 0 {
                let moved = shelf.move_front(budget, |bytes, count, budget| sort(bytes, count, sorted, budget))?;
                if moved == 0 {
                    break;
                }
                left = left.saturating_sub(moved);
            }
        }
        self.give_up_empty(budget)
    }

    /// Gives up kept shelves that have nothing on them any more.
    fn give_up_empty(&mut self, budget: &mut Budget) -> Result<()> {
        while let Some(empty) = self.kept.iter().position(|shelf| shelf.held() == 0) {
            self.kept.remove(empty).give_up(budget)?;
        }
        Ok(())
    }

    /// Hands on what it can; answers whether anything moved.
    pub fn hand_on(&mut self, outlet: &mut Outlet, links: &mut Links, budget: &mut Budget) -> Result<bool> {
        let mut moved = false;
        for _ in 0..TURN {
            if self.kept.first().is_some_and(|shelf| shelf.held() == 0) {
                self.give_up_empty(budget)?;
            }
            let to = &mut self.to;
            let end = self.cut.filter(|_| self.kept.is_empty());
            let shelf = self.kept.first_mut().unwrap_or(&mut self.last);
            let most = end.map_or(u64::MAX, |end| end.saturating_sub(shelf.cursor()));
            let most = u32::try_from(most).unwrap_or(u32::MAX);
            if let To::Stage(route) = to
                && route.is_free()
                && shelf.hand_on_message(budget, |message, records_at, count, cursor| {
                    hand_message(route, outlet, (message, records_at), (count, most), &cursor)
                })?
            {
                moved = true;
                continue;
            }
            let handed = shelf.hand_on(budget, |records, left, cursor| match to {
                To::Stage(route) if route.is_free() => hand_block(route, outlet, records, (left, most), &cursor),
                To::Stage(route) => hand_each(records, left.min(most), |at, record, _| {
                    cursor.move_behind(at + 1);
                    route.push(outlet, record)
                }),
                To::Portal(link, flow) => {
                    let link = &mut links.all()[*link];
                    hand_each(records, left, |at, _, whole| {
                        let ready = link.ready();
                        if ready {
                            cursor.move_behind(at + 1);
                            link.push_whole(*flow, whole)?;
                        }
                        Ok(ready)
                    })
                }
            })?;
            if !handed {
                break;
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Writes what is held to disk, as the plan doesn't have it any more.
    pub fn part(self, budget: &mut Budget) -> Result<()> {
        let Self { kept, last, .. } = self;
        let mut first_failure = None;
        let kept = kept.into_iter().map(|shelf| shelf.close(budget)).collect::<Vec<_>>();
        for outcome in kept.into_iter().chain([last.part(budget)]) {
            if let Err(error) = outcome {
                first_failure.get_or_insert(error);
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// Writes what is held to disk.
    pub fn close(self, budget: &mut Budget) -> Result<()> {
        let mut first_failure = None;
        for shelf in self.kept.into_iter().chain([self.last]) {
            if let Err(error) = shelf.close(budget) {
                first_failure.get_or_insert(error);
            }
        }
        first_failure.map_or(Ok(()), Err)
    }
}

/// All `count` records of a message, as it is, if it is large enough and one instance has credit for them; `most` at most.
fn hand_message(
    route: &mut Route,
    outlet: &mut Outlet,
    (message, records_at): (&mut Frame, usize),
    (count, most): (u32, u32),
    cursor: &Cursor<'_>,
) -> Result<bool> {
    if message.len() < WHOLE || count > most {
        return Ok(false);
    }
    let channel = route.pick_for_any(outlet);
    if outlet.credit_for(channel, count.into())? < u64::from(count) {
        return Ok(false);
    }
    cursor.move_behind(count);
    outlet.push_message(channel, message, records_at, count)
}

/// As many of the `left` records as one instance has credit for, in one piece; `most` at most.
fn hand_block(
    route: &mut Route,
    outlet: &mut Outlet,
    records: &[u8],
    (left, most): (u32, u32),
    cursor: &Cursor<'_>,
) -> Result<(u32, usize)> {
    if most == 0 {
        return Ok((0, 0));
    }
    let channel = route.pick_for_any(outlet);
    let count = u32::try_from(outlet.credit_for(channel, left.min(most).into())?).unwrap_or(u32::MAX);
    if count == 0 {
        return Ok((0, 0));
    }
    let mut end = 0;
    if count == left {
        end = records.len();
    } else {
        for _ in 0..count {
            end = next_record(records, end)?;
        }
    }
    cursor.move_behind(count);
    outlet.push_block(channel, &records[..end], count)?;
    Ok((count, end))
}

/// Record by record, until one isn't taken.
fn hand_each(
    records: &[u8],
    left: u32,
    mut push: impl FnMut(u32, RecordRef<'_>, &[u8]) -> Result<bool>,
) -> Result<(u32, usize)> {
    let mut at = 0;
    for count in 0..left {
        let (record, next) = read_record(records, at).map_err(malformed)?;
        if !push(count, record, &records[at..next])? {
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
