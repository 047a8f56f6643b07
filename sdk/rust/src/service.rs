//! The service thread of a process: control, receipts, and batches that have waited long enough.
//!
//! It exists so that control never waits behind data, and so that a handler that takes long doesn't sit on finished
//! work. It shares the outbox with the program's own thread, behind a lock that neither holds while it waits. It also
//! adopts a new wiring, whatever the program is at; the program's thread sees it when it next sends or receives.

use std::{
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

pub use crate::connection::Control;
use crate::{
    control::{FromProcess, ToProcess},
    error::{Error, Result},
    guide::Guide,
    outbox::Outbox,
    page::Page,
    stage::{read_guide, read_placed},
    wiring::{Place, Placed},
};
use zmq::Context;

/// How long the oldest record of a batch may wait.
const BATCH_WAITS: Duration = Duration::from_millis(1);
/// How often the service looks while there is nothing to tend.
const QUIET: Duration = Duration::from_millis(50);

/// What the program's thread and the service share.
pub struct Shared {
    outbox: Mutex<Outbox>,
    /// What the outbox lives by. Changes together with the outbox, behind the outbox's lock.
    placed: Mutex<Arc<Placed>>,
    revision: AtomicU64,
    /// The process's page.
    pub page: Page,
    /// The incarnation to say in the page that it leaves, if the process has an inbox.
    receives_as: Option<u64>,
    stopping: AtomicBool,
    finishing: AtomicBool,
    ended: AtomicBool,
    gate_closed: AtomicBool,
    /// Held by whoever moves the gate or waits for it to move.
    gate: Mutex<()>,
    gate_moved: Condvar,
    wake_program: EventFd,
    wake_service: EventFd,
    service_sleeps: AtomicBool,
    failure: Mutex<Option<Error>>,
    finished_said: AtomicBool,
}

impl Shared {
    /// Shares an outbox that lives by `placed`.
    pub fn new(outbox: Outbox, placed: Placed, page: Page, incarnation: u64) -> Result<Self> {
        let event = || {
            EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
                .map_err(|error| Error::io("make an eventfd")(error.into()))
        };
        Ok(Self {
            revision: AtomicU64::new(outbox.revision()),
            receives_as: (!placed.wiring.inputs.is_empty()).then_some(incarnation),
            outbox: Mutex::new(outbox),
            placed: Mutex::new(Arc::new(placed)),
            gate_closed: AtomicBool::new(page.gate_closed()),
            gate: Mutex::new(()),
            page,
            stopping: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            gate_moved: Condvar::new(),
            wake_program: event()?,
            wake_service: event()?,
            service_sleeps: AtomicBool::new(false),
            failure: Mutex::new(None),
            finished_said: AtomicBool::new(false),
        })
    }

    /// The outbox, for a moment.
    #[inline]
    pub fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wirings the outbox has adopted.
    #[inline]
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// What the outbox lives by now, and which of its wirings that is.
    pub fn placed(&self) -> (Arc<Placed>, u64) {
        let outbox = self.outbox();
        (Arc::clone(&self.placed.lock().unwrap_or_else(PoisonError::into_inner)), outbox.revision())
    }

    /// Whether the process has been asked to stop.
    #[inline]
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Asks the process to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.gate_moved.notify_all();
        let _ = self.wake_program.write(1);
    }

    /// Asks the process to stop, though its senders go on: what they have for it from now on waits for its successor. (When
    /// a launcher asks, all have stopped that can; and where a server couldn't become idle, its stages still take from
    /// each other what they can.)
    fn leave(&self) {
        if let Some(incarnation) = self.receives_as {
            self.page.set_leaving(incarnation);
        }
        self.stop();
    }

    /// Whether the launcher has said that no more input will come.
    pub fn finishing(&self) -> bool {
        self.finishing.load(Ordering::Acquire)
    }

    /// Says to the launcher that the program has finished.
    pub fn say_finished(&self) {
        self.finished_said.store(true, Ordering::Release);
        let _ = self.wake_service.write(1);
    }

    /// Waits while the gate is closed and the process isn't to stop.
    pub fn wait_for_gate(&self) {
        let mut guard = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while self.gate_closed() && !self.stopping() {
            let waited = self.gate_moved.wait_timeout(guard, Duration::from_millis(100));
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
            self.page.beat();
        }
    }

    /// Whether the gate is closed. Whoever holds the outbox's lock and sees it open is done before the gate is said to
    /// be closed.
    #[inline]
    pub fn gate_closed(&self) -> bool {
        self.gate_closed.load(Ordering::Acquire)
    }

    fn move_gate(&self, closed: bool) {
        let guard = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.gate_closed.store(closed, Ordering::Release);
        drop(guard);
        self.gate_moved.notify_all();
    }

    /// Lets the service know that there are records to tend.
    #[inline]
    pub fn wake_service(&self) {
        if self.service_sleeps.load(Ordering::SeqCst) {
            self.service_sleeps.store(false, Ordering::SeqCst);
            let _ = self.wake_service.write(1);
        }
    }

    /// Readable when the program's thread should look around.
    pub fn wake_program_fd(&self) -> i32 {
        self.wake_program.as_fd().as_raw_fd()
    }

    /// Takes back what made [`Shared::wake_program_fd`] readable.
    pub fn program_woke(&self) {
        let _ = self.wake_program.read();
    }

    /// Ends the service.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let _ = self.wake_service.write(1);
    }

    /// What went wrong in the service, once.
    pub fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Runs the service until [`Shared::end`]. `context` is where sockets of later wirings are made.
