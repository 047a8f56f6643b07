//! What runs while it is changed: a source, a stage that passes on, a loop, a sink; and the same over plain ZeroMQ sockets,
//! as one would write it with a supervisor in place of waldo. All keep a [`super::book`].
//!
//! A record is 200 bytes, of which the first are numbers: [`Numbers`].

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    thread::sleep,
    time::Duration,
};

use clap::{Args, Subcommand};
use waldo_sdk::Stage;
use xxhash_rust::xxh3::xxh3_64;
use zmq::{Context, PULL, PUSH};

use super::book::{Series, Writer, now};
use crate::Trouble;

/// Keys of each source.
const KEYS: u64 = 64;
/// Bytes of a record.
const SIZE: usize = 200;
/// Of so many keys, the records of one go round the loop, as often as [`laps_of`] says.
const GOES_ROUND: u64 = 4;
/// A source that was kept from sending makes up for at most this much. Nanoseconds.
const CATCH_UP: u64 = 20_000_000;
/// How long a source sleeps when nothing is due.
const BREATH: Duration = Duration::from_micros(500);
/// How long a plain socket waits before it is looked whether the process is to end. Milliseconds.
const LOOK: i32 = 20;

/// A stage.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Makes records until there is a file `enough` among the books.
    Feed {
        #[command(flatten)]
        place: Place,
        /// Records a second.
        #[arg(long)]
        rate: u64,
        /// The flow, or an endpoint to connect.
        #[arg(long)]
        to: String,
    },
    /// Passes them on.
    Pass {
        #[command(flatten)]
        place: Place,
        /// An endpoint to bind, for a plain one.
        #[arg(long)]
        at: Option<String>,
        /// The flow, or an endpoint to connect.
        #[arg(long)]
        to: String,
    },
    /// Sends them round, and then on.
    Loop {
        #[command(flatten)]
        place: Place,
        /// The flow of the loop.
        #[arg(long)]
        round: String,
        /// The flow out of it.
        #[arg(long)]
        to: String,
    },
    /// Keeps them.
    Keep {
        #[command(flatten)]
        place: Place,
        /// An endpoint to bind, for a plain one.
        #[arg(long)]
        at: Option<String>,
        /// How long it takes for a record. Microseconds.
        #[arg(long, default_value_t = 0)]
        delay: u64,
    },
}

/// Where a stage keeps its book.
#[derive(Debug, Args)]
pub struct Place {
    /// The directory of all books.
    #[arg(long)]
    books: PathBuf,
    /// Its name where waldo doesn't give it one.
    #[arg(long, default_value = "plain")]
    name: String,
}

/// What a record begins with, each as eight bytes, little-endian.
#[derive(Clone, Copy)]
struct Numbers {
    source: u64,
    key: u64,
    /// Counts from 1 for each source and key.
    number: u64,
    sender: u64,
    /// Counts from 1 for each sender, flow and key.
    nth: u64,
    lap: u64,
}

impl Numbers {
    const LENGTH: usize = 48;

    fn write(&self, payload: &mut [u8; SIZE]) {
        let Self { source, key, number, sender, nth, lap } = *self;
        for (place, value) in [source, key, number, sender, nth, lap].into_iter().enumerate() {
            payload[8 * place..8 * (place + 1)].copy_from_slice(&value.to_le_bytes());
        }
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let numbers = payload.first_chunk::<{ Self::LENGTH }>()?;
        let at = |place: usize| u64::from_le_bytes(std::array::from_fn(|byte| numbers[8 * place + byte]));
        Some(Self { source: at(0), key: at(1), number: at(2), sender: at(3), nth: at(4), lap: at(5) })
    }
}

/// All records of a key go round equally often, so that their order can be kept.
fn laps_of(key: u64) -> u64 {
    if key.is_multiple_of(GOES_ROUND) { 1 + key / GOES_ROUND % 3 } else { 0 }
}

fn text_of(key: u64) -> String {
    format!("key{key:02}")
}

/// Numbers what one process sends on one flow.
struct Sender {
    own: u64,
    sent: HashMap<u64, u64>,
    payload: [u8; SIZE],
}

impl Sender {
    fn new(own: &str, flow: &str) -> Self {
        Self { own: xxh3_64(format!("{own} {flow}").as_bytes()), sent: HashMap::new(), payload: [b'.'; SIZE] }
    }

    /// The record as it is sent on.
    fn next(&mut self, numbers: Numbers) -> &[u8] {
        let nth = self.sent.entry(numbers.key).or_default();
        *nth += 1;
        Numbers { sender: self.own, nth: *nth, ..numbers }.write(&mut self.payload);
        &self.payload
    }

