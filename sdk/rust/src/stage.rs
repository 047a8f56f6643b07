//! A stage, as its program sees it.

use std::{
    fs::OpenOptions,
    io::Write,
    os::fd::RawFd,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use zmq::{Context, POLLIN, POLLOUT, PollItem};

use crate::{
    ack,
    error::{Error, Result},
    exit,
    guide::Guide,
    inbox::{Inbox, Record},
    leaving::Leaving,
    outbox::Outbox,
    page::{Kind as SlotKind, Page, Slot},
    service::{self, Control, Shared},
    wire::{Passes, RecordRef},
    wiring::{self, KeyRule, Place, Placed, Wiring},
};

/// How often a stage that waits moves its heartbeat. Milliseconds.
const HEARTBEAT: i64 = 100;
/// How often a stage that leaves looks whether something may still come. Milliseconds.
const LOOK_AROUND: i64 = 1;
/// Dead letters that are kept to be looked at; beyond, they are only counted. Bytes.
const DEAD_LETTERS: u64 = 16 * 1024 * 1024;

/// A stage of a topology: an inbox and an outbox.
///
/// ```no_run
/// # fn main() -> waldo_sdk::Result<()> {
/// let mut stage = waldo_sdk::Stage::open()?;
/// while let Some(record) = stage.receive()? {
///     stage.send("shout", record.key(), &record.payload().to_ascii_uppercase())?;
/// }
/// stage.finish()
/// # }
/// ```
///
/// A record counts as done when the next one is asked for; by then all that it caused must have been sent. A stage
/// without inputs is a source: it sends, finishes, and exits with status 0 when it has no more.
pub struct Stage {
    placed: Arc<Placed>,
    /// Which of the outbox's wirings `placed` is.
    revision: u64,
    shared: Arc<Shared>,
    service: Option<JoinHandle<()>>,
    inbox: Option<Inbox>,
    leaving: Option<Leaving>,
    passes: Vec<u8>,
    new_passes: Vec<u8>,
    unflushed: bool,
    dead: Vec<Option<Slot>>,
    is_source: bool,
    // Last, so that sockets are closed before it is terminated.
    _context: Context,
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// There is something to read, or its end.
    ToRead,
    /// There is room to write.
    ToWrite,
}

/// What a call that sends does while there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Waits,
    None,
}

/// What became of an attempt to send.
enum Attempt {
    Sent,
    NoRoom,
    NewerWiring,
}

/// Reads `wiring.json`.
pub fn read_placed(path: &Path) -> Result<Placed> {
    let file = |reason: String| Error::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
    let placed: Placed = serde_json::from_str(&text).map_err(|error| file(error.to_string()))?;
    if placed.format != wiring::FORMAT {
        return Err(file(format!("wiring format {}, this program reads {}", placed.format, wiring::FORMAT)));
    }
    Ok(placed)
}

/// Reads `guide.json`.
pub fn read_guide(path: &Path) -> Result<Guide> {
    let file = |reason: String| Error::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
    let guide: Guide = serde_json::from_str(&text).map_err(|error| file(error.to_string()))?;
    guide.check().map_err(file)?;
    Ok(guide)
}

/// What the launcher gave this process in its environment: its wiring and its incarnation.
pub fn from_environment() -> Result<(Placed, u64)> {
    let path = std::env::var_os("WALDO_WIRING").ok_or(Error::NotStartedByWaldo("WALDO_WIRING"))?;
    let placed = read_placed(&PathBuf::from(path))?;
    let incarnation = std::env::var("WALDO_INCARNATION").ok().and_then(|text| text.parse().ok());
    Ok((placed, incarnation.ok_or(Error::NotStartedByWaldo("WALDO_INCARNATION"))?))
}

/// Lets SIGTERM and SIGINT, and the signals with these numbers, set a flag in place of ending the process.
pub fn catch_termination(others: &[i32]) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for &signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT].iter().chain(others) {
        let doing = || format!("catch signal {signal}");
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(Error::io(doing()))?;
    }
    Ok(flag)
}

