//! What is sent: the lines of a file, or all of it, each looked at before it goes, as nobody hears of what a portal rejects.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use waldo_sdk::{wire, wiring::Carried};

use crate::exit::Failure;

/// The longest line that is read to the end, to say how long it is. Bytes.
const LONGEST: u64 = 64 << 20;

/// Records that are read one after the other.
pub struct Records<'a> {
    input: Box<dyn BufRead>,
    whole: bool,
    flow: &'a Carried,
    stated: &'a [u8],
    line: Vec<u8>,
    number: u64,
    is_at_end: bool,
}

impl<'a> Records<'a> {
    /// Those of a file, or of stdin, with this key where the sender states it.
    pub fn open(file: Option<&Path>, whole: bool, flow: &'a Carried, stated: &'a [u8]) -> Result<Self, Failure> {
        let input: Box<dyn BufRead> = match file {
            Some(path) => {
                let file = File::open(path);
                let unreadable = |error| Failure::new(format!("cannot read {}: {error}", path.display()));
                Box::new(BufReader::new(file.map_err(unreadable)?))
            }
            None => Box::new(io::stdin().lock()),
        };
        Ok(Self { input, whole, flow, stated, line: Vec::new(), number: 0, is_at_end: false })
    }

    /// The next payload; `None` at the end.
    pub fn next(&mut self) -> Result<Option<&[u8]>, Failure> {
        if self.is_at_end {
            return Ok(None);
        }
        self.line.clear();
        let longest = LONGEST.max(self.flow.max_record.saturating_add(1));
        let mut limited = self.input.by_ref().take(longest);
        let line = &mut self.line;
        let read = if self.whole { limited.read_to_end(line) } else { limited.read_until(b'\n', line) };
        let read = read.map_err(|error| Failure::new(format!("cannot read records after {}: {error}", self.number)))?;
        self.is_at_end = self.whole || read == 0;
        if self.is_at_end && !self.whole {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 == longest {
            return Err(self.wrong(&format!("{longest} bytes or more")));
        }
        if !self.whole && self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        self.check()?;
        Ok(Some(&self.line))
    }

    /// Whether a portal would take it.
    fn check(&self) -> Result<(), Failure> {
        let key = self.flow.key.find(&self.line).map_err(|reason| self.wrong(&format!("no key: {reason}")))?;
        let key = key.as_deref().unwrap_or(self.stated).len();
        if key > wire::MAX_KEY {
            return Err(self.wrong(&format!("a key of {key} bytes; {} is the most", wire::MAX_KEY)));
        }
        let size = (key + self.line.len()) as u64;
        if size <= self.flow.max_record {
            return Ok(());
        }
        Err(self.wrong(&format!("{size} bytes, and {} is the max_record of {}", self.flow.max_record, self.flow.flow)))
    }

    fn wrong(&self, what: &str) -> Failure {
        // One record is no line.
        Failure::new(if self.whole { what.to_owned() } else { format!("line {}: {what}", self.number) })
    }
}
