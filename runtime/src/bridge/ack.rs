//! `speaks: ack`: a record is a line in, its consequences are lines out, an empty line means done.
//!
//! While no record is in hand, the program has nothing to say: a line is an error then, and the end of its output is
//! seen at once, before the next record is taken.

use std::{
    io::{BufRead, BufReader, Write},
    os::fd::{AsFd, AsRawFd},
    process::{Child, ChildStdin, ChildStdout},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use waldo_compiler::plan::StageProgram;
use waldo_sdk::{
    Error, Result, Stage,
    ack::{self, Said},
    stage::Ready,
};

use super::{refused::Refused, start, wait};

/// A line that is longer than this and its record's escapes could make it is refused. Bytes.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;
/// How long one wait for input may last. Milliseconds.
const LOOK: i64 = 100;
/// How long a program that has closed its output, and whose input is closed, may take to exit.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// What a program said last.
enum Heard {
    Line,
    End,
}

/// How a conversation came to its end.
enum Outcome {
    /// The stage is asked to stop, and nothing is in hand.
    Stopped,
    /// The program has ended by itself.
    Ended,
}

/// Runs the program until it ends or the stage is asked to stop; answers the status to exit with.
pub fn run(stage: Stage, program: &StageProgram) -> Result<i32> {
    if stage.wiring().inputs.is_empty() { run_source(stage, program) } else { run_stage(stage, program) }
}

fn run_source(mut stage: Stage, program: &StageProgram) -> Result<i32> {
    let mut child = start(&program.argv, false, true)?;
    let mut answers = BufReader::with_capacity(64 * 1024, taken(child.stdout.take())?);
    let mut line = Vec::new();
    let mut refused = Refused::default();
    while let Heard::Line = read_line(&mut answers, &mut line)? {
        match say(&mut stage, &mut refused, &line) {
            Ok(_) => {}
            Err(Error::Stopped) => {
                // The pipe is closed: a program that goes on writing is told so by the system.
                drop(answers);
                let status = wait(&mut child)?;
                stage.finish()?;
                return Ok(status);
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        }
    }
    let status = wait(&mut child)?;
    stage.finish()?;
    Ok(status)
}

fn run_stage(mut stage: Stage, program: &StageProgram) -> Result<i32> {
    let mut child = start(&program.argv, true, true)?;
    let mut input = taken(child.stdin.take())?;
    let mut answers = BufReader::with_capacity(64 * 1024, taken(child.stdout.take())?);
    let outcome = converse(&mut stage, &mut child, &mut input, &mut answers);
    drop(input);
    match outcome {
        Ok(Outcome::Stopped) => {
            let status = wait(&mut child)?;
            stage.finish()?;
            Ok(status)
        }
        // If a record is in hand, it has no answer: it must not count as done.
        Ok(Outcome::Ended) => {
            let status = wait_a_little(&mut child)?;
            eprintln!("waldo: the program ended by itself, with status {status}, while records may still come");
            Ok(if status == 0 { 1 } else { status })
        }
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn converse(
    stage: &mut Stage,
    child: &mut Child,
    input: &mut ChildStdin,
    answers: &mut BufReader<ChildStdout>,
) -> Result<Outcome> {
    let mut line = Vec::new();
    let mut refused = Refused::default();
    loop {
        if has_spoken(answers)? {
            return match read_line(answers, &mut line)? {
                Heard::End => Ok(Outcome::Ended),
                Heard::Line => Err(wrong(format!(
                    "a line though no record was in hand: {:?}",
                    String::from_utf8_lossy(&line[..line.len().min(80)])
                ))),
            };
        }
        let Some(record) = stage.try_receive()? else {
            if stage.may_leave() {
                return Ok(Outcome::Stopped);
            }
            stage.wait_for_descriptors(LOOK, true, &[(answers.get_ref().as_raw_fd(), Ready::ToRead)])?;
            // What it has started may hold its output open.
            let exited =
                child.try_wait().map_err(|source| Error::Io { doing: "wait for the program".to_owned(), source });
            if exited?.is_some() && !has_spoken(answers)? {
                return Ok(Outcome::Ended);
            }
            continue;
        };
        if input.write_all(&ack::line(record.flow(), record.key(), record.payload())).is_err() {
            return Ok(Outcome::Ended);
        }
        loop {
            let Heard::Line = read_line(answers, &mut line)? else { return Ok(Outcome::Ended) };
            if say(stage, &mut refused, &line)? {
                break;
            }
        }
        stage.done();
    }
}

/// Whether there is a line, the beginning of one, or the end of them.
fn has_spoken(answers: &BufReader<ChildStdout>) -> Result<bool> {
    if !answers.buffer().is_empty() {
        return Ok(true);
    }
    match poll(&mut [PollFd::new(answers.get_ref().as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(Error::Io { doing: "look at the program's answers".to_owned(), source: error.into() }),
    }
}

fn wait_a_little(child: &mut Child) -> Result<i32> {
    let until = Instant::now() + LAST_BREATH;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        sleep(Duration::from_millis(5));
    }
    // Does nothing to one that has exited.
    let _ = child.kill();
    wait(child)
}

/// Does what a line says; answers whether it was the empty one.
fn say(stage: &mut Stage, refused: &mut Refused, line: &[u8]) -> Result<bool> {
    match ack::read(line) {
        Ok(Said::Done) => Ok(true),
        Ok(Said::Record { flow, key, payload }) => refused.or_send(stage, flow, &key, &payload).map(|()| false),
        Err(reason) => Err(wrong(reason)),
    }
}

fn wrong(reason: String) -> Error {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
    Error::Io { doing: "read the program's answer".to_owned(), source }
}

fn read_line(answers: &mut BufReader<ChildStdout>, line: &mut Vec<u8>) -> Result<Heard> {
    line.clear();
    let read = std::io::Read::take(std::io::Read::by_ref(answers), LONGEST_LINE).read_until(b'\n', line);
    read.map_err(|source| Error::Io { doing: "read the program's answer".to_owned(), source })?;
    match line.pop() {
        None => Ok(Heard::End),
        Some(b'\n') => Ok(Heard::Line),
        Some(_) if line.len() as u64 + 1 >= LONGEST_LINE => {
            Err(wrong(format!("a line of more than {LONGEST_LINE} bytes")))
        }
        // The last line of a program that ended in the middle of it.
        Some(_) => Err(wrong("the last line has no newline".to_owned())),
    }
}

fn taken<T>(pipe: Option<T>) -> Result<T> {
    pipe.ok_or_else(|| Error::File { path: "WALDO_PROGRAM".into(), reason: "no pipe to the program".to_owned() })
}
