//! Ports for tests, which no other test takes meanwhile: also not one in another process, between the choice of a port
//! and its use.
//!
//! Ports are given in blocks below those that the system gives to whoever connects. A block belongs to the process that
//! listens on the block's guard, a port of which nothing else is made: the kernel lets one do so, and frees it with the
//! process's end.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Ports in a block.
pub const PORTS: u16 = 16;
const BLOCKS: u16 = 1000;
const GUARDS: u16 = 11_000;
const FIRST: u16 = GUARDS + BLOCKS;

/// The first of a block of [`PORTS`] ports, which is this process's until it ends.
pub fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id() as u16 % BLOCKS;
    for _ in 0..BLOCKS {
        let block = (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let Ok(guard) = TcpListener::bind(("127.0.0.1", GUARDS + block)) else { continue };
        let base = FIRST + block * PORTS;
        // A program that isn't a test, or that a test has left behind, may have one of them.
        if (base..base + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            std::mem::forget(guard);
            return base;
        }
    }
    panic!("no free ports from {FIRST} on")
}

/// A port of this process's own, and each time another one.
pub fn free_port() -> u16 {
    static GIVEN: std::sync::Mutex<Option<(u16, u16)>> = std::sync::Mutex::new(None);
    let mut given = GIVEN.lock().unwrap();
    let (base, used) = match *given {
        Some((base, used)) if used < PORTS => (base, used),
        _ => (free_ports(), 0),
    };
    *given = Some((base, used + 1));
    base + used
}
