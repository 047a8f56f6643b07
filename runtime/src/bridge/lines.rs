//! `speaks: lines`: an ordinary filter. Payloads are its lines in, its lines out are payloads.
//!
//! Nothing tells when such a program is done with a line. What is in it counts as `sent` in the page's `Program` slot,
//! and as `done` once it has neither read nor written for [`QUIET`], or has ended. When it is told that no more input
//! will come, it gets the end of file, and is finished when it exits.

use std::{
    io::{ErrorKind, Read, Write},
    os::fd::{AsFd, AsRawFd, RawFd},
    path::Path,
    process::{Child, ChildStdin, ChildStdout},
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use waldo_compiler::plan::StageProgram;
use waldo_sdk::{
    Error, Result, Stage,
    page::{Kind as SlotKind, Slot},
    stage::Ready,
};

use super::{start, wait};

/// How long a program must be quiet to be judged done with what it has read.
const QUIET: Duration = Duration::from_millis(200);
/// How long one look around may wait. Milliseconds.
const LOOK: i64 = 50;

struct Filter {
    stage: Stage,
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    flow: Option<String>,
    /// What is on its way into the program.
    pending: Vec<u8>,
    written: usize,
    /// What came out of it and isn't a whole line yet.
    partial: Vec<u8>,
    inside: Slot,
    moved: Instant,
}

/// Runs the program until it ends or the stage is asked to stop; answers the status to exit with.
pub fn run(stage: Stage, program: &StageProgram) -> Result<i32> {
    let reads = !stage.wiring().inputs.is_empty();
    let flow = stage.wiring().outputs.first().map(|output| output.flow.clone());
    let name = stage.wiring().stage.clone();
    let inside = stage.page().slot(SlotKind::Program, &name).map_err(io("add the program's edge"))?;
    // What was in a program that died is lost.
    inside.set_written_off(inside.sent() - inside.done());
    let mut child = start(&line_buffered(&program.argv), reads, flow.is_some())?;
    let input = child.stdin.take();
    let output = child.stdout.take();
    for descriptor in [input.as_ref().map(AsFd::as_fd), output.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
        fcntl(descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|error| io("make a pipe non-blocking")(error.into()))?;
    }
    let filter = Filter {
        stage,
        child,
        input,
        output,
        flow,
        pending: Vec::new(),
        written: 0,
        partial: Vec::new(),
        inside,
        moved: Instant::now(),
    };
    filter.work()
}

/// Most programs buffer whole blocks when they write to a pipe; `stdbuf` makes those that use C's stdio write line by line.
fn line_buffered(argv: &[String]) -> Vec<String> {
    let has_stdbuf = ["/usr/bin/stdbuf", "/bin/stdbuf"].iter().any(|path| Path::new(path).exists());
    let prefix = if has_stdbuf { vec!["stdbuf".to_owned(), "-oL".to_owned()] } else { Vec::new() };
    prefix.into_iter().chain(argv.iter().cloned()).collect()
}

impl Filter {
    fn work(mut self) -> Result<i32> {
        let is_source = self.input.is_none();
        loop {
            let ended = self.take_output()?;
            let mut dry = true;
            if self.input.is_some() {
                dry = self.give_input()?;
            }
            if !is_source && dry && self.last_input() {
                self.input = None;
            }
            if self.moved.elapsed() >= QUIET && self.pending.is_empty() {
                self.settle_inside();
            }
            if ended || (self.output.is_none() && self.has_exited()?) {
                return self.end(is_source);
            }
            self.look()?;
        }
    }

    /// Whether nothing but what is on its way will come in.
    fn last_input(&self) -> bool {
        self.pending.is_empty() && (self.stage.finish_requested() || self.stage.stopping())
    }

    fn has_exited(&mut self) -> Result<bool> {
        self.child.try_wait().map(|status| status.is_some()).map_err(io("wait for the program"))
    }

    /// Puts records into the program while it takes them; answers whether the inbox is dry.
    fn give_input(&mut self) -> Result<bool> {
        loop {
            if !self.write_pending() {
                return Ok(false);
            }
            let Some(record) = self.stage.try_receive()? else { return Ok(true) };
            self.inside.add_sent(1);
            self.pending.extend_from_slice(record.payload());
            self.pending.push(b'\n');
        }
    }

    /// Writes what is pending; answers whether all of it went.
    fn write_pending(&mut self) -> bool {
        while self.written < self.pending.len() {
            let Some(input) = &mut self.input else { return false };
            match input.write(&self.pending[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.moved = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It has closed its input; that it ends is seen elsewhere.
                Err(_) => return false,
            }
        }
        self.pending.clear();
        self.written = 0;
        true
    }

    /// Sends the lines that have come out; answers whether the program has closed its output.
    fn take_output(&mut self) -> Result<bool> {
        let Some(flow) = &self.flow else { return Ok(false) };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Some(output) = &mut self.output else { return Ok(false) };
            let count = match output.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(io("read the program's output")(error)),
            };
            self.moved = Instant::now();
            let mut rest = &buffer[..count];
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                self.partial.extend_from_slice(&rest[..end]);
                if send(&mut self.stage, flow, &self.partial)? == Sent::Stopped {
                    return Ok(true);
                }
                self.partial.clear();
                rest = &rest[end + 1..];
            }
            self.partial.extend_from_slice(rest);
        }
        if !self.partial.is_empty() {
            let last = std::mem::take(&mut self.partial);
            send(&mut self.stage, flow, &last)?;
        }
        Ok(true)
    }

    fn settle_inside(&self) {
        self.inside.set_done(self.inside.sent() - self.inside.written_off());
    }

    /// The program has ended, or a source is to stop.
    fn end(mut self, is_source: bool) -> Result<i32> {
        let told = self.stage.finish_requested() || self.stage.stopping();
        self.input = None;
        self.output = None;
        let status = wait(&mut self.child)?;
        if is_source || self.stage.stopping() {
            self.stage.finish()?;
            return Ok(status);
        }
        if !told {
            // It left by itself with the launcher's wish still to come; what was in it can't be told apart.
            self.stage.settle()?;
            self.settle_inside();
            return Ok(status);
        }
        self.stage.settle()?;
        self.settle_inside();
        if status != 0 {
            eprintln!("waldo: the program ended with status {status} at the end of its input");
            return Ok(status);
        }
        self.stage.say_finished();
        while self.stage.receive()?.is_some() {}
        self.stage.finish()?;
        Ok(0)
    }

    fn look(&mut self) -> Result<()> {
        let read = self.output.as_ref().map(|output| (output.as_raw_fd(), Ready::ToRead));
        let blocked = self.written < self.pending.len();
        let write = self.input.as_ref().filter(|_| blocked).map(|input| (input.as_raw_fd(), Ready::ToWrite));
        let descriptors: Vec<(RawFd, Ready)> = read.into_iter().chain(write).collect();
        self.stage.wait_for_descriptors(LOOK, !blocked && self.input.is_some(), &descriptors)
    }
}

#[derive(PartialEq, Eq)]
enum Sent {
    Yes,
    Stopped,
}

fn send(stage: &mut Stage, flow: &str, payload: &[u8]) -> Result<Sent> {
    match stage.send(flow, b"", payload) {
        Ok(()) => Ok(Sent::Yes),
        Err(Error::Stopped) => Ok(Sent::Stopped),
        Err(error) => Err(error),
    }
}

fn io(doing: &str) -> impl FnOnce(std::io::Error) -> Error {
    let doing = doing.to_owned();
    move |source| Error::Io { doing, source }
}
