//! The counters page: what a process has sent and done, in a file that others can read while it runs and after it
//! has been killed.
//!
//! ```text
//! page   header of 192 bytes, then `capacity` slots of 192 bytes
//! slot   64 bytes of counters, then kind u8, length of name u8, name
//! ```
//!
//! The launcher makes the file, full of zeros, and keeps it while the process's place exists; every process maps it
//! and adds the slots that it needs, each found again by kind and name. One process writes a page, any may read
//! it. Counters are 64-bit, only grow (`written_off` may shrink), and are stored with release and read with acquire:
//!
//! - `sent` grows **before** a record is handed on,
//! - `done` grows **after** all that a record caused has been counted in some `sent`.
//!
//! [`Slot`] says what each kind of slot counts; `docs/protocol.md` has the proof that rests on this.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use memmap2::{MmapOptions, MmapRaw};
use serde::{Deserialize, Serialize};

const MAGIC: u64 = u64::from_le_bytes(*b"waldopg1");
const SLOT_BYTES: usize = 192;
const NAME_AT: usize = 66;
/// The longest name of a slot. Bytes.
pub const MAX_NAME: usize = SLOT_BYTES - NAME_AT;

/// What a slot counts. Names are of processes on the same server unless they have a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    /// `flow>receiver`: `sent` records to an inbox; `begun` the own incarnation while a batch is begun.
    Sent = 1,
    /// `flow<sender`: records from a sender that this process has `done`; `written_off` of those that were lost;
    /// `fence` the own incarnation whose fence was seen; `succession` the sender's incarnation that is settled.
    Done = 2,
    /// `flow>server/portal`: records `sent` to a portal, `done` the portal's receipts, `written_off` those lost.
    Link = 3,
    /// `flow@consumer`, in a portal: records `sent` into the spool for a consumer (a stage, or a `server/portal` that
    /// they are forwarded to), `done` those handed on, `written_off` those lost with the memory of a dead portal; `away` 1
    /// while the plan doesn't have the consumer.
    Spool = 4,
    /// `flow`, in the bridge of a `lines` program: records `sent` into the program, `done` once it is judged quiet,
    /// `written_off` those that were in it when it failed.
    Program = 5,
    /// `flow<server/process`, in a portal: records `done` = taken in from this sender, over all its incarnations.
    Accepted = 6,
    /// `server/process`, in a portal: `done` = the number of the last record taken in, `succession` = of which
    /// incarnation.
    Last = 7,
    /// A count for people, by name: `received FLOW`, `resumed FLOW`, `rejected FLOW`, `dead FLOW`,
    /// `clients FLOW`, `reguided FLOW`, `handed FLOW`, in `done`.
    Count = 8,
    /// `flow`, in a stage: how many records of it were worked on, in `sent`, and for how long, in `done`, in nanoseconds: from when
    /// a message was taken up until the next was asked for. A `lines` program has none.
    Work = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::{Accepted, Count, Done, Last, Link, Program, Sent, Spool, Work};
        [Sent, Done, Link, Spool, Program, Accepted, Last, Count, Work].into_iter().find(|&kind| kind as u8 == byte)
    }
}

#[repr(C)]
struct Head {
    magic: AtomicU64,
    capacity: AtomicU64,
    slots: AtomicU64,
    incarnation: AtomicU64,
    bound: AtomicU64,
    heartbeat: AtomicU64,
    gate: AtomicU64,
    stage: AtomicU64,
    exit_status: AtomicU64,
    exited: AtomicU64,
    leaving: AtomicU64,
}

#[repr(C)]
struct Cells {
    sent: AtomicU64,
    done: AtomicU64,
    written_off: AtomicU64,
    fence: AtomicU64,
    succession: AtomicU64,
    begun: AtomicU64,
    away: AtomicU64,
}

struct Map(MmapRaw);

impl Map {
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins on a page")]
    fn head(&self) -> &Head {
        // SAFETY: the mapping is longer than a slot (checked when mapped), page-aligned, and lives as long as self;
        // all access to it is through atomics.
        unsafe { &*self.0.as_ptr().cast::<Head>() }
    }

