//! The spool: what a portal holds for one destination, in order, first in memory and then on disk.
//!
//! # Invariants
//!
//! 1. Records come out in the order in which they were appended (`records_come_out_in_order…`).
//! 2. An append never fails and never waits. When there is no room left, or the disk refuses, [`Log::has_room`] says so
//!    and the portal stops reading; what it has taken in stays in memory until the disk takes it (`a_disk_that_refuses…`).
//! 3. Whatever is on disk survives the portal; [`Log::open`] finds it again and says how many records that should be
//!    there aren't (`what_is_on_disk_survives…`, `a_torn_block_is_left_out…`).
//! 4. Totals are derived from the blocks, never stored.
//!
//! # Format on disk
//!
//! A directory for each destination. Segments are named by the index of their first record, `00000000000000000000.seg`;
//! a segment is a row of blocks:
//!
//! ```text
//! magic "wspl"  count u32  first index u64  length u64  xxh3_64 of the records u64  records…
//! ```
//!
//! Records stand as on the wire. The file `cursor` holds the index of the next record to hand out, in decimal; it is
//! written at a clean close, and before a segment is removed. (After a kill the portal's page, which survives, says it
//! more exactly.)
//!
//! # Movement
//!
//! ```text
//! append → memory, while that has room and nothing is behind it
//!        → tail → (64 KiB full) → disk
//! front  ← memory ← disk ← tail
//! ```

mod segment;

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use segment::Segment;
use waldo_sdk::{frame::Frame, wire::skip_records, wiring::SpoolLimits};

/// The tail goes to disk when it has this many bytes.
const TAIL_BYTES: usize = 64 * 1024;
/// What a block in memory costs besides its records. Bytes.
const BLOCK_COST: u64 = 128;

/// How much all logs of a portal may hold together, and how much they do.
#[derive(Debug)]
pub struct Budget {
    limits: SpoolLimits,
    memory: u64,
    disk: u64,
    /// How much of what is held doesn't count: at most what was handed over.
    allowed: u64,
}

impl Budget {
    /// Nothing held yet.
    pub fn new(limits: SpoolLimits) -> Self {
        Self { limits, memory: 0, disk: 0, allowed: 0 }
    }

    /// Has other limits from now on; what is held stays.
    pub fn set_limits(&mut self, limits: SpoolLimits) {
        self.limits = limits;
    }

    /// Takes in as many bytes beyond the limit: they are handed over in a rollout.
    pub fn allow(&mut self, bytes: u64) {
        self.allowed += bytes;
    }

    fn allow_no_more_than_held(&mut self) {
        self.allowed = self.allowed.min(self.memory + self.disk);
    }

    /// Whether another block may be taken in; clients are stopped at 80 % of the limit. What memory can't hold goes to
    /// disk, so the disk's limit is what counts, if there is one.
    pub fn has_room(&self, for_clients: bool) -> bool {
        let (used, limit) =
            if self.limits.disk > 0 { (self.disk, self.limits.disk) } else { (self.memory, self.limits.memory) };
        let (used, limit) = (u128::from(used.saturating_sub(self.allowed)), u128::from(limit));
        if for_clients { used * 10 < limit * 8 } else { used < limit }
    }

    /// Bytes in memory and on disk.
    pub fn used(&self) -> (u64, u64) {
        (self.memory, self.disk)
    }
}

/// Records that stand in a message or in a buffer of their own. Cheap to clone.
#[derive(Clone)]
pub enum Bytes {
    /// A part of a message.
    Message(Arc<Frame>, usize),
    /// A buffer.
    Owned(Arc<Vec<u8>>),
}

/// libzmq reads what comes on a connection into buffers of 8 KiB, and a message that fits stays in its buffer. One that is
/// shorter than this is copied to be kept, as it would keep all of the buffer with it. Bytes.
const WORTH_KEEPING: usize = 4096;

