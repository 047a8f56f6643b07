//! A flow between two guides: what a portal does from when it adopts the new one until everything is in its place.
//!
//! ```text
//! sorting ──────► passing on ──────► handed over ──────► settled
//!  held records    what comes for     nothing more        what was aside stands behind
//!  of keys that    them goes straight  can come of         what was handed over
//!  have moved go   to the new owner    the old guide
//!  to forwards
//! ```
//!
//! Records of one key and one sender are in order all the way: those that were sent by the old guide are at the former
//! owner, which passes them on in the order in which it has them; those that were sent by the new guide are at the new
//! owner, aside, until every former owner has said that it has passed on all there will ever be.

use std::sync::Arc;

use waldo_sdk::{
    Result,
    guide::{FlowGuide, Guide, Map, ServerIndex},
    outbox::Links,
    page::{Page, Slot},
    wire::{read_record, write_only_for},
    wiring::Place,
};

use super::{destination::Destination, flow::Flow, shelf::Shelf};
use crate::spool::{Budget, Bytes};

/// How many bytes are moved for a destination before anything else gets its turn.
pub const TURN_BYTES: usize = 8 * 1024 * 1024;

/// What a flow has while it changes over.
pub struct Passage {
    /// What the former guide says of the flow.
    pub former: FlowGuide,
    /// The former guide.
    pub former_guide: Arc<Guide>,
    /// This server's place in the former guide, if this portal was the flow's here.
    pub former_own: Option<ServerIndex>,
    /// `server/portal` for each server of the former guide.
    pub former_portals: Vec<String>,
    /// Whether what is held here isn't sorted yet.
    pub is_sorting: bool,
    /// What came by the new guide for keys that were elsewhere before.
    pub aside: Shelf,
    /// Consumers that this server doesn't have any more.
    pub departing: Vec<Destination>,
    /// Portals that the guide doesn't name any more.
    pub leaving: Vec<Destination>,
    /// For the ledger: how many records that were held here were given to other owners, each consumer's copy.
    pub reguided: Slot,
    /// For people: how many records former owners have handed over.
    pub handed: Slot,
    /// Where the portals' destinations ended when the guide was adopted.
    pub older: Vec<Mark>,
    /// Where they ended when nothing of an older guide could come any more.
    pub last: Option<Vec<Mark>>,
}

/// A place in what is forwarded to a portal. It is passed when the portal has receipted all that stood before it.
pub struct Mark {
    name: String,
    index: u64,
    /// What the link had sent when all of it had been put there.
    sent: Option<u64>,
}

impl Mark {
    /// Behind all that a destination holds now.
    pub fn behind(destination: &mut Destination) -> Self {
        Self { name: destination.name().to_owned(), index: destination.last().next(), sent: None }
    }

    fn is_passed(&mut self, destination: &mut Destination, links: &mut Links) -> bool {
        let Some((link, flow)) = destination.link() else { return true };
        let link = &links.all()[link];
        if self.sent.is_none() && destination.last().cursor() >= self.index {
            self.sent = Some(link.flow_sent(flow));
        }
        self.sent.is_some_and(|sent| link.flow_settled(flow) >= sent)
    }
}

impl Passage {
    /// The server of the former guide whose portal this sender is.
    pub fn former_portal(&self, sender: &str) -> Option<ServerIndex> {
        self.former_portals.iter().position(|portal| portal == sender).map(|index| index as ServerIndex)
    }

    /// Who owned a key.
    pub fn former_owner(&self, key: &[u8]) -> ServerIndex {
        self.former_guide.owner(&self.former, key)
    }
}

/// Whether a key may have been this server's before and be another's now.
pub fn may_lose(
    (former_guide, former, former_own): (&Guide, &FlowGuide, Option<ServerIndex>),
    (guide, flow, own): (&Guide, &FlowGuide, Option<ServerIndex>),
) -> bool {
    let Some(former_own) = former_own else { return false };
    match (&former.map, &flow.map) {
        (Map::Hash(before), Map::Hash(after)) => former_guide.tables[*before]
            .iter()
            .zip(&guide.tables[*after])
            .any(|(&before, &after)| before == former_own && Some(after) != own),
        _ => former_guide.owners(former).contains(&former_own),
    }
}

