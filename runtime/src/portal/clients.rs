//! What comes through a portal's door for clients: messages of any ZeroMQ program become records, or are counted as
//! rejected.
//!
//! Clients have no receipts and no numbers: the account of their records begins here.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use waldo_sdk::{
    Result,
    page::Slot,
    wire::{self, RecordRef},
    wiring::Doors,
};

use super::{
    Portal,
    door::{Door, Visitor},
    flow::{Flow, From},
    io,
    quarantine::{Quarantine, Rejected},
};
use crate::spool::Bytes;

/// How many bytes are taken from clients in a round. They become one block for each flow.
const ROUND_BYTES: usize = 256 * 1024;
/// What a message may have besides key and payload: the flow's name, and a key that is ignored. Bytes.
const BESIDES: u64 = 64 * 1024;

/// How long a message of a client may be. Bytes.
fn longest(doors: &Doors) -> u64 {
    let from_clients = doors.flows.iter().filter(|flow| flow.from_clients);
    from_clients.map(|flow| flow.max_record).max().unwrap_or(0).saturating_add(BESIDES)
}

impl Portal {
    /// Opens the door for clients that the wiring has, if it isn't open there.
    pub(super) fn bind_clients(&mut self, doors: &Doors) -> Result<()> {
        let Some(endpoint) = &doors.clients else { return Ok(()) };
        if self.clients.is_none() {
            self.clients = Some(Door::new(longest(doors)).map_err(io("make a door for clients"))?);
        }
        self.clients.as_mut().map_or(Ok(()), |door| door.bind(endpoint)).map_err(io(format!("bind {endpoint}")))
    }

    /// Lets clients send what the wiring has now.
    pub(super) fn set_longest_of_clients(&mut self) {
        if let Some(door) = &mut self.clients {
            door.set_longest(longest(&self.doors));
        }
    }

    /// Closes the door for clients at these endpoints, once what has come by them is taken in.
    pub(super) fn unbind_clients(&mut self, endpoints: &[String]) {
        self.visit(|door, visitor| {
            for endpoint in endpoints {
                door.unbind(endpoint, visitor);
            }
        });
    }

    /// Takes what clients have sent; answers whether anything came.
    pub(super) fn take_from_clients(&mut self) -> Result<bool> {
        if self.clients.is_none() || self.keeps_clients_waiting() || !self.has_room(true) {
            return Ok(false);
        }
        let now = Instant::now();
        let looked = self.visit(|door, visitor| {
            let (mut bytes, mut moved) = (0, false);
            while bytes < ROUND_BYTES {
                let came = door.take(ROUND_BYTES - bytes, now, visitor)?;
                moved |= came.any;
                bytes += came.bytes;
                if !came.any {
                    break;
                }
            }
            Ok(moved)
        });
        looked.unwrap_or(Ok(false)).map_err(io("receive from clients"))
    }

    /// Lets somebody look through the door, and keeps what came of it.
    fn visit<T>(&mut self, look: impl FnOnce(&mut Door, &mut Gathering<'_>) -> T) -> Option<T> {
        let door = self.clients.as_mut()?;
        let carried = |flow: &Flow| self.doors.flows.iter().any(|carried| carried.flow == flow.carried.flow);
        let mut from_clients = (0..self.flows.len())
            .filter(|&index| self.flows[index].carried.from_clients && carried(&self.flows[index]));
        let only = from_clients.next().filter(|_| from_clients.next().is_none());
        let mut gathering = Gathering {
            flows: &self.flows,
            only,
            records: self.flows.iter().map(|_| Records::default()).collect(),
            rejected: self.entrance.rejected(),
            quarantine: &mut self.quarantine,
        };
        let looked = look(door, &mut gathering);
        let gathered = gathering.records;
        for (index, Records { bytes, count }) in gathered.into_iter().enumerate().filter(|(_, it)| it.count > 0) {
            let Self { flows, guide, budget, .. } = self;
            let flow = &mut flows[index];
            flow.received.add_done(u64::from(count));
            flow.from_clients.add_done(u64::from(count));
            flow.keep(&Bytes::Owned(Arc::new(bytes)), count, From::Clients, guide, budget);
        }
        Some(looked)
    }
}

/// Records of a flow, as they stand on the wire.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    count: u32,
}

