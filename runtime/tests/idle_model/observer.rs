//! The observer: the rules, right and wrong, and in which order each reads.

use waldo_runtime::idle::{Finding, FirstReading, SecondReading, Sent, Settled, rule};

use crate::{
    explore::State,
    system::{EDGES, Edge, PROCESSES, Process},
};

/// One look of the observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Did the process get data since its last heartbeat? Asking makes it the last.
    Heartbeat(Process),
    /// What was sent and received on an edge, both at once.
    SentAndReceived(Edge),
    /// What was sent and done on an edge, both at once.
    SentAndDone(Edge),
    Sent(Edge),
    Done(Edge),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    NoDataSinceTheLastHeartbeat,
    OneScanOfReceipts,
    OneScanOfCompletions,
    TwoWavesOfReceipts,
    SentBeforeDone,
    DoneBeforeSent,
}

impl Rule {
    /// The reads, wave by wave; within a wave they come in any order.
    pub fn waves(self) -> Vec<Vec<Read>> {
        let each = |read: fn(Edge) -> Read| EDGES.map(read).to_vec();
        match self {
            Self::NoDataSinceTheLastHeartbeat => vec![PROCESSES.map(Read::Heartbeat).to_vec()],
            Self::OneScanOfReceipts => vec![each(Read::SentAndReceived)],
            Self::OneScanOfCompletions => vec![each(Read::SentAndDone)],
            Self::TwoWavesOfReceipts => vec![each(Read::SentAndReceived), each(Read::SentAndReceived)],
            Self::SentBeforeDone => vec![each(Read::Sent), each(Read::Done)],
            Self::DoneBeforeSent => vec![each(Read::Done), each(Read::Sent)],
        }
    }

    pub fn says_idle(self, seen: &[(u8, u8)]) -> bool {
        match self {
            Self::NoDataSinceTheLastHeartbeat => seen.iter().all(|&(data, _)| data == 0),
            Self::OneScanOfReceipts | Self::OneScanOfCompletions => seen.iter().all(|(sent, settled)| sent == settled),
            Self::TwoWavesOfReceipts => {
                let (first, second) = seen.split_at(EDGES.len());
                first == second && first.iter().all(|(sent, received)| sent == received)
            }
            Self::SentBeforeDone => {
                let (sent, done) = seen.split_at(EDGES.len());
                sent == done
            }
            // The rule that waldo runs on.
            Self::DoneBeforeSent => {
                let (done, sent) = seen.split_at(EDGES.len());
                let settled = done.iter().map(|&(done, _)| Settled { done: done.into(), written_off: 0 });
                let sent = sent.iter().map(|&(sent, _)| Sent { sent: sent.into(), written_off: 0 });
                let first = FirstReading { set: 1, incarnations: Vec::new(), settled: settled.collect() };
                let second = SecondReading { set: 1, incarnations: Vec::new(), sent: sent.collect() };
                rule(&first, &second, |_| true) == Finding::Idle
            }
        }
    }
}

pub const MOST_READS: usize = 2 * EDGES.len();

/// What the observer has seen since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Observer {
    /// A bit for each read that is made, in the order of the rule's waves.
    pub made: u16,
    pub seen: [(u8, u8); MOST_READS],
}

/// A rule's reads: each with its wave.
pub struct Observation {
    pub rule: Rule,
    pub reads: Vec<(usize, Read)>,
}

impl Observation {
    /// Within a wave, reads come in any order.
    pub fn in_any_order(rule: Rule) -> Self {
        let waves = rule.waves().into_iter().enumerate();
        Self { rule, reads: waves.flat_map(|(wave, reads)| reads.into_iter().map(move |read| (wave, read))).collect() }
    }

    /// Within a wave, reads come in this order of edges' places.
    pub fn in_order(rule: Rule, order: &[usize]) -> Self {
        let rank = |place| order.iter().position(|&other| other == place).expect("an order of all edges");
        let of_wave = |(wave, reads): (usize, Vec<Read>)| {
            let reads = reads.into_iter().enumerate();
            reads.map(move |(place, read)| (wave * EDGES.len() + rank(place), read)).collect::<Vec<_>>()
        };
        Self { rule, reads: rule.waves().into_iter().enumerate().flat_map(of_wave).collect() }
    }

    /// The reads of the earliest wave that isn't over, by place.
    pub fn next_reads(&self, observer: &Observer) -> Vec<usize> {
        let open = || (0..self.reads.len()).filter(|&place| observer.made & (1 << place) == 0);
        let wave = open().map(|place| self.reads[place].0).min();
        open().filter(|&place| Some(self.reads[place].0) == wave).collect()
    }

    pub fn look(&self, state: &State, place: usize) -> (State, (u8, u8)) {
        let mut next = *state;
        let system = &mut next.system;
        let seen = match self.reads[place].1 {
            Read::Heartbeat(process) => (u8::from(std::mem::take(&mut system.data[process as usize])), 0),
            Read::SentAndReceived(edge) => (system.sent[edge as usize], system.received[edge as usize]),
            Read::SentAndDone(edge) => (system.sent[edge as usize], system.done[edge as usize]),
            Read::Sent(edge) => (system.sent[edge as usize], 0),
            Read::Done(edge) => (system.done[edge as usize], 0),
        };
        next.observer.made |= 1 << place;
        next.observer.seen[place] = seen;
        (next, seen)
    }

    /// Once every read is made: whether the rule calls it idle.
    pub fn verdict(&self, observer: &Observer) -> Option<bool> {
        let all = observer.made.count_ones() as usize == self.reads.len();
        all.then(|| self.rule.says_idle(&observer.seen[..self.reads.len()]))
    }
}
