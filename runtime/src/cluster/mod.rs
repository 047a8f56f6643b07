//! All servers of a namespace on this machine, as the command that leads them sees them: one launcher each.

mod farewell;
pub mod neighbours;
pub mod outlook;
pub mod preflight;
mod running;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command as Program, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use waldo_compiler::plan::Plan;

pub use farewell::{Failed, last_status, write_off};
pub use running::{EndError, Ended, connect, end, is_running, stop_takes};

use crate::{
    control::{Answer, Client, Command, ServerStatus, Stand, Unanswered},
    idle::Verdict,
    launcher::{self, last_lines},
    paths::Paths,
    rollout::Store,
    sys::process,
};

/// How long a launcher may take until it listens.
const LISTENS: Duration = Duration::from_secs(20);
/// How long a launcher may take to answer.
const ANSWERS: Duration = Duration::from_secs(20);
/// How often to look while waiting for a launcher.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How many lines of a launcher's log an error shows.
const SHOWN: usize = 5;

/// Why the servers can't be led.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A launcher can't be started.
    #[error("cannot start the launcher of {server}: {why}")]
    NotStarted {
        /// Of which server.
        server: String,
        /// What the system says.
        why: io::Error,
    },
    /// A launcher has ended without being asked to.
    #[error("the launcher of {server} has ended ({status}){}", said.iter().fold(String::new(), |all, line| all + "\n  | " + line))]
    Died {
        /// Of which server.
        server: String,
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        said: Vec<String>,
    },
    /// A launcher doesn't listen.
    #[error("the launcher of {server} doesn't listen after {} s", LISTENS.as_secs())]
    Deaf {
        /// Of which server.
        server: String,
    },
    /// A launcher doesn't answer as it should.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

impl ClusterError {
    /// Whether it is no more than a launcher that has stopped as it should: somebody else has asked it to.
    pub fn is_orderly(&self) -> bool {
        matches!(self, Self::Died { status, .. } if status.success())
    }
}

/// The launchers that this command has started.
#[derive(Debug)]
pub struct Cluster {
    paths: Paths,
    launchers: Vec<Launcher>,
}

#[derive(Debug)]
struct Launcher {
    server: String,
    /// Its stdin is held open by it: a launcher stops when that closes.
    child: Child,
    ended: Option<ExitStatus>,
    client: Client,
    log: PathBuf,
    log_from: u64,
}

