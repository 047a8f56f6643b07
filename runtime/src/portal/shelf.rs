//! A shelf: a log of the spool, and its account in the page.
//!
//! In its [`SlotKind::Spool`] slot, `sent` is the index of the next record to be appended, `succession` that of the next
//! to be handed on (so that both survive the portal), and `fence` what `sent` would be had only records been appended
//! that were put nowhere before. `succession` moves before a record is handed on and `done` after: a portal killed in
//! between has lost it, at most, and not repeated it.
//!
//! What a rollout has left for a destination after sorting stands on a shelf of its own, `flow@consumer(a)` or `(b)`, as
//! the next rollout may come while it isn't empty. Its `fence` is the generation that it was sorted in, 0 while nothing
//! is on it; its directory is named by that generation.

use std::path::{Path, PathBuf};

use waldo_sdk::{
    Result,
    frame::Frame,
    page::{Kind as SlotKind, Page, Slot},
    wiring::Place,
};

use super::io;
use crate::spool::{Budget, Bytes, Log};

const LETTERS: [char; 2] = ['a', 'b'];

/// Records held in order, and their account.
pub struct Shelf {
    log: Log,
    slot: Slot,
    is_kept: bool,
    /// Whether the page knew nothing of it before it was opened, or nothing of what came while it was away.
    is_new: bool,
}

fn directory(place: &Place, name: &str) -> PathBuf {
    place.spool.join(name.replace('/', "@"))
}

/// The shelves that earlier rollouts have left for a destination, those sorted last first.
pub fn kept_shelves(place: &Place, page: &Page, flow: &str, name: &str, budget: &mut Budget) -> Result<Vec<Shelf>> {
    let mut generations: Vec<u64> = LETTERS
        .iter()
        .filter_map(|letter| page.find(SlotKind::Spool, &format!("{flow}@{name}({letter})")))
        .map(|slot| slot.fence())
        .filter(|&generation| generation > 0)
        .collect();
    // Those that the page knows nothing of, as it is new, have been left on disk.
    let prefix = format!("{}(", format!("{flow}@{name}").replace('/', "@"));
    for entry in std::fs::read_dir(&place.spool).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let rest = file.to_str().and_then(|file| file.strip_prefix(&prefix)).and_then(|rest| rest.strip_suffix(')'));
        if let Some(generation) = rest.and_then(|number| number.parse().ok()) {
            generations.push(generation);
        }
    }
    generations.sort_unstable_by(|one, other| other.cmp(one));
    generations.dedup();
    generations.into_iter().map(|generation| Shelf::open_kept(place, page, flow, name, generation, budget)).collect()
}

/// Where the next record to be handed on stands, as the page says it.
pub struct Cursor<'a> {
    slot: &'a Slot,
    at: u64,
}

impl Cursor<'_> {
    /// Moves it behind the first `count` records.
    #[inline]
    pub fn move_behind(&self, count: u32) {
        self.slot.set_succession(self.at + u64::from(count));
    }
}

impl Shelf {
    /// Whether the page or the disk knows such a shelf.
    pub fn is_there(place: &Place, page: &Page, flow: &str, name: &str) -> bool {
        let name = format!("{flow}@{name}");
        page.find(SlotKind::Spool, &name).is_some() || directory(place, &name).is_dir()
    }

    /// Opens the shelf of a destination, or of what is set aside.
    pub fn open(place: &Place, page: &Page, flow: &str, name: &str, budget: &mut Budget) -> Result<Self> {
        let name = format!("{flow}@{name}");
        let is_known = page.find(SlotKind::Spool, &name).is_some_and(|slot| slot.away() == 0);
        let shelf = Self::open_at(&directory(place, &name), page, flow, &name, budget)?;
        if !is_known {
            shelf.slot.set_fence(shelf.slot.sent());
            shelf.slot.set_away(0);
        }
        Ok(Self { is_new: !is_known, ..shelf })
    }

    /// Opens the shelf of what stayed with a destination in the rollout to this generation.
    pub fn open_kept(
        place: &Place,
        page: &Page,
        flow: &str,
        name: &str,
        generation: u64,
        budget: &mut Budget,
    ) -> Result<Self> {
        let names = LETTERS.map(|letter| format!("{flow}@{name}({letter})"));
        let fence = |name: &String| page.find(SlotKind::Spool, name).map_or(0, |slot| slot.fence());
        let own = names.iter().find(|name| fence(name) == generation);
        let Some(slot) = own.or_else(|| names.iter().find(|name| fence(name) == 0)) else {
            let source = std::io::Error::other("records of two earlier rollouts are still there");
            return Err(waldo_sdk::Error::Io { doing: format!("sort {flow}@{name}"), source });
        };
        if own.is_none()
            && let Some(slot) = page.find(SlotKind::Spool, slot)
        {
            // This use of the slot begins where the one before has ended.
            slot.set_succession(slot.sent());
        }
        let directory = directory(place, &format!("{flow}@{name}({generation})"));
        let mut shelf = Self::open_at(&directory, page, flow, slot, budget)?;
        shelf.is_kept = true;
        shelf.slot.set_fence(generation);
        Ok(shelf)
    }

    fn open_at(directory: &Path, page: &Page, flow: &str, name: &str, budget: &mut Budget) -> Result<Self> {
        let known = page.find(SlotKind::Spool, name).map(|slot| (slot.succession(), slot.sent()));
        let (log, found) = Log::open(directory.to_owned(), known, budget)
            .map_err(io(format!("open the spool {}", directory.display())))?;
        let slot = page.slot(SlotKind::Spool, name).map_err(io(format!("add edge {name}")))?;
        if known.is_none() {
            slot.set_done(found.cursor);
            if found.held > 0 {
                let name = format!("resumed {flow}");
                page.slot(SlotKind::Count, &name).map_err(io(name))?.add_done(found.held);
            }
        }
        slot.set_succession(found.cursor);
        slot.set_sent(found.next);
        slot.set_written_off(found.next.saturating_sub(slot.done() + found.held));
        Ok(Self { log, slot, is_kept: false, is_new: false })
    }