impl Stage {
    /// Opens the stage that the launcher started this process for: binds its inbox, connects its outputs, and says
    /// that it is ready.
    pub fn open() -> Result<Self> {
        Self::open_stopped_by(&[])
    }

    /// The same, for a process that the signals with these numbers ask to stop too, as SIGTERM does.
    pub fn open_stopped_by(signals: &[i32]) -> Result<Self> {
        let (placed, incarnation) = from_environment()?;
        let stage = Self::open_with(placed.place, placed.wiring, incarnation, &catch_termination(signals)?)?;
        exit::tell(stage.page(), incarnation);
        Ok(stage)
    }

    /// The same, with what the environment would say.
    pub fn open_at(place: Place, wiring: Wiring, incarnation: u64) -> Result<Self> {
        Self::open_with(place, wiring, incarnation, &catch_termination(&[])?)
    }

    fn open_with(place: Place, wiring: Wiring, incarnation: u64, term: &Arc<AtomicBool>) -> Result<Self> {
        let guide = read_guide(&place.guide)?;
        let page_path = place.page(&place.process);
        let page = Page::open(&page_path).map_err(Error::io(format!("open {}", page_path.display())))?;
        let context = Context::new();
        let outbox = Outbox::connect(&context, &place, &wiring, guide, &page, incarnation)?;
        let is_source = wiring.inputs.is_empty();
        let inbox = if is_source { None } else { Some(Inbox::bind(&context, &place, &page, incarnation)?) };
        let placed = Placed { format: wiring::FORMAT, place, wiring };
        let shared = Arc::new(Shared::new(outbox, placed, page.clone(), incarnation)?);
        let (placed, revision) = shared.placed();
        let place = &placed.place;
        let control = Control::new(place.control(), place.process.clone(), place.generation, incarnation);
        let service = {
            let shared = Arc::clone(&shared);
            let term = Arc::clone(term);
            let context = context.clone();
            let run = move || service::run(&shared, &context, control, &term);
            std::thread::Builder::new().name("waldo".to_owned()).spawn(run).map_err(Error::io("start a thread"))?
        };
        page.set_ready();
        Ok(Self {
            dead: vec![None; placed.wiring.outputs.len()],
            placed,
            revision,
            shared,
            service: Some(service),
            inbox,
            leaving: None,
            passes: Vec::new(),
            new_passes: Vec::new(),
            unflushed: false,
            is_source,
            _context: context,
        })
    }

    /// Where this process runs.
    pub fn place(&self) -> &Place {
        &self.placed.place
    }

    /// Whom this process talks to. A rollout may change it; the change is seen after the next call that sends or
    /// receives.
    pub fn wiring(&self) -> &Wiring {
        &self.placed.wiring
    }

    /// Takes over what the service has adopted since the last time.
    fn follow(&mut self) {
        (self.placed, self.revision) = self.shared.placed();
        self.dead = vec![None; self.placed.wiring.outputs.len()];
    }

    /// The process's counters page.
    pub fn page(&self) -> &Page {
        &self.shared.page
    }

    /// Where to keep what must outlive the process.
    pub fn state_directory(&self) -> &Path {
        &self.placed.place.state
    }

