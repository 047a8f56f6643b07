//! A launcher that has died is followed by another one, which takes over what it left.

use std::{
    collections::VecDeque,
    fs, io,
    path::PathBuf,
    process::{Child, Command as Program, Stdio},
    time::{Duration, Instant},
};

use super::{ClusterError, is_running};
use crate::{
    control::{Client, Holder},
    launcher::{Kept, Options, Recorded, last_lines},
    paths::{Paths, ServerPaths},
    rollout::Store,
    sys::process::Identity,
};

/// How long a launcher may take until it listens.
pub const LISTENS: Duration = Duration::from_secs(20);
/// How long a launcher may take to answer.
const ANSWERS: Duration = Duration::from_secs(20);
/// How often to look while waiting for a launcher.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How many lines of a launcher's log an error shows.
const SHOWN: usize = 5;
/// How many launchers one server may use up within [`WINDOW`].
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// A launcher that has been started and isn't connected yet.
pub struct Starting {
    pub server: String,
    pub child: Child,
    pub log: PathBuf,
    pub log_from: u64,
}

/// How often a server's launcher has been followed by another one lately.
#[derive(Debug, Default)]
pub struct Revivals(VecDeque<Instant>);

impl Revivals {
    /// Whether there may be one more, which counts from now on.
    pub fn allow(&mut self, now: Instant) -> bool {
        self.0.retain(|&at| now.duration_since(at) < WINDOW);
        let allowed = self.0.len() < MOST;
        if allowed {
            self.0.push_back(now);
        }
        allowed
    }
}

/// Starts a launcher for a server that has none, to go on by itself: with what the last one has left, else with the plan that
/// is live, which needn't have the server if a rollout is about to bring it in. Doesn't wait until it listens. Where the
/// command that leads the namespace will start one, nothing is done.
///
/// # Errors
/// If it can't be started.
pub fn revive(paths: &Paths, store: &Store, server: &str) -> Result<(), ClusterError> {
    if is_running(paths, server).is_ok_and(|holder| holder.is_some()) {
        return Ok(());
    }
    let options = match left(paths, server) {
        Some(left) if is_led(paths, &left) => return Ok(()),
        Some(left) => left.options(false),
        None => {
            joining(paths, store, server).map_err(|why| ClusterError::NotStarted { server: server.to_owned(), why })?
        }
    };
    // It goes on when this command ends; until then nobody need take notice of its end.
    spawn(&options, &paths.server(server)).map(drop)
}

fn joining(paths: &Paths, store: &Store, server: &str) -> io::Result<Options> {
    let generation = store.live().map_err(io::Error::other)?.ok_or_else(|| io::Error::other("no plan is live"))?;
    Ok(Options {
        plan: store.plan_file(generation),
        server: server.to_owned(),
        root: paths.root().to_owned(),
        run_root: paths.run_root().to_owned(),
        generation,
        kept: None,
        alone: false,
        joining: true,
        attached: false,
    })
}

/// A connection to a server's launcher; if it has died, to another one that takes over what it left, and goes on when this
/// command ends.
///
/// # Errors
/// If nothing was left to take over, or the launcher doesn't come up or answer.
pub fn take_over(paths: &Paths, server: &str) -> Result<Client, ClusterError> {
    let places = paths.server(server);
    match left(paths, server) {
        Some(left) => spawn(&left.options(false), &places)?.connect(paths),
        None if is_running(paths, server).is_ok_and(|holder| holder.is_some()) => connected(server, &places),
        None => Err(ClusterError::Nothing { server: server.to_owned() }),
    }
}

/// Starts launchers for the servers of a detached namespace whose own have died while their processes go on. Answers which.
///
/// # Errors
/// If one doesn't come up.
pub fn revive_detached(paths: &Paths) -> Result<Vec<String>, ClusterError> {
    let mut revived = Vec::new();
    for server in paths.servers_running() {
        let is_detached = |kept: &Kept| !kept.attached && lives(&paths.server(&server), kept);
        if left(paths, &server).as_ref().is_some_and(is_detached) {
            take_over(paths, &server)?;
            revived.push(server);
        }
    }
    Ok(revived)
}

