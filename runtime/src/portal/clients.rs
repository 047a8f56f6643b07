//! A portal's door for clients: three frames from any ZeroMQ program become a record, or are counted as rejected.
//!
//! Clients have no receipts and no numbers: the account of their records begins here.

use std::sync::Arc;

use waldo_sdk::{
    Result, socket,
    wire::{self, RecordRef},
    wiring::Doors,
};

use super::{Portal, ROUND, entrance::raise_greatest, flow::From, greatest_message};
use crate::spool::Bytes;

/// How many bytes are taken from clients in a round: they become one block.
const ROUND_BYTES: usize = 256 * 1024;

impl Portal {
    /// Opens the door for clients that the wiring has, if it isn't open.
    pub(super) fn bind_clients(&mut self, doors: &Doors) -> Result<()> {
        let Some(endpoint) = &doors.clients else { return Ok(()) };
        match &self.clients {
            Some(_) if self.doors.clients.as_ref() == Some(endpoint) => Ok(()),
            Some(clients) => {
                let doing = || format!("bind {endpoint}");
                clients.bind(endpoint).map_err(|source| waldo_sdk::Error::Zmq { doing: doing(), source })
            }
            None => {
                self.clients = Some(socket::portal_clients(&self.context, endpoint, greatest_message(doors))?);
                Ok(())
            }
        }
    }

    /// Lets clients send larger messages from now on.
    pub(super) fn raise_greatest_of_clients(&mut self, greatest: i64) -> Result<()> {
        match (&self.clients, &self.doors.clients) {
            (Some(clients), Some(endpoint)) => raise_greatest(clients, greatest, endpoint),
            _ => Ok(()),
        }
    }

    /// Takes what clients have pushed; answers whether anything came.
    pub(super) fn take_from_clients(&mut self) -> Result<bool> {
        if self.clients.is_none() || self.keeps_clients_waiting() {
            return Ok(false);
        }
        let mut gathered: Vec<(Vec<u8>, u32)> = vec![(Vec::new(), 0); self.flows.len()];
        let mut moved = false;
        let mut bytes = 0;
        for _ in 0..ROUND * 4 {
            if bytes >= ROUND_BYTES || !self.has_room(true) {
                break;
            }
            let Some(frames) = self.client_message()? else { break };
            moved = true;
            bytes += frames.iter().map(|frame| frame.len()).sum::<usize>();
            self.gather(&frames, &mut gathered);
        }
        for (index, (records, count)) in gathered.into_iter().enumerate().filter(|(_, (_, count))| *count > 0) {
            let Self { flows, guide, budget, .. } = self;
            let flow = &mut flows[index];
            flow.received.add_done(u64::from(count));
            flow.from_clients.add_done(u64::from(count));
            flow.keep(&Bytes::Owned(Arc::new(records)), count, From::Clients, guide, budget);
        }
        Ok(moved)
    }

    /// The next message of a client; of one with more than three frames only the first four are kept.
    fn client_message(&self) -> Result<Option<Vec<zmq::Message>>> {
        let Some(clients) = &self.clients else { return Ok(None) };
        let mut frames = Vec::with_capacity(3);
        loop {
            match clients.recv_msg(zmq::DONTWAIT) {
                Ok(frame) => {
                    let more = frame.get_more();
                    if frames.len() < 4 {
                        frames.push(frame);
                    }
                    if !more {
                        return Ok(Some(frames));
                    }
                }
                Err(zmq::Error::EAGAIN) => return Ok(None),
                Err(zmq::Error::EINTR) => {}
                Err(source) => {
                    return Err(waldo_sdk::Error::Zmq { doing: "receive from clients".to_owned(), source });
                }
            }
        }
    }

    /// Adds a client's message to the records of its flow, or counts it as rejected.
    fn gather(&mut self, frames: &[zmq::Message], gathered: &mut [(Vec<u8>, u32)]) {
        let (index, key, payload) = match frames {
            [flow, key, payload] => {
                let found = self.flows.iter().position(|known| known.carried.flow.as_bytes() == &flow[..]);
                (found, Some(&key[..]), &payload[..])
            }
            [payload] if self.doors.flows.len() == 1 => (Some(0), None, &payload[..]),
            _ => {
                let first = frames.first().map_or(&[][..], |frame| &frame[..]);
                return self.reject_client(None, &format!("{} frames, not 3", frames.len()), first);
            }
        };
        let Some(index) = index else {
            return self.reject_client(None, "a flow that this portal does not carry", &frames[0]);
        };
        let carried = &self.flows[index].carried;
        if !carried.from_clients {
            return self.reject_client(Some(index), "the flow does not come from clients", payload);
        }
        let found = match (carried.key.find(payload), key) {
            (Ok(Some(found)), _) => found,
            (Ok(None), Some(stated)) => stated.into(),
            (Ok(None), None) => return self.reject_client(Some(index), "no key: the sender states it", payload),
            (Err(reason), _) => return self.reject_client(Some(index), &reason, payload),
        };
        if found.len() > wire::MAX_KEY || (found.len() + payload.len()) as u64 > carried.max_record {
            return self.reject_client(Some(index), "larger than the flow's max_record", payload);
        }
        let (records, count) = &mut gathered[index];
        wire::write_record(records, RecordRef { key: &found, payload, passes: wire::Passes::NONE });
        *count += 1;
    }

    fn reject_client(&mut self, flow: Option<usize>, reason: &str, sample: &[u8]) {
        match flow {
            Some(index) => self.flows[index].rejected.add_done(1),
            None => self.entrance.rejected().add_done(1),
        }
        self.quarantine.keep("client", reason, sample);
    }
}
