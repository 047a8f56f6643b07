//! `speaks: ack`: a record is a line in, its consequences are lines out, an empty line means done.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout},
};

use waldo_compiler::plan::StageProgram;
use waldo_sdk::{
    Error, Result, Stage,
    ack::{self, Said},
};

use super::{start, wait};

/// A line that is longer than this and its record's escapes could make it is refused. Bytes.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;

/// What a program said last.
enum Heard {
    Line,
    End,
}

/// Runs the program until it ends or the stage is asked to stop; answers the status to exit with.
pub fn run(stage: Stage, program: &StageProgram) -> Result<i32> {
    if stage.wiring().inputs.is_empty() { run_source(stage, program) } else { run_stage(stage, program) }
}

fn run_source(mut stage: Stage, program: &StageProgram) -> Result<i32> {
    let mut child = start(&program.argv, false, true)?;
    let mut answers = BufReader::with_capacity(64 * 1024, taken(child.stdout.take())?);
    let mut line = Vec::new();
    while let Heard::Line = read_line(&mut answers, &mut line)? {
        match say(&mut stage, &line) {
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
    let outcome = converse(&mut stage, &mut input, &mut answers);
    drop(input);
    match outcome {
        Ok(Heard::Line) => {
            let status = wait(&mut child)?;
            stage.finish()?;
            Ok(status)
        }
        // The record in hand has no answer: it must not count as done.
        Ok(Heard::End) => {
            let status = wait(&mut child)?;
            eprintln!("waldo: the program ended before it had answered a record");
            Ok(if status == 0 { 1 } else { status })
        }
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Until the stage is asked to stop (`Line`) or the program ends (`End`).
fn converse(stage: &mut Stage, input: &mut ChildStdin, answers: &mut BufReader<ChildStdout>) -> Result<Heard> {
    let mut line = Vec::new();
    while let Some(record) = stage.receive()? {
        if input.write_all(&ack::line(record.flow(), record.key(), record.payload())).is_err() {
            return Ok(Heard::End);
        }
        loop {
            let Heard::Line = read_line(answers, &mut line)? else { return Ok(Heard::End) };
            if say(stage, &line)? {
                break;
            }
        }
    }
    Ok(Heard::Line)
}

/// Does what a line says; answers whether it was the empty one.
fn say(stage: &mut Stage, line: &[u8]) -> Result<bool> {
    match ack::read(line) {
        Ok(Said::Done) => Ok(true),
        Ok(Said::Record { flow, key, payload }) => stage.send(flow, &key, &payload).map(|()| false),
        Err(reason) => Err(refused(reason)),
    }
}

fn refused(reason: String) -> Error {
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
            Err(refused(format!("a line of more than {LONGEST_LINE} bytes")))
        }
        // The last line of a program that ended in the middle of it.
        Some(_) => Err(refused("the last line has no newline".to_owned())),
    }
}

fn taken<T>(pipe: Option<T>) -> Result<T> {
    pipe.ok_or_else(|| Error::File { path: "WALDO_PROGRAM".into(), reason: "no pipe to the program".to_owned() })
}
