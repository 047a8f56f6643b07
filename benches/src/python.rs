//! A stage in Python beside the same over pyzmq.
//!
//! ```text
//! peer    sender ──ipc──▶ zmq_relay.py ──ipc──▶ receiver
//! waldo   source ──ipc──▶ relay.py ──ipc──▶ sink             (benches/python)
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Trouble,
    figure::{Figure, Goal, Subject},
    process::Running,
    programs::Programs,
    relay::{account, role},
    roles::{Account, Load},
};

const LOAD: Load = Load { records: 1_000_000, size: 200, rate: 0 };

/// Records a second that a Python stage passes on: in all, and for each second of its processor's time.
pub fn measure(programs: &Programs, runs: usize) -> Result<Vec<Figure>, Trouble> {
    let package = package(programs)?;
    let interpreter = interpreter_with_pyzmq();
    if interpreter.is_none() {
        eprintln!("bench: no pyzmq (python3-zmq): Python stages are measured beside nothing");
    }
    let (mut own, mut own_cpu, mut peer, mut peer_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        if let Some(python) = &interpreter {
            let (rate, cpu) = relayed_by_pyzmq(programs, python)?;
            peer.push(rate);
            peer_cpu.push(cpu);
        }
        let (rate, cpu) = relayed(programs, package.path())?;
        own.push(rate);
        own_cpu.push(cpu);
    }
    let subject = |name: &str, unit, goal| Subject { name: name.to_owned(), unit, peer: "pyzmq, recv and send", goal };
    Ok(vec![
        subject("Python stage, passes 200 B on", "records/s", Goal::None).figure(&own, &peer),
        subject("Python stage, on one core", "records/s of CPU", Goal::AtLeast(500_000.0)).figure(&own_cpu, &peer_cpu),
    ])
}

/// The package, with the module as it was built.
fn package(programs: &Programs) -> Result<tempfile::TempDir, Trouble> {
    programs.build_packages(&["waldo-python"])?;
    let failed = |error| Trouble::io("copy the Python package", error);
    let directory = tempfile::tempdir().map_err(failed)?;
    let to = directory.path().join("waldo");
    fs::create_dir(&to).map_err(failed)?;
    for entry in fs::read_dir(programs.repository().join("sdk/python/waldo")).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).map_err(failed)?;
        }
    }
    fs::copy(programs.built("lib_waldo.so"), to.join("_waldo.abi3.so")).map_err(failed)?;
    Ok(directory)
}

/// Debian's own Python has what Debian's packages bring, another one may be first in PATH.
fn interpreter_with_pyzmq() -> Option<PathBuf> {
    ["python3", "/usr/bin/python3"].into_iter().map(PathBuf::from).find(|python| {
        let asked = Command::new(python).args(["-c", "import zmq"]).output();
        asked.is_ok_and(|asked| asked.status.success())
    })
}

/// What a program says of itself.
fn number(text: &str) -> Result<f64, Trouble> {
    Ok(serde_json::from_str(text.trim())?)
}

fn relayed(programs: &Programs, package: &Path) -> Result<(f64, f64), Trouble> {
    let topology = programs.topology("benches/python")?;
    let mut up = programs.waldo("up", topology.path());
    up.envs(LOAD.environment()).env("PYTHONPATH", package).arg("--until-idle");
    Running::start("waldo up", &mut up)?.end()?;
    let path = topology.path().join(".waldo/bench/here/state/relay.0/per-second");
    let cpu = fs::read_to_string(&path).map_err(|error| Trouble::io(format!("read {}", path.display()), error))?;
    Ok((account(topology.path())?.per_second, number(&cpu)?))
}

fn relayed_by_pyzmq(programs: &Programs, python: &Path) -> Result<(f64, f64), Trouble> {
    let directory = tempfile::tempdir().map_err(|error| Trouble::io("make a directory", error))?;
    let at = |name: &str| format!("ipc://{}/{name}", directory.path().display());
    let mut receiver =
        Running::start("the receiver", &mut role(programs, &["receive", "--at", &at("out")], Some(LOAD)))?;
    receiver.line()?;
    let mut relay = Command::new(python);
    relay.arg(programs.repository().join("benches/python/zmq_relay.py"));
    relay.args([LOAD.records.to_string(), at("in"), at("out")]);
    let mut relay = Running::start("zmq_relay.py", &mut relay)?;
    relay.line()?;
    let send = ["send", "--to", &at("in"), "--frames", "1"];
    let sender = Running::start("the sender", &mut role(programs, &send, Some(LOAD)))?;
    let account: Account = serde_json::from_str(&receiver.end()?)?;
    sender.end()?;
    Ok((account.per_second, number(&relay.end()?)?))
}
