//! The wire format: what one ZeroMQ message between two of waldo's processes holds.
//!
//! All numbers are little-endian. A message is one frame: a header of [`HEADER`] bytes, the sender's name, the flow's
//! name, room for a longer header, then `count` records. So a portal can put the header for an inbox in the place of a
//! link's, and send the message on as it is.
//!
//! ```text
//!  0  magic "wal2"          8  incarnation u64    32  count u32
//!  4  kind u8              16  number u64         36  zero u32
//!  5  length of sender u8  24  guide version u64  40  sender, flow, room, records…
//!  6  length of flow u8
//!  7  length of room u8
//! ```
//!
//! A record:
//!
//! ```text
//!  0  length of payload u32    8  loops × (loop id u16, passes u16)
//!  4  length of key u16           only for
//!  6  loops u8                    key
//!  7  length of "only for" u8     payload
//! ```
//!
//! What `number` means depends on the [`Kind`]. `docs/protocol.md` tells who sends which kind when.

/// The first four bytes of every message.
pub const MAGIC: [u8; 4] = *b"wal2";
/// The fixed part of a message. Bytes.
pub const HEADER: usize = 40;
/// The fixed part of a record. Bytes.
pub const RECORD_HEADER: usize = 8;
/// The longest key. Bytes.
pub const MAX_KEY: usize = u16::MAX as usize;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Records. `number` is the first one's: on a link counted per sender, incarnation and portal, in an inbox per
    /// sender, incarnation, flow and receiver; both from 1.
    Data = 1,
    /// To an inbox whose owner has been replaced: all that went before has arrived or is lost. `number` is how many
    /// records of this flow the sender has ever put on its way to this inbox.
    Fence = 2,
    /// From a sender that has replaced a dead one. To an inbox: `number` is how many records of this flow the earlier
    /// incarnations put on their way. To a portal: no flow, `number` is zero.
    Succession = 3,
    /// From a portal: it has all records of this link up to `number` of the incarnation named.
    Receipt = 4,
    /// From a portal: records are missing; send again all after `number`.
    Resend = 5,
    /// From a portal, answer to [`Kind::Succession`]: of this flow it took `number` records from earlier incarnations
    /// and will take no more of theirs. The last one has no flow.
    Closed = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Data,
            2 => Self::Fence,
            3 => Self::Succession,
            4 => Self::Receipt,
            5 => Self::Resend,
            6 => Self::Closed,
            _ => return None,
        })
    }
}

/// The header of a message, borrowed from it or about to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// What the message is.
    pub kind: Kind,
    /// `server/process` of the sender on a link, `process` in an inbox.
    pub sender: &'a str,
    /// The flow's name.
    pub flow: &'a str,
    /// The incarnation of the sender (in answers of a portal: of the one that is answered).
    pub incarnation: u64,
    /// See [`Kind`].
    pub number: u64,
    /// The version of the flow's guide that the records were sent by; 0 for an unkeyed flow.
    pub version: u64,
    /// How many records follow.
    pub count: u32,
}

/// Why a message can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than it says.
    #[error("message ends before it should")]
    Short,
    /// Longer than its records.
    #[error("bytes left over behind the last record")]
    Long,
    /// Not one of ours.
    #[error("not a message of waldo's (magic bytes)")]
    Magic,
    /// Of a kind that isn't known.
    #[error("unknown kind of message")]
    Kind,
    /// A name that isn't UTF-8.
    #[error("name that is not UTF-8")]
    Name,
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

