//! Where a flow leaves the topology: each record is pushed as three frames to whoever is there.
//!
//! A record counts as done when libzmq has taken it for a peer that is connected. What the peer does with it nobody here can
//! know: a PULL socket sends no receipts. So of what counts as done, at most what libzmq queues for one peer and what was in
//! its connection is lost when that breaks, or when this process is killed.
//!
//! While nobody is connected no record is asked for: it stays in the inbox, then with whoever sends, then in the portal's
//! spool. So nothing is in hand, and another endpoint can be adopted.

use std::{
    os::fd::RawFd,
    time::{Duration, Instant},
};

use waldo_sdk::{
    Error, Result, Stage,
    inbox::Record,
    socket::{self, EGRESS_LINGER},
    stage::Ready,
    wiring::Egress,
};
use zmq::{Context, DONTWAIT, POLLOUT, SNDMORE, Socket};

/// How long one wait may last. Milliseconds. libzmq's descriptor tells of changes once only.
const LOOK: i64 = 50;
/// How long nobody may be there before it is told.
const PATIENCE: Duration = Duration::from_secs(1);

fn failed(doing: &'static str) -> impl FnOnce(zmq::Error) -> Error {
    move |source| Error::Zmq { doing: doing.to_owned(), source }
}

/// The way out.
struct Way {
    to: Egress,
    socket: Socket,
    descriptor: RawFd,
    /// Since when nothing has been taken.
    stuck: Option<Instant>,
    said: bool,
}

impl Way {
    fn open(context: &Context, to: &Egress) -> Result<Self> {
        let socket = socket::egress(context, to)?;
        let descriptor = socket.get_fd().map_err(failed("watch a socket"))?;
        Ok(Self { to: to.clone(), socket, descriptor, stuck: None, said: false })
    }

    /// Whether a record would be taken now.
    fn is_open(&mut self) -> Result<bool> {
        let events = self.socket.get_events().map_err(failed("look at a socket"))?;
        let is_open = events.contains(POLLOUT);
        if is_open {
            if self.said {
                eprintln!("waldo: records go to {} again", self.to.endpoint());
            }
            (self.stuck, self.said) = (None, false);
        } else if self.stuck.get_or_insert_with(Instant::now).elapsed() > PATIENCE && !self.said {
            eprintln!("waldo: nobody takes records at {}: they wait", self.to.endpoint());
            self.said = true;
        }
        Ok(is_open)
    }

    /// Hands on a record; answers whether it was taken.
    fn push(&self, record: &Record) -> Result<bool> {
        // The first frame finds a peer; the others go where it went.
        match self.socket.send(record.flow(), DONTWAIT | SNDMORE) {
            Err(zmq::Error::EAGAIN) => return Ok(false),
            outcome => outcome.map_err(failed("push a record"))?,
        }
        self.socket.send(record.key(), SNDMORE).map_err(failed("push a record"))?;
        self.socket.send(record.payload(), 0).map_err(failed("push a record"))?;
        Ok(true)
    }
}

/// Hands records on until the stage is asked to stop; answers the status to exit with.
pub fn run(mut stage: Stage) -> Result<i32> {
    let context = Context::new();
    let mut way: Option<Way> = None;
    let mut in_hand: Option<Record> = None;
    loop {
        stage.follow_wiring();
        let wanted = stage.wiring().egress.as_ref();
        if way.as_ref().map(|way| &way.to) != wanted {
            // What the former one has taken goes on its way, as long as may be.
            drop(way.take());
            way = wanted.map(|to| Way::open(&context, to)).transpose()?;
        }
        let Some(out) = &mut way else {
            return Err(Error::File { path: "wiring.json".into(), reason: "not the wiring of a way out".to_owned() });
        };
        if !out.is_open()? {
            if stage.stopping() {
                break;
            }
            let descriptor = out.descriptor;
            stage.wait_for_descriptors(LOOK, false, &[(descriptor, Ready::ToRead)])?;
            continue;
        }
        if in_hand.is_none() {
            in_hand = stage.try_receive()?;
        }
        match in_hand.take() {
            Some(record) if out.push(&record)? => {
                drop(record);
                stage.done();
            }
            // The peer has gone in between.
            Some(record) => in_hand = Some(record),
            None if stage.stopping() => break,
            None => stage.wait_for_input(LOOK)?,
        }
    }
    // A record in hand isn't done, and is counted as lost.
    drop(in_hand);
    let endpoint = way.as_ref().map(|way| way.to.endpoint().to_owned()).unwrap_or_default();
    drop(way);
    let began = Instant::now();
    drop(context);
    if began.elapsed() >= Duration::from_millis(EGRESS_LINGER.unsigned_abs().into()) {
        eprintln!("waldo: not all that was taken for {endpoint} could be sent");
        return Ok(1);
    }
    stage.finish()?;
    Ok(0)
}
