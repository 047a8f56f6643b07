//! A connection to a portal, and what becomes of it.

use std::time::{Duration, Instant};

use crate::{exit::Failure, numbers::grouped};

/// How long the portal may take to accept a connection, and then each record.
const ACCEPTS: Duration = Duration::from_secs(10);
/// How long what has been queued may take to be sent after the last line. Milliseconds.
const LINGER: i32 = 30_000;
/// Where the socket tells what becomes of its connection.
const EVENTS: &str = "inproc://events";

fn failed(doing: &'static str) -> impl FnOnce(zmq::Error) -> Failure {
    move |error| Failure::new(format!("cannot {doing}: {error}"))
}

/// A connection to a portal, and how many records have been queued on it.
pub struct Sending<'a, R> {
    endpoint: &'a str,
    is_running: R,
    socket: zmq::Socket,
    /// What becomes of the connection: a portal sends no receipts to clients.
    events: zmq::Socket,
    context: zmq::Context,
    /// How many records have been queued.
    pub count: u64,
}

impl<'a, R: Fn() -> bool> Sending<'a, R> {
    /// Begins to connect.
    pub fn begin(endpoint: &'a str, is_running: R) -> Result<Self, Failure> {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::PUSH).map_err(failed("make a socket"))?;
        socket.set_linger(LINGER).map_err(failed("set up a socket"))?;
        // Queue nothing for a portal that isn't there.
        socket.set_immediate(true).map_err(failed("set up a socket"))?;
        waldo_sdk::socket::allow_ipv6(&socket, endpoint).map_err(|error| Failure::new(error.to_string()))?;
        let wanted = zmq::SocketEvent::DISCONNECTED as i32 | zmq::SocketEvent::MONITOR_STOPPED as i32;
        socket.monitor(EVENTS, wanted).map_err(failed("watch a socket"))?;
        let events = context.socket(zmq::PAIR).map_err(failed("make a socket"))?;
        events.connect(EVENTS).map_err(failed("watch a socket"))?;
        socket.connect(endpoint).map_err(failed("connect to the portal"))?;
        Ok(Self { endpoint, is_running, socket, events, context, count: 0 })
    }

    /// Queues a record.
    pub fn send(&mut self, frames: [&[u8]; 3]) -> Result<(), Failure> {
        self.await_room()?;
        self.socket.send_multipart(frames, zmq::DONTWAIT).map_err(failed("send"))?;
        self.count += 1;
        Ok(())
    }

    /// Waits until the portal takes a record: sending without room would lose it.
    fn await_room(&self) -> Result<(), Failure> {
        let until = Instant::now() + ACCEPTS;
        loop {
            let ready = match self.socket.poll(zmq::POLLOUT, 100) {
                Ok(ready) => ready > 0,
                Err(zmq::Error::EINTR) => false,
                Err(error) => return Err(Failure::new(format!("cannot wait for the portal: {error}"))),
            };
            // With nothing queued a connection that breaks off costs nothing: another one follows.
            while let Some(event) = event(&self.events, 0)? {
                if self.count > 0 && event == zmq::SocketEvent::DISCONNECTED {
                    return Err(self.broken_off());
                }
            }
            if ready {
                return Ok(());
            }
            if !(self.is_running)() {
                let what = format!("the namespace was stopped; {} were sent", self.at_most());
                return Err(Failure::new(what).hint("start it with `waldo up`"));
            }
            if Instant::now() > until {
                let seconds = ACCEPTS.as_secs();
                return Err(Failure::new(format!(
                    "the portal at {} has taken nothing for {seconds} s; {} were sent",
                    self.endpoint,
                    self.at_most()
                ))
                .hint("its spool may be full: `waldo status` shows it"));
            }
        }
    }

