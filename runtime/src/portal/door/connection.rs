//! One connection to a door: its socket, what has come of a message that isn't whole, and how it behaves.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{
    Visitor,
    zmtp::{Reader, Step, greeting},
};

/// For how long a connection isn't read, for each message of the last look that couldn't be used, if those are the most.
const REST: Duration = Duration::from_millis(1);
/// For how long at most.
const REST_AT_MOST: Duration = Duration::from_millis(100);

/// A connection.
pub struct Connection {
    stream: TcpStream,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Which of the door's listeners it came by.
    pub listener: u32,
    reader: Reader,
    /// What is there of a message that isn't whole.
    held: Vec<u8>,
    /// How many messages of it were taken.
    taken: u64,
    /// When it was accepted.
    pub since: Instant,
    /// When it last gave something.
    active: Instant,
    /// Until when it isn't read.
    pub rests: Option<Instant>,
}

/// What a look at a connection has brought.
pub enum Looked {
    /// So many bytes; there may be more.
    Read(usize),
    /// Nothing is there.
    Dry,
    /// It has ended, by the peer's will or by ours.
    Ended,
}

impl Connection {
    /// A connection that was accepted; greets it.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn new(stream: TcpStream, peer: SocketAddr, listener: u32, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let reader = Reader::default();
        let mut connection =
            Self { stream, peer, listener, reader, held: Vec::new(), taken: 0, since: now, active: now, rests: None };
        connection.say(&greeting())?;
        Ok(connection)
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the handshake is over.
    pub fn is_ready(&self) -> bool {
        self.reader.is_ready()
    }

    /// How much is held of a message that isn't whole. Bytes.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// How useful it has been: who has sent least, and that longest ago, comes first.
    pub fn use_so_far(&self) -> (bool, u64, Instant) {
        (self.is_ready(), self.taken, self.active)
    }

    /// What it says is so short that a socket always has room for it; one that hasn't belongs to somebody who doesn't read.
    fn say(&mut self, words: &[u8]) -> io::Result<()> {
        let written = self.stream.write(words)?;
        if written == words.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Reads once, and hands on what has come.
    pub fn look(&mut self, scratch: &mut [u8], longest: u64, now: Instant, visitor: &mut impl Visitor) -> Looked {
        let read = match self.stream.read(scratch) {
            Ok(0) => {
                self.end_of_stream(visitor);
                return Looked::Ended;
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Looked::Dry,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Looked::Read(0),
            Err(_) => return Looked::Ended,
        };
        self.active = now;
        let mut held = std::mem::take(&mut self.held);
        let goes_on = if held.is_empty() {
            self.hand_on(&scratch[..read], longest, now, visitor).map(|used| scratch[used..read].to_vec())
        } else {
            held.extend_from_slice(&scratch[..read]);
            self.hand_on(&held, longest, now, visitor).map(|used| {
                held.drain(..used);
                held
            })
        };
        match goes_on {
            Some(rest) => {
                self.held = rest;
                Looked::Read(read)
            }
            None => Looked::Ended,
        }
    }

    /// Hands on what is whole; answers how many bytes that was, `None` if the connection can't go on.
    fn hand_on(&mut self, bytes: &[u8], longest: u64, now: Instant, visitor: &mut impl Visitor) -> Option<usize> {
        let (mut used, mut taken, mut rejected) = (0, 0_u64, 0_u32);
        loop {
            let rest = &bytes[used..];
            used += match self.reader.next(rest, longest) {
                Step::Incomplete => break,
                Step::Passed { bytes } => bytes,
                Step::Answer { bytes, answer } => {
                    self.say(&answer).ok()?;
                    bytes
                }
                Step::Message { bytes, frames, answer } => {
                    if visitor.message(self.peer, frames.get()) {
                        taken += 1;
                    } else {
                        rejected += 1;
                    }
                    if let Some(answer) = answer {
                        self.say(&answer).ok()?;
                    }
                    bytes
                }
                Step::Rejected { bytes, reason, frames, size } => {
                    visitor.rejected(self.peer, reason, frames.get(), size);
                    rejected += 1;
                    bytes
                }
                Step::Broken { reason } => {
                    if !reason.is_empty() {
                        visitor.broken(self.peer, &reason, rest);
                    }
                    return None;
                }
            };
        }
        self.taken += taken;
        // One message without end is as much rubbish as many.
        let pause = if self.reader.is_skipping() { REST_AT_MOST } else { (REST * rejected).min(REST_AT_MOST) };
        if u64::from(rejected) > taken || (self.reader.is_skipping() && taken == 0) {
            self.rests = Some(now + pause);
        }
        Some(used)
    }

    /// The peer has nothing more to say.
    fn end_of_stream(&self, visitor: &mut impl Visitor) {
        if !self.held.is_empty() {
            let reason = if self.is_ready() { "an unfinished message" } else { "an unfinished handshake" };
            visitor.broken(self.peer, reason, &self.held);
        }
    }
}