impl Bytes {
    /// What stands in a message from there on, to be kept for as long as it takes.
    pub fn of(message: &Arc<Frame>, from: usize) -> Self {
        if message.len() < WORTH_KEEPING {
            return Self::Owned(Arc::new(message[from..].to_vec()));
        }
        Self::Message(Arc::clone(message), from)
    }

    /// The bytes.
    pub fn get(&self) -> &[u8] {
        match self {
            Self::Message(message, from) => &message[*from..],
            Self::Owned(bytes) => bytes,
        }
    }

    fn cost(&self) -> u64 {
        self.get().len() as u64 + BLOCK_COST
    }
}

struct Block {
    first: u64,
    bytes: Bytes,
    count: u32,
    /// What it costs in memory, also when the message has been taken out.
    cost: u64,
}

struct Front {
    block: Block,
    at: usize,
    left: u32,
}

/// What [`Log::open`] found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The index that the next appended record gets.
    pub next: u64,
    /// The index of the next record to hand out.
    pub cursor: u64,
    /// How many records it holds; what is missing between `cursor` and `next` is lost.
    pub held: u64,
}

/// The records held for one destination.
pub struct Log {
    directory: PathBuf,
    front: Option<Front>,
    memory: VecDeque<Block>,
    segments: VecDeque<Segment>,
    tail: Vec<u8>,
    tail_count: u32,
    next: u64,
    held: u64,
    refused: Option<io::Error>,
}

impl Log {
    /// Opens the log in `directory`, which is made when it is first needed. `known` is what the portal's page says, if
    /// that survived: the index of the next record to hand out, and of the next one to be appended.
    pub fn open(directory: PathBuf, known: Option<(u64, u64)>, budget: &mut Budget) -> io::Result<(Self, Found)> {
        let mut segments = if directory.is_dir() { segment::scan(&directory)? } else { VecDeque::new() };
        let end = segments.back().map_or(0, Segment::end);
        let stored = fs::read_to_string(directory.join("cursor")).ok().and_then(|text| text.trim().parse().ok());
        let first = segments.front().map_or(end, Segment::first);
        let (cursor, next) = match known {
            Some((cursor, next)) => (cursor, next.max(end)),
            None => (stored.unwrap_or(first).clamp(first, end), end),
        };
        let mut skip = 0;
        while let Some(segment) = segments.front_mut() {
            skip = segment.skip_to(cursor);
            if !segment.is_empty() {
                break;
            }
            segment.remove()?;
            segments.pop_front();
        }
        let on_disk: u64 = segments.iter().map(Segment::records).sum::<u64>() - skip;
        budget.disk += segments.iter().map(Segment::bytes).sum::<u64>();
        let mut log = Self {
            directory,
            front: None,
            memory: VecDeque::new(),
            segments,
            tail: Vec::new(),
            tail_count: 0,
            next,
            held: on_disk + skip,
            refused: None,
        };
        if skip > 0 {
            log.fill_front(budget)?;
            let bytes = log.front().map(|(records, _)| skip_records(records, 0, skip as u32));
            if let Some(Ok(bytes)) = bytes {
                log.consume(skip as u32, bytes, budget);
            }
        }
        Ok((log, Found { next, cursor, held: on_disk }))
    }

    /// How many records it holds.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Whether appending more is wise: the disk has not refused.
    pub fn has_room(&self) -> bool {
        self.refused.is_none()
    }

    /// Why the disk refuses.
    pub fn refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// Leaves out `count` indexes: records that should have been appended next, but are lost.
    pub fn skip(&mut self, count: u64) {
        debug_assert_eq!(self.tail_count, 0, "nothing has been appended since it was opened");
        self.next += count;
    }

    /// Appends `count` records.
    pub fn append(&mut self, bytes: &Bytes, count: u32, budget: &mut Budget) {
        self.next += u64::from(count);
        self.held += u64::from(count);
        let behind = !self.segments.is_empty() || self.tail_count > 0;
        if !behind && (budget.limits.disk == 0 || budget.memory + bytes.cost() <= budget.limits.memory) {
            budget.memory += bytes.cost();
            let first = self.next - u64::from(count);
            self.memory.push_back(Block { first, bytes: bytes.clone(), count, cost: bytes.cost() });
            return;
        }
        budget.memory += bytes.get().len() as u64;
        self.tail.extend_from_slice(bytes.get());
        self.tail_count += count;
        if self.tail.len() >= TAIL_BYTES {
            self.write_tail(budget);
        }
    }