/// A connection to a launcher that runs.
///
/// # Errors
/// If it doesn't answer.
pub fn connected(server: &str, places: &ServerPaths) -> Result<Client, ClusterError> {
    let until = Instant::now() + LISTENS;
    loop {
        if let Some(client) = client(server, places) {
            return Ok(client);
        }
        if Instant::now() > until {
            return Err(ClusterError::Deaf { server: server.to_owned() });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A connection to a launcher, if it answers.
fn client(server: &str, places: &ServerPaths) -> Option<Client> {
    let mut client = Client::connect(server, &places.commands(), None, ANSWERS).ok()?;
    client.status().is_ok().then_some(client)
}

/// What a launcher has left that has died; nobody has taken it over yet.
pub fn left(paths: &Paths, server: &str) -> Option<Kept> {
    let places = paths.server(server);
    // In this order: a launcher removes the file before it lets go of the lock.
    let kept = Kept::read(&places)?;
    is_running(paths, server).ok()?.is_none().then_some(kept).filter(|_| places.launcher().exists())
}

/// Whether the command that started the launcher lives, and isn't this one: it starts the next one.
pub fn is_led(paths: &Paths, kept: &Kept) -> bool {
    // Read without touching the lock: whoever wants it must not fail because somebody looked.
    let holder = fs::read(paths.lock()).ok().and_then(|text| serde_json::from_slice::<Holder>(&text).ok());
    let leads = |holder: &Holder| holder.identity.lives() && Identity::own().ok() != Some(holder.identity);
    kept.attached && holder.is_some_and(|holder| leads(&holder))
}

/// Whether a process lives that a launcher has left.
pub fn lives(places: &ServerPaths, kept: &Kept) -> bool {
    let names = kept.machine.processes().iter().map(|process| &process.name);
    names.filter_map(|name| Recorded::read(places, name)).any(|recorded| recorded.identity.lives())
}

/// Starts a launcher.
///
/// # Errors
/// If the system refuses.
pub fn spawn(options: &Options, places: &ServerPaths) -> Result<Starting, ClusterError> {
    let log = places.log("launcher");
    let start = || {
        fs::create_dir_all(places.logs())?;
        let file = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let log_from = file.metadata()?.len();
        let mut command = Program::new(std::env::current_exe()?);
        command
            .args(["__launch", "--server", &options.server, "--generation", &options.generation.to_string()])
            .arg("--plan")
            .arg(&options.plan)
            .arg("--root")
            .arg(&options.root)
            .env("WALDO_RUN_DIR", &options.run_root);
        if let Some(kept) = &options.kept {
            command.arg("--state").arg(kept);
        }
        if options.alone {
            command.arg("--alone");
        }
        if options.joining {
            command.arg("--joining");
        }
        if options.attached {
            command.arg("--attached").stdin(Stdio::piped());
        } else {
            command.stdin(Stdio::null());
        }
        command.stdout(file.try_clone()?).stderr(file);
        Ok((command.spawn()?, log_from))
    };
    let server = options.server.clone();
    match start() {
        Ok((child, log_from)) => Ok(Starting { server, child, log, log_from }),
        Err(why) => Err(ClusterError::NotStarted { server, why }),
    }
}

impl Starting {
    /// Waits until it listens.
    ///
    /// # Errors
    /// If it ends or doesn't listen.
    pub fn connect(&mut self, paths: &Paths) -> Result<Client, ClusterError> {
        let places = paths.server(&self.server);
        let until = Instant::now() + LISTENS;
        loop {
            let ended = self.child.try_wait().ok().flatten();
            if let Some(status) = ended {
                let said = last_lines(&self.log, self.log_from, SHOWN);
                return Err(ClusterError::Died { server: self.server.clone(), status, said });
            }
            // A socket that an earlier launcher left is cleared before this one listens; nobody answers there.
            if let Some(client) = client(&self.server, &places) {
                return Ok(client);
            }
            if Instant::now() > until {
                return Err(ClusterError::Deaf { server: self.server.clone() });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until it listens; one that is killed before that is followed by another, as often as may be.
    ///
    /// # Errors
    /// If none comes to listen. What was started has ended then.
    pub fn connected(mut self, paths: &Paths, revivals: &mut Revivals) -> Result<(Self, Client), ClusterError> {
        loop {
            let error = match self.connect(paths) {
                Ok(client) => return Ok((self, client)),
                Err(error) => error,
            };
            let was_killed = matches!(error, ClusterError::Died { .. }) && !error.is_orderly();
            match left(paths, &self.server).filter(|_| was_killed) {
                Some(left) if revivals.allow(Instant::now()) => {
                    self = spawn(&left.options(true), &paths.server(&self.server))?;
                }
                _ => {
                    self.end();
                    return Err(error);
                }
            }
        }
    }

    /// Ends a launcher that isn't connected: it stops when its stdin closes.
    pub fn end(mut self) {
        drop(self.child.stdin.take());
        let until = Instant::now() + LISTENS;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.child.kill();
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_is_followed_by_five_others_within_a_minute_and_no_more() {
        let mut revivals = Revivals::default();
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!((0..5).all(|second| revivals.allow(at(second))));
        assert!(!revivals.allow(at(59)));
        assert!(revivals.allow(at(60)), "the first was a minute ago");
        assert!(!revivals.allow(at(60)));
        assert!(revivals.allow(at(200)));
    }
}
