//! A copy of one of the shipped topologies in a directory of its own, with its own run directory and ports, so that tests
//! disturb neither each other nor a person's own flotilla.

#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../ports/mod.rs"]
mod ports;

use std::{
    fs::{self, File},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub use ports::free_ports;
use serde_json::Value;
use tempfile::TempDir;

/// How long a command may take. Far above what a slow machine needs: it only has to end what hangs.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_secs(60);

/// A copy of a topology's directory.
pub struct Playground {
    directory: TempDir,
}

/// What a command left behind.
pub struct Outcome {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// A command that runs, and is ended with its guard.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    name: String,
}

impl Playground {
    /// Copies `topologies/<name>`, with the Rust stages as cargo has built them for this test, and free ports.
    pub fn copy_of(name: &str) -> Self {
        build_stages();
        let directory = tempfile::Builder::new().prefix("waldo-").tempdir().expect("a temporary directory");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies").join(name);
        for entry in fs::read_dir(&shipped).expect("the topology's directory").map(|entry| entry.expect("its entry")) {
            if !entry.file_type().expect("a file type").is_file() {
                continue;
            }
            let to = directory.path().join(entry.file_name());
            fs::copy(entry.path(), &to).expect("a copy");
            if to.extension().is_some_and(|extension| extension == "yaml") {
                let binaries = waldo().parent().expect("its directory").display().to_string();
                let shipped_text = fs::read_to_string(&to).expect("YAML");
                let mut text = shipped_text.replace("../../target/release", &binaries);
                for written in ["ports: 17000", "ports: 17100", "ports: 17200"]
                    .into_iter()
                    .filter(|ports| shipped_text.contains(ports))
                {
                    text = text.replace(written, &format!("ports: {}", free_ports()));
                }
                fs::write(&to, text).expect("YAML");
            }
        }
        Self { directory }
    }

    /// Where the copy is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Changes a file of the copy.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path().join(file);
        let text = fs::read_to_string(&path).expect(file);
        assert!(text.contains(from), "{file} has no {from:?} to change");
        fs::write(&path, text.replace(from, to)).expect(file);
    }

    /// `waldo`, to be run in the copy.
    pub fn waldo(&self, arguments: &[&str]) -> Command {
        self.command(waldo(), arguments)
    }

    /// A program of the copy, or one in PATH.
    pub fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(self.path());
        command.env("WALDO_RUN_DIR", self.path().join("run")).env_remove("WALDO_NAMESPACE").env_remove("ORIGINS");
        command
    }

    /// Asserts that nothing that belongs to the playground runs, and that no socket is left.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let left: Vec<_> = self.processes().into_iter().map(|(_, command)| command).collect();
        assert!(left.is_empty(), "still running: {left:#?}");
        let mut sockets = files_below(&self.path().join("run"));
        sockets.retain(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()));
        assert!(sockets.is_empty(), "left behind: {sockets:#?}");
    }

    /// The processes that belong to the playground: their ids and command lines.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let here = self.path().to_str().expect("UTF-8");
        let processes = fs::read_dir("/proc").expect("/proc").filter_map(|process| {
            let process = process.ok()?.path();
            let environment = fs::read(process.join("environ")).ok()?;
            let command = fs::read(process.join("cmdline")).ok()?;
            let ours = String::from_utf8_lossy(&environment).contains(here) && !command.is_empty();
            let pid = process.file_name()?.to_str()?.parse().ok()?;
            ours.then(|| (pid, String::from_utf8_lossy(&command).replace('\0', " ")))
        });
        processes.collect()
    }

    /// The launchers of a server. There should be one.
    pub fn launchers_of(&self, server: &str) -> Vec<i32> {
        let of_server = format!(" --server {server} ");
        let launchers = self
            .processes()
            .into_iter()
            .filter(|(_, words)| words.contains(" __launch ") && words.contains(&of_server));
        launchers.map(|(pid, _)| pid).collect()
    }

    /// What `status` says; nothing before the first plan is there.
    pub fn status(&self) -> Value {
        if !files_below(&self.path().join(".waldo/build")).iter().any(|file| file.ends_with("plan.json")) {
            return Value::Null;
        }
        let outcome = self.run(self.waldo(&["status", "--json"])).code(0);
        serde_json::from_str(&outcome.stdout).expect("one JSON document")
    }

    /// Starts a command.
    pub fn start(&self, command: Command) -> Running {
        self.start_with_stdin(command, Stdio::null())
    }

    /// Starts a command that reads from `stdin`.
    pub fn start_with_stdin(&self, mut command: Command, stdin: impl Into<Stdio>) -> Running {
        static STARTED: AtomicU16 = AtomicU16::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{command:?}");
        let [stdout, stderr] = ["stdout", "stderr"].map(|stream| self.path().join(format!("{stream}.{number}")));
        let child = command
            .stdin(stdin)
            .stdout(File::create(&stdout).expect("a file for stdout"))
            .stderr(File::create(&stderr).expect("a file for stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Running { child, stdout, stderr, name }
    }

    /// Runs a command to its end.
    pub fn run(&self, command: Command) -> Outcome {
        self.start(command).end()
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        // A test that failed may have left something running.
        if self.path().join("run").exists() {
            let _ = self.waldo(&["down", "--now"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// Waits for something that takes a moment.
#[track_caller]
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    assert!(comes_about(holds), "{what} did not come about");
}

/// Waits for something that takes a moment; answers whether it has come about.
pub fn comes_about(mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + SOON;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

impl Running {
    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).expect("its output")).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("it runs");
    }

    /// Waits until the command has ended.
    pub fn end(mut self) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                break Some(status);
            }
            if Instant::now() > deadline {
                break None;
            }
            thread::sleep(Duration::from_millis(10));
        };
        let [stdout, stderr] = [&self.stdout, &self.stderr]
            .map(|path| String::from_utf8_lossy(&fs::read(path).expect("its output")).into_owned());
        let Some(status) = status else { panic!("{} did not end within {PATIENCE:?}\n{stdout}{stderr}", self.name) };
        Outcome { code: status.code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // First so that it can end what it started; then for sure.
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(10);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Outcome {
    /// The outcome, if the command ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// What `--json` says went wrong, and what was said to a person.
    #[track_caller]
    pub fn error(&self) -> String {
        let line = self.stdout.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        let error = line.and_then(|ledger| ledger["error"].as_str().map(str::to_owned));
        error.unwrap_or_default() + &self.stderr
    }

    /// The ledger: the last line of `up --until-idle --json`.
    #[track_caller]
    pub fn ledger(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}\n{}", self.stderr))
    }
}

/// All files below a directory.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return vec![] };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The program under test.
pub fn waldo() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_waldo"))
}

/// A stage's program, as cargo has built it for this test.
pub fn program(name: &str) -> PathBuf {
    build_stages();
    waldo().parent().expect("its directory").join(name)
}

/// Builds the Rust stages beside `waldo`: cargo builds only a package's own programs for its tests.
fn build_stages() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| build(&["--package", "waldo-debian", "--package", "waldo-tally", "--bins"]));
}

/// Builds what these arguments name, as the program under test was built.
pub fn build(what: &[&str]) {
    let profile = waldo().parent().expect("target/PROFILE");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet"]).args(what).arg("--target-dir").arg(profile.parent().expect("target"));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo").success(), "{what:?} don't build");
}
