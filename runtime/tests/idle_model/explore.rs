//! Every interleaving of system and observer, breadth first, with a visited set.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

use crate::{
    observer::{Observation, Observer, Read},
    system::{Step, System},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub system: System,
    pub observer: Observer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Step(Step),
    Look(Read, (u8, u8)),
}

/// What an exploration found.
pub struct Found {
    pub states: usize,
    /// States in which the rule said "idle" and was right.
    pub proofs: usize,
    /// The shortest way to a wrong "idle", where there is one.
    pub wrong: Option<(Vec<Event>, System)>,
}

/// Breadth first, so that the first wrong "idle" is a shortest one. Stops there.
pub fn explore(observation: &Observation) -> Found {
    let start = State { system: System::new(), observer: Observer::default() };
    let mut known: HashSet<State, BuildHasherDefault<Fnv>> = HashSet::from_iter([start]);
    // Every state's predecessor, in the order found; the queue holds the states themselves.
    let mut origins: Vec<(usize, Option<Event>)> = vec![(0, None)];
    let mut queue = VecDeque::from([(0, start)]);
    let mut proofs = 0;
    while let Some((own, state)) = queue.pop_front() {
        let mut next = Vec::new();
        state.system.successors(|step, system| next.push((Event::Step(step), State { system, ..state })));
        if state.system.gated {
            for place in observation.next_reads(&state.observer) {
                let (mut after, seen) = observation.look(&state, place);
                let event = Event::Look(observation.reads[place].1, seen);
                match observation.verdict(&after.observer) {
                    Some(true) if after.system.is_idle() => proofs += 1,
                    Some(true) => {
                        origins.push((own, Some(event)));
                        let wrong = Some((story(&origins), after.system));
                        return Found { states: known.len(), proofs, wrong };
                    }
                    Some(false) => {
                        after.observer = Observer::default();
                        next.push((event, after));
                    }
                    None => next.push((event, after)),
                }
            }
        }
        for (event, state) in next {
            if known.insert(state) {
                queue.push_back((origins.len(), state));
                origins.push((own, Some(event)));
            }
        }
    }
    Found { states: known.len(), proofs, wrong: None }
}

/// The events that led to the last of `origins`.
pub fn story(origins: &[(usize, Option<Event>)]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut at = origins.len() - 1;
    while let (before, Some(event)) = origins[at] {
        events.push(event);
        at = before;
    }
    events.reverse();
    events
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(Step::CountInjected) => write!(formatter, "injector: S(In) grows"),
            Self::Step(Step::Inject) => write!(formatter, "injector: hands the record on"),
            Self::Step(Step::CloseGate) => write!(formatter, "injector: gate closed"),
            Self::Step(Step::Take(process)) => write!(formatter, "{process:?}: takes a record, its handler begins"),
            Self::Step(Step::CountSent(process, edge)) => write!(formatter, "{process:?}: S({edge:?}) grows"),
            Self::Step(Step::HandOn(process, edge)) => write!(formatter, "{process:?}: hands on to {edge:?}"),
            Self::Step(Step::Drop(process)) => write!(formatter, "{process:?}: sends nothing"),
            Self::Step(Step::CountDone(process, edge)) => write!(formatter, "{process:?}: D({edge:?}) grows"),
            Self::Look(Read::Heartbeat(process), (data, _)) => {
                let data = if *data == 0 { "no data" } else { "data" };
                write!(formatter, "    observer: {process:?} had {data} since its last heartbeat")
            }
            Self::Look(Read::SentAndReceived(edge), (sent, received)) => {
                write!(formatter, "    observer: {edge:?}: sent {sent}, received {received}")
            }
            Self::Look(Read::SentAndDone(edge), (sent, done)) => {
                write!(formatter, "    observer: {edge:?}: sent {sent}, done {done}")
            }
            Self::Look(Read::Sent(edge), (sent, _)) => write!(formatter, "    observer: S({edge:?}) = {sent}"),
            Self::Look(Read::Done(edge), (done, _)) => write!(formatter, "    observer: D({edge:?}) = {done}"),
        }
    }
}

/// FNV-1a over words: millions of states are hashed, and nobody attacks.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.write_u64(discriminant as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }
}
