//! All servers of a namespace on this machine, as the command that leads them sees them: one launcher each.

mod farewell;
pub mod membership;
pub mod neighbours;
pub mod outlook;
pub mod preflight;
mod revive;
mod running;
mod survey;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use waldo_compiler::plan::Plan;

pub use farewell::{Failed, last_status, write_off};
use revive::{Revivals, Starting};
pub use revive::{left, lives, revive, revive_detached, take_over};
pub use running::{EndError, Ended, connect, end, is_flowing, is_running, stop_takes};

pub use survey::{Launcher as LauncherSeen, Seen, survey};

use crate::{
    control::{Answer, Client, Command, ServerStatus, Stand, Unanswered},
    idle::{FirstReading, Verdict},
    launcher::{self, Options, last_lines},
    paths::Paths,
    sys::process,
};

/// How long a launcher may take to be gone once it has broken its connections off.
const BREAKS_OFF: Duration = Duration::from_secs(5);
/// How long what is left at the end may take to be gone.
const SWEEP: Duration = Duration::from_secs(5);
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
    #[error("the launcher of {server} doesn't listen after {} s", revive::LISTENS.as_secs())]
    Deaf {
        /// Of which server.
        server: String,
    },
    /// There is neither a launcher nor anything that one has left.
    #[error("nothing runs on {server} that a launcher could take over")]
    Nothing {
        /// On which server.
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
    /// The servers whose launchers have died and been followed by others, as far as nobody has asked.
    news: Vec<String>,
    /// Whether processes have fallen to us whose launcher has died.
    has_orphans: bool,
    /// How servers were when they left that a rollout has taken out.
    gone: Vec<ServerStatus>,
}

#[derive(Debug)]
struct Launcher {
    server: String,
    /// Its stdin is held open by it: a launcher stops when that closes. `None` if a rollout has started it.
    child: Option<Child>,
    ended: Option<ExitStatus>,
    client: Client,
    log: PathBuf,
    log_from: u64,
    revivals: Revivals,
}