    /// Whether the page knew nothing of it before it was opened, or nothing of what came while it was away.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The generation that it was sorted in, if it was.
    pub fn generation(&self) -> u64 {
        if self.is_kept { self.slot.fence() } else { 0 }
    }

    /// How many records have been appended, since the page was new, that had been put nowhere before.
    pub fn ever_appended(&self) -> i64 {
        self.slot.sent().wrapping_sub(self.slot.fence()).cast_signed()
    }

    /// Says how many records have been appended that had been put nowhere before.
    pub fn set_ever_appended(&self, count: i64) {
        self.slot.set_fence(self.slot.sent().wrapping_sub(count.cast_unsigned()));
    }

    /// How many records are held.
    pub fn held(&self) -> u64 {
        self.log.held()
    }

    /// The index of the next record to be handed on.
    pub fn cursor(&self) -> u64 {
        self.log.cursor()
    }

    /// The index of the next record to be appended.
    pub fn next(&self) -> u64 {
        self.slot.sent()
    }

    /// Whether the disk takes what it has to.
    pub fn disk_takes(&self) -> bool {
        self.log.has_room()
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

    /// Holds records.
    pub fn append(&mut self, bytes: &Bytes, count: u32, budget: &mut Budget) {
        self.slot.add_sent(u64::from(count));
        self.log.append(bytes, count, budget);
    }

    /// Holds records that have been put somewhere before.
    pub fn append_again(&mut self, bytes: &Bytes, count: u32, budget: &mut Budget) {
        if !self.is_kept {
            self.slot.set_fence(self.slot.fence().wrapping_add(u64::from(count)));
        }
        self.append(bytes, count, budget);
    }

    /// Counts records as put here that were only for others.
    pub fn pass_over(&self, count: u32) {
        self.slot.set_fence(self.slot.fence().wrapping_sub(u64::from(count)));
    }

    /// Tries again what the disk has refused; answers its words if it still does.
    pub fn retry(&mut self, budget: &mut Budget) -> Option<String> {
        self.log.retry(budget);
        self.log.refused().map(ToString::to_string)
    }

    /// Hands records from the front on. `hand` gets some records, as they stand on the wire, and how many they are; it
    /// moves the cursor before it hands any on, and answers how many it has, and their bytes. Answers whether anything
    /// moved.
    pub fn hand_on(
        &mut self,
        budget: &mut Budget,
        hand: impl FnOnce(&[u8], u32, Cursor<'_>) -> Result<(u32, usize)>,
    ) -> Result<bool> {
        self.log.fill_front(budget).map_err(io("read the spool"))?;
        let cursor = self.log.cursor();
        let Some((records, left)) = self.log.front() else { return Ok(false) };
        let slot = &self.slot;
        let (count, bytes) = hand(records, left, Cursor { slot, at: cursor })?;
        slot.set_succession(cursor + u64::from(count));
        if count == 0 {
            return Ok(false);
        }
        slot.add_done(u64::from(count));
        self.log.consume(count, bytes, budget);
        Ok(true)
    }

    /// Hands the message at the front on as a whole, if nobody else has it and nothing of it has been handed on. `hand` gets
    /// the message, where its records begin, and how many they are; it moves the cursor before it hands them on, and
    /// answers whether it did. Answers whether anything moved.
    pub fn hand_on_message(
        &mut self,
        budget: &mut Budget,
        hand: impl FnOnce(&mut Frame, usize, u32, Cursor<'_>) -> Result<bool>,
    ) -> Result<bool> {
        self.log.fill_front(budget).map_err(io("read the spool"))?;
        let at = self.log.cursor();
        let Some((message, records_at, count)) = self.log.front_message() else { return Ok(false) };
        let (slot, bytes) = (&self.slot, message.len() - records_at);
        if !hand(message, records_at, count, Cursor { slot, at })? {
            slot.set_succession(at);
            return Ok(false);
        }
        slot.add_done(u64::from(count));
        self.log.consume(count, bytes, budget);
        Ok(true)
    }

    /// Moves what is at the front elsewhere: `put` appends it there. Answers how many bytes it was, 0 if nothing is held.
    pub fn move_front(&mut self, budget: &mut Budget, put: impl FnOnce(&Bytes, u32, &mut Budget)) -> Result<usize> {
        self.log.fill_front(budget).map_err(io("read the spool"))?;
        let cursor = self.log.cursor();
        let Some((records, left)) = self.log.front_bytes() else { return Ok(0) };
        self.slot.set_succession(cursor + u64::from(left));
        put(&records, left, budget);
        self.slot.add_done(u64::from(left));
        let bytes = records.get().len();
        self.log.consume(left, bytes, budget);
        Ok(bytes)
    }

    /// Writes what is held to disk.
    pub fn close(self, budget: &mut Budget) -> Result<()> {
        self.log.close(budget).map_err(io("write the spool to disk"))
    }

    /// The same, as the plan doesn't have its destination any more. If a later one has it again, it begins anew: what was put
    /// elsewhere meanwhile isn't missing here.
    pub fn part(self, budget: &mut Budget) -> Result<()> {
        self.slot.set_away(1);
        self.close(budget)
    }

    /// Closes a kept shelf with nothing on it; another may have its place.
    pub fn give_up(self, budget: &mut Budget) -> Result<()> {
        let slot = self.slot.clone();
        self.close(budget)?;
        slot.set_fence(0);
        Ok(())
    }
}
