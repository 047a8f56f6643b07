//! A process's connection to its launcher, made anew whenever there is none: the next launcher takes over the processes
//! of one that has died, and learns from them what they are at.

use std::{
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::control::{Envelope, FromProcess, ToProcess};

/// How long a process waits before it tries to connect to a launcher that is away for the second time. It doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// A line of control that is longer ends the connection. Bytes.
const LONGEST_LINE: usize = 1 << 20;

/// The connection to the launcher. Reads whole messages, without ever waiting.
pub struct Control {
    path: PathBuf,
    process: String,
    generation: u64,
    incarnation: u64,
    stream: Option<UnixStream>,
    next_try: Option<Instant>,
    pause: Duration,
    received: Vec<u8>,
    said: Said,
}

/// What holds until something else is said, and is said again on every new connection.
#[derive(Default)]
struct Said {
    ready: bool,
    flushed: bool,
    finished: bool,
    trouble: Option<String>,
}

impl Control {
    /// A connection to be made to the launcher's socket at `path`.
    pub fn new(path: PathBuf, process: String, generation: u64, incarnation: u64) -> Self {
        Self {
            path,
            process,
            generation,
            incarnation,
            stream: None,
            next_try: None,
            pause: FIRST_PAUSE,
            received: Vec::new(),
            said: Said::default(),
        }
    }

    /// The generation that the process lives by.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Connects if there is no connection and the last try was long enough ago.
    pub fn connect(&mut self, now: Instant) {
        if self.stream.is_some() || self.next_try.is_some_and(|at| now < at) {
            return;
        }
        self.next_try = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let Ok(stream) = connect_at_once(&self.path) else { return };
        self.pause = FIRST_PAUSE;
        self.received.clear();
        self.stream = Some(stream);
        let Said { ready, flushed, finished, ref trouble } = self.said;
        let hello = FromProcess::Hello { process: self.process.clone(), pid: nix::unistd::getpid().as_raw(), ready };
        let again = [
            Some(hello),
            ready.then_some(FromProcess::Ready),
            flushed.then_some(FromProcess::Flushed { generation: self.generation }),
            finished.then_some(FromProcess::Finished),
            trouble.clone().map(|text| FromProcess::Trouble { text }),
        ];
        again.into_iter().flatten().for_each(|message| self.write(message));
    }

    /// Says that the process is ready.
    pub fn say_ready(&mut self) {
        self.say(FromProcess::Ready);
    }

    /// Says that the process lives by another generation's plan from now on.
    pub fn say_adopted(&mut self, generation: u64) {
        if generation != self.generation {
            self.generation = generation;
            self.said.flushed = false;
        }
        self.say(FromProcess::Adopted { generation });
        if self.said.flushed {
            self.say(FromProcess::Flushed { generation });
        }
    }

    /// Whether it has been said that what was sent by older guides has receipts.
    pub fn is_flushed(&self) -> bool {
        self.said.flushed
    }

    /// Says that what was sent by older guides has receipts.
    pub fn say_flushed(&mut self) {
        self.say(FromProcess::Flushed { generation: self.generation });
    }

    /// Says something. If the launcher is away it isn't heard; what holds on is said again once there is another one.
    pub fn say(&mut self, message: FromProcess) {
        match &message {
            FromProcess::Ready => self.said.ready = true,
            FromProcess::Flushed { .. } => self.said.flushed = true,
            FromProcess::Finished => self.said.finished = true,
            FromProcess::Trouble { text } => self.said.trouble = (!text.is_empty()).then(|| text.clone()),
            // Answers, for which a launcher asks again.
            FromProcess::Hello { .. }
            | FromProcess::Adopted { .. }
            | FromProcess::Refused { .. }
            | FromProcess::HandedOver { .. }
            | FromProcess::Settled { .. }
            // The launcher tells the gate anew on every connection, and these are answers to that.
            | FromProcess::Gate { .. }
            | FromProcess::Drained { .. } => {}
        }
        self.write(message);
    }

    fn write(&mut self, message: FromProcess) {
        let Some(stream) = &mut self.stream else { return };
        let envelope = Envelope { generation: self.generation, incarnation: self.incarnation, message };
        let Ok(mut line) = serde_json::to_vec(&envelope) else { return };
        line.push(b'\n');
        // A socket buffer holds thousands of these; one that is full belongs to a launcher that doesn't listen.
        if stream.write_all(&line).is_err() {
            self.stream = None;
        }
    }

    /// What the launcher has said since the last time.
    pub fn hear(&mut self) -> Vec<ToProcess> {
        let mut heard = Vec::new();
        let Some(stream) = &mut self.stream else { return heard };
        let mut buffer = [0; 4096];
        let alive = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        while let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            if let Ok(envelope) = serde_json::from_slice::<Envelope<ToProcess>>(&line)
                && envelope.incarnation == self.incarnation
            {
                heard.push(envelope.message);
            }
        }
        if !alive || self.received.len() > LONGEST_LINE {
            self.stream = None;
        }
        heard
    }

    /// The connection, to poll.
    pub fn stream(&self) -> Option<&UnixStream> {
        self.stream.as_ref()
    }
}

/// Connects without waiting, also where more connections wait to be accepted than the system lets wait: a launcher that
/// has been stopped in its tracks must not stop its processes' records.
fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::net::UnixListener,
    };

    use nix::sys::socket::{Backlog, bind, listen};

    use super::*;

    fn heard(listener: &UnixListener, messages: usize) -> Vec<FromProcess> {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let lines = BufReader::new(stream).lines().take(messages);
        lines.map(|line| serde_json::from_str::<Envelope<FromProcess>>(&line.unwrap()).unwrap().message).collect()
    }

    #[test]
    fn the_next_launcher_is_told_what_holds_and_answers_are_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let first = UnixListener::bind(&path).unwrap();
        let mut control = Control::new(path.clone(), "visit.0".to_owned(), 3, 2);
        let now = Instant::now();
        control.connect(now);
        let hello =
            |ready| FromProcess::Hello { process: "visit.0".to_owned(), pid: nix::unistd::getpid().as_raw(), ready };
        control.say_ready();
        assert_eq!(heard(&first, 2), [hello(false), FromProcess::Ready]);
        drop(first);
        std::fs::remove_file(&path).unwrap();
        control.hear();
        assert!(control.stream().is_none());
        // Nobody hears these.
        control.connect(now + FIRST_PAUSE);
        control.say(FromProcess::Gate { closed: true });
        control.say(FromProcess::Settled { generation: 3 });
        control.say(FromProcess::Trouble { text: "no room".to_owned() });
        let second = UnixListener::bind(&path).unwrap();
        control.connect(now + FIRST_PAUSE);
        assert!(control.stream().is_none(), "it is too soon for another try");
        control.connect(now + LONGEST_PAUSE * 2);
        let trouble = FromProcess::Trouble { text: "no room".to_owned() };
        assert_eq!(heard(&second, 3), [hello(true), FromProcess::Ready, trouble]);
    }

    #[test]
    fn a_launcher_that_accepts_nobody_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let mut waiting = Vec::new();
        let refused = (0..10).any(|_| match connect_at_once(&path) {
            Ok(stream) => {
                waiting.push(stream);
                false
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
        assert!(refused, "{} connections wait", waiting.len());
    }
}
