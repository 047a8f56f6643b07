//! An account of records that asks nobody but those who handle them. Each process writes down what it has had in
//! hand, and when, in memory, and leaves that in a file when it ends:
//!
//! ```text
//! made      source and key → how many records it has made with that key; they are numbered from 1
//! had       source and key → stretches of numbers that came one after the other
//! order     sender and key → the same, by how many records that sender had sent with that key
//! busy      stretches of time in which records came without a break
//! ```
//!
//! Stretches of all processes together must cover what was made: what is left out is lost, what is covered twice is
//! repeated. By sender they must also follow each other in time, whoever received them.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A break between two records that is shorter isn't noted. Nanoseconds.
const BREAK: u64 = 1_000_000;

/// Nanoseconds of the monotonic clock, which is one for all processes of a machine.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| std::time::Duration::from(time).as_nanos() as u64)
}

/// Records of one key that came one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The first one's number.
    pub from: u64,
    /// The last one's.
    pub to: u64,
    /// When the first came.
    pub first: u64,
    /// When the last came.
    pub last: u64,
}

/// Somebody who numbers records, and a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Series {
    /// A source, or whoever sent last.
    pub whose: u64,
    /// The key's number.
    pub key: u64,
}

/// What one process has had in hand.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Book {
    /// On which server.
    pub server: String,
    /// Of which stage.
    pub stage: String,
    made: Vec<(Series, u64)>,
    had: Vec<(Series, Vec<Stretch>)>,
    order: Vec<(Series, Vec<Stretch>)>,
    busy: Vec<(u64, u64)>,
}

/// The same while it is written.
#[derive(Default)]
pub struct Writer {
    had: HashMap<Series, Vec<Stretch>>,
    order: HashMap<Series, Vec<Stretch>>,
    busy: Vec<(u64, u64)>,
}

impl Writer {
    /// A record has come: its number in its source's series, and in its sender's.
    pub fn note(&mut self, source: Series, number: u64, sender: Series, nth: u64) {
        let now = now();
        add(self.had.entry(source).or_default(), number, now);
        add(self.order.entry(sender).or_default(), nth, now);
        self.note_time(now);
    }

    /// A record has come, whose numbers matter to others only.
    pub fn note_time(&mut self, now: u64) {
        match self.busy.last_mut() {
            Some((_, end)) if now - *end < BREAK => *end = now,
            _ => self.busy.push((now, now)),
        }
    }

    /// Leaves the account in a file of its own.
    pub fn leave(self, directory: &Path, server: &str, stage: &str, made: Vec<(Series, u64)>) -> std::io::Result<()> {
        let book = Book {
            server: server.to_owned(),
            stage: stage.to_owned(),
            made,
            had: self.had.into_iter().collect(),
            order: self.order.into_iter().collect(),
            busy: self.busy,
        };
        let unfinished = directory.join(format!("{}.unfinished", std::process::id()));
        fs::write(&unfinished, serde_json::to_vec(&book)?)?;
        fs::rename(&unfinished, directory.join(format!("{}-{}.json", now(), std::process::id())))
    }
}

fn add(stretches: &mut Vec<Stretch>, number: u64, now: u64) {
    match stretches.last_mut() {
        Some(stretch) if stretch.to + 1 == number => (stretch.to, stretch.last) = (number, now),
        _ => stretches.push(Stretch { from: number, to: number, first: now, last: now }),
    }
}

/// The books of all processes.
pub struct Account {
    books: Vec<Book>,
}

/// What is wrong with what was received, counted in records; `disordered` in places.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Records that were made.
    pub made: u64,
    /// Never came.
    pub lost: u64,
    /// Came more than once.
    pub repeated: u64,
    /// Times that a record came after a later one of the same sender and key.
    pub disordered: u64,
}

impl Account {
    /// Reads what all processes have left; they must have ended.
    pub fn read(directory: &Path) -> std::io::Result<Self> {
        let mut books = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                books.push(serde_json::from_slice(&fs::read(path)?)?);
            }
        }
        Ok(Self { books })
    }

    /// What is wrong with what a stage's processes have received.
    pub fn faults(&self, stage: &str) -> Faults {
        let mut faults = Faults::default();
        let made: BTreeMap<Series, u64> = self.books.iter().flat_map(|book| book.made.iter().copied()).collect();
        let of_stage = || self.books.iter().filter(|book| book.stage == stage);
        let mut had = gather(of_stage().flat_map(|book| &book.had));
        for (series, &count) in &made {
            faults.made += count;
            let (lost, repeated) = cover(had.remove(series).unwrap_or_default(), count);
            faults.lost += lost;
            faults.repeated += repeated;
        }
        for stretches in gather(of_stage().flat_map(|book| &book.order)).values_mut() {
            stretches.sort_by_key(|stretch| (stretch.first, stretch.from));
            faults.disordered += stretches.windows(2).filter(|pair| pair[1].from <= pair[0].to).count() as u64;
        }
        faults
    }

    /// The longest time within these two moments in which no process of one of these stages on a server received
    /// anything, and which stage's. Milliseconds. Stages that received nothing at all there don't count.
    pub fn longest_break(&self, server: &str, from: u64, to: u64, stages: &[&str]) -> Option<(f64, &str)> {
        let wanted = |book: &&Book| book.server == server && stages.contains(&book.stage.as_str());
        let mut stages: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for book in self.books.iter().filter(wanted) {
            let within = book.busy.iter().copied().filter(|&(begin, end)| end >= from && begin <= to);
            stages.entry(&book.stage).or_default().extend(within);
        }
        let breaks = stages.into_iter().filter_map(|(stage, mut busy)| {
            busy.sort_unstable();
            let mut end = busy.first()?.1;
            let mut longest = 0;
            for &(next, its_end) in &busy {
                longest = longest.max(next.saturating_sub(end));
                end = end.max(its_end);
            }
            Some((longest as f64 / 1e6, stage))
        });
        breaks.max_by(|a, b| a.0.total_cmp(&b.0))
    }
}

