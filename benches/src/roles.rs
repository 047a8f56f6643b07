//! What the processes of a relay do, each in a process of its own: plain ZeroMQ senders, relays and receivers, and
//! the stages of `benches/portal` and `benches/client`.
//!
//! A record with a timetable begins with two numbers: when it was due and when it was sent. Nanoseconds of the
//! monotonic clock, which is one for all processes of a machine.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use nix::{
    sys::prctl,
    time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep},
    unistd::alarm,
};
use serde::{Deserialize, Serialize};
use waldo_sdk::Stage;
use zmq::{Context, PULL, PUSH, Socket, SocketType};

use crate::{Trouble, cost::Used, figure::quantile, floor, process};

/// How many different keys records have.
const KEYS: u64 = 1_000;
/// The flow of three-frame records and of the stages.
pub const FLOW: &str = "call";
const STAMP: usize = 16;
/// How long a socket may wait for its peer. Milliseconds.
const WAIT: i32 = 20_000;

/// A role.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Pushes records to `to`.
    Send {
        /// An endpoint to connect.
        #[arg(long)]
        to: String,
        /// 1 (payload) or 3 (flow, key, payload).
        #[arg(long)]
        frames: u8,
        #[command(flatten)]
        load: Load,
    },
    /// Passes messages on, by `zmq_proxy`; prints the endpoint that it bound.
    Proxy {
        /// An endpoint to connect.
        #[arg(long)]
        to: String,
    },
    /// Pulls records and prints an [`Account`].
    Receive {
        /// An endpoint to bind.
        #[arg(long)]
        at: String,
        #[command(flatten)]
        load: Load,
    },
    /// Writes the load's bytes to `to`, an address.
    SendBytes {
        /// An address to connect.
        #[arg(long)]
        to: String,
        #[command(flatten)]
        load: Load,
    },
    /// Passes bytes on; prints the address that it listens at.
    PassBytes {
        /// A socket's path.
        #[arg(long)]
        to: PathBuf,
        /// By `splice`, not by reading and writing.
        #[arg(long)]
        splice: bool,
    },
    /// Reads the load's bytes and prints an [`Account`].
    ReceiveBytes {
        /// A socket's path.
        #[arg(long)]
        at: PathBuf,
        #[command(flatten)]
        load: Load,
    },
    /// A source that sends records to all its flows in turn; the load is in the environment.
    SourceStage(Load),
    /// A sink that receives them, and leaves the account in its state directory.
    SinkStage(Load),
}

/// What goes through a relay.
#[derive(Debug, Clone, Copy, Args)]
pub struct Load {
    /// How many records.
    #[arg(long, env = "BENCH_RECORDS")]
    pub records: u64,
    /// How long each is. Bytes.
    #[arg(long, env = "BENCH_SIZE", default_value_t = 200)]
    pub size: usize,
    /// How many a second; 0 for as many as go.
    #[arg(long, env = "BENCH_RATE", default_value_t = 0)]
    pub rate: u64,
}

/// What a receiver saw.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Account {
    /// How many records were received up to `last`.
    pub received: u64,
    /// When the first one was received. Nanoseconds of the monotonic clock.
    pub first: u64,
    /// When one of the last was received: the last of all, if it is known how many come.
    pub last: u64,
    /// What the process in the middle took of the processors' time, all its life. Seconds.
    pub relay_seconds: f64,
    /// What memory the process in the middle had at most. MiB.
    pub relay_peak: f64,
    /// Records a second, from the first to the last.
    #[serde(default)]
    pub per_second: f64,
    /// Half of the records took at most so long. Microseconds; 0 without a timetable.
    pub p50: f64,
    /// 99 of 100 records took at most so long. Microseconds; 0 without a timetable.
    pub p99: f64,
    /// 99 of 100 records were sent at most so long after they were due. Microseconds; 0 without a timetable.
    pub late_p99: f64,
}

/// Where a sink leaves its account, from its state directory.
pub const ACCOUNT: &str = "account.json";