pub fn run(shared: &Shared, context: &Context, mut control: Control, term: &AtomicBool) {
    control.connect(Instant::now());
    control.say_ready();
    while !shared.ended.load(Ordering::Acquire) {
        let now = Instant::now();
        control.connect(now);
        for message in control.hear() {
            obey(shared, context, &mut control, &message);
        }
        if term.load(Ordering::Acquire) && !shared.stopping() {
            shared.leave();
        }
        if shared.finished_said.swap(false, Ordering::AcqRel) {
            control.say(FromProcess::Finished);
        }
        shared.service_sleeps.store(true, Ordering::SeqCst);
        let limit = now.checked_sub(BATCH_WAITS).unwrap_or(now);
        let tended = {
            let mut outbox = shared.outbox();
            outbox.tend(limit, now).map(|busy| (busy, control.is_flushed() || outbox.is_flushed()))
        };
        let busy = match tended {
            Ok((busy, flushed)) => {
                if flushed && !control.is_flushed() {
                    control.say_flushed();
                }
                busy
            }
            Err(error) => {
                *shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                shared.stop();
                return;
            }
        };
        if busy {
            shared.service_sleeps.store(false, Ordering::SeqCst);
        }
        wait(shared, &control, if busy { BATCH_WAITS } else { QUIET });
        shared.service_sleeps.store(false, Ordering::SeqCst);
    }
}

fn wait(shared: &Shared, control: &Control, at_most: Duration) {
    let mut ready = vec![PollFd::new(shared.wake_service.as_fd(), PollFlags::POLLIN)];
    if let Some(stream) = control.stream() {
        ready.push(PollFd::new(stream.as_fd(), PollFlags::POLLIN));
    }
    let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO);
    // An interruption only means that the caller looks around sooner.
    let _ = poll(&mut ready, timeout);
    let _ = shared.wake_service.read();
}

fn obey(shared: &Shared, context: &Context, control: &mut Control, message: &ToProcess) {
    match *message {
        ToProcess::Gate { closed, .. } => {
            shared.move_gate(closed);
            // Whoever was in the middle of sending has finished once the lock is ours.
            let sent = shared.outbox().flush();
            if sent.is_ok() {
                shared.page.set_gate(closed);
                control.say(FromProcess::Gate { closed });
            }
        }
        ToProcess::Finish => {
            shared.finishing.store(true, Ordering::Release);
            let _ = shared.wake_program.write(1);
        }
        ToProcess::Stop => shared.stop(),
        ToProcess::Adopt { generation } if generation < control.generation() => {}
        ToProcess::Adopt { generation } => {
            let adopted = if generation == control.generation() { Ok(()) } else { adopt(shared, context, generation) };
            match adopted {
                Ok(()) => control.say_adopted(generation),
                Err(text) => control.say(FromProcess::Refused { generation, text }),
            }
        }
        // Only portals have anything to hand over.
        ToProcess::HandOver { generation } => control.say(FromProcess::HandedOver { generation }),
        ToProcess::Settle { generation } => control.say(FromProcess::Settled { generation }),
    }
}

/// Reads what the launcher has put in the place of the wiring, and the guide that it names.
///
/// # Errors
/// In words for a person, if they can't be used or are of another generation.
pub fn read_next(place: &Place, generation: u64) -> std::result::Result<(Placed, Guide), String> {
    let path = place.wiring();
    let next = read_placed(&path).map_err(|error| error.to_string())?;
    if next.place.generation != generation {
        return Err(format!("{} is of generation {}, not {generation}", path.display(), next.place.generation));
    }
    let guide = read_guide(&next.place.guide).map_err(|error| error.to_string())?;
    Ok((next, guide))
}

fn adopt(shared: &Shared, context: &Context, generation: u64) -> std::result::Result<(), String> {
    let (before, _) = shared.placed();
    let (next, guide) = read_next(&before.place, generation)?;
    if next.wiring.inputs.is_empty() != before.wiring.inputs.is_empty() {
        return Err("a source that becomes another stage, or the other way, must be started again".to_owned());
    }
    let mut outbox = shared.outbox();
    outbox
        .adopt(context, &next.place, &next.wiring, guide, &shared.page)
        .map_err(|error| format!("the new wiring can't be used: {error}"))?;
    *shared.placed.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    shared.revision.store(outbox.revision(), Ordering::Release);
    Ok(())
}
