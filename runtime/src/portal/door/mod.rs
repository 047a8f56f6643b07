//! A portal's door for clients: who may come in, how much of each is read at a time, and what becomes of those that say
//! something else than ZeroMQ does.
//!
//! Why not a socket of libzmq: it keeps any number of frames of one message, and tells nobody of them before the last has
//! come; and of what it cuts off (a frame that is too long, a handshake that fails) it doesn't say what it was. Here
//! everything that strangers can make the portal keep has a bound:
//!
//! | what | bound |
//! | --- | --- |
//! | a connection that hasn't finished its handshake | [`HANDSHAKE`] |
//! | connections | [`CONNECTIONS`], or what the process may have open; who has been of least use goes first |
//! | messages that aren't whole | [`UNFINISHED`] over all connections; who has most of it goes first |
//! | what is read in one look at a connection | [`SCRATCH`] |
//! | a connection that gives more rubbish than records | rests after each look |
//!
//! It isn't read while the portal has no room: TCP stops whoever sends.

mod connection;
mod zmtp;

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::fd::{AsRawFd, RawFd},
    time::{Duration, Instant},
};

use connection::{Connection, Looked};
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    resource::{Resource, getrlimit, setrlimit},
};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How many connections there may be.
const CONNECTIONS: usize = 4096;
/// How many open files a process of waldo's needs for other things.
const OTHER_FILES: u64 = 256;
/// How much may be held of messages that aren't whole. Bytes; four of the longest message where that is more.
const UNFINISHED: usize = 64 << 20;
/// How much is read in one look at a connection. Bytes.
const SCRATCH: usize = 128 << 10;
/// How many looks there are at a connection whose endpoint is given up: what systems keep for a connection is less.
const LAST_LOOKS: usize = 128;
/// How many connections are accepted before those that are there get their turn.
const ACCEPTS: usize = 64;
/// How many connections are looked at for each question to the system.
const LOOKS: usize = 64;
/// How long a door that couldn't accept anybody waits until it tries again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// In the token of an event: it is a listener's.
const IS_LISTENER: u64 = 1 << 63;

/// Whoever is told what comes through a door.
pub trait Visitor {
    /// A message of one to three frames; answers whether it can be used.
    fn message(&mut self, peer: SocketAddr, frames: &[&[u8]]) -> bool;
    /// A message that nobody could use, `size` bytes long as far as is known. Of its last frame a part may be missing.
    fn rejected(&mut self, peer: SocketAddr, reason: &str, frames: &[&[u8]], size: u64);
    /// A connection that can't go on, and what it said last.
    fn broken(&mut self, peer: SocketAddr, reason: &str, bytes: &[u8]);
}

struct Listener {
    number: u32,
    endpoint: String,
    socket: TcpListener,
    /// Until when it accepts nobody.
    rests: Option<Instant>,
}

/// A door.
pub struct Door {
    epoll: Epoll,
    listeners: Vec<Listener>,
    next_listener: u32,
    connections: Vec<Option<Connection>>,
    count: usize,
    most: usize,
    /// How much is held of messages that aren't whole.
    unfinished: usize,
    /// The longest message. Bytes.
    longest: u64,
    scratch: Vec<u8>,
    /// Tokens of those who had something to say and haven't had their turn.
    waiting: VecDeque<u64>,
    looked_over: Instant,
}

/// What a look through the door has brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Came {
    /// How many bytes.
    pub bytes: usize,
    /// Whether anybody had something to say, or came in.
    pub any: bool,
}

