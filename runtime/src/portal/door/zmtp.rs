//! ZMTP 3, as far as the receiving side of a pipeline speaks it: what the bytes of a connection mean. Pure.
//!
//! ```text
//! greeting ──► READY ──► messages ◄──► skipping the rest of one that can't be used
//! ```
//!
//! The specification is RFC 23 and 37 of ZeroMQ (<https://rfc.zeromq.org>). Only the mechanism NULL is spoken. A message
//! is handed on once it is whole; of one that is too long, or has too many frames, nothing is kept: its bytes are passed
//! over as they come, up to [`SKIP_AT_MOST`].

/// What each side says first. Bytes.
pub const GREETING: usize = 64;
/// How many frames a message may have.
pub const FRAMES: usize = 3;
/// How much of what can't be used is passed over before the connection is cut off. Bytes.
pub const SKIP_AT_MOST: u64 = 16 << 20;
/// The longest command. Bytes.
const COMMAND: u64 = 4096;
/// What a `PING` has before its context: its name and a time to live. Bytes.
const PING: usize = 7;

const MORE: u8 = 1;
const LONG: u8 = 2;
const IS_COMMAND: u8 = 4;

/// What this side says first: ZMTP 3.1, NULL.
pub fn greeting() -> [u8; GREETING] {
    let mut greeting = [0; GREETING];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[11] = 1;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// What this side says next: that it is a socket that is pushed to.
pub fn ready() -> Vec<u8> {
    command(b"\x05READY\x0bSocket-Type\x00\x00\x00\x04PULL")
}

fn command(body: &[u8]) -> Vec<u8> {
    // Its callers' are short.
    let mut frame = vec![IS_COMMAND, body.len() as u8];
    frame.extend_from_slice(body);
    frame
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Ready,
    Messages,
    /// Of a message that can't be used.
    Skipping {
        /// How much of the present frame is to come.
        left: u64,
        /// Whether another frame follows.
        more: bool,
        /// How much has been passed over of this message.
        skipped: u64,
    },
}

/// Reads what a peer says.
#[derive(Debug)]
pub struct Reader {
    state: State,
}

/// What stands at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// Not all of it has come.
    Incomplete,
    /// Nothing to be told.
    Passed {
        /// How many bytes it was.
        bytes: usize,
    },
    /// Something to be answered.
    Answer {
        /// How many bytes it was.
        bytes: usize,
        /// The answer.
        answer: Vec<u8>,
    },
    /// A message.
    Message {
        /// How many bytes it was.
        bytes: usize,
        /// Its frames.
        frames: Frames<'b>,
        /// What is to be answered to what came between them.
        answer: Option<Vec<u8>>,
    },
    /// A message that can't be used; the connection goes on.
    Rejected {
        /// How many bytes of it have been passed over.
        bytes: usize,
        /// Why.
        reason: &'static str,
        /// Its frames so far, the last one perhaps only in part.
        frames: Frames<'b>,
        /// How long it is, as far as is known. Bytes.
        size: u64,
    },
    /// The connection can't go on.
    Broken {
        /// Why; empty if that has been told.
        reason: String,
    },
}

/// Up to three frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frames<'b> {
    all: [&'b [u8]; FRAMES],
    count: usize,
}

impl<'b> Frames<'b> {
    fn push(&mut self, frame: &'b [u8]) {
        if let Some(place) = self.all.get_mut(self.count) {
            *place = frame;
            self.count += 1;
        }
    }

    /// The frames.
    pub fn get(&self) -> &[&'b [u8]] {
        &self.all[..self.count]
    }
}

/// The head of a frame.
struct Head {
    flags: u8,
    /// Where its body begins.
    body: usize,
    size: u64,
}

impl Head {
    /// The head at `at`; `None` if not all of it is there.
    fn read(bytes: &[u8], at: usize) -> Result<Option<Self>, String> {
        let Some(&flags) = bytes.get(at) else { return Ok(None) };
        if flags & !(MORE | LONG | IS_COMMAND) != 0 {
            return Err("not a frame of ZMTP".to_owned());
        }
        if flags & IS_COMMAND != 0 && flags & MORE != 0 {
            return Err("a command that is part of a message".to_owned());
        }
        let rest = &bytes[at + 1..];
        let head = if flags & LONG == 0 {
            rest.first().map(|&size| Self { flags, body: at + 2, size: u64::from(size) })
        } else {
            let size = rest.first_chunk::<8>();
            size.map(|size| Self { flags, body: at + 9, size: u64::from_be_bytes(*size) })
        };
        if head.as_ref().is_some_and(|head| head.is_command() && head.size > COMMAND) {
            return Err("a command that is too long".to_owned());
        }
        Ok(head)
    }

