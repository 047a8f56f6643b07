//! The rates page: what a portal has measured, in a file beside its counters page that others map while it runs, so that asking
//! for rates never waits for a portal, and no portal for who asks.
//!
//! ```text
//! page    64 bytes: magic, then how many blocks there are
//! block   one a flow: sequence u64, length of the summary u64, summary (JSON, 16 KiB), 4096 slots × (records f32, bytes f32)
//! ```
//!
//! The portal writes a block once a second. While it does, the sequence is odd; who reads and finds it odd, or another one than
//! before, reads again.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering, fence},
    time::Duration,
};

use memmap2::{MmapOptions, MmapRaw};
use serde::{Deserialize, Serialize};
use waldo_sdk::guide::SLOTS;

use super::{SlotSum, Summary};

/// What the file is called.
pub const FILE: &str = "rates";

const MAGIC: u64 = u64::from_le_bytes(*b"waldort1");
const WORD: usize = 8;
const HEADER_WORDS: usize = 8;
const SUMMARY_WORDS: usize = 16 * 1024 / WORD;
const BLOCK_WORDS: usize = 2 + SUMMARY_WORDS + SLOTS;
/// How often a block is read again that is being written, and after how long.
const TRIES: usize = 100;
const BETWEEN: Duration = Duration::from_millis(1);

/// The rates of one flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// The flow's name.
    pub flow: String,
    /// All but the slots.
    pub summary: Summary,
    /// By slot.
    pub slots: Vec<SlotSum>,
}

#[derive(Serialize, Deserialize)]
struct Block<S> {
    flow: String,
    summary: S,
}

/// A rates page that its portal writes.
pub struct RatesPage {
    words: Words,
}

struct Words(MmapRaw);

impl Words {
    fn map(file: &File) -> io::Result<Self> {
        MmapOptions::new().map_raw(file).map(Self)
    }

    fn len(&self) -> usize {
        self.0.len() / WORD
    }

    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins on a page")]
    fn at(&self, word: usize) -> &AtomicU64 {
        assert!(word < self.len(), "word {word} of {}", self.len());
        // SAFETY: within the mapping, which is page-aligned and lives as long as self; all access to it is through atomics.
        unsafe { &*self.0.as_ptr().cast::<AtomicU64>().add(word) }
    }

    fn blocks(&self) -> usize {
        let room = (self.len() - HEADER_WORDS) / BLOCK_WORDS;
        usize::try_from(self.at(1).load(Ordering::Acquire)).unwrap_or(room).min(room)
    }
}

impl RatesPage {
    /// Makes the file with room for this many flows, or a larger one if it is there already.
    pub fn create(path: &Path, flows: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let wanted = ((HEADER_WORDS + flows * BLOCK_WORDS) * WORD) as u64;
        if file.metadata()?.len() < wanted {
            file.set_len(wanted)?;
        }
        let words = Words::map(&file)?;
        words.at(1).store(flows as u64, Ordering::Release);
        words.at(0).store(MAGIC, Ordering::Release);
        Ok(Self { words })
    }

    /// For how many flows there is room.
    pub fn flows(&self) -> usize {
        self.words.blocks()
    }