impl Load {
    /// The load as variables for stages.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("BENCH_RECORDS", self.records.to_string()),
            ("BENCH_SIZE", self.size.to_string()),
            ("BENCH_RATE", self.rate.to_string()),
        ]
    }

    /// The load as arguments for roles.
    pub fn arguments(&self) -> [String; 6] {
        let [records, size, rate] = self.environment().map(|(_, value)| value);
        ["--records".to_owned(), records, "--size".to_owned(), size, "--rate".to_owned(), rate]
    }
}

/// The monotonic clock. Nanoseconds.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

/// Makes payloads, each when it is due.
struct Timetable {
    load: Load,
    begun: u64,
    payload: Vec<u8>,
}

impl Timetable {
    fn new(load: Load) -> Self {
        Self { load, begun: now(), payload: vec![b'.'; load.size.max(STAMP)] }
    }

    fn next(&mut self, number: u64) -> &[u8] {
        if let Some(after) = (number * 1_000_000_000).checked_div(self.load.rate) {
            let due = self.begun + after;
            let at = Duration::from_nanos(due).into();
            while clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &at).is_err() {}
            self.payload[..8].copy_from_slice(&due.to_le_bytes());
            self.payload[8..STAMP].copy_from_slice(&now().to_le_bytes());
        }
        &self.payload
    }
}

/// Keeps the account of what is received.
struct Receipts {
    load: Load,
    received: u64,
    /// How many had been received at `last`.
    counted: u64,
    first: u64,
    last: u64,
    took: Vec<f64>,
    late: Vec<f64>,
}

impl Receipts {
    fn new(load: Load) -> Self {
        let room = if load.rate > 0 { load.records as usize } else { 0 };
        Self {
            load,
            received: 0,
            counted: 0,
            first: 0,
            last: 0,
            took: Vec::with_capacity(room),
            late: Vec::with_capacity(room),
        }
    }

    /// Answers whether this was the last.
    fn take(&mut self, payload: &[u8]) -> bool {
        self.received += 1;
        if self.load.rate > 0 {
            let arrived = now();
            if let Some((due, rest)) = payload.split_first_chunk() {
                let (due, sent) =
                    (u64::from_le_bytes(*due), rest.first_chunk().map_or(0, |sent| u64::from_le_bytes(*sent)));
                self.took.push(arrived.saturating_sub(sent) as f64 / 1e3);
                self.late.push(sent.saturating_sub(due) as f64 / 1e3);
            }
        }
        if self.received == 1 {
            self.first = now();
        }
        // Where several instances share the load, none knows how much it gets.
        if self.received.is_multiple_of(256) || self.received == self.load.records {
            self.last = now();
            self.counted = self.received;
        }
        self.received == self.load.records
    }

    fn account(&mut self) -> Account {
        self.took.sort_by(f64::total_cmp);
        self.late.sort_by(f64::total_cmp);
        let seconds = self.last.saturating_sub(self.first) as f64 / 1e9;
        Account {
            received: self.counted,
            first: self.first,
            last: self.last,
            per_second: self.counted.saturating_sub(1) as f64 / seconds.max(1e-9),
            p50: quantile(&self.took, 0.5),
            p99: quantile(&self.took, 0.99),
            late_p99: quantile(&self.late, 0.99),
            ..Account::default()
        }
    }
}

fn socket(context: &Context, kind: SocketType) -> zmq::Result<Socket> {
    let socket = context.socket(kind)?;
    socket.set_sndtimeo(WAIT)?;
    socket.set_rcvtimeo(WAIT)?;
    socket.set_linger(WAIT)?;
    Ok(socket)
}