fn gather<'b>(all: impl Iterator<Item = &'b (Series, Vec<Stretch>)>) -> BTreeMap<Series, Vec<Stretch>> {
    let mut gathered: BTreeMap<Series, Vec<Stretch>> = BTreeMap::new();
    for (series, stretches) in all {
        gathered.entry(*series).or_default().extend(stretches);
    }
    gathered
}

/// How many numbers from 1 to `count` stretches leave out, and how many they have more than once.
fn cover(mut stretches: Vec<Stretch>, count: u64) -> (u64, u64) {
    stretches.sort_by_key(|stretch| stretch.from);
    let (mut lost, mut repeated, mut upto) = (0, 0, 0);
    for Stretch { from, to, .. } in stretches {
        lost += from.saturating_sub(upto + 1);
        repeated += upto.min(to).saturating_sub(from - 1);
        upto = upto.max(to);
    }
    (lost + count.saturating_sub(upto), repeated)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: Series = Series { whose: 1, key: 7 };

    fn book(numbers: &[(u64, u64)]) -> Book {
        let mut had = Vec::new();
        for &(number, at) in numbers {
            add(&mut had, number, at);
        }
        Book { stage: "keep".into(), had: vec![(SERIES, had.clone())], order: vec![(SERIES, had)], ..Book::default() }
    }

    fn faults(books: Vec<Book>, made: u64) -> Faults {
        let source = Book { stage: "feed".into(), made: vec![(SERIES, made)], ..Book::default() };
        Account { books: books.into_iter().chain([source]).collect() }.faults("keep")
    }

    #[test]
    fn what_two_processes_had_in_turn_is_whole_and_in_order() {
        let first = book(&[(1, 10), (2, 11), (5, 20), (6, 21)]);
        let second = book(&[(3, 12), (4, 13), (7, 30)]);
        assert_eq!(faults(vec![first, second], 7), Faults { made: 7, ..Faults::default() });
    }

    #[test]
    fn what_nobody_had_is_lost_and_what_two_had_is_repeated() {
        let found = faults(vec![book(&[(1, 1), (2, 2), (5, 5)]), book(&[(5, 6), (6, 7)])], 9);
        assert_eq!((found.lost, found.repeated), (2 + 3, 1));
        assert_eq!(faults(Vec::new(), 3).lost, 3);
        assert_eq!(faults(vec![book(&[(1, 1), (2, 2), (3, 3), (2, 4)])], 3).repeated, 1);
    }

    #[test]
    fn what_came_after_a_later_one_is_disordered_whoever_received_it() {
        assert_eq!(faults(vec![book(&[(1, 1), (3, 2), (2, 3)])], 3).disordered, 1);
        assert_eq!(faults(vec![book(&[(2, 5)]), book(&[(1, 6)])], 2).disordered, 1);
    }

    #[test]
    fn a_break_is_when_no_process_of_a_stage_received_anything() {
        let busy = |stage: &str, busy: &[(u64, u64)]| Book {
            server: "s1".into(),
            stage: stage.into(),
            busy: busy.iter().map(|&(from, to)| (from * 1_000_000, to * 1_000_000)).collect(),
            ..Book::default()
        };
        let books = vec![
            busy("lap", &[(0, 10), (50, 90)]),
            busy("lap", &[(20, 45), (60, 100)]),
            busy("keep", &[(0, 30), (43, 100)]),
        ];
        let account = Account { books };
        let stages = ["lap", "keep"];
        assert_eq!(account.longest_break("s1", 0, 100_000_000, &stages), Some((13.0, "keep")));
        assert_eq!(account.longest_break("s1", 0, 100_000_000, &["lap"]), Some((10.0, "lap")));
        assert_eq!(account.longest_break("s2", 0, 100_000_000, &stages), None);
    }
}
