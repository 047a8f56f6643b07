//! The count: what the books say of what was sent and what was received.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crate::record::{Record, laps_of};

/// Examples of what is wrong that are kept, to be shown.
const EXAMPLES: usize = 10;
/// The bit of a number that says: it was booked as lost.
const LOST: u64 = 1 << 63;

/// How far each source is.
pub type Sent = BTreeMap<String, u64>;

/// Which of a record's laps a stage sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Laps {
    /// It is before the loop.
    First,
    /// It is the loop.
    Each,
    /// It is behind the loop.
    Last,
}

/// What a stage has to see.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Its book: the stage's name, unless its program was told another.
    pub book: &'static str,
    /// Only numbers that this divides come to it.
    pub each: u64,
    /// Which laps.
    pub laps: Laps,
}

/// The count of all books, which is brought up to date by [`Count::read`].
#[derive(Debug)]
pub struct Count {
    directory: PathBuf,
    /// How often records go round at most, as the sources were told.
    most_laps: u64,
    books: BTreeMap<String, Book>,
}

/// What is known of one book.
#[derive(Debug, Default)]
pub struct Book {
    /// How much of the file has been read.
    offset: u64,
    /// A line that has been read in part.
    rest: Vec<u8>,
    sources: HashMap<String, Numbers>,
    /// Sender → key → the last record of this key from that sender.
    last: HashMap<String, HashMap<String, u64>>,
    /// Key → who received its last record.
    at: HashMap<String, String>,
    /// Records that each process has received: server/process#incarnation.
    pub received: BTreeMap<String, u64>,
    /// Records that came more than once.
    pub repeated: Faults,
    /// Records that came after a later one with the same key from the same sender.
    pub disordered: Faults,
    /// Records that came after they had been booked as lost.
    pub late: Faults,
    /// Keys that came to another server than before: key, former server, new one. In order; taken by
    /// [`Book::take_moves`].
    moves: Vec<Move>,
}

/// A key that is received on another server than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub key: String,
    /// Where it was received.
    pub from: String,
    /// Where it is received.
    pub to: String,
}

/// What is wrong, and how often.
#[derive(Debug, Default, Clone)]
pub struct Faults {
    /// How often.
    pub count: u64,
    /// The first ones.
    pub examples: Vec<String>,
}

impl Faults {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }
}

/// The numbers of one source.
#[derive(Debug, Default)]
struct Numbers {
    /// For each number, from 1, which laps have come, as bits.
    laps: Vec<u64>,
    /// Up to here all is complete. A hint: it may lag.
    complete: u64,
}

impl Numbers {
    fn of(&mut self, number: u64) -> &mut u64 {
        let place = number as usize;
        if self.laps.len() <= place {
            self.laps.resize(place + 1, 0);
        }
        &mut self.laps[place]
    }

    fn have(&self, number: u64) -> u64 {
        self.laps.get(number as usize).copied().unwrap_or(0)
    }
}

impl Count {
    /// A count of these books, whose sources let records go round at most so often.
    ///
    /// # Panics
    /// If that is 60 times or more: each lap has a bit.
    pub fn of(directory: &Path, most_laps: u64) -> Self {
        assert!(most_laps < 60, "one bit for each lap");
        Self { directory: directory.to_owned(), most_laps, books: BTreeMap::new() }
    }

