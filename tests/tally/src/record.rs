//! What a record says: who made it, its number, how far it has come, and who sent it last.

use std::fmt;

/// Of so many numbers in a row one goes round the loop.
const GOES_ROUND: u64 = 4;

/// A record's payload, as text: the fields in this order, with blanks between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key that it was made with.
    pub key: &'a str,
    /// The source that made it.
    pub source: &'a str,
    /// Its number: each source counts from 1.
    pub number: u64,
    /// How often it has gone round the loop.
    pub lap: u64,
    /// How often it has to.
    pub laps: u64,
    /// The process that sent it last, and its incarnation.
    pub sender: &'a str,
    /// How many that process had sent of this flow, this one included.
    pub nth: u64,
}

impl<'a> Record<'a> {
    /// Understands a payload.
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(payload).ok()?.split(' ');
        let record = Self {
            key: fields.next()?,
            source: fields.next()?,
            number: fields.next()?.parse().ok()?,
            lap: fields.next()?.parse().ok()?,
            laps: fields.next()?.parse().ok()?,
            sender: fields.next()?,
            nth: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(record)
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, source, number, lap, laps, sender, nth } = self;
        write!(formatter, "{key} {source} {number} {lap} {laps} {sender} {nth}")
    }
}

/// The key of a source's record. Numbers take turns, so that each key's are in order if all are.
pub fn keys_of(number: u64, keys: u64) -> String {
    format!("k{}", number % keys.max(1))
}

/// How often a record goes round the loop, if none goes more often than `most`.
pub fn laps_of(number: u64, most: u64) -> u64 {
    if number.is_multiple_of(GOES_ROUND) && most > 0 { 1 + number / GOES_ROUND % most } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_the_same_after_its_way() {
        let record =
            Record { key: "k7", source: "s1.feed.0", number: 71, lap: 1, laps: 3, sender: "s2/lap.0#1", nth: 9 };
        let payload = record.to_string();
        assert_eq!(Record::read(payload.as_bytes()), Some(record));
        for broken in ["", "k7", &format!("{payload} 1"), &payload.replace("71", "x")] {
            assert_eq!(Record::read(broken.as_bytes()), None, "{broken:?}");
        }
    }
}
