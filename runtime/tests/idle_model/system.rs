//! The system: what its processes hold and count, and every step that can come next.

pub const RECORDS: u8 = 2;
pub const PASSES: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    In,
    Round,
    Back,
    Out,
}

pub const EDGES: [Edge; 4] = [Edge::In, Edge::Round, Edge::Back, Edge::Out];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Process {
    Router,
    Again,
    Sink,
}

pub const PROCESSES: [Process; 3] = [Process::Router, Process::Again, Process::Sink];

impl Edge {
    pub fn receiver(self) -> Process {
        match self {
            Self::In | Self::Back => Process::Router,
            Self::Round => Process::Again,
            Self::Out => Process::Sink,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    pub edge: Edge,
    pub passes: u8,
}

/// What a process has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hand {
    /// Nothing: it waits for its inbox.
    Empty,
    /// A record that it has taken from its inbox and whose handler runs.
    Working(Record),
    /// It has counted a record as sent and not handed it on yet; `cause` is what it works on.
    Sending { cause: Edge, record: Record },
    /// The handler is over; D is still to grow.
    Finishing(Edge),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct System {
    pub to_inject: u8,
    /// Counted as sent by the injector, not handed on yet.
    pub injecting: bool,
    pub gated: bool,
    /// Queues, the oldest record first.
    pub inboxes: [[Option<Record>; RECORDS as usize]; 3],
    pub hands: [Hand; 3],
    pub sent: [u8; 4],
    pub received: [u8; 4],
    pub done: [u8; 4],
    /// Whether a process has received data since its last heartbeat.
    pub data: [bool; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    CountInjected,
    Inject,
    CloseGate,
    Take(Process),
    CountSent(Process, Edge),
    HandOn(Process, Edge),
    Drop(Process),
    CountDone(Process, Edge),
}

impl System {
    pub fn new() -> Self {
        Self {
            to_inject: RECORDS,
            injecting: false,
            gated: false,
            inboxes: [[None; RECORDS as usize]; 3],
            hands: [Hand::Empty; 3],
            sent: [0; 4],
            received: [0; 4],
            done: [0; 4],
            data: [false; 3],
        }
    }

    /// The truth: nothing is queued, nothing is in work, and nothing more will come.
    pub fn is_idle(&self) -> bool {
        let queued = self.inboxes.iter().flatten().any(Option::is_some);
        let in_work = self.injecting || self.hands.iter().any(|hand| *hand != Hand::Empty);
        self.gated && !queued && !in_work
    }

    pub fn put(&mut self, record: Record) {
        let inbox = &mut self.inboxes[record.edge.receiver() as usize];
        let free = inbox.iter().position(Option::is_none).expect("no more records than were injected");
        inbox[free] = Some(record);
    }

    pub fn successors(&self, mut visit: impl FnMut(Step, Self)) {
        let mut step = |step, change: &dyn Fn(&mut Self)| {
            let mut next = *self;
            change(&mut next);
            visit(step, next);
        };
        if self.injecting {
            step(Step::Inject, &|next| {
                next.injecting = false;
                next.put(Record { edge: Edge::In, passes: PASSES });
            });
        } else if !self.gated {
            step(Step::CloseGate, &|next| next.gated = true);
            if self.to_inject > 0 {
                step(Step::CountInjected, &|next| {
                    next.to_inject -= 1;
                    next.injecting = true;
                    next.sent[Edge::In as usize] += 1;
                });
            }
        }
        for process in PROCESSES {
            let own = process as usize;
            match self.hands[own] {
                Hand::Empty => {
                    if let Some(record) = self.inboxes[own][0] {
                        step(Step::Take(process), &|next| {
                            next.inboxes[own][0] = None;
                            next.inboxes[own].rotate_left(1);
                            next.received[record.edge as usize] += 1;
                            next.data[own] = true;
                            next.hands[own] = Hand::Working(record);
                        });
                    }
                }
                Hand::Working(cause) => {
                    let outputs: &[Record] = match process {
                        Process::Router if cause.passes > 0 => &[
                            Record { edge: Edge::Round, passes: cause.passes - 1 },
                            Record { edge: Edge::Out, passes: cause.passes },
                        ],
                        Process::Router => &[Record { edge: Edge::Out, passes: cause.passes }],
                        Process::Again => &[Record { edge: Edge::Back, passes: cause.passes }],
                        Process::Sink => &[],
                    };
                    for &record in outputs {
                        step(Step::CountSent(process, record.edge), &|next| {
                            next.sent[record.edge as usize] += 1;
                            next.hands[own] = Hand::Sending { cause: cause.edge, record };
                        });
                    }
                    step(Step::Drop(process), &|next| next.hands[own] = Hand::Finishing(cause.edge));
                }
                Hand::Sending { cause, record } => step(Step::HandOn(process, record.edge), &|next| {
                    next.put(record);
                    next.hands[own] = Hand::Finishing(cause);
                }),
                Hand::Finishing(cause) => step(Step::CountDone(process, cause), &|next| {
                    next.done[cause as usize] += 1;
                    next.hands[own] = Hand::Empty;
                }),
            }
        }
    }
}