    /// Takes in what has been written since the last time.
    pub fn read(&mut self) -> io::Result<()> {
        let Ok(entries) = fs::read_dir(self.directory.join("seen")) else { return Ok(()) };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            self.books.entry(name).or_default().read(&entry.path())?;
        }
        Ok(())
    }

    /// What a book says; an empty one if nobody has written into it.
    pub fn book(&mut self, name: &str) -> &mut Book {
        self.books.entry(name.to_owned()).or_default()
    }

    /// All books.
    pub fn books(&self) -> impl Iterator<Item = (&str, &Book)> {
        self.books.iter().map(|(name, book)| (name.as_str(), book))
    }

    /// How far each source says it is: what it has sent for certain.
    pub fn sent(&self) -> io::Result<Sent> {
        let mut sent = Sent::new();
        let Ok(entries) = fs::read_dir(self.directory.join("sent")) else { return Ok(sent) };
        for entry in entries {
            let entry = entry?;
            let bytes = fs::read(entry.path())?;
            let number = bytes.get(8..16).map_or(0, |bytes| u64::from_le_bytes(std::array::from_fn(|at| bytes[at])));
            sent.insert(entry.file_name().to_string_lossy().into_owned(), number);
        }
        Ok(sent)
    }

    /// Numbers of which sources that were killed don't know whether they sent them.
    fn unsure(&self) -> io::Result<BTreeSet<(String, u64)>> {
        let mut unsure = BTreeSet::new();
        let Ok(entries) = fs::read_dir(self.directory.join("unsure")) else { return Ok(unsure) };
        for entry in entries {
            let entry = entry?;
            let source = entry.file_name().to_string_lossy().into_owned();
            let bytes = fs::read(entry.path())?;
            for number in bytes.chunks_exact(8) {
                let number = u64::from_le_bytes(std::array::from_fn(|at| number[at]));
                unsure.insert((source.clone(), number));
            }
        }
        Ok(unsure)
    }

    /// What hasn't come of what had been sent by then.
    pub fn missing(&mut self, expected: &Expected, sent: &Sent) -> io::Result<Faults> {
        self.look(expected, sent, false)
    }

    /// Books as lost what hasn't come of what had been sent by then; answers how many records that are.
    pub fn book_as_lost(&mut self, expected: &Expected, sent: &Sent) -> io::Result<Faults> {
        self.look(expected, sent, true)
    }

    fn look(&mut self, expected: &Expected, sent: &Sent, book_as_lost: bool) -> io::Result<Faults> {
        let unsure = self.unsure()?;
        let most_laps = self.most_laps;
        let book = self.books.entry(expected.book.to_owned()).or_default();
        let mut missing = Faults::default();
        for (source, &upto) in sent {
            let numbers = book.sources.entry(source.clone()).or_default();
            let mut complete = true;
            for number in numbers.complete + 1..=upto {
                let laps = laps_of(number, most_laps);
                let wanted = match expected.laps {
                    _ if !number.is_multiple_of(expected.each) => 0,
                    Laps::First => 1,
                    Laps::Each => (2 << laps) - 1,
                    Laps::Last => 1 << laps,
                };
                let have = numbers.have(number);
                let lacks = wanted & !have;
                if lacks == 0 || have & LOST != 0 || unsure.contains(&(source.clone(), number)) {
                    numbers.complete = if complete { number } else { numbers.complete };
                    continue;
                }
                missing.count += u64::from(lacks.count_ones());
                if missing.examples.len() < EXAMPLES {
                    missing.examples.push(format!("{source} {number}, laps {lacks:b} of {wanted:b}"));
                }
                if book_as_lost {
                    *numbers.of(number) |= LOST;
                } else {
                    complete = false;
                }
            }
        }
        Ok(missing)
    }
}

impl Book {
    fn read(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = std::mem::take(&mut self.rest);
        self.offset += file.read_to_end(&mut text)? as u64;
        let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
        self.rest = text.split_off(end);
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            self.take(line);
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8]) {
        let who_and_what = line.iter().position(|&byte| byte == b' ').map(|place| line.split_at(place));
        let understood = who_and_what.and_then(|(who, what)| Some((std::str::from_utf8(who).ok()?, &what[1..])));
        let understood = understood.and_then(|(who, what)| Some((who, Record::read(what)?)));
        let Some((who, record)) = understood else { panic!("{:?}", String::from_utf8_lossy(line)) };
        let example = || format!("{who} {record}");
        *slot(&mut self.received, who) += 1;

        let have = slot_of(&mut self.sources, record.source).of(record.number);
        let lap = 1 << record.lap;
        if *have & lap != 0 {
            self.repeated.add(example);
        } else if *have & LOST != 0 {
            self.late.add(example);
        }
        *have |= lap;

        let last = slot_of(slot_of(&mut self.last, record.sender), record.key);
        if *last >= record.nth {
            let last = *last;
            self.disordered.add(|| format!("{who} {record}, after {last}"));
        }
        *last = record.nth;

        let server = who.split('/').next().unwrap_or(who);
        let at = slot_of(&mut self.at, record.key);
        if at != server {
            let from = std::mem::replace(at, server.to_owned());
            if !from.is_empty() {
                self.moves.push(Move { key: record.key.to_owned(), from, to: server.to_owned() });
            }
        }
    }

    /// Keys that have come to another server since this was asked last, in order.
    pub fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves)
    }

    /// Where each key was received last.
    pub fn places(&self) -> &HashMap<String, String> {
        &self.at
    }

    /// How many records the processes of a server have received.
    pub fn received_on(&self, server: &str) -> u64 {
        let of_server = |name: &str| name.split('/').next() == Some(server);
        self.received.iter().filter(|(name, _)| of_server(name)).map(|(_, count)| count).sum()
    }

    /// Numbers of a source's key that didn't come, between two that did. For a stage that the sources send to.
    pub fn gaps(&self, keys: u64) -> Faults {
        let mut gaps = Faults::default();
        for (source, numbers) in &self.sources {
            for key in 0..keys {
                let of_key = (key..numbers.laps.len() as u64).step_by(keys as usize).skip_while(|&number| number == 0);
                let have: Vec<(u64, bool)> = of_key.map(|number| (number, numbers.have(number) != 0)).collect();
                let first = have.iter().position(|(_, came)| *came).unwrap_or(have.len());
                let last = have.iter().rposition(|(_, came)| *came).unwrap_or(first);
                for (number, _) in have.get(first..last).unwrap_or_default().iter().filter(|(_, came)| !came) {
                    gaps.add(|| format!("{source} {number}"));
                }
            }
        }
        gaps
    }
}