    /// The last one has not been sent.
    fn take_back(&mut self, key: u64) {
        if let Some(nth) = self.sent.get_mut(&key) {
            *nth -= 1;
        }
    }

    fn made(&self) -> Vec<(Series, u64)> {
        self.sent.iter().map(|(&key, &count)| (Series { whose: self.own, key }, count)).collect()
    }
}

/// When the next records are due.
struct Timetable {
    each: u64,
    due: u64,
}

impl Timetable {
    fn new(rate: u64) -> Self {
        Self { each: 1_000_000_000 / rate.max(1), due: now() }
    }

    /// How many are due now.
    fn take(&mut self) -> u64 {
        let now = now();
        self.due = self.due.max(now.saturating_sub(CATCH_UP));
        let count = now.saturating_sub(self.due) / self.each;
        self.due += count * self.each;
        count
    }
}

fn is_enough(place: &Place) -> bool {
    place.books.join("enough").exists()
}

fn variable(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

/// This process, as no other one is called: server, stage, and a name.
fn who(place: &Place) -> (String, String, String) {
    let (server, stage) = (variable("WALDO_SERVER", "here"), variable("WALDO_STAGE", &place.name));
    let name = format!("{server} {stage} {} {}", std::process::id(), now());
    (server, stage, name)
}

fn leave(writer: Writer, place: &Place, made: Vec<(Series, u64)>) -> Result<(), Trouble> {
    let (server, stage, _) = who(place);
    writer
        .leave(&place.books, &server, &stage, made)
        .map_err(|error| Trouble::io(format!("write into {}", place.books.display()), error))
}

impl Role {
    /// Does what the role does, until it is to end.
    pub fn run(&self) -> Result<(), Trouble> {
        match self {
            Self::Feed { place, rate, to } if to.contains("://") => plain::feed(place, *rate, to),
            Self::Feed { place, rate, to } => feed(place, *rate, to),
            Self::Pass { place, at: Some(at), to } => plain::pass(place, at, to),
            Self::Pass { place, at: None, to } => relay(place, None, to),
            Self::Loop { place, round, to } => relay(place, Some(round), to),
            Self::Keep { place, at: Some(at), .. } => plain::keep(place, at),
            Self::Keep { place, at: None, delay } => keep(place, Duration::from_micros(*delay)),
        }
    }
}

fn feed(place: &Place, rate: u64, flow: &str) -> Result<(), Trouble> {
    let (_, _, own) = who(place);
    let mut sender = Sender::new(&own, flow);
    let source = sender.own;
    let mut stage = Stage::open()?;
    let mut timetable = Timetable::new(rate);
    let keys: Vec<String> = (0..KEYS).map(text_of).collect();
    let mut key = 0;
    'all: while !stage.stopping() && !is_enough(place) {
        for _ in 0..timetable.take() {
            key = (key + 1) % KEYS;
            let number = sender.sent.get(&key).copied().unwrap_or(0) + 1;
            let payload = sender.next(Numbers { source, key, number, sender: 0, nth: 0, lap: 0 });
            match stage.send(flow, keys[key as usize].as_bytes(), payload) {
                Ok(()) => {}
                Err(waldo_sdk::Error::Stopped) => {
                    sender.take_back(key);
                    break 'all;
                }
                Err(error) => return Err(error.into()),
            }
        }
        stage.flush()?;
        sleep(BREATH);
    }
    stage.finish()?;
    leave(Writer::default(), place, sender.made())
}

/// Passes on, and sends round before that what hasn't gone round often enough.
fn relay(place: &Place, round: Option<&str>, to: &str) -> Result<(), Trouble> {
    let (_, _, own) = who(place);
    let mut onward = Sender::new(&own, to);
    let mut around = Sender::new(&own, round.unwrap_or_default());
    let mut writer = Writer::default();
    let keys: Vec<String> = (0..KEYS).map(text_of).collect();
    let mut stage = Stage::open()?;
    while let Some(record) = stage.receive()? {
        let numbers = read(record.payload())?;
        writer.note_time(now());
        let key = keys[(numbers.key % KEYS) as usize].as_bytes();
        match round {
            Some(round) if numbers.lap < laps_of(numbers.key) => {
                stage.send(round, key, around.next(Numbers { lap: numbers.lap + 1, ..numbers }))?;
            }
            _ => stage.send(to, key, onward.next(numbers))?,
        }
    }
    stage.finish()?;
    leave(writer, place, Vec::new())
}

