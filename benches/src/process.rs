//! Processes that a measurement starts: each has a time limit, and none outlives the measurement.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Trouble;

/// How long any one process may take.
pub const LIMIT: Duration = Duration::from_secs(120);
/// How long a process that is asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Set by the signals that ask this program to end.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Lets Ctrl-C and SIGTERM end the measurement with everything that it has started.
pub fn catch_signals() -> Result<(), Trouble> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&INTERRUPTED))
            .map_err(|error| Trouble::io("catch signals", error))?;
    }
    Ok(())
}

/// A process that is ended when this is dropped, if it hasn't ended by then.
pub struct Running {
    name: String,
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    errors: File,
    until: Instant,
}

impl Running {
    /// Starts a program; its standard output can be read, its standard error is kept for messages.
    pub fn start(name: &str, command: &mut Command) -> Result<Self, Trouble> {
        let failed = |error| Trouble::io(format!("start {name}"), error);
        let errors = tempfile::tempfile().map_err(failed)?;
        let stderr = errors.try_clone().map_err(failed)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|error| Trouble::io(format!("start {name} ({})", command.get_program().display()), error))?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { name: name.to_owned(), child, output, errors, until: Instant::now() + LIMIT })
    }

    /// The next line that it prints. Waits as long as the program runs; programs of this crate bound themselves.
    pub fn line(&mut self) -> Result<String, Trouble> {
        let mut line = String::new();
        let output = self.output.as_mut();
        let read = output.map_or(Ok(0), |output| output.read_line(&mut line));
        match read {
            Ok(0) => Err(self.failed("ended without a word")),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(Trouble::io(format!("read what {} prints", self.name), error)),
        }
    }

    /// Waits for its end; answers everything that it printed and wasn't read yet. An end other than status 0 is an
    /// error with the last that it said.
    pub fn end(mut self) -> Result<String, Trouble> {
        let reader = self.output.take().map(|mut output| {
            thread::spawn(move || {
                let mut text = String::new();
                output.read_to_string(&mut text).map(|_| text)
            })
        });
        let status = self.wait()?;
        if !status.success() {
            return Err(self.failed(&format!("failed ({status})")));
        }
        match reader.map(thread::JoinHandle::join) {
            Some(Ok(text)) => text.map_err(|error| Trouble::io(format!("read what {} prints", self.name), error)),
            _ => Ok(String::new()),
        }
    }

    /// Asks it to end, and waits for that.
    pub fn stop(self) -> Result<(), Trouble> {
        self.ask_to_end();
        self.gone()
    }

    /// Waits for its end, however it ends.
    pub fn gone(mut self) -> Result<(), Trouble> {
        self.wait().map(drop)
    }

    /// Its id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Asks it to end, and doesn't wait.
    pub fn ask_to_end(&self) {
        // A process that has just ended by itself can't be signalled, and needn't be.
        let _ = kill(self.pid(), Signal::SIGTERM);
    }

    /// An error if it has ended already.
    pub fn must_run(&mut self) -> Result<(), Trouble> {
        match self.child.try_wait() {
            _ if INTERRUPTED.load(Ordering::Relaxed) => Err(Trouble::Interrupted),
            Ok(None) if Instant::now() < self.until => Ok(()),
            Ok(None) => Err(self.failed("took too long")),
            Ok(Some(status)) => Err(self.failed(&format!("ended too early ({status})"))),
            Err(error) => Err(Trouble::io(format!("wait for {}", self.name), error)),
        }
    }

    fn wait(&mut self) -> Result<ExitStatus, Trouble> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                _ if INTERRUPTED.load(Ordering::Relaxed) => return Err(Trouble::Interrupted),
                Ok(None) if Instant::now() < self.until => thread::sleep(LOOK_EVERY),
                Ok(None) => return Err(self.failed("took too long")),
                Err(error) => return Err(Trouble::io(format!("wait for {}", self.name), error)),
            }
        }
    }

    /// The error for what it did, with the last that it said.
    pub fn failed(&mut self, how: &str) -> Trouble {
        let mut said = String::new();
        let read = self.errors.rewind().and_then(|()| self.errors.read_to_string(&mut said));
        let tail: Vec<&str> = if read.is_ok() { said.lines().rev().take(5).collect() } else { Vec::new() };
        let said = tail.into_iter().rev().fold(String::new(), |text, line| text + "\n    " + line);
        Trouble::Process { name: self.name.clone(), how: how.to_owned(), said }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)));
        if ended(&mut self.child) {
            return;
        }
        self.ask_to_end();
        let until = Instant::now() + GRACE;
        while !ended(&mut self.child) {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Waits until `path` is there, while `running` runs.
pub fn wait_for_file(path: &Path, running: &mut Running) -> Result<(), Trouble> {
    while !path.exists() {
        running.must_run()?;
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