impl Door {
    /// A door without an endpoint, for messages of up to `longest` bytes.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new(longest: u64) -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            listeners: Vec::new(),
            next_listener: 0,
            connections: Vec::new(),
            count: 0,
            most: most_connections(),
            unfinished: 0,
            longest,
            scratch: vec![0; SCRATCH],
            waiting: VecDeque::with_capacity(LOOKS),
            looked_over: Instant::now(),
        })
    }

    /// Opens it at `tcp://ADDRESS:PORT`, if it isn't open there; `*` is every address.
    ///
    /// # Errors
    /// If the endpoint is none, or can't be had.
    pub fn bind(&mut self, endpoint: &str) -> io::Result<()> {
        if self.listeners.iter().any(|listener| listener.endpoint == endpoint) {
            return Ok(());
        }
        let socket = listen(endpoint)?;
        socket.set_nonblocking(true)?;
        let number = self.next_listener;
        self.next_listener += 1;
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, IS_LISTENER | u64::from(number)))?;
        self.listeners.push(Listener { number, endpoint: endpoint.to_owned(), socket, rests: None });
        Ok(())
    }

    /// Closes it at this endpoint. What has come by it and is there is taken in first.
    pub fn unbind(&mut self, endpoint: &str, visitor: &mut impl Visitor) {
        let Some(index) = self.listeners.iter().position(|listener| listener.endpoint == endpoint) else { return };
        let gone = self.listeners.remove(index);
        let now = Instant::now();
        for index in 0..self.connections.len() {
            if self.connections[index].as_ref().is_none_or(|connection| connection.listener != gone.number) {
                continue;
            }
            for _ in 0..LAST_LOOKS {
                if !matches!(self.look(index, now, visitor), Looked::Read(_)) {
                    break;
                }
            }
            self.end(index);
        }
    }

    /// Takes messages of up to this many bytes from now on.
    pub fn set_longest(&mut self, longest: u64) {
        self.longest = longest;
    }

    /// What can be polled for input.
    pub fn descriptor(&self) -> RawFd {
        self.epoll.0.as_raw_fd()
    }

    /// Looks once at each of those who have something to say, in turn, until there are `enough` bytes.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn take(&mut self, enough: usize, now: Instant, visitor: &mut impl Visitor) -> io::Result<Came> {
        self.look_over(now, visitor);
        if self.waiting.is_empty() {
            let mut events = [EpollEvent::empty(); LOOKS];
            let count = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            self.waiting.extend(events[..count].iter().map(EpollEvent::data));
        }
        let mut came = Came { bytes: 0, any: !self.waiting.is_empty() };
        while came.bytes < enough
            && let Some(token) = self.waiting.pop_front()
        {
            if token & IS_LISTENER != 0 {
                self.accept((token & !IS_LISTENER) as u32, now, visitor);
                continue;
            }
            // Its place may have been given to another in between: then there is nothing to read, or there is.
            let index = token as usize;
            match self.look(index, now, visitor) {
                Looked::Read(bytes) => came.bytes += bytes,
                Looked::Dry => {}
                Looked::Ended => self.end(index),
            }
        }
        self.keep_within_bounds(visitor);
        Ok(came)
    }

    fn look(&mut self, index: usize, now: Instant, visitor: &mut impl Visitor) -> Looked {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return Looked::Dry };
        if connection.rests.is_some() {
            return Looked::Dry;
        }
        let before = connection.held().len();
        let looked = connection.look(&mut self.scratch, self.longest, now, visitor);
        self.unfinished = self.unfinished - before + connection.held().len();
        if connection.rests.is_some() {
            // Without interest in it, it wakes nobody.
            let _ = self.epoll.modify(connection.stream(), &mut EpollEvent::new(EpollFlags::empty(), index as u64));
        }
        looked
    }

    fn end(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::take) else { return };
        self.unfinished -= connection.held().len();
        self.count -= 1;
        // That it is closed takes it out as well; a descriptor that a child has inherited would keep it.
        let _ = self.epoll.delete(connection.stream());
    }

    fn accept(&mut self, number: u32, now: Instant, visitor: &mut impl Visitor) {
        let Some(at) = self.listeners.iter().position(|listener| listener.number == number) else { return };
        for _ in 0..ACCEPTS {
            match self.listeners[at].socket.accept() {
                Ok((stream, peer)) => {
                    if self.count >= self.most {
                        self.end_the_least_useful(visitor);
                    }
                    // One that is gone by now has said nothing.
                    let Ok(connection) = Connection::new(stream, peer, number, now) else { continue };
                    self.admit(connection);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.raw_os_error(), Some(libc_errors::EMFILE | libc_errors::ENFILE)) => {
                    self.end_the_least_useful(visitor);
                    let listener = &mut self.listeners[at];
                    listener.rests = Some(now + ACCEPT_AGAIN);
                    let token = IS_LISTENER | u64::from(number);
                    let _ = self.epoll.modify(&listener.socket, &mut EpollEvent::new(EpollFlags::empty(), token));
                    return;
                }
                // Of the connection, not of the listener.
                Err(_) => {}
            }
        }
    }

    fn admit(&mut self, connection: Connection) {
        let free = self.connections.iter().position(Option::is_none);
        let index = free.unwrap_or(self.connections.len());
        if free.is_none() {
            self.connections.push(None);
        }
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        if self.epoll.add(connection.stream(), event).is_ok() {
            self.connections[index] = Some(connection);
            self.count += 1;
        }
    }

    fn end_the_least_useful(&mut self, visitor: &mut impl Visitor) {
        let all = self.connections.iter().enumerate();
        let all = all.filter_map(|(index, connection)| Some((index, connection.as_ref()?)));
        let Some((index, least)) = all.min_by_key(|(_, connection)| connection.use_so_far()) else { return };
        visitor.broken(least.peer, "too many connections", least.held());
        self.end(index);
    }

    fn keep_within_bounds(&mut self, visitor: &mut impl Visitor) {
        let most = UNFINISHED.max(usize::try_from(self.longest.saturating_mul(4)).unwrap_or(usize::MAX));
        while self.unfinished > most {
            let all = self.connections.iter().enumerate();
            let all = all.filter_map(|(index, connection)| Some((index, connection.as_ref()?)));
            let Some((index, most)) = all.max_by_key(|(_, connection)| connection.held().len()) else { return };
            visitor.broken(most.peer, "too much of unfinished messages", most.held());
            self.end(index);
        }
    }

    /// Ends handshakes that take too long, and rests that are over.
    fn look_over(&mut self, now: Instant, visitor: &mut impl Visitor) {
        const OFTEN: Duration = Duration::from_millis(1);
        if now.duration_since(self.looked_over) < OFTEN {
            return;
        }
        self.looked_over = now;
        for listener in &mut self.listeners {
            if listener.rests.is_some_and(|until| until <= now) {
                listener.rests = None;
                let token = IS_LISTENER | u64::from(listener.number);
                let _ = self.epoll.modify(&listener.socket, &mut EpollEvent::new(EpollFlags::EPOLLIN, token));
            }
        }
        for index in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[index] else { continue };
            if connection.rests.is_some_and(|until| until <= now) {
                connection.rests = None;
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
                let _ = self.epoll.modify(connection.stream(), &mut event);
            }
            if !connection.is_ready() && now.duration_since(connection.since) > HANDSHAKE {
                visitor.broken(connection.peer, "a handshake that was never finished", connection.held());
                self.end(index);
            }
        }
    }
}

mod libc_errors {
    pub const EMFILE: i32 = nix::errno::Errno::EMFILE as i32;
    pub const ENFILE: i32 = nix::errno::Errno::ENFILE as i32;
}

/// How many connections a door may have: as many as this process may open files, less what it needs itself.
fn most_connections() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return CONNECTIONS };
    let wanted = (CONNECTIONS as u64 + OTHER_FILES).min(hard);
    let granted = if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft };
    usize::try_from(granted.saturating_sub(OTHER_FILES)).unwrap_or(CONNECTIONS).clamp(16, CONNECTIONS)
}

fn listen(endpoint: &str) -> io::Result<TcpListener> {
    let none = || io::Error::new(io::ErrorKind::InvalidInput, "not an endpoint such as tcp://10.0.0.1:7001");
    let place = endpoint.strip_prefix("tcp://").ok_or_else(none)?;
    let (host, port) = place.rsplit_once(':').ok_or_else(none)?;
    let host = if host == "*" { "0.0.0.0" } else { host.trim_start_matches('[').trim_end_matches(']') };
    let port: u16 = port.parse().map_err(|_| none())?;
    let mut refused = none();
    for address in (host, port).to_socket_addrs()? {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
