//! A message that is being filled with records.

use std::time::Instant;

use crate::wire::{self, Header, Kind, RecordRef};

/// A batch is sent at the latest when its records have this many bytes: with a quarter of it, system calls and waking
/// threads cost half as much again as everything else.
pub const FULL_BYTES: usize = 256 * 1024;

/// Records of one flow on their way to one receiver, in one message that isn't sent yet.
pub struct Batch {
    head: Vec<u8>,
    bytes: Vec<u8>,
    count: u32,
    oldest: Option<Instant>,
}

impl Batch {
    /// An empty batch for a flow from a sender, of this guide version. Its header has `room` bytes of room.
    pub fn new(sender: &str, flow: &str, incarnation: u64, version: u64, room: u8) -> Self {
        let header = Header { kind: Kind::Data, sender, flow, incarnation, number: 0, version, count: 0 };
        let head = header.message_with_room(room);
        Self { bytes: head.clone(), head, count: 0, oldest: None }
    }

    /// Says by which version of the guide the records will be sent that are put in from now on.
    ///
    /// # Panics
    /// If it holds records of another version.
    pub fn set_version(&mut self, version: u64) {
        assert!(self.is_empty(), "the records of an older version have been sent");
        wire::set_version(&mut self.head, version);
        wire::set_version(&mut self.bytes, version);
    }

    /// How many records it holds.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether it holds none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it should be sent now.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES
    }

    /// When its first record was put in.
    pub fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    /// Adds a record.
    #[inline]
    pub fn push(&mut self, record: RecordRef<'_>) {
        wire::write_record(&mut self.bytes, record);
        self.added(1);
    }

    /// Adds `count` records that stand in `records` as they do on the wire.
    #[inline]
    pub fn push_block(&mut self, records: &[u8], count: u32) {
        self.bytes.extend_from_slice(records);
        self.added(count);
    }

    #[inline]
    fn added(&mut self, count: u32) {
        if self.count == 0 {
            self.oldest = Some(Instant::now());
        }
        self.count += count;
    }

    /// Takes the message out, its first record being `number`; the batch is empty after.
    pub fn take(&mut self, number: u64) -> Vec<u8> {
        let mut fresh = Vec::with_capacity(self.bytes.len().clamp(self.head.len(), FULL_BYTES + 4096));
        fresh.extend_from_slice(&self.head);
        let mut message = std::mem::replace(&mut self.bytes, fresh);
        wire::set_number_and_count(&mut message, number, self.count);
        self.count = 0;
        self.oldest = None;
        message
    }
}