impl Flow {
    /// Sorts some of what is held here: what is another's goes to its portal, for the consumer that it was held for.
    pub fn sort(
        &mut self,
        (place, page, generation): (&Place, &Page, u64),
        guide: &Guide,
        budget: &mut Budget,
    ) -> Result<()> {
        let Self { locals, forwards, passage, guide: flow_guide, own, .. } = self;
        let Some(Passage { is_sorting, departing, reguided, .. }) = passage else { return Ok(()) };
        if !*is_sorting {
            return Ok(());
        }
        let mut is_sorted = true;
        for local in locals.iter_mut().chain(departing) {
            if local.is_sorted_out(generation) {
                continue;
            }
            let name = local.name().to_owned();
            let place = (place, page, generation);
            local.sort_out(place, TURN_BYTES, budget, |bytes, count, stays, budget| {
                let moved = split(bytes.get(), name.as_bytes(), |key| {
                    let owner = guide.owner(flow_guide, key);
                    (Some(owner) != *own).then_some(usize::from(owner))
                });
                let mut stay = (bytes.clone(), count);
                if let Some(moved) = moved {
                    for (server, records, count) in moved.others {
                        if let Some(forward) = forwards.get_mut(server).and_then(Option::as_mut) {
                            forward.last().append_again(&Bytes::Owned(Arc::new(records)), count, budget);
                            reguided.add_done(u64::from(count));
                        }
                    }
                    stay = (Bytes::Owned(Arc::new(moved.own)), moved.own_count);
                }
                if stay.1 > 0 {
                    stays.append(&stay.0, stay.1, budget);
                }
            })?;
            is_sorted &= local.is_sorted_out(generation);
        }
        *is_sorting = !is_sorted;
        Ok(())
    }

    /// Whether the portals have receipts for all that stood before these marks.
    pub fn have_passed(&mut self, last: bool, links: &mut Links) -> bool {
        let Some(passage) = &mut self.passage else { return true };
        let marks = if last { passage.last.take() } else { Some(std::mem::take(&mut passage.older)) };
        let Some(mut marks) = marks else { return false };
        marks.retain_mut(|mark| {
            let destination = self.portals_mut().find(|known| known.name() == mark.name);
            destination.is_some_and(|destination| !mark.is_passed(destination, links))
        });
        let passed = marks.is_empty();
        if let Some(passage) = &mut self.passage {
            if last {
                passage.last = Some(marks);
            } else {
                passage.older = marks;
            }
        }
        passed
    }

    /// Marks where portals' destinations end, once nothing of an older guide can come any more.
    pub fn mark_last(&mut self) {
        if self.passage.as_ref().is_none_or(|passage| passage.last.is_some()) {
            return;
        }
        let marks = self.portals_mut().map(Mark::behind).collect();
        if let Some(passage) = &mut self.passage {
            passage.last = Some(marks);
        }
    }

    /// How many records are aside.
    pub fn aside_held(&self) -> u64 {
        self.passage.as_ref().map_or(0, |passage| passage.aside.held())
    }

    /// Whether nothing is held for other portals, and they have receipts for all that they were sent.
    pub fn has_passed_on_all(&mut self, links: &mut Links) -> bool {
        self.portals_mut().all(|portal| {
            let is_settled = portal.link().is_none_or(|(link, flow)| {
                let link = &links.all()[link];
                link.flow_settled(flow) >= link.flow_sent(flow)
            });
            portal.held() == 0 && is_settled
        })
    }

    /// Puts some of what is aside behind what this server's consumers have; answers whether nothing is left.
    pub fn take_from_aside(&mut self, budget: &mut Budget) -> Result<bool> {
        let Some(passage) = &mut self.passage else { return Ok(true) };
        let mut left = TURN_BYTES;
        while left > 0 {
            let locals = &mut self.locals;
            let moved = passage.aside.move_front(budget, |bytes, count, budget| {
                for local in locals {
                    local.last().append_again(bytes, count, budget);
                }
            })?;
            if moved == 0 {
                return Ok(true);
            }
            left = left.saturating_sub(moved);
        }
        Ok(false)
    }
}

/// Records that stood in one block, by who owns them.
struct Split {
    own: Vec<u8>,
    own_count: u32,
    others: Vec<(usize, Vec<u8>, u32)>,
}

/// Sorts records; `other` answers which other server owns a key. `None` if all are this server's own.
fn split(bytes: &[u8], consumer: &[u8], other: impl Fn(&[u8]) -> Option<usize>) -> Option<Split> {
    let mut all = Split { own: Vec::new(), own_count: 0, others: Vec::new() };
    let mut at = 0;
    while let Ok((record, next)) = read_record(bytes, at) {
        let whole = &bytes[at..next];
        at = next;
        let Some(server) = other(record.key) else {
            all.own.extend_from_slice(whole);
            all.own_count += 1;
            continue;
        };
        let index = all.others.iter().position(|&(known, ..)| known == server).unwrap_or_else(|| {
            all.others.push((server, Vec::new(), 0));
            all.others.len() - 1
        });
        let (_, records, count) = &mut all.others[index];
        write_only_for(records, whole, consumer);
        *count += 1;
    }
    (!all.others.is_empty()).then_some(all)
}