    /// Writes what was measured of a flow into the block of this index.
    pub fn publish(&self, index: usize, flow: &str, summary: &Summary, slots: &[SlotSum]) {
        if index >= self.flows() {
            return;
        }
        let Some(text) = written(flow, summary) else { return };
        let at = HEADER_WORDS + index * BLOCK_WORDS;
        let sequence = self.words.at(at);
        let before = sequence.load(Ordering::Relaxed) & !1;
        sequence.store(before + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.words.at(at + 1).store(text.len() as u64, Ordering::Relaxed);
        for (word, bytes) in text.chunks(WORD).enumerate() {
            let mut whole = [0; WORD];
            whole[..bytes.len()].copy_from_slice(bytes);
            self.words.at(at + 2 + word).store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
        for (word, slot) in slots.iter().take(SLOTS).enumerate() {
            let whole = u64::from(slot.records.to_bits()) | u64::from(slot.bytes.to_bits()) << 32;
            self.words.at(at + 2 + SUMMARY_WORDS + word).store(whole, Ordering::Relaxed);
        }
        sequence.store(before + 2, Ordering::Release);
    }
}

/// The summary as it stands in a block: without keys if it is too long, and without stages if it still is.
fn written(flow: &str, summary: &Summary) -> Option<Vec<u8>> {
    let write = |summary: &Summary| serde_json::to_vec(&Block { flow: flow.to_owned(), summary }).ok();
    let fits = |text: &Vec<u8>| text.len() <= SUMMARY_WORDS * WORD;
    let mut summary = summary.clone();
    write(&summary).filter(fits).or_else(|| {
        summary.keys.clear();
        write(&summary).filter(fits).or_else(|| {
            summary.stages.clear();
            write(&summary).filter(fits)
        })
    })
}

/// Reads what a portal has measured, flow by flow. Flows that it hasn't written yet aren't there.
pub fn read(path: &Path) -> io::Result<Vec<Rates>> {
    let file = File::options().read(true).write(true).open(path)?;
    let no_page = || io::Error::new(io::ErrorKind::InvalidData, "not a rates page of this version");
    if file.metadata()?.len() < (HEADER_WORDS * WORD) as u64 {
        return Err(no_page());
    }
    let words = Words::map(&file)?;
    if words.at(0).load(Ordering::Acquire) != MAGIC {
        return Err(no_page());
    }
    Ok((0..words.blocks()).filter_map(|index| read_block(&words, HEADER_WORDS + index * BLOCK_WORDS)).collect())
}

fn read_block(words: &Words, at: usize) -> Option<Rates> {
    for _ in 0..TRIES {
        let before = words.at(at).load(Ordering::Acquire);
        if before == 0 {
            return None;
        }
        let length = usize::try_from(words.at(at + 1).load(Ordering::Relaxed)).ok()?.min(SUMMARY_WORDS * WORD);
        let mut text: Vec<u8> = (0..length.div_ceil(WORD))
            .flat_map(|word| words.at(at + 2 + word).load(Ordering::Relaxed).to_le_bytes())
            .collect();
        text.truncate(length);
        let slots = (0..SLOTS).map(|slot| {
            let whole = words.at(at + 2 + SUMMARY_WORDS + slot).load(Ordering::Relaxed);
            SlotSum { records: f32::from_bits(whole as u32), bytes: f32::from_bits((whole >> 32) as u32) }
        });
        let slots = slots.collect();
        fence(Ordering::Acquire);
        if before & 1 == 0 && words.at(at).load(Ordering::Relaxed) == before {
            let Block { flow, summary } = serde_json::from_slice(&text).ok()?;
            return Some(Rates { flow, summary, slots });
        }
        std::thread::sleep(BETWEEN);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::rates::{HotKey, StageWork};

    fn summary(seconds: f64) -> Summary {
        let stages = vec![StageWork { stage: "count".into(), busy: seconds / 2.0, worked: 7.0 }];
        let keys = vec![HotKey { key: b"k\xff".to_vec(), length: 2, records: 3.0 }];
        Summary { seconds, held: 4, growth: 1.5, stages, keys, ..Summary::default() }
    }

    #[test]
    fn what_is_published_is_read_back_flow_by_flow() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rates");
        let page = RatesPage::create(&path, 3).unwrap();
        let slots: Vec<SlotSum> =
            (0..SLOTS).map(|slot| SlotSum { records: slot as f32, bytes: slot as f32 * 200.0 }).collect();
        page.publish(0, "call", &summary(10.0), &slots);
        page.publish(2, "alert", &summary(20.0), &vec![SlotSum::default(); SLOTS]);
        page.publish(3, "beyond", &summary(20.0), &slots);
        let read = read(&path).unwrap();
        assert_eq!(read.len(), 2, "one was never written");
        assert_eq!((read[0].flow.as_str(), &read[0].summary), ("call", &summary(10.0)));
        assert_eq!(read[0].slots, slots);
        assert_eq!(read[1].flow, "alert");
    }

    #[test]
    fn a_summary_that_is_too_long_loses_its_keys_first() {
        let mut long = summary(1.0);
        long.keys = vec![HotKey { key: vec![200; 64], length: 64, records: 1.0 }; 100];
        let text = written("call", &long).unwrap();
        let Block { summary, .. }: Block<Summary> = serde_json::from_slice(&text).unwrap();
        assert_eq!((summary.keys.len(), summary.stages.len()), (0, 1));
    }

    #[test]
    fn rubbish_is_not_taken_for_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rates");
        for rubbish in [&b""[..], b"x", &[7; 4096]] {
            std::fs::write(&path, rubbish).unwrap();
            assert!(read(&path).is_err());
        }
    }

    #[test]
    fn a_block_that_is_being_written_is_never_read_in_part() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rates");
        let page = RatesPage::create(&path, 1).unwrap();
        let write = |number: f32| {
            let slots = vec![SlotSum { records: number, bytes: number }; SLOTS];
            page.publish(0, "call", &summary(f64::from(number)), &slots);
        };
        write(1.0);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 1.0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1.0;
                    write(number);
                    std::thread::yield_now();
                }
            });
            for _ in 0..50 {
                // A busy writer may be in the way; what is read is whole.
                for rates in read(&path).unwrap() {
                    let first = rates.slots[0];
                    assert!(rates.slots.iter().all(|slot| *slot == first));
                    assert_eq!(rates.summary, summary(f64::from(first.records)));
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