/// Makes records of clients' messages.
struct Gathering<'p> {
    flows: &'p [Flow],
    /// The only flow that clients may send here.
    only: Option<usize>,
    /// For each flow.
    records: Vec<Records>,
    /// The count of what is for no flow.
    rejected: &'p Slot,
    quarantine: &'p mut Quarantine,
}

impl Gathering<'_> {
    /// Adds a message to the records of its flow.
    fn gather(&mut self, frames: &[&[u8]]) -> std::result::Result<(), (Option<usize>, String)> {
        let (index, stated, payload) = match *frames {
            [flow, key, payload] => (self.named(flow), Some(key), payload),
            [payload] if self.only.is_some() => (self.only, None, payload),
            [_] => return Err((None, "1 frame, and clients may send several flows".to_owned())),
            _ => return Err((None, format!("{} frames, not 3", frames.len()))),
        };
        let Some(index) = index else { return Err((None, "a flow that this portal does not carry".to_owned())) };
        let refuse = |reason: &str| Err((Some(index), reason.to_owned()));
        let carried = &self.flows[index].carried;
        if !carried.from_clients {
            return refuse("the flow does not come from clients");
        }
        let key = match (carried.key.find(payload), stated) {
            (Ok(Some(found)), _) => found,
            (Ok(None), Some(stated)) => stated.into(),
            (Ok(None), None) => return refuse("1 frame, and no key: the sender states it"),
            (Err(reason), _) => return refuse(&reason),
        };
        if key.len() > wire::MAX_KEY {
            return refuse("a key longer than 65535 bytes");
        }
        if (key.len() + payload.len()) as u64 > carried.max_record {
            return refuse(TOO_LARGE);
        }
        let Records { bytes, count } = &mut self.records[index];
        wire::write_record(bytes, RecordRef { key: &key, payload, passes: wire::Passes::NONE });
        *count += 1;
        Ok(())
    }

    fn named(&self, name: &[u8]) -> Option<usize> {
        self.flows.iter().position(|flow| flow.carried.flow.as_bytes() == name)
    }

    fn reject(&mut self, flow: Option<usize>, rejected: Rejected<'_>) {
        let flow = flow.map(|index| &self.flows[index]);
        flow.map_or(self.rejected, |flow| &flow.rejected).add_done(1);
        self.quarantine.keep(&Rejected { flow: flow.map(|flow| flow.carried.flow.as_str()), ..rejected });
    }
}

const TOO_LARGE: &str = "larger than the flow's max_record";

impl Visitor for Gathering<'_> {
    fn message(&mut self, peer: SocketAddr, frames: &[&[u8]]) -> bool {
        let Err((flow, reason)) = self.gather(frames) else { return true };
        let size = frames.iter().map(|frame| frame.len() as u64).sum();
        let sample = sample(flow, frames);
        self.reject(flow, Rejected { peer: Some(peer), reason: &reason, size, sample: &sample, ..Rejected::default() });
        false
    }

    fn rejected(&mut self, peer: SocketAddr, reason: &str, frames: &[&[u8]], size: u64) {
        let flow = match *frames {
            // The first frame, of which a part may be missing, is the payload.
            [_] => self.only,
            [name, ..] => self.named(name),
            [] => None,
        };
        let sample = sample(flow, frames);
        self.reject(flow, Rejected { peer: Some(peer), reason, size, sample: &sample, ..Rejected::default() });
    }

    fn broken(&mut self, peer: SocketAddr, reason: &str, bytes: &[u8]) {
        let size = bytes.len() as u64;
        self.reject(None, Rejected { peer: Some(peer), reason, size, sample: bytes, ..Rejected::default() });
    }
}

/// What a person wants to see of a message: of one whose flow is known, its payload; else all frames, a tab between two.
fn sample(flow: Option<usize>, frames: &[&[u8]]) -> Vec<u8> {
    let frames = if flow.is_some() { &frames[frames.len().saturating_sub(1)..] } else { frames };
    let beginnings = frames.iter().map(|frame| &frame[..frame.len().min(super::quarantine::SAMPLE)]);
    beginnings.collect::<Vec<_>>().join(&b'\t')
}