impl<'a> Header<'a> {
    /// Reads the header; answers it and where the records begin.
    pub fn read(message: &'a [u8]) -> Result<(Self, usize), Malformed> {
        if message.len() < HEADER {
            return Err(if message.starts_with(&MAGIC) { Malformed::Short } else { Malformed::Magic });
        }
        if message[..4] != MAGIC {
            return Err(Malformed::Magic);
        }
        let kind = Kind::from_byte(message[4]).ok_or(Malformed::Kind)?;
        let flow_at = HEADER + usize::from(message[5]);
        let room_at = flow_at + usize::from(message[6]);
        let records_at = room_at + usize::from(message[7]);
        if message.len() < records_at {
            return Err(Malformed::Short);
        }
        let name = |range| std::str::from_utf8(&message[range]).map_err(|_| Malformed::Name);
        let header = Self {
            kind,
            sender: name(HEADER..flow_at)?,
            flow: name(flow_at..room_at)?,
            incarnation: u64_at(message, 8),
            number: u64_at(message, 16),
            version: u64_at(message, 24),
            count: u32_at(message, 32),
        };
        Ok((header, records_at))
    }

    /// The length of this header with its names. Bytes.
    pub fn length(&self) -> usize {
        HEADER + self.sender.len() + self.flow.len()
    }

    /// The header alone, as a message.
    ///
    /// # Panics
    /// If a name is longer than 255 bytes; the compiler lets none be longer than 65.
    pub fn message(&self) -> Vec<u8> {
        self.message_with_room(0)
    }

    /// The header as the beginning of a message, with `room` bytes behind the names.
    ///
    /// # Panics
    /// As [`Header::message`].
    pub fn message_with_room(&self, room: u8) -> Vec<u8> {
        let mut message = vec![0; self.length() + usize::from(room)];
        let written = self.write_over(&mut message, self.length() + usize::from(room));
        assert!(written, "a name fits in 255 bytes, and the message was made for it");
        message
    }

    /// Writes the header in the place of another, before the records at `records_at`; answers whether there is room for
    /// it. If not, nothing has changed.
    pub fn write_over(&self, message: &mut [u8], records_at: usize) -> bool {
        let lengths = (u8::try_from(self.sender.len()), u8::try_from(self.flow.len()));
        let room = records_at.checked_sub(self.length()).map(u8::try_from);
        let ((Ok(sender), Ok(flow)), Some(Ok(room))) = (lengths, room) else { return false };
        let Some(into) = message.get_mut(..records_at) else { return false };
        into[..4].copy_from_slice(&MAGIC);
        into[4..8].copy_from_slice(&[self.kind as u8, sender, flow, room]);
        into[8..16].copy_from_slice(&self.incarnation.to_le_bytes());
        into[16..24].copy_from_slice(&self.number.to_le_bytes());
        into[24..32].copy_from_slice(&self.version.to_le_bytes());
        into[32..36].copy_from_slice(&self.count.to_le_bytes());
        into[36..HEADER].fill(0);
        let (names, room) = into[HEADER..].split_at_mut(self.sender.len() + self.flow.len());
        names[..self.sender.len()].copy_from_slice(self.sender.as_bytes());
        names[self.sender.len()..].copy_from_slice(self.flow.as_bytes());
        room.fill(0);
        true
    }
}

/// Writes `number` and `count` into a message that begins with a header.
pub fn set_number_and_count(message: &mut [u8], number: u64, count: u32) {
    message[16..24].copy_from_slice(&number.to_le_bytes());
    message[32..36].copy_from_slice(&count.to_le_bytes());
}

/// Writes the version of the guide into a message that begins with a header.
pub fn set_version(message: &mut [u8], version: u64) {
    message[24..32].copy_from_slice(&version.to_le_bytes());
}

/// How often a record went round each loop that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes<'a>(&'a [u8]);

impl<'a> Passes<'a> {
    /// A record that is in no loop.
    pub const NONE: Passes<'static> = Passes(&[]);

    /// From pairs as they stand on the wire: (loop id u16, passes u16), little-endian.
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        debug_assert!(bytes.len().is_multiple_of(4), "pairs of two u16");
        Self(bytes)
    }

    /// The pairs as they stand on the wire.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// How often the record went round this loop.
    pub fn of(self, id: u16) -> u16 {
        self.0.chunks_exact(4).find(|pair| u16_at(pair, 0) == id).map_or(0, |pair| u16_at(pair, 2))
    }
}