    fn is_command(&self) -> bool {
        self.flags & IS_COMMAND != 0
    }

    /// Where it ends; `None` for what no memory could hold.
    fn end(&self) -> Option<usize> {
        usize::try_from(self.size).ok().and_then(|size| self.body.checked_add(size))
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self { state: State::Greeting }
    }
}

impl Reader {
    /// Whether the peer has said what it is.
    pub fn is_ready(&self) -> bool {
        !matches!(self.state, State::Greeting | State::Ready)
    }

    /// Whether it is passing over the rest of a message that can't be used.
    pub fn is_skipping(&self) -> bool {
        matches!(self.state, State::Skipping { .. })
    }

    /// What stands at the front of `bytes`. A message of more than `longest` bytes is rejected.
    pub fn next<'b>(&mut self, bytes: &'b [u8], longest: u64) -> Step<'b> {
        let step = match self.state {
            State::Greeting => self.greeted(bytes),
            State::Ready => self.readied(bytes),
            State::Messages => self.message(bytes, longest),
            State::Skipping { left, more, skipped } => self.skip(bytes, left, more, skipped),
        };
        step.unwrap_or_else(|reason| Step::Broken { reason })
    }

    fn greeted<'b>(&mut self, bytes: &'b [u8]) -> Result<Step<'b>, String> {
        let is_signature =
            bytes.first().is_none_or(|&first| first == 0xff) && bytes.get(9).is_none_or(|last| last & 1 == 1);
        if !is_signature {
            return Err(stranger(bytes).to_owned());
        }
        if let Some(&version) = bytes.get(10)
            && version < 3
        {
            return Err("an older ZMTP than 3.0".to_owned());
        }
        let Some(greeting) = bytes.first_chunk::<GREETING>() else { return Ok(Step::Incomplete) };
        let mechanism = greeting[12..32].split(|&byte| byte == 0).next().unwrap_or_default();
        if mechanism != b"NULL" {
            return Err(format!("the security mechanism `{}`; NULL is spoken here", short(mechanism)));
        }
        self.state = State::Ready;
        Ok(Step::Answer { bytes: GREETING, answer: ready() })
    }

    fn readied<'b>(&mut self, bytes: &'b [u8]) -> Result<Step<'b>, String> {
        let Some(head) = Head::read(bytes, 0)? else { return Ok(Step::Incomplete) };
        if !head.is_command() {
            return Err("a message before READY".to_owned());
        }
        let Some((end, body)) = head.end().and_then(|end| Some((end, bytes.get(head.body..end)?))) else {
            return Ok(Step::Incomplete);
        };
        let Some(properties) = body.strip_prefix(b"\x05READY") else {
            return Err("another command than READY".to_owned());
        };
        match socket_type(properties) {
            Some(b"PUSH") => {
                self.state = State::Messages;
                Ok(Step::Passed { bytes: end })
            }
            Some(other) => Err(format!("a {} socket; clients have PUSH", short(other))),
            None => Err("READY without a Socket-Type".to_owned()),
        }
    }

    fn message<'b>(&mut self, bytes: &'b [u8], longest: u64) -> Result<Step<'b>, String> {
        let mut frames = Frames::default();
        let mut at = 0;
        let mut size = 0_u64;
        let mut answer = None;
        loop {
            let Some(head) = Head::read(bytes, at)? else { return Ok(Step::Incomplete) };
            let body = head.end().and_then(|end| Some((end, bytes.get(head.body..end)?)));
            if head.is_command() {
                // Commands may come between frames; they are answered when the message is whole.
                let Some((end, body)) = body else { return Ok(Step::Incomplete) };
                let pong = pong(body);
                if at == 0 {
                    return Ok(match pong {
                        Some(answer) => Step::Answer { bytes: end, answer },
                        None => Step::Passed { bytes: end },
                    });
                }
                answer = pong.or(answer);
                at = end;
                continue;
            }
            size = size.saturating_add(head.size);
            let more = head.flags & MORE != 0;
            let is_too_long = size > longest;
            if is_too_long || (more && frames.count + 1 == FRAMES) {
                let there = &bytes[head.body..body.map_or(bytes.len(), |(end, _)| end)];
                frames.push(there);
                let left = head.size - there.len() as u64;
                self.state = State::Skipping { left, more, skipped: there.len() as u64 };
                let reason = if is_too_long { "larger than max_record" } else { "more than 3 frames" };
                return Ok(Step::Rejected { bytes: head.body + there.len(), reason, frames, size });
            }
            let Some((end, body)) = body else { return Ok(Step::Incomplete) };
            frames.push(body);
            at = end;
            if !more {
                return Ok(Step::Message { bytes: at, frames, answer });
            }
        }
    }

    fn skip<'b>(
        &mut self,
        bytes: &'b [u8],
        mut left: u64,
        mut more: bool,
        mut skipped: u64,
    ) -> Result<Step<'b>, String> {
        let mut at = 0;
        loop {
            let there = left.min((bytes.len() - at) as u64);
            at += there as usize;
            left -= there;
            skipped = skipped.saturating_add(there + 2);
            if skipped.saturating_add(left) > SKIP_AT_MOST {
                // That it can't be used has been told.
                return Err(String::new());
            }
            if left == 0 && !more {
                self.state = State::Messages;
                return Ok(Step::Passed { bytes: at });
            }
            let head = if left == 0 { Head::read(bytes, at)? } else { None };
            let Some(head) = head else {
                self.state = State::Skipping { left, more, skipped };
                return Ok(if at == 0 { Step::Incomplete } else { Step::Passed { bytes: at } });
            };
            at = head.body;
            left = head.size;
            if !head.is_command() {
                more = head.flags & MORE != 0;
            }
        }
    }
}