    fn at(&self, slot: usize) -> *mut u8 {
        debug_assert!((slot + 2) * SLOT_BYTES <= self.0.len(), "slot within the mapping");
        // SAFETY: within the mapping: callers pass a slot below `capacity`, which was checked against its length.
        unsafe { self.0.as_mut_ptr().add((slot + 1) * SLOT_BYTES) }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins on a page, and slots have a multiple of 64 bytes")]
    fn cells(&self, slot: usize) -> &Cells {
        // SAFETY: as in `at`; SLOT_BYTES is a multiple of 8, so the cells are aligned.
        unsafe { &*self.at(slot).cast::<Cells>() }
    }

    fn kind_and_name(&self, slot: usize) -> (Option<Kind>, &str) {
        // SAFETY: the name is written before the slot is published and never again.
        let bytes = unsafe { std::slice::from_raw_parts(self.at(slot).add(64), SLOT_BYTES - 64) };
        let end = (2 + usize::from(bytes[1])).min(bytes.len());
        (Kind::from_byte(bytes[0]), std::str::from_utf8(&bytes[2..end]).unwrap_or(""))
    }

    fn slots(&self) -> usize {
        let head = self.head();
        head.slots.load(Ordering::Acquire).min(head.capacity.load(Ordering::Acquire)) as usize
    }

    fn find(&self, kind: Kind, name: &str) -> Option<usize> {
        (0..self.slots()).find(|&slot| self.kind_and_name(slot) == (Some(kind), name))
    }
}

/// A counters page.
#[derive(Clone)]
pub struct Page {
    map: Arc<Map>,
    adding: Arc<Mutex<()>>,
}

/// The counters of one edge, by reference into the page.
#[derive(Clone)]
pub struct Slot {
    map: Arc<Map>,
    index: usize,
}

/// How far along a process is, as its page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not ready yet.
    Starting,
    /// Inbox bound, wiring connected.
    Ready,
}

/// A slot's contents at one moment; each number was read on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it counts.
    pub kind: Kind,
    /// The edge's name, as in [`Kind`].
    pub name: String,
    /// See [`Kind`].
    pub sent: u64,
    /// See [`Kind`].
    pub done: u64,
    /// See [`Kind`].
    pub written_off: u64,
}