    /// Tries again to write what the disk has refused.
    pub fn retry(&mut self, budget: &mut Budget) {
        if self.refused.is_some() {
            self.write_tail(budget);
        }
    }

    fn write_tail(&mut self, budget: &mut Budget) {
        if self.tail_count == 0 {
            self.refused = None;
            return;
        }
        match self.try_write_tail(budget) {
            Ok(bytes) => {
                budget.disk += bytes;
                budget.memory -= self.tail.len() as u64;
                self.tail.clear();
                self.tail_count = 0;
                self.refused = None;
            }
            Err(error) => self.refused = Some(error),
        }
    }

    fn try_write_tail(&mut self, budget: &mut Budget) -> io::Result<u64> {
        let first = self.next - u64::from(self.tail_count);
        if self.segments.back().is_none_or(Segment::is_full) {
            fs::create_dir_all(&self.directory)?;
            self.segments.push_back(Segment::create(&self.directory, first)?);
        }
        let Some(segment) = self.segments.back_mut() else { return Ok(0) };
        let written = segment.append(first, self.tail_count, &self.tail);
        if written.is_err() && segment.is_empty() {
            // A segment without blocks would stand in the way of what comes through memory.
            if let Some(mut segment) = self.segments.pop_back() {
                budget.disk = budget.disk.saturating_sub(segment.bytes());
                segment.remove()?;
            }
        }
        written
    }

    /// The records next to be handed out, and how many they are; `None` when the log is empty. [`Log::fill_front`] first.
    pub fn front(&self) -> Option<(&[u8], u32)> {
        self.front.as_ref().map(|front| (&front.block.bytes.get()[front.at..], front.left))
    }

    /// The message next to be handed out, where its records begin, and how many they are: if nobody else has it and
    /// nothing of it has been handed out. Whoever takes it out consumes it next.
    pub fn front_message(&mut self) -> Option<(&mut Frame, usize, u32)> {
        let front = self.front.as_mut().filter(|front| front.at == 0)?;
        let Bytes::Message(message, from) = &mut front.block.bytes else { return None };
        Some((Arc::get_mut(message)?, *from, front.left))
    }

    /// The same, to be kept.
    pub fn front_bytes(&self) -> Option<(Bytes, u32)> {
        let front = self.front.as_ref()?;
        let bytes = match &front.block.bytes {
            Bytes::Message(message, from) => Bytes::Message(Arc::clone(message), from + front.at),
            Bytes::Owned(bytes) if front.at == 0 => Bytes::Owned(Arc::clone(bytes)),
            Bytes::Owned(bytes) => Bytes::Owned(Arc::new(bytes[front.at..].to_vec())),
        };
        Some((bytes, front.left))
    }

    /// Makes sure that [`Log::front`] has something if anything is held.
    pub fn fill_front(&mut self, budget: &mut Budget) -> io::Result<()> {
        if self.front.is_some() {
            return Ok(());
        }
        // A segment that was full when the last of it was handed out has stayed while there was a tail.
        while self.segments.len() > 1 && self.segments.front().is_some_and(Segment::is_empty) {
            self.remove_first_segment(budget);
        }
        let block = if let Some(block) = self.memory.pop_front() {
            block
        } else if let Some(segment) = self.segments.front_mut().filter(|segment| !segment.is_empty()) {
            let (first, bytes, count) = segment.read_first()?;
            let bytes = Bytes::Owned(Arc::new(bytes));
            let block = Block { first, count, cost: bytes.cost(), bytes };
            budget.memory += block.cost;
            block
        } else if self.tail_count > 0 {
            // A segment that has been handed out goes now: blocks appended to it later would be newer than this one, and
            // files are read in the order of their first records.
            while self.segments.front().is_some_and(Segment::is_empty) {
                self.remove_first_segment(budget);
            }
            budget.memory += BLOCK_COST;
            let first = self.next - u64::from(self.tail_count);
            let bytes = Bytes::Owned(Arc::new(std::mem::take(&mut self.tail)));
            let block = Block { first, count: self.tail_count, cost: bytes.cost(), bytes };
            self.tail_count = 0;
            self.refused = None;
            block
        } else {
            return Ok(());
        };
        self.front = Some(Front { at: 0, left: block.count, block });
        Ok(())
    }