impl Cluster {
    /// Starts a launcher for each server of the plan and waits until all listen. If one doesn't, all are ended again.
    ///
    /// # Errors
    /// Which launcher failed, and what it said.
    pub fn start(plan_file: &Path, plan: &Plan, paths: &Paths, generation: u64) -> Result<Self, ClusterError> {
        // What launchers leave when they are killed falls to us, and can be reaped.
        let _ = process::become_subreaper();
        let mut cluster = Self {
            paths: paths.clone(),
            launchers: Vec::new(),
            news: Vec::new(),
            has_orphans: false,
            gone: Vec::new(),
        };
        let mut starting = Vec::new();
        let mut failed = None;
        for server in plan.servers.keys() {
            let options = Options {
                plan: plan_file.to_owned(),
                server: server.clone(),
                root: paths.root().to_owned(),
                run_root: paths.run_root().to_owned(),
                generation,
                kept: None,
                alone: false,
                joining: false,
                attached: true,
            };
            match revive::spawn(&options, &paths.server(server)) {
                Ok(launcher) => starting.push(launcher),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        for launcher in starting {
            if failed.is_none() {
                let mut revivals = Revivals::default();
                match launcher.connected(paths, &mut revivals) {
                    Ok((launcher, client)) => cluster.launchers.push(Launcher::new(launcher, client, revivals)),
                    Err(error) => failed = Some(error),
                }
            } else {
                launcher.end();
            }
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
                Answer::Done(first) => Ok((client.server().to_owned(), first)),
                other => Err(client.strange(&format!("{other:?}"))),
            },
        )?;
        let firsts: BTreeMap<String, FirstReading> = firsts.into_iter().collect();
        let verdicts = self.call(
            // One that was brought in between has no first reading, and its verdict will be that something has changed.
            |server| Command::ReadSent { first: firsts.get(server).cloned().unwrap_or_default() },
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
        command: impl Fn(&str) -> Command,
        understand: impl Fn(&Client, Answer) -> Result<T, Unanswered>,
    ) -> Result<Vec<T>, ClusterError> {
        self.reap_orphans();
        loop {
            match self.call_once(&command, &understand) {
                Ok(answers) => return Ok(answers),
                // Whoever takes over is asked again: what a launcher is told twice it does once.
                Err(error) => match self.died() {
                    Some(_) if self.let_go_who_left() => self.connect_anew()?,
                    Some(died) => self.follow_up(died)?,
                    None => return Err(ClusterError::Unanswered(error)),
                },
            }
        }
    }

    fn call_once<T>(
        &mut self,
        command: &impl Fn(&str) -> Command,
        understand: &impl Fn(&Client, Answer) -> Result<T, Unanswered>,
    ) -> Result<Vec<T>, Unanswered> {
        for launcher in &mut self.launchers {
            launcher.client.ask(command(&launcher.server))?;
        }
        let answers = self.launchers.iter_mut().map(|launcher| {
            let answer = launcher.client.answer()?;
            understand(&launcher.client, answer)
        });
        answers.collect()
    }

    /// Lets other launchers follow those that have been killed, if there may be more of them; `died` is what there is to say
    /// if not. All are connected anew, as nobody knows who has been asked for what.
    fn follow_up(&mut self, died: ClusterError) -> Result<(), ClusterError> {
        if died.is_orderly() || !self.replace_the_dead()? {
            return Err(died);
        }
        self.connect_anew()
    }

    fn connect_anew(&mut self) -> Result<(), ClusterError> {
        for launcher in &mut self.launchers {
            launcher.client = revive::connected(&launcher.server, &self.paths.server(&launcher.server))?;
        }
        Ok(())
    }

    /// Starts another launcher for each server whose launcher has been killed. Answers whether there was any, and all could be.
    fn replace_the_dead(&mut self) -> Result<bool, ClusterError> {
        let mut replaced = false;
        for launcher in &mut self.launchers {
            let was_killed = launcher.has_ended(&self.paths) && !launcher.ended.is_some_and(|status| status.success());
            if !was_killed {
                continue;
            }
            // Whoever leads a rollout needs one at once.
            if is_running(&self.paths, &launcher.server).is_ok_and(|holder| holder.is_some()) {
                launcher.client = revive::connected(&launcher.server, &self.paths.server(&launcher.server))?;
                (launcher.child, launcher.ended) = (None, None);
                self.has_orphans = true;
                self.news.push(launcher.server.clone());
                replaced = true;
                continue;
            }
            let Some(left) = left(&self.paths, &launcher.server) else { return Ok(false) };
            if !launcher.revivals.allow(Instant::now()) {
                return Ok(false);
            }
            self.has_orphans = true;
            let next = revive::spawn(&left.options(true), &self.paths.server(&launcher.server))?;
            let (next, client) = next.connected(&self.paths, &mut launcher.revivals)?;
            (launcher.child, launcher.client, launcher.ended) = (Some(next.child), client, None);
            self.news.push(launcher.server.clone());
            replaced = true;
        }
        Ok(replaced)
    }

    /// The servers whose launchers have died and been followed by others since the last time.
    pub fn take_news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// What a launcher leaves that is killed falls to us: nobody else takes notice of its end.
    fn reap_orphans(&mut self) {
        if !self.has_orphans {
            return;
        }
        let children = self.launchers.iter().filter_map(|launcher| launcher.child.as_ref());
        let launchers: Vec<i32> = children.map(|child| child.id().cast_signed()).collect();
        for pid in process::own_children().into_iter().filter(|pid| !launchers.contains(pid)) {
            let _ = process::reap(pid);
        }
    }

    /// The error for a launcher that has ended, if one has; waits a moment for it, for it has just broken off.
    fn died(&mut self) -> Option<ClusterError> {
        let until = Instant::now() + BREAKS_OFF;
        loop {
            let paths = &self.paths;
            let ended = self.launchers.iter_mut().find_map(|launcher| {
                launcher.has_ended(paths);
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

    /// Whether all launchers have ended as they should. One that is killed while it stops is followed by another.
    ///
    /// # Errors
    /// If no other can follow.
    pub fn has_stopped(&mut self) -> Result<bool, ClusterError> {
        self.reap_orphans();
        self.replace_the_dead()?;
        Ok(self.has_ended())
    }

    /// Whether all launchers have ended.
    pub fn has_ended(&mut self) -> bool {
        let paths = &self.paths;
        self.launchers.iter_mut().all(|launcher| launcher.has_ended(paths))
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
            if !launcher.has_ended(&self.paths) {
                launcher.kill(&self.paths);
            }
            let places = self.paths.server(&launcher.server);
            if let Err(pids) = launcher::clear_leftovers(&places, false) {
                left.extend(pids);
            }
            let _ = fs::remove_dir(&places.run);
        }
        self.launchers.clear();
        // Orphans of killed launchers have fallen to us, also those that nobody could know by their environment.
        if self.has_orphans
            && let Err(pids) = process::end_descendants(SWEEP)
        {
            left.extend(pids);
        }
        while let Some(pid) = process::ended_child() {
            if process::reap(pid).is_none() {
                break;
            }
        }
        left
    }
}

impl Launcher {
    fn new(started: Starting, client: Client, revivals: Revivals) -> Self {
        let Starting { server, child, log, log_from } = started;
        Self { server, child: Some(child), ended: None, client, log, log_from, revivals }
    }

    fn has_ended(&mut self, paths: &Paths) -> bool {
        if self.ended.is_none() {
            self.ended = match &mut self.child {
                Some(child) => child.try_wait().ok().flatten(),
                None => membership::ended_elsewhere(paths, &self.server),
            };
        }
        self.ended.is_some()
    }

    fn kill(&mut self, paths: &Paths) {
        match &mut self.child {
            Some(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            None => {
                let _ = running::kill_launcher(paths, &self.server);
            }
        }
    }
}