impl Page {
    /// Makes the file with room for `capacity` slots. The file is sparse: room that isn't used costs nothing.
    /// A page that is there already is kept, with its counters, if its capacity is enough; else it is an error.
    pub fn create(path: &Path, capacity: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let wanted = ((capacity + 1) * SLOT_BYTES) as u64;
        let length = file.metadata()?.len();
        if length == 0 {
            file.set_len(wanted)?;
            let page = Self::map(&file)?;
            page.map.head().capacity.store(capacity as u64, Ordering::Release);
            page.map.head().magic.store(MAGIC, Ordering::Release);
            return Ok(page);
        }
        if length < wanted {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("page has {length} bytes, needs {wanted}")));
        }
        Self::checked(&file)
    }

    /// Maps a page that exists.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::checked(&OpenOptions::new().read(true).write(true).open(path)?)
    }

    fn checked(file: &File) -> io::Result<Self> {
        let page = Self::map(file)?;
        let head = page.map.head();
        let capacity = head.capacity.load(Ordering::Acquire) as usize;
        let needed = capacity.checked_add(1).and_then(|slots| slots.checked_mul(SLOT_BYTES));
        if head.magic.load(Ordering::Acquire) != MAGIC || needed.is_none_or(|needed| needed > page.map.0.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a counters page of this version"));
        }
        Ok(page)
    }

    fn map(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() < SLOT_BYTES as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a counters page: too short"));
        }
        let map = MmapOptions::new().map_raw(file)?;
        Ok(Self { map: Arc::new(Map(map)), adding: Arc::default() })
    }

    /// The slot of this kind and name, added if it isn't there yet. Only the page's own process may add.
    ///
    /// # Errors
    /// If the page is full or the name too long.
    pub fn slot(&self, kind: Kind, name: &str) -> io::Result<Slot> {
        let _guard = self.adding.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = match self.map.find(kind, name) {
            Some(index) => index,
            None => self.add(kind, name)?,
        };
        Ok(Slot { map: Arc::clone(&self.map), index })
    }

    fn add(&self, kind: Kind, name: &str) -> io::Result<usize> {
        let head = self.map.head();
        let index = self.map.slots();
        if index as u64 >= head.capacity.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "counters page is full"));
        }
        if name.len() > MAX_NAME {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("edge name over {MAX_NAME} bytes: {name}"),
            ));
        }
        let at = self.map.at(index);
        // SAFETY: the slot isn't published yet, only the page's own process adds, and `adding` is held.
        unsafe {
            at.add(64).write(kind as u8);
            at.add(65).write(name.len() as u8);
            std::ptr::copy_nonoverlapping(name.as_ptr(), at.add(NAME_AT), name.len());
        }
        head.slots.store(index as u64 + 1, Ordering::Release);
        Ok(index)
    }

    /// The slot of this kind and name, if its process has added it.
    pub fn find(&self, kind: Kind, name: &str) -> Option<Slot> {
        self.map.find(kind, name).map(|index| Slot { map: Arc::clone(&self.map), index })
    }

    /// All slots as they are now. Each `done` and `written_off` is read before any `sent`.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = (0..self.map.slots())
            .filter_map(|slot| {
                let (kind, name) = self.map.kind_and_name(slot);
                let cells = self.map.cells(slot);
                Some(Entry {
                    kind: kind?,
                    name: name.to_owned(),
                    sent: slot as u64,
                    done: cells.done.load(Ordering::Acquire),
                    written_off: cells.written_off.load(Ordering::Acquire),
                })
            })
            .collect();
        for entry in &mut entries {
            entry.sent = self.map.cells(entry.sent as usize).sent.load(Ordering::Acquire);
        }
        entries
    }

    /// How many slots have been added; a slot keeps its index.
    pub fn len(&self) -> usize {
        self.map.slots()
    }

    /// Whether no slot has been added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind and name of the slot with this index below [`Page::len`].
    pub fn name(&self, index: usize) -> (Option<Kind>, &str) {
        self.map.kind_and_name(index)
    }

    /// The counters of the slot with this index below [`Page::len`].
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn at(&self, index: usize) -> Slot {
        assert!(index < self.len(), "slot {index} of {}", self.len());
        Slot { map: Arc::clone(&self.map), index }
    }

    /// The process's incarnation: set by the launcher at each start, only grows.
    pub fn incarnation(&self) -> u64 {
        self.map.head().incarnation.load(Ordering::Acquire)
    }

    /// Sets the incarnation, before the process is started; it isn't ready then, and its gate is open.
    pub fn begin_incarnation(&self, incarnation: u64) {
        let head = self.map.head();
        head.stage.store(0, Ordering::Release);
        head.gate.store(0, Ordering::Release);
        head.incarnation.store(incarnation, Ordering::Release);
    }

    /// The incarnation that has bound the inbox last.
    pub fn bound(&self) -> u64 {
        self.map.head().bound.load(Ordering::Acquire)
    }

    /// Says that this incarnation has bound the inbox.
    pub fn set_bound(&self, incarnation: u64) {
        self.map.head().bound.store(incarnation, Ordering::Release);
    }

    /// Says that this incarnation leaves: nothing more is to be begun for its inbox. Whatever [`Slot::begin`] was told
    /// that it may begin can be seen from now on.
    pub fn set_leaving(&self, incarnation: u64) {
        self.map.head().leaving.store(incarnation, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Whether the incarnation that has bound the inbox last is leaving, or has left, and no other has bound it yet.
    pub fn is_leaving(&self) -> bool {
        let head = self.map.head();
        let leaving = head.leaving.load(Ordering::Acquire);
        leaving != 0 && leaving == head.bound.load(Ordering::Acquire)
    }

    /// How far along the process is.
    pub fn progress(&self) -> Progress {
        if self.map.head().stage.load(Ordering::Acquire) == 0 { Progress::Starting } else { Progress::Ready }
    }

    /// Says that the process is ready.
    pub fn set_ready(&self) {
        self.map.head().stage.store(1, Ordering::Release);
    }

    /// A number that moves whenever the process makes progress or waits for input.
    pub fn heartbeat(&self) -> u64 {
        self.map.head().heartbeat.load(Ordering::Relaxed)
    }

    /// Moves the heartbeat.
    #[inline]
    pub fn beat(&self) {
        let heartbeat = &self.map.head().heartbeat;
        heartbeat.store(heartbeat.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// With which status this incarnation has exited, if it said so; one that is killed says nothing.
    pub fn exit_status(&self, incarnation: u64) -> Option<i32> {
        let head = self.map.head();
        let exited = head.exited.load(Ordering::Acquire) == incarnation;
        exited.then(|| head.exit_status.load(Ordering::Acquire) as i32)
    }

    /// Says that this incarnation exits with this status.
    pub fn set_exit_status(&self, incarnation: u64, status: i32) {
        let head = self.map.head();
        head.exit_status.store(u64::from(status.cast_unsigned()), Ordering::Release);
        head.exited.store(incarnation, Ordering::Release);
    }

    /// Whether the process has said that its gate is closed; before it runs, whether it is to begin with a closed one.
    pub fn gate_closed(&self) -> bool {
        self.map.head().gate.load(Ordering::Acquire) != 0
    }

    /// Says whether the gate is closed: the process itself, or its launcher before it starts it.
    pub fn set_gate(&self, closed: bool) {
        self.map.head().gate.store(u64::from(closed), Ordering::Release);
    }
}

macro_rules! counter {
    ($read:ident, $add:ident, $set:ident) => {
        /// Reads the counter, with acquire.
        #[inline]
        pub fn $read(&self) -> u64 {
            self.cells().$read.load(Ordering::Acquire)
        }

        /// Adds to the counter, with release. Only the page's own process writes.
        #[inline]
        pub fn $add(&self, more: u64) {
            let cell = &self.cells().$read;
            cell.store(cell.load(Ordering::Relaxed) + more, Ordering::Release);
        }

        /// Sets the counter, with release. Only the page's own process writes.
        #[inline]
        pub fn $set(&self, value: u64) {
            self.cells().$read.store(value, Ordering::Release);
        }
    };
}

impl Slot {
    #[inline]
    fn cells(&self) -> &Cells {
        self.map.cells(self.index)
    }

    counter!(sent, add_sent, set_sent);
    counter!(done, add_done, set_done);
    counter!(written_off, add_written_off, set_written_off);
    counter!(fence, add_fence, set_fence);
    counter!(succession, add_succession, set_succession);
    counter!(away, add_away, set_away);

    /// Says that this incarnation of the sender begins a batch. Whether the receiver is leaving must be looked at
    /// after that, and the batch only be filled if it isn't: of a sender that begins and a receiver that says that it
    /// leaves at the same time, at least one sees the other.
    #[inline]
    pub fn begin(&self, incarnation: u64) {
        self.cells().begun.store(incarnation, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Says that what was begun has been counted and handed on, or was not begun after all.
    #[inline]
    pub fn end(&self) {
        self.cells().begun.store(0, Ordering::Release);
    }

    /// The incarnation of the sender that has begun a batch and not ended it; 0 if there is none.
    pub fn begun(&self) -> u64 {
        self.cells().begun.load(Ordering::Acquire)
    }

    /// Records sent that are neither done nor written off, both counters being in this slot.
    pub fn under_way(&self) -> u64 {
        let settled = self.done() + self.written_off();
        self.sent().saturating_sub(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_found_by_name_from_another_mapping() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page");
        let own = Page::create(&path, 4).unwrap();
        own.slot(Kind::Sent, "visit>visit.0").unwrap().add_sent(7);
        let other = Page::open(&path).unwrap();
        assert_eq!(other.find(Kind::Sent, "visit>visit.0").unwrap().sent(), 7);
        assert!(other.find(Kind::Done, "visit>visit.0").is_none());
        assert_eq!(other.entries().len(), 1);
    }

    #[test]
    fn counters_outlive_the_process_that_wrote_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page");
        Page::create(&path, 4).unwrap().slot(Kind::Done, "a<b").unwrap().add_done(3);
        let again = Page::create(&path, 4).unwrap();
        assert_eq!(again.slot(Kind::Done, "a<b").unwrap().done(), 3);
        assert_eq!(again.len(), 1);
    }

    #[test]
    fn a_full_page_and_a_name_too_long_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let page = Page::create(&directory.path().join("page"), 1).unwrap();
        page.slot(Kind::Sent, "a>b").unwrap();
        assert!(page.slot(Kind::Sent, "a>c").is_err());
        let page = Page::create(&directory.path().join("other"), 1).unwrap();
        assert!(page.slot(Kind::Sent, &"x".repeat(MAX_NAME + 1)).is_err());
    }

    #[test]
    fn an_exit_status_is_that_of_one_incarnation() {
        let directory = tempfile::tempdir().unwrap();
        let page = Page::create(&directory.path().join("page"), 1).unwrap();
        assert_eq!(page.exit_status(1), None);
        page.set_exit_status(1, 0);
        assert_eq!((page.exit_status(1), page.exit_status(2)), (Some(0), None));
        page.set_exit_status(2, 101);
        assert_eq!((page.exit_status(1), page.exit_status(2)), (None, Some(101)));
    }

    #[test]
    fn rubbish_is_not_taken_for_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page");
        std::fs::write(&path, vec![7; 4096]).unwrap();
        assert!(Page::open(&path).is_err());
        std::fs::write(&path, b"x").unwrap();
        assert!(Page::open(&path).is_err());
    }
}