impl Cluster {
    /// Starts a launcher for each server of the plan and waits until all listen. If one doesn't, all are ended again.
    ///
    /// # Errors
    /// Which launcher failed, and what it said.
    pub fn start(plan_file: &Path, plan: &Plan, paths: &Paths, generation: u64) -> Result<Self, ClusterError> {
        // What launchers leave when they are killed falls to us, and can be reaped.
        let _ = process::become_subreaper();
        let mut cluster = Self { paths: paths.clone(), launchers: Vec::new() };
        let mut starting = Vec::new();
        let mut failed = None;
        for server in plan.servers.keys() {
            match spawn(plan_file, server, paths, generation) {
                Ok(launcher) => starting.push(launcher),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        for mut launcher in starting {
            if failed.is_none() {
                match launcher.connect(paths, generation) {
                    Ok(client) => {
                        cluster.launchers.push(launcher.connected(client));
                        continue;
                    }
                    Err(error) => failed = Some(error),
                }
            }
            launcher.end();
        }
        match failed {
            None => Ok(cluster),
            Some(error) => {
                cluster.end_at_once();
                Err(error)
            }
        }
    }

    /// How every server is.
    ///
    /// # Errors
    /// If a launcher has ended or doesn't answer.
    pub fn status(&mut self) -> Result<Vec<ServerStatus>, ClusterError> {
        self.call(
            |_| Command::Status,
            |client, answer| match answer {
                Answer::Status(status) => Ok(*status),
                other => Err(client.strange(&format!("{other:?}"))),
            },
        )
    }

    /// Where every server stands, which is cheap to ask.
    ///
    /// # Errors
    /// If a launcher has ended or doesn't answer.
    pub fn stands(&mut self) -> Result<Vec<Stand>, ClusterError> {
        self.call(
            |_| Command::Stand,
            |client, answer| match answer {
                Answer::Stands(stand) => Ok(stand),
                other => Err(client.strange(&format!("{other:?}"))),
            },
        )
    }

    /// Tells every launcher the same.
    ///
    /// # Errors
    /// If a launcher has ended or doesn't answer.
    pub fn tell(&mut self, command: &Command) -> Result<(), ClusterError> {
        self.call(|_| command.clone(), |_, _| Ok(())).map(drop)
    }

    /// Tries to prove that no record is queued or in work anywhere: first readings of all servers, then second ones.
    ///
    /// # Errors
    /// If a launcher has ended or doesn't answer.
    pub fn prove_idle(&mut self) -> Result<Verdict, ClusterError> {
        let firsts = self.call(
            |_| Command::ReadDone,
            |client, answer| match answer {
                Answer::Done(first) => Ok(first),
                other => Err(client.strange(&format!("{other:?}"))),
            },
        )?;
        let verdicts = self.call(
            |place| Command::ReadSent { first: firsts[place].clone() },
            |client, answer| match answer {
                Answer::Judged(verdict) => Ok(verdict),
                other => Err(client.strange(&format!("{other:?}"))),
            },
        )?;
        Ok(verdicts.into_iter().fold(Verdict::Idle, Verdict::and))
    }

    /// Asks all launchers, then takes all answers.
    fn call<T>(
        &mut self,
        command: impl Fn(usize) -> Command,
        understand: impl Fn(&Client, Answer) -> Result<T, Unanswered>,
    ) -> Result<Vec<T>, ClusterError> {
        let asked =
            self.launchers.iter_mut().enumerate().try_for_each(|(place, launcher)| launcher.client.ask(command(place)));
        let answers = asked.and_then(|()| {
            let answers = self.launchers.iter_mut().map(|launcher| {
                let answer = launcher.client.answer()?;
                understand(&launcher.client, answer)
            });
            answers.collect::<Result<Vec<T>, _>>()
        });
        answers.map_err(|error| self.died().unwrap_or(ClusterError::Unanswered(error)))
    }

    /// The error for a launcher that has ended, if one has; waits a moment for it, for it has just broken off.
    fn died(&mut self) -> Option<ClusterError> {
        let until = Instant::now() + Duration::from_millis(500);
        loop {
            let ended = self.launchers.iter_mut().find_map(|launcher| {
                launcher.has_ended();
                launcher.ended.map(|status| (&*launcher, status))
            });
            if let Some((launcher, status)) = ended {
                let said = last_lines(&launcher.log, launcher.log_from, SHOWN);
                return Some(ClusterError::Died { server: launcher.server.clone(), status, said });
            }
            if Instant::now() > until {
                return None;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Whether all launchers have ended.
    pub fn has_ended(&mut self) -> bool {
        self.launchers.iter_mut().all(Launcher::has_ended)
    }

    /// Leaves the launchers to themselves: they go on when this command ends.
    ///
    /// # Errors
    /// If a launcher has ended or doesn't answer.
    pub fn detach(mut self) -> Result<(), ClusterError> {
        self.tell(&Command::Detach)?;
        self.launchers.clear();
        Ok(())
    }

    /// Ends every launcher at once, and whatever is left of its server. Answers what couldn't be ended: pids.
    pub fn end_at_once(&mut self) -> Vec<i32> {
        for launcher in &mut self.launchers {
            // One that is hung won't hear it, and is killed below.
            let _ = launcher.client.ask(Command::Stop { now: true });
        }
        let until = Instant::now() + Duration::from_secs(10);
        while !self.has_ended() && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
        let mut left = Vec::new();
        for launcher in &mut self.launchers {
            if !launcher.has_ended() {
                let _ = launcher.child.kill();
                let _ = launcher.child.wait();
            }
            let places = self.paths.server(&launcher.server);
            if let Err(pids) = launcher::clear_leftovers(&places, false) {
                left.extend(pids);
            }
            let _ = fs::remove_dir(&places.run);
        }
        self.launchers.clear();
        // Orphans of killed launchers have fallen to us.
        while let Some(pid) = process::ended_child() {
            if process::reap(pid).is_none() {
                break;
            }
        }
        left
    }
}

/// Starts a launcher for a server that has none, to go on by itself: with the plan that is live, which needn't have the server
/// if a rollout is about to bring it in. Doesn't wait until it listens.
///
/// # Errors
/// If it can't be started.
pub fn revive(paths: &Paths, store: &Store, server: &str) -> Result<(), ClusterError> {
    if running::is_running(paths, server).is_ok_and(|holder| holder.is_some()) {
        return Ok(());
    }
    let not_started = |why: io::Error| ClusterError::NotStarted { server: server.to_owned(), why };
    let generation = store
        .live()
        .map_err(|error| not_started(io::Error::other(error)))?
        .ok_or_else(|| not_started(io::Error::other("no plan is live")))?;
    let places = paths.server(server);
    let start = || {
        fs::create_dir_all(places.logs())?;
        let log = fs::OpenOptions::new().create(true).append(true).open(places.log("launcher"))?;
        let mut command = Program::new(std::env::current_exe()?);
        command
            .args(["__launch", "--joining", "--server", server, "--generation", &generation.to_string(), "--plan"])
            .arg(store.plan_file(generation))
            .arg("--root")
            .arg(paths.root())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.spawn()
    };
    start().map(drop).map_err(not_started)
}

/// A launcher that has been started and isn't connected yet.
struct Starting {
    server: String,
    child: Child,
    log: PathBuf,
    log_from: u64,
}

fn spawn(plan_file: &Path, server: &str, paths: &Paths, generation: u64) -> Result<Starting, ClusterError> {
    let places = paths.server(server);
    let log = places.log("launcher");
    let start = || {
        fs::create_dir_all(places.logs())?;
        let file = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let log_from = file.metadata()?.len();
        let mut command = Program::new(std::env::current_exe()?);
        command
            .args(["__launch", "--attached", "--server", server, "--generation", &generation.to_string(), "--plan"])
            .arg(plan_file)
            .arg("--root")
            .arg(paths.root())
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file);
        Ok((command.spawn()?, log_from))
    };
    let (child, log_from) =
        start().map_err(|why: io::Error| ClusterError::NotStarted { server: server.to_owned(), why })?;
    Ok(Starting { server: server.to_owned(), child, log, log_from })
}

impl Starting {
    fn connect(&mut self, paths: &Paths, generation: u64) -> Result<Client, ClusterError> {
        let socket = paths.server(&self.server).commands();
        let until = Instant::now() + LISTENS;
        loop {
            let ended = self.child.try_wait().ok().flatten();
            if let Some(status) = ended {
                let said = last_lines(&self.log, self.log_from, SHOWN);
                return Err(ClusterError::Died { server: self.server.clone(), status, said });
            }
            // A socket that an earlier launcher left is cleared before this one listens; nobody answers there.
            if let Ok(mut client) = Client::connect(&self.server, &socket, Some(generation), ANSWERS)
                && client.status().is_ok()
            {
                return Ok(client);
            }
            if Instant::now() > until {
                return Err(ClusterError::Deaf { server: self.server.clone() });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn connected(self, client: Client) -> Launcher {
        let Self { server, child, log, log_from } = self;
        Launcher { server, child, ended: None, client, log, log_from }
    }

    /// Ends a launcher that isn't connected: it stops when its stdin closes.
    fn end(mut self) {
        drop(self.child.stdin.take());
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Launcher {
    fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_some()
    }
}