    /// The index of the next record to hand out.
    pub fn cursor(&self) -> u64 {
        let tail = self.next - u64::from(self.tail_count);
        if let Some(front) = &self.front {
            return front.block.first + u64::from(front.block.count - front.left);
        }
        let on_disk = || self.segments.iter().find_map(Segment::first_left);
        self.memory.front().map(|block| block.first).or_else(on_disk).unwrap_or(tail)
    }

    /// Takes `count` records of `bytes` bytes off the front.
    pub fn consume(&mut self, count: u32, bytes: usize, budget: &mut Budget) {
        let Some(front) = &mut self.front else { return };
        front.at += bytes;
        front.left -= count;
        self.held -= u64::from(count);
        if front.left > 0 {
            return;
        }
        budget.memory = budget.memory.saturating_sub(front.block.cost);
        budget.allow_no_more_than_held();
        self.front = None;
        if !self.memory.is_empty() {
            return;
        }
        let Some(segment) = self.segments.front_mut() else { return };
        segment.pop_if_read();
        if segment.is_empty() && (self.segments.len() > 1 || self.tail_count == 0) {
            self.remove_first_segment(budget);
        }
    }

    fn remove_first_segment(&mut self, budget: &mut Budget) {
        let Some(mut segment) = self.segments.pop_front() else { return };
        budget.disk = budget.disk.saturating_sub(segment.bytes());
        budget.allow_no_more_than_held();
        // A file that stays costs room, not records: the next opening removes it.
        let _ = write_cursor(&self.directory, self.cursor()).and_then(|()| segment.remove());
    }

    /// Writes everything to disk, to be opened again.
    pub fn close(mut self, budget: &mut Budget) -> io::Result<()> {
        let cursor = self.cursor();
        if self.held == 0 {
            for mut segment in self.segments {
                segment.remove()?;
            }
            let _ = fs::remove_file(self.directory.join("cursor"));
            let _ = fs::remove_dir(&self.directory);
            return Ok(());
        }
        fs::create_dir_all(&self.directory)?;
        // What is in memory is older than what is on disk: it goes into a segment with a lower number. A front that was
        // read from disk is there still.
        let mut older = Vec::new();
        let mut older_count = 0;
        let from_disk = self.segments.front().is_some_and(Segment::is_first_read);
        if let Some(front) = self.front.take()
            && !from_disk
        {
            older.extend_from_slice(&front.block.bytes.get()[front.at..]);
            older_count += front.left;
        }
        for block in self.memory.drain(..) {
            older.extend_from_slice(block.bytes.get());
            older_count += block.count;
        }
        if older_count > 0 {
            let mut segment = Segment::create(&self.directory, cursor)?;
            segment.append(cursor, older_count, &older)?;
            segment.sync()?;
        }
        self.write_tail(budget);
        if let Some(error) = self.refused {
            return Err(error);
        }
        for segment in &self.segments {
            segment.sync()?;
        }
        write_cursor(&self.directory, cursor)
    }
}

fn write_cursor(directory: &Path, cursor: u64) -> io::Result<()> {
    let new = directory.join("cursor.new");
    let mut file = fs::File::create(&new)?;
    io::Write::write_all(&mut file, cursor.to_string().as_bytes())?;
    file.sync_data()?;
    fs::rename(new, directory.join("cursor"))
}

#[cfg(test)]
mod tests;