    /// Waits until everything has been sent, at most [`LINGER`]; answers how many records that were.
    pub fn end(self) -> Result<u64, Failure> {
        let (broken_off, too_slow) = (self.broken_off(), self.too_slow());
        let Self { socket, events, context, count, .. } = self;
        let began = Instant::now();
        let linger = Duration::from_millis(LINGER.unsigned_abs().into());
        drop(socket);
        let mut is_whole = true;
        // Nothing can be lost where nothing was queued. The margin is for the threads of ZeroMQ.
        while let Some(event) = event(&events, i64::from(LINGER) + 1_000)? {
            is_whole &= count == 0 || event != zmq::SocketEvent::DISCONNECTED;
            if event == zmq::SocketEvent::MONITOR_STOPPED {
                break;
            }
        }
        drop(events);
        drop(context);
        match is_whole {
            false => Err(broken_off),
            true if began.elapsed() >= linger => Err(too_slow),
            true => Ok(count),
        }
    }

    fn at_most(&self) -> String {
        let count = grouped(self.count);
        if self.count == 0 { "no records".to_owned() } else { format!("at most {count} records") }
    }

    fn broken_off(&self) -> Failure {
        Failure::new(format!(
            "the connection to the portal at {} broke off; {} were sent",
            self.endpoint,
            self.at_most()
        ))
        .hint("`waldo status` shows whether it runs, and how many records of clients it has read")
    }

    fn too_slow(&self) -> Failure {
        let seconds = LINGER / 1_000;
        Failure::new(format!(
            "the portal at {} has not taken everything {seconds} s after the last record; {} were sent",
            self.endpoint,
            self.at_most()
        ))
        .hint("its spool may be full: `waldo status` shows it")
    }
}

/// The next event of a connection, if there is one within so many milliseconds.
fn event(events: &zmq::Socket, patience: i64) -> Result<Option<zmq::SocketEvent>, Failure> {
    loop {
        match events.poll(zmq::POLLIN, patience) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(zmq::Error::EINTR) => {}
            Err(error) => return Err(failed("watch a socket")(error)),
        }
    }
    let frames = events.recv_multipart(0).map_err(failed("watch a socket"))?;
    let number = frames.first().and_then(|frame| frame.first_chunk::<2>());
    Ok(number.map(|number| zmq::SocketEvent::from_raw(u16::from_ne_bytes(*number))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portal(endpoint: &str) -> (zmq::Socket, String) {
        let socket = zmq::Context::new().socket(zmq::PULL).unwrap();
        socket.set_rcvhwm(1).unwrap();
        socket.set_linger(0).unwrap();
        waldo_sdk::socket::allow_ipv6(&socket, endpoint).unwrap();
        socket.bind(endpoint).unwrap();
        let endpoint = socket.get_last_endpoint().unwrap().unwrap();
        (socket, endpoint)
    }

    #[test]
    fn what_was_sent_has_arrived() {
        for address in ["tcp://127.0.0.1:*", "tcp://[::1]:*"] {
            if address.contains('[') && std::net::TcpListener::bind("[::1]:0").is_err() {
                continue;
            }
            let (socket, endpoint) = portal(address);
            let reader = std::thread::spawn(move || (0..1_000).for_each(|_| drop(socket.recv_multipart(0).unwrap())));
            let mut sending = Sending::begin(&endpoint, || true).unwrap();
            for _ in 0..1_000 {
                sending.send([b"call", b"", b"record"]).unwrap();
            }
            assert_eq!(sending.end().unwrap(), 1_000);
            reader.join().unwrap();
        }
    }

    #[test]
    fn records_that_a_portal_never_took_are_not_told_as_sent() {
        let (socket, endpoint) = portal("tcp://127.0.0.1:*");
        let mut sending = Sending::begin(&endpoint, || true).unwrap();
        let record = vec![b'x'; 4 << 20];
        // More than sockets have room for, less than the queue takes.
        for _ in 0..16 {
            sending.send([b"call", b"", &record]).unwrap();
        }
        let portal = std::thread::spawn(move || {
            assert_eq!(socket.recv_multipart(0).unwrap().len(), 3);
        });
        let failure = sending.end().unwrap_err();
        portal.join().unwrap();
        assert!(failure.message.ends_with("broke off; at most 16 records were sent"), "{failure}");
    }

    #[test]
    fn a_namespace_that_was_stopped_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let mut sending = Sending::begin(&endpoint, || false).unwrap();
        let failure = sending.send([b"call", b"", b"record"]).unwrap_err();
        assert_eq!(failure.message, "the namespace was stopped; no records were sent");
    }
}
