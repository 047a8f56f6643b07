//! `speaks: lines`: an ordinary filter. Payloads are its lines in, its lines out are payloads.
//!
//! Nothing tells when such a program is done with a line. What is in it counts as `sent` in the page's `Program` slot of
//! its flow, and as `done` once the program has read all of it, and nothing has gone in or come out for [`QUIET`]: if the
//! program kept it longer, and is killed, nobody can tell. When no more input will come, it gets the end of file, and is finished when it exits; if
//! that is with status 0, what is in it is done. If it ends otherwise or before, what is in it is written off.

use std::{
    io::{ErrorKind, Read, Write},
    os::fd::{AsFd, AsRawFd, RawFd},
    path::Path,
    process::{Child, ChildStdin, ChildStdout},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc::c_int,
};
use waldo_compiler::plan::StageProgram;
use waldo_sdk::{Error, Result, Stage, stage::Ready};

use super::{inside::Inside, refused::Refused, start, wait};

/// How long a program must be quiet to be judged done with what it has read.
const QUIET: Duration = Duration::from_millis(200);
/// How long one look around may wait. Milliseconds.
const LOOK: i64 = 50;
/// The same once the program has closed its output: most exit then. Milliseconds.
const LAST_LOOK: i64 = 5;

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
    inside: Inside,
    refused: Refused,
    /// How much of what has gone in the program hadn't read yet when last looked at. Bytes.
    unread: c_int,
    /// When something last went in or came out, or waited for room further on.
    moved: Instant,
    /// Whether it has been given all its input, and the end of file.
    given_end: bool,
}

/// Runs the program until it ends or the stage is asked to stop; answers the status to exit with.
pub fn run(mut stage: Stage, program: &StageProgram) -> Result<i32> {
    // It has put a record into a pipe long before the program has worked on it.
    stage.without_times();
    let reads = !stage.wiring().inputs.is_empty();
    let flow = stage.wiring().outputs.first().map(|output| output.flow.clone());
    let inside = Inside::open(stage.page(), stage.wiring().inputs.iter().map(|input| input.flow.as_str()))?;
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
        refused: Refused::default(),
        unread: 0,
        moved: Instant::now(),
        given_end: false,
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
            // Asked first: what it wrote before it exited is in the pipe by now. What it has started may keep that open.
            let exited = self.has_exited()?;
            let stopped = self.take_output()?;
            if stopped || exited {
                self.send_last_line()?;
                return self.end(is_source);
            }
            let mut dry = true;
            if self.input.is_some() {
                dry = self.give_input()?;
            }
            if !is_source && dry && self.last_input() {
                self.input = None;
                self.given_end = true;
            }
            self.judge()?;
            self.look()?;
        }
    }

    /// Settles what is in the program if it is quiet. Once it has been given the end, its exit will tell.
    fn judge(&mut self) -> Result<()> {
        let Some(input) = &self.input else { return Ok(()) };
        let unread = unread(input).map_err(io("look at the program's input"))?;
        if std::mem::replace(&mut self.unread, unread) != unread {
            self.moved = Instant::now();
        }
        if unread == 0 && self.pending.is_empty() && self.moved.elapsed() >= QUIET {
            self.inside.settle();
        }
        Ok(())
    }

    /// Whether nothing but what is on its way will come in.
    fn last_input(&mut self) -> bool {
        self.pending.is_empty() && (self.stage.finish_requested() || self.stage.may_leave())
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
            self.inside.enter(self.stage.page(), record.flow())?;
            self.stage.done();
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
                // It has closed its input; that it ends is seen elsewhere. What is pending stays so, and isn't done.
                Err(error) => {
                    eprintln!("waldo: the program takes no more input: {error}");
                    self.input = None;
                    return false;
                }
            }
        }
        self.pending.clear();
        self.written = 0;
        true
    }

    /// Sends the lines that have come out; answers whether the stage is a source that is to stop.
    fn take_output(&mut self) -> Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Some(output) = &mut self.output else { return Ok(false) };
            let count = match output.read(&mut buffer) {
                Ok(0) => {
                    self.output = None;
                    return Ok(false);
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(io("read the program's output")(error)),
            };
            let mut rest = &buffer[..count];
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                self.partial.extend_from_slice(&rest[..end]);
                if self.send_line()? == Sent::Stopped {
                    return Ok(true);
                }
                rest = &rest[end + 1..];
            }
            self.partial.extend_from_slice(rest);
            // After the sends: while they waited for room, the program may have waited for its output to be read.
            self.moved = Instant::now();
        }
    }

    /// Sends the line that has come out last.
    fn send_line(&mut self) -> Result<Sent> {
        // A rollout may have given its only output another name.
        if let Some(output) = self.stage.wiring().outputs.first()
            && self.flow.as_ref() != Some(&output.flow)
        {
            self.flow = Some(output.flow.clone());
        }
        let Some(flow) = &self.flow else { return Ok(Sent::Yes) };
        let outcome = self.refused.or_send(&mut self.stage, flow, b"", &self.partial);
        self.partial.clear();
        match outcome {
            Ok(()) => Ok(Sent::Yes),
            Err(Error::Stopped) => Ok(Sent::Stopped),
            Err(error) => Err(error),
        }
    }

    /// Sends what came out without a newline at the end.
    fn send_last_line(&mut self) -> Result<()> {
        if !self.partial.is_empty() {
            self.send_line()?;
        }
        Ok(())
    }

    /// The program has ended, or a source is to stop.
    fn end(mut self, is_source: bool) -> Result<i32> {
        self.input = None;
        self.output = None;
        let status = wait(&mut self.child)?;
        if is_source {
            self.stage.finish()?;
            return Ok(status);
        }
        self.stage.settle()?;
        if self.given_end && status == 0 {
            self.inside.settle();
        } else {
            let lost = self.inside.write_off();
            let when = if self.given_end { "at" } else { "before" };
            eprintln!(
                "waldo: the program ended with status {status} {when} the end of its input; {lost} records are lost"
            );
            return Ok(status);
        }
        if !self.stage.stopping() {
            self.stage.say_finished();
            while let Some(record) = self.stage.receive()? {
                self.refused.count(self.stage.page(), record.flow(), &"it came after the end of the input")?;
            }
        }
        self.stage.finish()?;
        Ok(0)
    }

    fn look(&mut self) -> Result<()> {
        let read = self.output.as_ref().map(|output| (output.as_raw_fd(), Ready::ToRead));
        let blocked = self.written < self.pending.len();
        let write = self.input.as_ref().filter(|_| blocked).map(|input| (input.as_raw_fd(), Ready::ToWrite));
        let descriptors: Vec<(RawFd, Ready)> = read.into_iter().chain(write).collect();
        let closed = self.flow.is_some() && self.output.is_none();
        let milliseconds = if closed { LAST_LOOK } else { LOOK };
        self.stage.wait_for_descriptors(milliseconds, !blocked && self.input.is_some(), &descriptors)
    }
}

#[derive(PartialEq, Eq)]
enum Sent {
    Yes,
    Stopped,
}

/// How many bytes in the pipe to the program it hasn't read.
fn unread(input: &ChildStdin) -> std::io::Result<c_int> {
    nix::ioctl_read_bad!(bytes_in, nix::libc::FIONREAD, c_int);
    let mut bytes = 0;
    // SAFETY: FIONREAD writes one int, to where the pointer points.
    unsafe { bytes_in(input.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes)
}

fn io(doing: &str) -> impl FnOnce(std::io::Error) -> Error {
    let doing = doing.to_owned();
    move |source| Error::Io { doing, source }
}
