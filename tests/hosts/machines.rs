//! Hosts h1, h2, … and a laptop from which they are reached by ssh, for as long as a value lives. `machines.sh` makes them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_secs(60);

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hosts/machines.sh");

/// Hosts that run.
pub struct Machines {
    raised: Child,
    /// They end when it is closed, also if this process is killed.
    stdin: Option<ChildStdin>,
    /// The first process of their namespaces.
    first: String,
    directory: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Machines {
    /// Starts so many hosts, with `waldo` and the stages of the tests in `/usr/bin` if `furnished`. `None`, loudly, where that
    /// can't be done.
    pub fn raise(count: usize, furnished: bool) -> Option<Self> {
        let missing = outcome(Command::new(SCRIPT).arg("missing")).stdout;
        if !missing.is_empty() {
            let missing: Vec<&str> = missing.lines().collect();
            eprintln!("SKIPPED, NOT TESTED: hosts need {} (as root: scripts/setup)", missing.join(", "));
            return None;
        }
        let directory = tempfile::Builder::new().prefix("hosts-").tempdir().expect("a temporary directory");
        let mut raise = Command::new(SCRIPT);
        raise.arg("raise").arg(directory.path()).arg(count.to_string());
        if furnished {
            raise.arg(env!("CARGO_BIN_EXE_waldo")).arg(tally());
        }
        // Out of reach of whoever ends this process and its group: it has to clear up.
        std::os::unix::process::CommandExt::process_group(&mut raise, 0);
        let mut raised =
            raise.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("machines.sh can be started");
        let stdin = raised.stdin.take();
        let mut said = BufReader::new(raised.stdout.take().expect("its stdout")).lines();
        let mut first = None;
        loop {
            let line = said.next().expect("hosts that boot").expect("a line");
            match line.split_once(' ') {
                Some(("first", pid)) => first = Some(pid.to_owned()),
                _ if line == "up" => break,
                _ => {}
            }
        }
        Some(Self { raised, stdin, first: first.expect("the first process"), directory })
    }

    /// A command on a host.
    pub fn on(&self, host: &str, words: &[&str]) -> Command {
        let enter = format!("exec nsenter -t \"$({SCRIPT} leader {} {host})\" -a -- \"$@\"", self.path().display());
        let mut command = self.inside("sh");
        command.args(["-c", &enter, "sh"]).args(words);
        command
    }

    /// Runs a script on a host, which must end well; answers what it wrote to stdout.
    #[track_caller]
    pub fn run(&self, host: &str, script: &str) -> String {
        let outcome = outcome(&mut self.on(host, &["sh", "-euc", script]));
        assert_eq!(outcome.code, Some(0), "{host}: {script}: {outcome:#?}");
        outcome.stdout
    }

    /// Whether a script on a host ends well.
    pub fn succeeds(&self, host: &str, script: &str) -> bool {
        outcome(&mut self.on(host, &["sh", "-euc", script])).code == Some(0)
    }

    /// A command on the laptop, which is on the network of the hosts and has a key for them.
    pub fn inside(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.first, "--pid", "--mount", "--net", "--uts", "--"]).arg(program.as_ref());
        command.env("HOME", "/root").stdin(Stdio::null());
        command
    }

    /// Where the hosts' files are.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file of a host.
    pub fn file(&self, host: &str, path: &str) -> PathBuf {
        match path.strip_prefix("/usr/") {
            Some(path) => self.path().join(host).join("usr").join(path),
            None => self.path().join(host).join("root").join(path.trim_start_matches('/')),
        }
    }

    /// Puts a copy of a file on a host.
    pub fn put(&self, host: &str, from: &Path, to: &str) {
        let place = self.file(host, to);
        fs::create_dir_all(place.parent().expect("a directory")).expect("a directory");
        fs::copy(from, &place).unwrap_or_else(|error| panic!("{} to {host}:{to}: {error}", from.display()));
    }

    /// Starts a host again, in good order.
    pub fn reboot(&self, host: &str) {
        let before = self.boot_id(host);
        // The connection to the host's manager ends with it.
        let _ = outcome(
            &mut self
                .on(host, &["systemctl", "start", "--no-block", "--job-mode=replace-irreversibly", "reboot.target"]),
        );
        eventually(&format!("{host} boots again"), || self.boot_id(host) != before && !self.boot_id(host).is_empty());
        self.await_boot(host);
    }

    /// Takes the power from a host.
    pub fn crash(&self, host: &str) {
        self.script("crash", &[host]);
    }

    /// Starts a host that has crashed.
    pub fn boot(&self, host: &str) {
        self.script("boot", &[host]);
        self.await_boot(host);
    }

    fn await_boot(&self, host: &str) {
        self.script("ready", &[host]);
    }

    fn boot_id(&self, host: &str) -> String {
        outcome(&mut self.on(host, &["cat", "/proc/sys/kernel/random/boot_id"])).stdout
    }

    #[track_caller]
    fn script(&self, command: &str, hosts: &[&str]) {
        let outcome = outcome(self.inside(SCRIPT).arg(command).arg(self.path()).args(hosts));
        assert_eq!(outcome.code, Some(0), "{command} {hosts:?}: {outcome:#?}");
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.raised.wait();
    }
}

/// Runs a command to its end.
pub fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    eventually_or(what, is_so, String::new);
}

/// The same; if it never is, `tell` says more.
#[track_caller]
pub fn eventually_or(what: &str, is_so: impl Fn() -> bool, tell: impl Fn() -> String) {
    let until = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < until, "it never comes about that {what}\n{}", tell());
        thread::sleep(Duration::from_millis(20));
    }
}

/// The stages of the tests; built here, as cargo builds only a package's own programs for its tests.
fn tally() -> PathBuf {
    let waldo = Path::new(env!("CARGO_BIN_EXE_waldo"));
    let profile = waldo.parent().expect("target/PROFILE");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "waldo-tally", "--bins", "--target-dir"]);
    build.arg(profile.parent().expect("target")).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo").success(), "the stages don't build");
    profile.join("tally")
}