/// One record within a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The key; empty for an unkeyed flow.
    pub key: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// How often it went round each loop.
    pub passes: Passes<'a>,
}

/// The length of a record on the wire. Bytes.
#[inline]
pub fn record_length(key: usize, payload: usize, passes: usize) -> usize {
    RECORD_HEADER + passes + key + payload
}

/// Reads the record that begins at `at`; answers it and where the next begins.
#[inline]
pub fn read_record(message: &[u8], at: usize) -> Result<(RecordRef<'_>, usize), Malformed> {
    if message.len() < at + RECORD_HEADER {
        return Err(Malformed::Short);
    }
    let payload_length = u32_at(message, at) as usize;
    let key_length = usize::from(u16_at(message, at + 4));
    let passes_at = at + RECORD_HEADER;
    let only_for_at = passes_at + 4 * usize::from(message[at + 6]);
    let key_at = only_for_at + usize::from(message[at + 7]);
    let payload_at = key_at + key_length;
    let end = payload_at + payload_length;
    if message.len() < end {
        return Err(Malformed::Short);
    }
    let record = RecordRef {
        key: &message[key_at..payload_at],
        payload: &message[payload_at..end],
        passes: Passes(&message[passes_at..only_for_at]),
    };
    Ok((record, end))
}

/// The consumer that the record at `at` is only for; empty if it is for all. A portal says so of a record that it hands
/// over while only some of the consumers of its flow have had it.
///
/// # Panics
/// If [`read_record`] hasn't read a record there.
#[inline]
pub fn only_for(message: &[u8], at: usize) -> &[u8] {
    let from = at + RECORD_HEADER + 4 * usize::from(message[at + 6]);
    &message[from..from + usize::from(message[at + 7])]
}

/// Appends the record that stands in `record` as on the wire, to be only for this consumer, or for all if `consumer` is
/// empty.
///
/// # Panics
/// If [`read_record`] doesn't read a record there, or the consumer's name is longer than 255 bytes.
pub fn write_only_for(into: &mut Vec<u8>, record: &[u8], consumer: &[u8]) {
    let before = only_for(record, 0);
    let from = RECORD_HEADER + 4 * usize::from(record[6]);
    let at = into.len();
    into.extend_from_slice(&record[..from]);
    into.extend_from_slice(consumer);
    into.extend_from_slice(&record[from + before.len()..]);
    into[at + 7] = u8::try_from(consumer.len()).expect("a stage's name fits in 255 bytes");
}

/// Appends a record.
///
/// # Panics
/// If the key is longer than [`MAX_KEY`] or the payload than 4 GiB: the sender refuses such records before.
#[inline]
pub fn write_record(into: &mut Vec<u8>, record: RecordRef<'_>) {
    let payload = u32::try_from(record.payload.len()).expect("a payload is refused above max_record");
    let key = u16::try_from(record.key.len()).expect("a key is refused above 65535 bytes");
    into.reserve(record_length(record.key.len(), record.payload.len(), record.passes.0.len()));
    let [p0, p1, p2, p3] = payload.to_le_bytes();
    let [k0, k1] = key.to_le_bytes();
    into.extend_from_slice(&[p0, p1, p2, p3, k0, k1, (record.passes.0.len() / 4) as u8, 0]);
    if !record.passes.0.is_empty() {
        into.extend_from_slice(record.passes.0);
    }
    into.extend_from_slice(record.key);
    into.extend_from_slice(record.payload);
}

/// Walks `count` records from `at`; answers where they end. Fails if the message is cut short.
pub fn skip_records(message: &[u8], mut at: usize, count: u32) -> Result<usize, Malformed> {
    for _ in 0..count {
        at = read_record(message, at)?.1;
    }
    Ok(at)
}