/// The answer to a `PING`, which is its context.
fn pong(body: &[u8]) -> Option<Vec<u8>> {
    let context = body.strip_prefix(b"\x04PING").and_then(|_| body.get(PING..))?;
    // The specification allows 16 bytes of it.
    let context = &context[..context.len().min(16)];
    Some(command(&[b"\x04PONG", context].concat()))
}

/// The value of `Socket-Type` among the properties of `READY`.
fn socket_type(mut properties: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, rest) = properties.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(length))?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            return Some(value);
        }
        properties = rest;
    }
}

/// What somebody says who doesn't speak ZMTP.
fn stranger(bytes: &[u8]) -> &'static str {
    const METHODS: [&[u8]; 7] = [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"CONNECT "];
    if METHODS.iter().any(|method| bytes.starts_with(method)) {
        "HTTP, not ZeroMQ"
    } else if bytes.starts_with(&[0x16, 3]) {
        "TLS, not ZeroMQ"
    } else {
        "not ZeroMQ"
    }
}

/// A peer's word, so that it can be shown.
fn short(word: &[u8]) -> String {
    word.iter().take(20).map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: u64 = 1_000;

    fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
        if let Ok(size) = u8::try_from(body.len()) {
            [&[flags, size], body].concat()
        } else {
            [&[flags | LONG][..], &(body.len() as u64).to_be_bytes(), body].concat()
        }
    }

    fn handshake(socket: &[u8]) -> Vec<u8> {
        let size = (socket.len() as u32).to_be_bytes();
        let body = [&b"\x05READY\x0bSocket-Type"[..], &size, socket, b"\x08Identity\x00\x00\x00\x00"].concat();
        [&greeting()[..], &frame(IS_COMMAND, &body)].concat()
    }

    /// All that the bytes mean, read in pieces of this length.
    fn read(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut reader = Reader::default();
        let (mut told, mut held) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            held.extend_from_slice(piece);
            let mut at = 0;
            loop {
                let word = |frames: &Frames<'_>| {
                    frames
                        .get()
                        .iter()
                        .map(|frame| String::from_utf8_lossy(frame).into_owned())
                        .collect::<Vec<_>>()
                        .join("|")
                };
                at += match reader.next(&held[at..], LONGEST) {
                    Step::Incomplete => break,
                    Step::Passed { bytes } => bytes,
                    Step::Answer { bytes, answer } => {
                        told.push(format!("answer {}", short(&answer[2..7])));
                        bytes
                    }
                    Step::Message { bytes, frames, answer } => {
                        told.push(word(&frames));
                        told.extend(answer.map(|answer| format!("answer {}", short(&answer[2..7]))));
                        bytes
                    }
                    Step::Rejected { bytes, reason, frames, .. } => {
                        // Of the last frame as much is there as has come.
                        let flow = (frames.get().len() > 1).then(|| short(frames.get()[0]));
                        told.push(format!("{reason}: {}", flow.unwrap_or_default()));
                        bytes
                    }
                    Step::Broken { reason } => {
                        told.push(reason);
                        return told;
                    }
                };
            }
            held.drain(..at);
        }
        told
    }

    #[test]
    fn a_conversation_means_the_same_in_whatever_pieces_it_comes() {
        let long = vec![b'x'; 300];
        let parts = [
            handshake(b"PUSH"),
            [frame(MORE, b"call"), frame(MORE, b""), frame(0, b"one")].concat(),
            frame(IS_COMMAND, b"\x04PING\x00\x10context"),
            frame(0, &long),
            // A command between frames, as heartbeats may come.
            [frame(MORE, b"call"), frame(IS_COMMAND, b"\x04PING\x00\x10"), frame(0, b"two")].concat(),
            [frame(MORE, b"a"), frame(MORE, b"b"), frame(MORE, b"c"), frame(MORE, b"d"), frame(0, &long)].concat(),
            [frame(MORE, b"call"), frame(MORE, b"k"), frame(0, &[b'y'; 1_001])].concat(),
            frame(0, b"three"),
        ];
        let bytes = parts.concat();
        let whole = read(&bytes, bytes.len());
        let expected = [
            "answer ?READ",
            "call||one",
            "answer ?PONG",
            &"x".repeat(300),
            "call|two",
            "answer ?PONG",
            "more than 3 frames: a",
            "larger than max_record: call",
            "three",
        ];
        assert_eq!(whole, expected);
        for piece in 1..80 {
            assert_eq!(read(&bytes, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn whoever_does_not_speak_it_is_told_what_it_spoke() {
        let mut old = greeting();
        old[10] = 1;
        let mut plain = greeting();
        plain[12..32].copy_from_slice(b"PLAIN\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "HTTP, not ZeroMQ"),
            (&[0x16, 3, 1, 2, 0], "TLS, not ZeroMQ"),
            (&[0; 100], "not ZeroMQ"),
            (&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0], "not ZeroMQ"),
            (&old, "an older ZMTP than 3.0"),
            (&plain, "the security mechanism `PLAIN`; NULL is spoken here"),
        ] {
            assert_eq!(read(bytes, bytes.len()), [expected], "{bytes:?}");
        }
        for (socket, expected) in
            [(&b"PUB"[..], "a PUB socket; clients have PUSH"), (b"\x1b[31m", "a ?[31m socket; clients have PUSH")]
        {
            assert_eq!(read(&handshake(socket), 1_000).last().unwrap(), expected);
        }
        let after = |bytes: &[u8]| read(&[&greeting()[..], bytes].concat(), 1_000).last().unwrap().clone();
        assert_eq!(after(&frame(0, b"call")), "a message before READY");
        assert_eq!(after(&frame(IS_COMMAND, b"\x05READY")), "READY without a Socket-Type");
        assert_eq!(after(&frame(IS_COMMAND, b"\x05ERROR\x00")), "another command than READY");
        assert_eq!(after(&[IS_COMMAND | LONG, 1, 0, 0, 0, 0, 0, 0, 0]), "a command that is too long");
        assert_eq!(after(&[0x80, 1]), "not a frame of ZMTP");
    }

    #[test]
    fn what_is_passed_over_has_an_end() {
        let huge = [&[LONG][..], &(1_u64 << 40).to_be_bytes(), b"begin"].concat();
        let told = read(&[&handshake(b"PUSH")[..], &huge, &[0; 100]].concat(), 50);
        assert_eq!(told, ["answer ?READ", "larger than max_record: ", ""]);
        let tiny = frame(MORE, b"x").repeat(SKIP_AT_MOST as usize / 3 + 100);
        let told = read(&[&handshake(b"PUSH")[..], &tiny].concat(), 1 << 16);
        assert_eq!(told, ["answer ?READ", "more than 3 frames: x", ""]);
    }

    #[test]
    fn any_bytes_are_read_to_their_end() {
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = if seed % 4 == 0 { Vec::new() } else { handshake(b"PUSH") };
            for _ in 0..random.usize(0..40) {
                let flags = if random.u8(0..10) == 0 { random.u8(..) } else { random.u8(0..8) };
                let length = random.usize(0..400);
                let body: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
                bytes.extend(frame(flags, &body));
            }
            let whole = read(&bytes, bytes.len().max(1));
            assert_eq!(read(&bytes, random.usize(1..50)), whole, "seed {seed}");
        }
    }
}