fn keep(place: &Place, delay: Duration) -> Result<(), Trouble> {
    let mut writer = Writer::default();
    let mut stage = Stage::open()?;
    while let Some(record) = stage.receive()? {
        note(&mut writer, read(record.payload())?);
        if !delay.is_zero() {
            sleep(delay);
        }
    }
    stage.finish()?;
    leave(writer, place, Vec::new())
}

fn note(writer: &mut Writer, numbers: Numbers) {
    let Numbers { source, key, number, sender, nth, .. } = numbers;
    writer.note(Series { whose: source, key }, number, Series { whose: sender, key }, nth);
}

fn read(payload: &[u8]) -> Result<Numbers, Trouble> {
    Numbers::read(payload).ok_or_else(|| Trouble::Answer(serde::de::Error::custom("a record is too short")))
}

/// The same over PUSH and PULL, with libzmq's defaults. They end on SIGTERM as ordinary programs do that clean up: what
/// they have in hand is sent, and what is queued in their sockets is not theirs any more.
mod plain {
    use super::{
        Arc, AtomicBool, BREATH, Context, KEYS, LOOK, Numbers, Ordering, PULL, PUSH, Path, Place, Sender, Timetable,
        Trouble, Writer, is_enough, leave, note, now, read, sleep, who,
    };

    fn ending() -> Result<Arc<AtomicBool>, Trouble> {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&flag))
            .map_err(|error| Trouble::io("catch SIGTERM", error))?;
        Ok(flag)
    }

    fn socket(context: &Context, kind: zmq::SocketType, at: &str) -> Result<zmq::Socket, Trouble> {
        let open = || {
            let socket = context.socket(kind)?;
            if kind == PULL {
                socket.set_rcvtimeo(LOOK)?;
                socket.bind(at)?;
            } else {
                socket.connect(at)?;
            }
            Ok(socket)
        };
        if let (PULL, Some(path)) = (kind, at.strip_prefix("ipc://")) {
            // Left by whoever was bound there before.
            let _ = std::fs::remove_file(Path::new(path));
        }
        open().map_err(Trouble::zmq("open a socket"))
    }

    pub fn feed(place: &Place, rate: u64, to: &str) -> Result<(), Trouble> {
        let (_, _, own) = who(place);
        let mut sender = Sender::new(&own, to);
        let source = sender.own;
        let (ending, context) = (ending()?, Context::new());
        let socket = socket(&context, PUSH, to)?;
        let mut timetable = Timetable::new(rate);
        let mut key = 0;
        while !ending.load(Ordering::Relaxed) && !is_enough(place) {
            for _ in 0..timetable.take() {
                key = (key + 1) % KEYS;
                let number = sender.sent.get(&key).copied().unwrap_or(0) + 1;
                let payload = sender.next(Numbers { source, key, number, sender: 0, nth: 0, lap: 0 });
                socket.send(payload, 0).map_err(Trouble::zmq("send"))?;
            }
            sleep(BREATH);
        }
        leave(Writer::default(), place, sender.made())
    }

    fn receive(
        socket: &zmq::Socket,
        ending: &AtomicBool,
        mut handle: impl FnMut(Numbers) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut message = zmq::Message::new();
        while !ending.load(Ordering::Relaxed) {
            match socket.recv(&mut message, 0) {
                Ok(()) => handle(read(&message)?)?,
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => {}
                Err(error) => return Err(Trouble::zmq("receive")(error)),
            }
        }
        Ok(())
    }

    pub fn pass(place: &Place, at: &str, to: &str) -> Result<(), Trouble> {
        let (_, _, own) = who(place);
        let mut sender = Sender::new(&own, to);
        let (ending, context) = (ending()?, Context::new());
        let (inbox, outbox) = (socket(&context, PULL, at)?, socket(&context, PUSH, to)?);
        let mut writer = Writer::default();
        receive(&inbox, &ending, |numbers| {
            writer.note_time(now());
            outbox.send(sender.next(numbers), 0).map_err(Trouble::zmq("send"))
        })?;
        leave(writer, place, Vec::new())
    }

    pub fn keep(place: &Place, at: &str) -> Result<(), Trouble> {
        let (ending, context) = (ending()?, Context::new());
        let inbox = socket(&context, PULL, at)?;
        let mut writer = Writer::default();
        receive(&inbox, &ending, |numbers| {
            note(&mut writer, numbers);
            Ok(())
        })?;
        leave(writer, place, Vec::new())
    }
}