/// Checks a data message as it comes from outside this process: all its records are there and nothing else.
pub fn check_records(message: &[u8], at: usize, count: u32) -> Result<(), Malformed> {
    if skip_records(message, at, count)? == message.len() { Ok(()) } else { Err(Malformed::Long) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: Kind, count: u32) -> Header<'static> {
        Header { kind, sender: "s1/visit.0", flow: "visit", incarnation: 3, number: 77, version: 2, count }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            records in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40),
                prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<[u8; 4]>(), 0..3)), 0..20),
        ) {
            let mut message = header(Kind::Data, records.len() as u32).message();
            for (key, payload, passes) in &records {
                let passes = passes.concat();
                write_record(&mut message, RecordRef { key, payload, passes: Passes::from_bytes(&passes) });
            }
            let (read, mut at) = Header::read(&message).unwrap();
            prop_assert_eq!(read, header(Kind::Data, records.len() as u32));
            check_records(&message, at, read.count).unwrap();
            for (key, payload, _) in &records {
                let (record, next) = read_record(&message, at).unwrap();
                prop_assert_eq!(record.key, &key[..]);
                prop_assert_eq!(record.payload, &payload[..]);
                at = next;
            }
        }

        #[test]
        fn rubbish_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), honest: bool) {
            let mut message = if honest { header(Kind::Data, 3).message() } else { Vec::new() };
            message.extend_from_slice(&bytes);
            if let Ok((header, at)) = Header::read(&message) {
                let _ = check_records(&message, at, header.count);
            }
        }
    }

    #[test]
    fn a_record_for_one_consumer_stays_the_same_record() {
        let (mut plain, mut marked, mut again, mut cleared) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let record = RecordRef { key: b"key", payload: b"payload", passes: Passes::from_bytes(&[1, 0, 2, 0]) };
        write_record(&mut plain, record);
        write_only_for(&mut marked, &plain, b"score");
        write_only_for(&mut again, &marked, b"page");
        write_only_for(&mut cleared, &again, b"");
        for (bytes, consumer) in [(&plain, &b""[..]), (&marked, b"score"), (&again, b"page"), (&cleared, b"")] {
            assert_eq!(read_record(bytes, 0).unwrap(), (record, bytes.len()));
            assert_eq!(only_for(bytes, 0), consumer);
        }
        assert_eq!(cleared, plain);
    }

    #[test]
    fn a_header_takes_the_place_of_another_where_there_is_room() {
        let mut message = header(Kind::Data, 1).message_with_room(3);
        let (read, at) = Header::read(&message).unwrap();
        assert_eq!((read, at), (header(Kind::Data, 1), HEADER + 18));
        write_record(&mut message, RecordRef { key: b"k", payload: b"p", passes: Passes::NONE });
        for (sender, fits) in [("intake", true), ("s1/thirteen.0", true), ("s1/fourteen.10", false), ("", true)] {
            let (before, new) = (message.clone(), Header { sender, number: 5, ..header(Kind::Data, 1) });
            assert_eq!(new.write_over(&mut message, at), fits, "{sender}");
            if fits {
                assert_eq!(Header::read(&message).unwrap(), (new, at));
                check_records(&message, at, 1).unwrap();
            } else {
                assert_eq!(message, before);
            }
        }
        let long = "x".repeat(300);
        let mut long_before = vec![0; 400];
        assert!(!Header { sender: "a", ..header(Kind::Data, 0) }.write_over(&mut long_before, 400), "room over 255");
        assert!(!Header { sender: &long, ..header(Kind::Data, 0) }.write_over(&mut long_before, 400));
        assert!(!header(Kind::Data, 0).write_over(&mut [0; 20], 60), "a message that ends before its records");
    }

    #[test]
    fn a_message_cut_short_at_any_byte_is_refused() {
        let mut message = header(Kind::Data, 2).message();
        for payload in [&b"one"[..], b"two"] {
            write_record(&mut message, RecordRef { key: b"k", payload, passes: Passes::NONE });
        }
        for cut in 0..message.len() {
            let part = &message[..cut];
            let whole = Header::read(part).and_then(|(header, at)| check_records(part, at, header.count));
            assert!(whole.is_err(), "{cut} of {} bytes were taken for whole", message.len());
        }
    }
}