/// The value of a key, made if need be; without making a text of the key each time.
fn slot_of<'m, V: Default>(map: &'m mut HashMap<String, V>, key: &str) -> &'m mut V {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), V::default());
    }
    map.get_mut(key).expect("it is there")
}

fn slot<'m>(map: &'m mut BTreeMap<String, u64>, key: &str) -> &'m mut u64 {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), 0);
    }
    map.get_mut(key).expect("it is there")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const KEYS: u64 = 2;
    const ALL: Expected = Expected { book: "keep", each: 1, laps: Laps::First };

    struct Books(tempfile::TempDir, Count);

    impl Books {
        fn new(sent: u64) -> Self {
            let directory = tempfile::tempdir().unwrap();
            for part in ["sent", "seen", "unsure"] {
                fs::create_dir(directory.path().join(part)).unwrap();
            }
            let account = [(sent + 1).to_le_bytes(), sent.to_le_bytes()].concat();
            fs::write(directory.path().join("sent/a"), account).unwrap();
            let count = Count::of(directory.path(), 0);
            Self(directory, count)
        }

        /// Who received which number, as the sender's so-many-eth.
        fn receive(&mut self, who: &str, number: u64, nth: u64) -> &mut Book {
            let path = self.0.path().join("seen/keep");
            let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            let key = crate::keys_of(number, KEYS);
            let record = Record { key: &key, source: "a", number, lap: 0, laps: 0, sender: "s1/feed.0#1", nth };
            file.write_all(format!("{who} {record}\n").as_bytes()).unwrap();
            self.1.read().unwrap();
            self.1.book("keep")
        }

        fn missing(&mut self) -> u64 {
            let sent = self.1.sent().unwrap();
            self.1.missing(&ALL, &sent).unwrap().count
        }
    }

    #[test]
    fn what_has_not_come_is_missing_until_it_comes_or_is_booked_as_lost() {
        let mut books = Books::new(4);
        for number in [1, 2, 4] {
            books.receive("s1/keep.0#1", number, number);
        }
        assert_eq!(books.missing(), 1);
        let sent = books.1.sent().unwrap();
        assert_eq!(books.1.book_as_lost(&ALL, &sent).unwrap().examples, ["a 3, laps 1 of 1"]);
        assert_eq!(books.missing(), 0);
        let book = books.receive("s1/keep.0#1", 3, 5);
        assert_eq!((book.late.count, book.repeated.count), (1, 0));
    }

    #[test]
    fn a_number_that_a_killed_source_is_unsure_of_may_be_missing() {
        let mut books = Books::new(2);
        books.receive("s1/keep.0#1", 1, 1);
        assert_eq!(books.missing(), 1);
        fs::write(books.0.path().join("unsure/a"), 2_u64.to_le_bytes()).unwrap();
        assert_eq!(books.missing(), 0);
    }

    #[test]
    fn what_comes_twice_is_repeated_also_on_another_server() {
        let mut books = Books::new(2);
        books.receive("s1/keep.0#1", 1, 1);
        assert_eq!(books.receive("s2/keep.0#1", 1, 2).repeated.count, 1);
    }

    #[test]
    fn order_is_by_sender_and_key_across_servers() {
        let mut books = Books::new(9);
        books.receive("s1/keep.0#1", 3, 3);
        // Another key may come before.
        assert_eq!(books.receive("s1/keep.0#1", 2, 2).disordered.count, 0);
        assert_eq!(books.receive("s2/keep.0#1", 1, 1).disordered.count, 1);
    }

    #[test]
    fn a_key_that_comes_to_another_server_has_moved() {
        let mut books = Books::new(9);
        for (who, number) in [("s1/keep.0#1", 1), ("s1/keep.0#1", 2), ("s2/keep.0#1", 3)] {
            books.receive(who, number, number);
        }
        let book = books.1.book("keep");
        assert_eq!(book.take_moves(), [Move { key: "k1".into(), from: "s1".into(), to: "s2".into() }]);
        assert_eq!(book.take_moves(), []);
        assert_eq!((book.received_on("s1"), book.received_on("s2")), (2, 1));
    }

    #[test]
    fn a_gap_is_between_two_numbers_of_one_key() {
        let mut books = Books::new(9);
        for number in [3, 4, 7] {
            books.receive("s1/keep.0#1", number, number);
        }
        assert_eq!(books.1.book("keep").gaps(KEYS).examples, ["a 5"]);
    }

    #[test]
    fn of_a_loop_each_lap_has_to_come() {
        let mut books = Books::new(4);
        books.1.most_laps = 3;
        let laps = crate::laps_of(4, 3);
        let each = Expected { laps: Laps::Each, ..ALL };
        let last = Expected { laps: Laps::Last, ..ALL };
        let sent = books.1.sent().unwrap();
        assert_eq!(books.1.missing(&each, &sent).unwrap().count, 4 + laps);
        assert_eq!(books.1.missing(&last, &sent).unwrap().count, 4);
    }
}