    /// The next record; waits for one. `None` once the stage is asked to stop and [may leave](Stage::may_leave).
    ///
    /// The record that was received before counts as done.
    #[inline]
    pub fn receive(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some(record) = self.try_receive()? {
                return Ok(Some(record));
            }
            if self.may_leave() {
                return Ok(None);
            }
            self.wait_for_input(HEARTBEAT)?;
        }
    }

    /// The next record, if one is there; else sends what is in batches. The record received before counts as done.
    #[inline]
    pub fn try_receive(&mut self) -> Result<Option<Record>> {
        self.shared.page.beat();
        let Some(inbox) = &mut self.inbox else { return Ok(None) };
        if let Some(record) = inbox.take_record()? {
            record.passes().as_bytes().clone_into(&mut self.passes);
            return Ok(Some(record));
        }
        self.passes.clear();
        if let Some(failure) = self.shared.take_failure() {
            return Err(failure);
        }
        if self.shared.revision() != self.revision {
            self.follow();
        }
        self.flush()?;
        Ok(None)
    }

    /// Sends what is in batches, for a source that knows that it has no more for now; else a record waits for company
    /// for up to 1 ms. [`Stage::receive`] does it whenever there is no input.
    pub fn flush(&mut self) -> Result<()> {
        if std::mem::take(&mut self.unflushed) {
            let mut outbox = self.shared.outbox();
            outbox.flush()?;
            outbox.hear(Instant::now())?;
        }
        Ok(())
    }

    /// Lives by what the process has adopted, for a stage that asks for no record for a while.
    pub fn follow_wiring(&mut self) {
        if self.shared.revision() != self.revision {
            self.follow();
        }
    }

    /// Counts the record in hand as done now, without asking for the next.
    pub fn done(&mut self) {
        if let Some(inbox) = &mut self.inbox {
            inbox.done();
        }
    }

    /// Waits until there may be input, the process is asked something, or `milliseconds` have passed.
    pub fn wait_for_input(&mut self, milliseconds: i64) -> Result<()> {
        let mut items = Vec::with_capacity(2);
        if let Some(inbox) = &self.inbox {
            items.push(inbox.socket().as_poll_item(POLLIN));
        }
        self.wait_for(milliseconds, items)
    }

    /// Waits until one of `descriptors` is ready for what is asked of it, the process is asked something, or
    /// `milliseconds` have passed; also for input, if `input` is set.
    pub fn wait_for_descriptors(
        &mut self,
        milliseconds: i64,
        input: bool,
        descriptors: &[(RawFd, Ready)],
    ) -> Result<()> {
        let mut items: Vec<PollItem<'_>> = descriptors
            .iter()
            .map(|&(descriptor, ready)| match ready {
                Ready::ToRead => PollItem::from_fd(descriptor, POLLIN),
                Ready::ToWrite => PollItem::from_fd(descriptor, POLLOUT),
            })
            .collect();
        if let (Some(inbox), true) = (&self.inbox, input) {
            items.push(inbox.socket().as_poll_item(POLLIN));
        }
        self.wait_for(milliseconds, items)
    }

    /// Descriptors that become readable when there may be input, or the process is asked something: for a program that
    /// has a loop of its own. ZeroMQ's tell of changes only: call [`Stage::try_receive`] until it has nothing before
    /// waiting for them, and again after a wait of 100 ms at most, which also moves the heartbeat. Once one is readable,
    /// [`Stage::woke`] comes first.
    pub fn descriptors(&self) -> Result<Vec<RawFd>> {
        let mut descriptors = vec![self.shared.wake_program_fd()];
        if let Some(inbox) = &self.inbox {
            descriptors.push(inbox.socket().get_fd().map_err(Error::zmq("ask for the inbox's descriptor"))?);
        }
        Ok(descriptors)
    }

    /// Takes back what made one of [`Stage::descriptors`] readable, and moves the heartbeat.
    pub fn woke(&self) {
        self.shared.program_woke();
        self.shared.page.beat();
    }

    fn wait_for(&self, milliseconds: i64, mut items: Vec<PollItem<'_>>) -> Result<()> {
        let milliseconds = if self.leaving.is_some() { milliseconds.min(LOOK_AROUND) } else { milliseconds };
        items.push(PollItem::from_fd(self.shared.wake_program_fd(), POLLIN));
        match zmq::poll(&mut items, milliseconds) {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(error) => return Err(Error::zmq("wait for input")(error)),
        }
        self.shared.program_woke();
        self.shared.page.beat();
        Ok(())
    }

    /// Sends a record; waits while there is no room for it. `key` is used where the flow's key rule is `sender`; for
    /// other rules it is found in the payload.
    ///
    /// A record that has gone round a loop as often as it may becomes a dead letter: it is counted, and kept in the
    /// file `dead-letters` of the state directory.
    ///
    /// # Errors
    /// If the stage doesn't send this flow, the record is too large, or it has no key; [`Error::Stopped`] for a source
    /// that is asked to stop.
    pub fn send(&mut self, flow: &str, key: &[u8], payload: &[u8]) -> Result<()> {
        self.send_by_newest_wiring(flow, key, payload, Patience::Waits).map(|_| ())
    }

    /// Sends a record if there is room for it, and a source may send; answers whether it did. Else as [`Stage::send`].
    pub fn try_send(&mut self, flow: &str, key: &[u8], payload: &[u8]) -> Result<bool> {
        self.send_by_newest_wiring(flow, key, payload, Patience::None)
    }

    fn send_by_newest_wiring(&mut self, flow: &str, key: &[u8], payload: &[u8], patience: Patience) -> Result<bool> {
        loop {
            match self.send_by_this_wiring(flow, key, payload, patience)? {
                Attempt::Sent => return Ok(true),
                Attempt::NoRoom => return Ok(false),
                // Once more for each wiring that is adopted in between: it may have another key rule, or not have the flow.
                Attempt::NewerWiring => self.follow(),
            }
        }
    }

    fn send_by_this_wiring(&mut self, flow: &str, key: &[u8], payload: &[u8], patience: Patience) -> Result<Attempt> {
        if self.shared.revision() != self.revision {
            return Ok(Attempt::NewerWiring);
        }
        let index = self.placed.wiring.outputs.iter().position(|output| output.flow == flow);
        let Some(index) = index else {
            // For the words of the error.
            return self.shared.outbox().find(flow).map(|_| Attempt::NewerWiring);
        };
        let output = &self.placed.wiring.outputs[index];
        let found = match &output.key {
            None | Some(KeyRule::Sender) => None,
            Some(rule) => rule.find(payload).map_err(|reason| Error::NoKey { flow: flow.to_owned(), reason })?,
        };
        let found = found.map(std::borrow::Cow::into_owned);
        let key = found.as_deref().unwrap_or(key);
        if !self.count_passes(index) {
            return self.bury(index, key, payload).map(|()| Attempt::Sent);
        }
        let Self { shared, new_passes, revision, is_source, .. } = self;
        let record = RecordRef { key, payload, passes: Passes::from_bytes(new_passes) };
        let mut pause = Pause::new();
        loop {
            if *is_source && shared.stopping() {
                return Err(Error::Stopped);
            }
            let gate_is_closed;
            {
                let mut outbox = shared.outbox();
                if outbox.revision() != *revision {
                    return Ok(Attempt::NewerWiring);
                }
                // Looked at behind the lock: who closes the gate waits for it before saying so.
                gate_is_closed = *is_source && shared.gate_closed();
                if !gate_is_closed {
                    if pause.is_fresh() {
                        outbox.check(index, key, payload)?;
                    }
                    if outbox.try_send(index, record)? {
                        break;
                    }
                    outbox.flush()?;
                    outbox.hear(Instant::now())?;
                    if outbox.try_send(index, record)? {
                        break;
                    }
                }
            }
            if let Some(failure) = shared.take_failure() {
                return Err(failure);
            }
            // Whoever waits for room doesn't hang.
            shared.page.beat();
            if patience == Patience::None {
                return Ok(Attempt::NoRoom);
            }
            if gate_is_closed {
                shared.wait_for_gate();
            } else {
                pause.wait();
            }
        }
        self.unflushed = true;
        self.shared.wake_service();
        if self.is_source {
            self.shared.page.beat();
        }
        Ok(Attempt::Sent)
    }

    /// Works out how often a record on this output has gone round its loops; answers whether it still may.
    fn count_passes(&mut self, output: usize) -> bool {
        self.new_passes.clear();
        let before = Passes::from_bytes(&self.passes);
        for step in &self.placed.wiring.outputs[output].loops {
            let passes = before.of(step.id).saturating_add(u16::from(step.first));
            if passes > step.passes {
                return false;
            }
            if passes > 0 {
                self.new_passes.extend_from_slice(&step.id.to_le_bytes());
                self.new_passes.extend_from_slice(&passes.to_le_bytes());
            }
        }
        true
    }

    fn bury(&mut self, output: usize, key: &[u8], payload: &[u8]) -> Result<()> {
        let flow = &self.placed.wiring.outputs[output].flow;
        if self.dead[output].is_none() {
            let name = format!("dead {flow}");
            self.dead[output] = Some(self.shared.page.slot(SlotKind::Count, &name).map_err(Error::io(name))?);
        }
        if let Some(count) = &self.dead[output] {
            count.add_done(1);
        }
        // It has been counted. That it can't be kept (a full disk) is no reason to stop the stage.
        if let Err(error) = keep_dead(&self.placed.place.state.join("dead-letters"), &ack::line(flow, key, payload)) {
            eprintln!("waldo: a dead letter of flow {flow} could not be kept: {error}");
        }
        Ok(())
    }

    /// Doesn't say any more how long its records take: for a stage that counts them as done, or asks for the next, before they have
    /// been worked on.
    pub fn without_times(&mut self) {
        if let Some(inbox) = &mut self.inbox {
            inbox.without_times();
        }
    }

    /// Whether the stage is asked to stop and nothing more will come into its inbox. To be asked when no record was there
    /// and none is in hand.
    ///
    /// What its senders have counted as sent comes, and has to be taken; asked by SIGTERM, it is sent nothing more. A sender
    /// that was killed, or is stopped, is waited for for a bounded time.
    pub fn may_leave(&mut self) -> bool {
        if !self.shared.stopping() {
            return false;
        }
        if self.inbox.is_none() {
            return true;
        }
        let now = Instant::now();
        let leaving = self.leaving.get_or_insert_with(|| {
            let (placed, page) = (&self.placed, &self.shared.page);
            Leaving::new(&placed.place, &placed.wiring, page, now)
        });
        leaving.is_over(now)
    }

    /// Whether the stage is asked to stop. One with inputs leaves when it also [may](Stage::may_leave).
    pub fn stopping(&self) -> bool {
        self.shared.stopping()
    }

    /// Whether the launcher has said that no more input will come.
    pub fn finish_requested(&self) -> bool {
        self.shared.finishing()
    }

    /// Tells the launcher that all output has been sent after [`Stage::finish_requested`].
    pub fn say_finished(&self) {
        self.shared.say_finished();
    }

    /// Sends everything and waits until receivers have handled, and portals receipted, all of it.
    pub fn settle(&mut self) -> Result<()> {
        self.done();
        self.shared.outbox().flush()?;
        let mut pause = Pause::new();
        loop {
            {
                let mut outbox = self.shared.outbox();
                outbox.hear(Instant::now())?;
                if outbox.all_confirmed() {
                    return Ok(());
                }
            }
            if let Some(failure) = self.shared.take_failure() {
                return Err(failure);
            }
            self.shared.wake_service();
            self.shared.page.beat();
            pause.wait();
        }
    }

    /// Leaves with nothing in hand: [`Stage::settle`], then everything is closed.
    pub fn finish(mut self) -> Result<()> {
        self.settle()
    }
}

fn keep_dead(path: &Path, letter: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.len() < DEAD_LETTERS { file.write_all(letter) } else { Ok(()) }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Records in batches are counted as sent: let them go, also when the program leaves by an error.
        let _ = self.shared.outbox().flush();
        self.shared.end();
        if let Some(service) = self.service.take() {
            let _ = service.join();
        }
    }
}

/// Waiting for room: first by giving up the processor, then by sleeping, each time longer up to a bound.
pub struct Pause {
    step: u32,
}

impl Pause {
    /// A pause that hasn't been made yet.
    pub fn new() -> Self {
        Self { step: 0 }
    }

    fn is_fresh(&self) -> bool {
        self.step == 0
    }

    /// Waits a little, at most 1 ms.
    pub fn wait(&mut self) {
        const YIELDS: u32 = 8;
        if self.step < YIELDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_micros(25 << (self.step - YIELDS).min(5)));
        }
        self.step = (self.step + 1).min(1_000);
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self::new()
    }
}
