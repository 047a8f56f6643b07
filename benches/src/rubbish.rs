//! Rubbish at a portal's door for clients, while an honest client's rate is measured: strangers that speak HTTP, half
//! handshakes that are held open, messages of flows that nobody has, and messages without end.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

/// How many handshakes are begun and left.
const HALF: usize = 200;
/// How many connections push flat out what can't be used, of each kind.
const FLOODS: usize = 4;
/// How often a stranger comes.
const STRANGERS: Duration = Duration::from_millis(10);
/// How long anything may take, so that whoever is to stop does.
const PATIENCE: Duration = Duration::from_millis(200);

/// Rubbish that goes on until this is dropped.
pub struct Rubbish {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Rubbish {
    /// Begins to send it to a port of this machine.
    pub fn to(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut threads = vec![until(&stop, move |_| strangers(address)), until(&stop, half(address))];
        let unknown = [&b"\x01\x08nonsense\x01\x01k\x00\xc8"[..], &[b'x'; 200]].concat().repeat(500);
        let endless = b"\x01\x01x".repeat(50_000);
        for bytes in [unknown, endless].map(Arc::new).iter().flat_map(|bytes| vec![bytes.clone(); FLOODS]) {
            threads.push(until(&stop, move |stop| flood(address, &bytes, stop)));
        }
        Self { stop, threads }
    }
}

impl Drop for Rubbish {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn until(stop: &Arc<AtomicBool>, mut work: impl FnMut(&AtomicBool) + Send + 'static) -> JoinHandle<()> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        while !stop.load(Ordering::Acquire) {
            work(&stop);
        }
    })
}

fn connected(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

fn greeting() -> Vec<u8> {
    let mut greeting = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".to_vec();
    greeting.resize(64, 0);
    greeting
}

/// One who takes the port for a web server's.
fn strangers(address: SocketAddr) {
    if let Some(mut stream) = connected(address) {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").and_then(|()| stream.read(&mut [0; 64]));
    }
    sleep(STRANGERS);
}

/// Handshakes that are begun and left; begun again when they are cut off.
fn half(address: SocketAddr) -> impl FnMut(&AtomicBool) {
    let mut held: Vec<TcpStream> = Vec::new();
    move |_| {
        held.retain(|stream| {
            let _ = stream.set_nonblocking(true);
            let ended = (&*stream).read(&mut [0; 64]);
            matches!(ended, Ok(1..)) || ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        while held.len() < HALF {
            let Some(mut stream) = connected(address) else { break };
            if stream.write_all(&greeting()[..20]).is_ok() {
                held.push(stream);
            }
        }
        sleep(PATIENCE);
    }
}

/// One that shakes hands and pushes these bytes as fast as they are read.
fn flood(address: SocketAddr, bytes: &[u8], stop: &AtomicBool) {
    let Some(mut stream) = connected(address) else { return sleep(PATIENCE) };
    let hello = [&greeting()[..], b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"].concat();
    if stream.write_all(&hello).is_err() {
        return;
    }
    let mut at = 0;
    while !stop.load(Ordering::Acquire) {
        match stream.write(&bytes[at..]) {
            Ok(written) => at = (at + written) % bytes.len(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
