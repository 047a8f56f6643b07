//! Connections on which JSON lines come and go, without ever waiting.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
};

use serde::Serialize;

/// A line that is longer ends the connection. Bytes.
const LONGEST_LINE: usize = 16 << 20;
/// More than this waiting to be written ends the connection: the other side doesn't read. Bytes.
const MOST_UNWRITTEN: usize = 64 << 20;

/// A connection.
#[derive(Debug)]
pub struct Lines {
    stream: UnixStream,
    received: Vec<u8>,
    unwritten: Vec<u8>,
    broken: bool,
}

impl Lines {
    /// Takes the next connection that waits, if one does.
    pub fn accept(listener: &UnixListener) -> Option<Self> {
        let (stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, received: Vec::new(), unwritten: Vec::new(), broken: false })
    }

    /// Whether it has ended, from either side.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether something waits to be written.
    pub fn wants_to_write(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// The whole lines that have come.
    pub fn read(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.broken = true,
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    if self.received.len() <= LONGEST_LINE {
                        continue;
                    }
                    self.broken = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.broken = true,
            }
            break;
        }
        let Some(end) = self.received.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.received.drain(..=end).collect();
        whole.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
    }

    /// Writes a line, as far as the other side takes it now; the rest follows with [`Lines::flush`].
    pub fn write(&mut self, message: &impl Serialize) {
        match serde_json::to_vec(message) {
            Ok(line) => {
                self.unwritten.extend_from_slice(&line);
                self.unwritten.push(b'\n');
                self.flush();
            }
            Err(_) => self.broken = true,
        }
    }

    /// Writes what the other side takes now.
    pub fn flush(&mut self) {
        while !self.unwritten.is_empty() && !self.broken {
            match self.stream.write(&self.unwritten) {
                Ok(count) => drop(self.unwritten.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.broken = true,
            }
        }
        self.broken |= self.unwritten.len() > MOST_UNWRITTEN;
    }
}

impl AsFd for Lines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