impl Role {
    /// Does what the role does; ends with the load, or after [`process::LIMIT`].
    pub fn run(&self) -> Result<(), Trouble> {
        alarm::set(process::LIMIT.as_secs() as u32);
        // Without this a sleep may end 50 µs late, which is as long as a record takes.
        prctl::set_timerslack(1).map_err(|error| Trouble::io("set the timer slack", error.into()))?;
        match self {
            Self::Send { to, frames, load } => send(to, *frames, *load).map_err(Trouble::zmq("send")),
            Self::Proxy { to } => relay(to).map_err(Trouble::zmq("relay")),
            Self::Receive { at, load } => {
                let account = receive(at, *load).map_err(Trouble::zmq("receive"))?;
                println!("{}", serde_json::to_string(&account)?);
                Ok(())
            }
            Self::SendBytes { to, load } => floor::send(to, *load).map_err(|error| Trouble::io("send", error)),
            Self::PassBytes { to, splice } => {
                floor::relay(to, *splice).map_err(|error| Trouble::io("pass bytes on", error))
            }
            Self::ReceiveBytes { at, load } => {
                println!("{}", serde_json::to_string(&floor::receive(at, *load)?)?);
                Ok(())
            }
            Self::SourceStage(load) => source(*load),
            Self::SinkStage(load) => sink(*load),
        }
    }
}

fn send(to: &str, frames: u8, load: Load) -> zmq::Result<()> {
    let context = Context::new();
    let socket = socket(&context, PUSH)?;
    socket.connect(to)?;
    let mut timetable = Timetable::new(load);
    for number in 0..load.records {
        let payload = timetable.next(number);
        if frames == 3 {
            socket.send(FLOW, zmq::SNDMORE)?;
            socket.send(&key(number), zmq::SNDMORE)?;
        }
        socket.send(payload, 0)?;
    }
    Ok(())
}

fn key(number: u64) -> String {
    format!("key{:05}", number % KEYS)
}

fn relay(to: &str) -> zmq::Result<()> {
    let context = Context::new();
    let (front, back) = (socket(&context, PULL)?, socket(&context, PUSH)?);
    front.bind("tcp://127.0.0.1:*")?;
    back.connect(to)?;
    if let Ok(Ok(endpoint)) = front.get_last_endpoint() {
        println!("{endpoint}");
    }
    zmq::proxy(&front, &back)
}

fn receive(at: &str, load: Load) -> zmq::Result<Account> {
    let context = Context::new();
    let socket = socket(&context, PULL)?;
    socket.bind(at)?;
    println!("{at}");
    let mut receipts = Receipts::new(load);
    let mut message = zmq::Message::new();
    loop {
        socket.recv(&mut message, 0)?;
        if !message.get_more() && receipts.take(&message) {
            return Ok(receipts.account());
        }
    }
}

fn source(load: Load) -> Result<(), Trouble> {
    let mut stage = Stage::open()?;
    let mut timetable = Timetable::new(load);
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    let flows: Vec<String> = stage.wiring().outputs.iter().map(|output| output.flow.clone()).collect();
    for (number, flow) in (0..load.records).zip(flows.iter().cycle()) {
        let key = keys[(number % KEYS) as usize].as_bytes();
        stage.send(flow, key, timetable.next(number))?;
        if load.rate > 0 {
            stage.flush()?;
        }
    }
    Ok(stage.finish()?)
}

fn sink(load: Load) -> Result<(), Trouble> {
    let mut receipts = Receipts::new(load);
    let mut stage = Stage::open()?;
    let directory = stage.state_directory().to_owned();
    let place = stage.place().clone();
    let relay = stage.wiring().inputs.first().and_then(|input| input.from.first()).cloned();
    // While it is there: portals leave last.
    let account = |receipts: &mut Receipts| {
        let account = receipts.account();
        let used = relay.as_ref().and_then(|relay| Used::by(&place.directory(relay).join("identity.json")));
        used.map_or(account, |used| Account { relay_seconds: used.seconds, relay_peak: used.peak, ..account })
    };
    while let Some(record) = stage.receive()? {
        if receipts.take(record.payload()) {
            leave(&directory, account(&mut receipts))?;
        }
    }
    leave(&directory, account(&mut receipts))?;
    Ok(stage.finish()?)
}

/// Writes the account so that whoever sees the file sees all of it.
fn leave(directory: &Path, account: Account) -> Result<(), Trouble> {
    let unfinished: PathBuf = directory.join("account.unfinished");
    let failed = |error| Trouble::io(format!("write {}", directory.join(ACCOUNT).display()), error);
    std::fs::write(&unfinished, serde_json::to_vec(&account)?).map_err(failed)?;
    std::fs::rename(&unfinished, directory.join(ACCOUNT)).map_err(failed)
}
