//! Who starts and watches the processes: waldo, and the peers that the machine has.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::{Signal, kill};

use super::watch::{self, Ends};
use crate::{Trouble, process::Running, programs::Programs};

/// Somebody who is about to start processes.
pub struct Supervisor {
    name: &'static str,
    command: Command,
    stop: Signal,
}

/// One at work.
pub struct Started {
    /// Its own process.
    pub running: Running,
    /// When it was started.
    pub begun: std::time::Instant,
    stop: Signal,
}

/// A peer that the machine has.
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Writes its files into a directory, for so many processes.
    pub prepare: fn(&Path, usize) -> Result<Supervisor, Trouble>,
}

/// The peers that this machine has. Those that it hasn't are told once for each call.
pub fn peers() -> Vec<Peer> {
    let known = [
        ("supervisord", "supervisord", supervisord as fn(&Path, usize) -> Result<Supervisor, Trouble>),
        ("runit", "runsvdir", runit),
        ("s6", "s6-svscan", s6),
    ];
    let has = |program: &str| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
    };
    let mut peers = Vec::new();
    for (name, program, prepare) in known {
        if has(program) {
            peers.push(Peer { name, prepare });
        } else {
            eprintln!("bench: {name} is NOT installed, so waldo is NOT measured beside it");
        }
    }
    peers
}

impl Supervisor {
    /// waldo, with a stage of so many instances, which never say that they are ready, and a source that waits for them.
    pub fn waldo(programs: &Programs, directory: &Path, processes: usize) -> Result<Self, Trouble> {
        let text = format!(
            "topology: launch\nflows: {{tick: {{}}}}\nstages:\n  \
             begin: {{run: [sleep, \"1000\"], out: [tick], ready: {{timeout: 1h}}}}\n  \
             plain: {{run: [sleep, \"1000\"], in: [tick], instances: {processes}, ready: {{timeout: 1h}}}}\n\
             namespaces: {{bench: {{local: true, ports: {}}}}}\n",
            programs.port
        );
        let (topology, run) = write_topology(directory, &text)?;
        Ok(Self { name: "waldo up", command: programs.waldo_in(&run, "up", &topology), stop: Signal::SIGTERM })
    }

    /// Starts it.
    pub fn start(mut self) -> Result<Started, Trouble> {
        let begun = std::time::Instant::now();
        let running = Running::start(self.name, &mut self.command)?;
        Ok(Started { running, begun, stop: self.stop })
    }
}

impl Started {
    /// Asks it to stop all, and waits until it has ended itself. Answers how long after the last process that was.
    pub fn stop(self, pids: &[i32]) -> Result<f64, Trouble> {
        let ends = Ends::of(pids)?;
        kill(self.running.pid(), self.stop).map_err(|error| Trouble::io("stop a supervisor", error.into()))?;
        let last = ends.wait()?;
        // What runit needs to end doesn't end with a second signal any sooner.
        self.running.gone()?;
        Ok(watch::milliseconds(last))
    }
}

/// A topology in a directory of its own, and a run directory beside it.
pub fn write_topology(directory: &Path, text: &str) -> Result<(PathBuf, PathBuf), Trouble> {
    let (topology, run) = (directory.join("topology"), directory.join("run"));
    fs::create_dir_all(&topology)
        .and_then(|()| fs::create_dir_all(&run))
        .map_err(|why| cannot_write(directory, why))?;
    write(&topology.join("waldo.yaml"), text, 0o644)?;
    Ok((topology, run))
}

fn cannot_write(path: &Path, why: std::io::Error) -> Trouble {
    Trouble::io(format!("write {}", path.display()), why)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Trouble> {
    let mut options = fs::OpenOptions::new();
    let opened = options.create(true).truncate(true).write(true).mode(mode).open(path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|why| cannot_write(path, why))
}

fn supervisord(directory: &Path, processes: usize) -> Result<Supervisor, Trouble> {
    let at = directory.display();
    let file = directory.join("supervisord.conf");
    let text = format!(
        "[supervisord]\nnodaemon=true\nloglevel=critical\nuser=root\nminfds={}\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={at}/pid\nchildlogdir={at}\n\
         [program:plain]\ncommand=sleep 1000\nprocess_name=%(process_num)d\nnumprocs={processes}\nautorestart=true\n\
         stdout_logfile=/dev/null\nstderr_logfile=/dev/null\nstdout_logfile_maxbytes=0\nstderr_logfile_maxbytes=0\n",
        processes * 4 + 100
    );
    let text = if nix::unistd::geteuid().is_root() { text } else { text.replace("user=root\n", "") };
    write(&file, &text, 0o644)?;
    let mut command = Command::new("supervisord");
    command.arg("-c").arg(file);
    Ok(Supervisor { name: "supervisord", command, stop: Signal::SIGTERM })
}

/// The service directories of runit and of s6 are alike.
fn services(directory: &Path, processes: usize) -> Result<PathBuf, Trouble> {
    let services = directory.join("services");
    for number in 0..processes {
        let service = services.join(number.to_string());
        fs::create_dir_all(&service).map_err(|why| cannot_write(&service, why))?;
        write(&service.join("run"), "#!/bin/sh\nexec sleep 1000\n", 0o755)?;
    }
    Ok(services)
}

fn runit(directory: &Path, processes: usize) -> Result<Supervisor, Trouble> {
    let mut command = Command::new("runsvdir");
    command.arg(services(directory, processes)?);
    Ok(Supervisor { name: "runsvdir", command, stop: Signal::SIGHUP })
}

fn s6(directory: &Path, processes: usize) -> Result<Supervisor, Trouble> {
    let mut command = Command::new("s6-svscan");
    command.arg("-c").arg((2 * processes + 10).to_string()).arg(services(directory, processes)?);
    Ok(Supervisor { name: "s6-svscan", command, stop: Signal::SIGTERM })
}
