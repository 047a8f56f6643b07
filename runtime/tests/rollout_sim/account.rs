//! The account: what became of every record, and whether anything that a rollout promises was broken.

use std::collections::HashMap;

use crate::plan::FLOWS;

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its place in the account.
    pub id: u32,
    pub flow: u8,
    pub slot: u16,
    /// The process that sent it.
    pub sender: u32,
    /// Its number among those that this sender has sent.
    pub number: u32,
    pub passes: u8,
}

#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    delivered: u8,
    /// A process that had it in hand was killed.
    may_be_lost: bool,
}

#[derive(Default)]
pub struct Account {
    fates: Vec<Fate>,
    records: Vec<Record>,
    /// The last record of a sender that was handled, by flow, slot and sender.
    last: HashMap<(u8, u16, u32), u32>,
    /// Who has records of a slot in its stage's hands, and how many.
    hands: Vec<(u16, u32)>,
    slots: usize,
    /// The first thing that was broken.
    pub broken: Option<String>,
    pub lost: u64,
}

impl Account {
    pub fn new(slots: usize) -> Self {
        Self { hands: vec![(0, 0); slots * FLOWS], slots, ..Self::default() }
    }

    pub fn breaks(&mut self, what: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(what());
        }
    }

    /// A record is sent.
    pub fn sent(&mut self, flow: u8, slot: u16, sender: u32, number: u32, passes: u8) -> Record {
        let record = Record { id: self.fates.len() as u32, flow, slot, sender, number, passes };
        self.fates.push(Fate::default());
        self.records.push(record);
        record
    }

    pub fn sent_count(&self) -> usize {
        self.fates.len()
    }

    /// A server's portal gives a record to the server's stage.
    pub fn handed_in(&mut self, record: Record, server: usize) {
        let place = usize::from(record.flow) * self.slots + usize::from(record.slot);
        let (holder, count) = self.hands[place];
        if count > 0 && usize::from(holder) != server {
            self.breaks(|| {
                format!("two owners: servers {holder} and {server} both have records of slot {}", record.slot)
            });
        }
        self.hands[place] = (server as u16, count + 1);
        let fate = &mut self.fates[record.id as usize];
        fate.delivered += 1;
        if fate.delivered > 1 {
            self.breaks(|| format!("repeated: {record:?}"));
        }
    }

    /// A stage is at it.
    pub fn handled(&mut self, record: Record) {
        let last = self.last.entry((record.flow, record.slot, record.sender)).or_default();
        let before = std::mem::replace(last, record.number);
        if before >= record.number {
            self.breaks(|| format!("out of order: {record:?} after number {before}"));
        }
    }

    /// A stage doesn't have it any more.
    pub fn out_of_hands(&mut self, record: Record) {
        let place = usize::from(record.flow) * self.slots + usize::from(record.slot);
        self.hands[place].1 -= 1;
    }

    /// It was in the hands of a process that was killed.
    pub fn killed(&mut self, record: Record) {
        self.fates[record.id as usize].may_be_lost = true;
    }

    /// It has no place to go to.
    pub fn refused(&mut self, record: Record, why: &str) {
        self.breaks(|| format!("lost: {record:?}: {why}"));
    }

    /// At the very end: everything that was sent has been delivered, but for what killed processes had in hand.
    pub fn close(&mut self) {
        for (fate, record) in self.fates.iter().zip(&self.records) {
            if fate.delivered == 0 && !fate.may_be_lost && self.broken.is_none() {
                self.broken = Some(format!("lost: {record:?}"));
            }
            self.lost += u64::from(fate.delivered == 0);
        }
    }
}
