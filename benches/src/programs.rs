//! The programs that are measured, and copies of the topologies that they run.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Trouble;

/// How many ports in a row a topology gets.
const PORTS: u16 = 16;

/// Where everything is.
pub struct Programs {
    /// This program.
    pub own: PathBuf,
    /// The first of the ports that topologies get.
    pub port: u16,
    repository: PathBuf,
    release: PathBuf,
    run: tempfile::TempDir,
}

impl Programs {
    /// This program's own, and where the others will be.
    pub fn find() -> Result<Self, Trouble> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let repository = repository.canonicalize().map_err(|error| Trouble::io("find the repository", error))?;
        let own = env::current_exe().map_err(|error| Trouble::io("find this program", error))?;
        let release = own.parent().unwrap_or(&repository).to_owned();
        let run = tempfile::tempdir().map_err(|error| Trouble::io("make a directory", error))?;
        Ok(Self { own, port: free_ports()?, repository, release, run })
    }

    /// Builds the others, in release.
    pub fn build(&self) -> Result<(), Trouble> {
        self.build_packages(&["waldo", "waldo-debian"])
    }

    /// Builds these packages of the repository, in release.
    pub fn build_packages(&self, packages: &[&str]) -> Result<(), Trouble> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build =
            ["build", "--release", "--quiet"].into_iter().chain(packages.iter().flat_map(|package| ["-p", package]));
        let status = Command::new(cargo).args(build).current_dir(&self.repository).status();
        let status = status.map_err(|error| Trouble::io("start cargo", error))?;
        if status.success() { Ok(()) } else { Err(Trouble::Build) }
    }

    /// Something that was built.
    pub fn built(&self, name: &str) -> PathBuf {
        self.release.join(name)
    }

    /// Where the sources are.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// Where builds go.
    pub fn target(&self) -> &Path {
        self.release.parent().unwrap_or(&self.release)
    }

    /// `waldo COMMAND TOPOLOGY`, with a run directory of its own.
    pub fn waldo(&self, command: &str, topology: &Path) -> Command {
        let mut waldo = Command::new(self.release.join("waldo"));
        waldo.arg(command).arg(topology).env("WALDO_RUN_DIR", self.run.path()).env_remove("WALDO_NAMESPACE");
        waldo
    }

    /// The same with another run directory.
    pub fn waldo_in(&self, run: &Path, command: &str, topology: &Path) -> Command {
        let mut waldo = self.waldo(command, topology);
        waldo.env("WALDO_RUN_DIR", run);
        waldo
    }

    /// A copy of a topology of the repository, with ports that are free and these programs.
    pub fn topology(&self, directory: &str) -> Result<tempfile::TempDir, Trouble> {
        let from = self.repository.join(directory);
        let failed = |error| Trouble::io(format!("copy {}", from.display()), error);
        let copy = tempfile::tempdir().map_err(failed)?;
        for entry in fs::read_dir(&from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                fs::copy(entry.path(), copy.path().join(entry.file_name())).map_err(failed)?;
            }
        }
        let file = copy.path().join("waldo.yaml");
        let mut text = fs::read_to_string(&file).map_err(failed)?;
        let release = format!("{}/", self.release.display());
        text = text.replace("../../target/release/", &release).replace("./waldo-benches", &self.own.to_string_lossy());
        for port in ["17000", "27000"] {
            text = text.replace(&format!("ports: {port}"), &format!("ports: {}", self.port));
        }
        fs::write(&file, text).map_err(failed)?;
        Ok(copy)
    }
}

/// A directory in memory if there is one.
pub fn in_memory() -> Result<tempfile::TempDir, Trouble> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.map_err(|error| Trouble::io("make a directory", error))
}

/// The first of [`PORTS`] free ports in a row, below those that the kernel gives to outgoing connections.
fn free_ports() -> Result<u16, Trouble> {
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (20_000..32_000)
        .step_by(usize::from(PORTS))
        .find(|&first| (first..first + PORTS).all(is_free))
        .ok_or(Trouble::Ports)
}
