//! Other machines, reached by OpenSSH as a program: the user's own configuration, keys, agent, known hosts and jump hosts are
//! in force, and nothing is asked, as nobody may be there to answer.
//!
//! One connection for each machine: the first `ssh` is the master of all that come after it (`ControlMaster`), which cost a few
//! milliseconds each. It runs `cat` on the other side, so it ends when its stdin does, also if this process is killed.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a machine may take until it lets one in. Seconds.
const CONNECTS: u32 = 10;
/// How often a machine that says nothing is asked whether it is still there, and how often it may fail to answer. Seconds.
const KEEP_ALIVE: (u32, u32) = (5, 3);
/// How long the master may take to end once its stdin is closed.
const ENDS: Duration = Duration::from_secs(2);
/// What the master says once one is in.
const GREETING: &str = "waldo is in";
/// The exit status of `ssh` when it couldn't reach the machine, or lost it.
const LOST: i32 = 255;

/// Why a machine can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// There is no way in.
    #[error("cannot reach {target} by ssh: {why}")]
    Unreachable {
        /// What `ssh` was told to connect to.
        target: String,
        /// What it said.
        why: String,
    },
    /// A command failed there.
    #[error("{target}: {what} failed ({status}): {said}")]
    Failed {
        /// On which machine.
        target: String,
        /// What for.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// `ssh` itself can't be used.
    #[error("cannot run ssh: {0}")]
    Program(#[from] io::Error),
}

impl SshError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { target, .. } => Some(format!(
                "try `ssh {target}` by hand: it has to work without a question (a key without a passphrase, or an agent)"
            )),
            Self::Failed { .. } => None,
            Self::Program(_) => Some("install the OpenSSH client".to_owned()),
        }
    }
}

/// Where the sockets of all connections of this process are, for as long as this lives.
#[derive(Debug)]
pub struct Sockets(TempDir);

impl Sockets {
    /// A directory that nobody else may enter.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn new() -> Result<Self, SshError> {
        Ok(Self(tempfile::Builder::new().prefix("waldo-ssh-").tempdir()?))
    }

    /// Removes them, though connections may still be under way. These end with this process.
    pub fn remove(&self) {
        // What isn't there needs no removing.
        let _ = std::fs::remove_dir_all(self.0.path());
    }
}

/// A connection to a machine, for as long as this lives.
#[derive(Debug)]
pub struct Connection {
    target: String,
    socket: PathBuf,
    master: Child,
    stdin: Option<ChildStdin>,
}

impl Connection {
    /// Connects to `target`, as `ssh` understands it. `name` is what people call it.
    ///
    /// # Errors
    /// If it can't be reached.
    pub fn open(sockets: &Sockets, name: &str, target: &str) -> Result<Self, SshError> {
        let socket = sockets.0.path().join(name);
        let mut command = Command::new("ssh");
        command
            .args(["-T", "-o", "BatchMode=yes", "-o", "ControlMaster=yes", "-o", "ControlPersist=no"])
            .arg("-o")
            .arg(format!("ConnectTimeout={CONNECTS}"))
            .arg("-o")
            .arg(format!("ServerAliveInterval={}", KEEP_ALIVE.0))
            .arg("-o")
            .arg(format!("ServerAliveCountMax={}", KEEP_ALIVE.1));
        at(&mut command, &socket, target).arg(format!("echo '{GREETING}'; exec cat >/dev/null"));
        // Ctrl-C is for this process, which ends what it began.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut master = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdin = master.stdin.take();
        let stdout = master.stdout.take();
        // Before the greeting there may be what the machine says to everybody.
        let greeted = stdout
            .is_some_and(|stdout| BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line == GREETING));
        let mut connection = Self { target: target.to_owned(), socket, master, stdin };
        if !greeted {
            return Err(connection.unreachable());
        }
        if let Some(mut stderr) = connection.master.stderr.take() {
            // Or the master would wait for somebody to read it. The thread ends with it.
            thread::spawn(move || io::copy(&mut stderr, &mut io::sink()));
        }
        Ok(connection)
    }

    /// Whom it leads to, as `ssh` understands it.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Runs a POSIX shell script there, with `input` as its stdin; answers what it wrote to stdout. `what` says what for.
    ///
    /// # Errors
    /// If it fails, or the machine is lost.
    pub fn run(&self, what: &str, script: &str, mut input: impl Read + Send) -> Result<String, SshError> {
        let mut child =
            self.command(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let output = thread::scope(|scope| {
            // What the script doesn't read is no error.
            scope.spawn(move || stdin.map(|mut stdin| io::copy(&mut input, &mut stdin)));
            child.wait_with_output()
        })?;
        let said = last_line(&output.stderr);
        match output.status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Some(LOST) => Err(SshError::Unreachable { target: self.target.clone(), why: said }),
            _ => Err(SshError::Failed {
                target: self.target.clone(),
                what: what.to_owned(),
                status: output.status,
                said,
            }),
        }
    }

    /// Starts a POSIX shell script there that goes on, with its stdin and stdout in hand.
    ///
    /// # Errors
    /// If `ssh` can't be started.
    pub fn start(&self, script: &str) -> Result<Child, SshError> {
        Ok(self.command(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-T", "-o", "BatchMode=yes", "-o", "ControlMaster=no"]);
        // Whatever shell the user there has.
        at(&mut command, &self.socket, &self.target).arg(format!("exec sh -c {}", shell_words::quote(script)));
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }

    /// The error of a master that has no way in.
    fn unreachable(&mut self) -> SshError {
        let mut said = Vec::new();
        if let Some(mut stderr) = self.master.stderr.take() {
            let _ = stderr.read_to_end(&mut said);
        }
        let why = Some(last_line(&said)).filter(|said| !said.is_empty());
        SshError::Unreachable { target: self.target.clone(), why: why.unwrap_or_else(|| "it said nothing".to_owned()) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let until = Instant::now() + ENDS;
        while matches!(self.master.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.master.kill();
                let _ = self.master.wait();
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn at<'c>(command: &'c mut Command, socket: &Path, target: &str) -> &'c mut Command {
    let mut path = std::ffi::OsString::from("ControlPath=");
    path.push(socket);
    command.arg("-o").arg(path).arg("--").arg(target)
}

/// The last line that isn't empty.
pub fn last_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// Does this for all of them, at most so many at once; answers in their order.
pub fn at_most<I: Sync, O: Send>(most: usize, items: &[I], work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let next = AtomicUsize::new(0);
    let done = thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(place) else { return done };
                done.push((place, work(item)));
            }
        };
        let workers: Vec<_> = (0..most.clamp(1, items.len().max(1))).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
        joined.flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect::<Vec<_>>()
    });
    let mut done = done;
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_many_are_under_way_at_once_and_answers_are_in_order() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<usize> = (0..50).collect();
        let answers = at_most(4, &items, |item| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            item * 2
        });
        assert_eq!(answers, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= 4);
        assert_eq!(at_most(4, &[], |item: &usize| *item), Vec::<usize>::new());
    }

    #[test]
    fn of_all_that_ssh_says_the_last_line_is_told() {
        assert_eq!(
            last_line(b"Welcome!\nops@s1: Permission denied (publickey).\r\n\n"),
            "ops@s1: Permission denied (publickey)."
        );
    }
}
