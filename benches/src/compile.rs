//! The compiler on a large topology, beside the least that its parts could cost and beside a script over Jinja2.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use waldo_compiler::{
    Choice, Sources, compile,
    diff::diff,
    plan::Plan,
    source::{Source, Unaided},
};

use crate::{
    Trouble, cost,
    figure::{Figure, Goal, Subject},
    flotilla::Flotilla,
    programs::Programs,
};

const LARGE: Flotilla = Flotilla { servers: 1_000, instances: 2 };
const TENTH: Flotilla = Flotilla { servers: 100, instances: 2 };
const BESIDE_JINJA: Flotilla = Flotilla { servers: 300, instances: 1 };

fn seconds<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<(T, f64), Trouble> {
    let begun = Instant::now();
    let made = work()?;
    Ok((made, begun.elapsed().as_secs_f64()))
}

fn read(text: &str) -> Sources {
    Sources::read(vec![Source::new("waldo.yaml", text)], &Unaided)
}

/// Reads, checks and compiles, in memory.
fn plan(text: &str) -> Result<Plan, Trouble> {
    let compiled = compile(&read(text), Choice::Only, None);
    compiled.map(|compiled| compiled.plan).map_err(|refusal| Trouble::Refused(refusal.to_string()))
}

/// In memory: check and compile, how that grows, and the difference of two plans.
pub fn in_memory(runs: usize) -> Result<Vec<Figure>, Trouble> {
    let (large, tenth) = (LARGE.text(), TENTH.text());
    let (mut whole, mut reading, mut growth, mut diffing, mut equal) = (vec![], vec![], vec![], vec![], vec![]);
    // As if a server's weight and a stage's arguments had been edited: keys move, and processes restart everywhere.
    let edited = large.replacen("--model, small", "--model, large", 1).replacen("address:", "weight: 2, address:", 1);
    let edited = plan(&edited)?;
    for _ in 0..runs {
        reading.push(seconds(|| Ok(black_box(read(&large))))?.1);
        let (new, took) = seconds(|| plan(&large))?;
        whole.push(took);
        growth.push(took / seconds(|| plan(&tenth))?.1);
        let ((), took) = seconds(|| {
            let diff = diff(&new, &edited).map_err(|error| Trouble::Refused(error.to_string()))?;
            if diff.is_empty() || diff.guide.is_empty() {
                return Err(Trouble::Refused("no difference where there is one".to_owned()));
            }
            black_box(&diff);
            Ok(())
        })?;
        diffing.push(took);
        equal.push(seconds(|| Ok(black_box(new == new.clone())))?.1);
    }
    let large = format!("{} processes", LARGE.processes());
    let of = |name: String, unit, peer, goal| Subject { name, unit, peer, goal };
    let times = vec![10.0; runs];
    Ok(vec![
        of(format!("check and compile {large}, in memory"), "s", "reading the YAML alone", Goal::AtMost(0.5))
            .figure(&whole, &reading),
        of("the same with a tenth of the servers".into(), "×", "ten times the servers", Goal::AtMost(12.0))
            .figure(&growth, &times),
        of(format!("diff of two plans of {large}"), "s", "copying and comparing one", Goal::AtMost(0.5))
            .figure(&diffing, &equal),
    ])
}

/// The whole command into an empty directory: its time and its memory.
pub fn written(programs: &Programs, runs: usize) -> Result<Vec<Figure>, Trouble> {
    let (mut times, mut peaks, mut copying, mut sizes) = (vec![], vec![], vec![], vec![]);
    for _ in 0..runs {
        let topology = topology(LARGE)?;
        let cost = cost::of(programs, "waldo compile", &programs.waldo("compile", topology.path()))?;
        times.push(cost.seconds);
        peaks.push(cost.peak);
        let files = files(&topology.path().join(".waldo/build"))?;
        sizes.push(files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() as f64 / f64::from(1 << 20));
        let copy = directory()?;
        copying.push(seconds(|| write(copy.path(), &files))?.1);
    }
    let large = format!("waldo compile, {} processes", LARGE.processes());
    let of = |name: &str, unit, peer, goal| Subject { name: format!("{large}: {name}"), unit, peer, goal };
    Ok(vec![
        of("all files written", "s", "writing the same bytes", Goal::AtMost(3.0)).figure(&times, &copying),
        of("peak memory", "MiB", "the files' size", Goal::AtMost(400.0)).figure(&peaks, &sizes),
    ])
}

/// The whole command, checks included, beside a script that renders the same units and the endpoints.
pub fn beside_jinja(programs: &Programs, runs: usize) -> Result<Figure, Trouble> {
    let (mut own, mut peer) = (vec![], vec![]);
    let templates = programs.repository().join("benches/jinja");
    let failed = |error| Trouble::io("copy a template", error);
    for _ in 0..runs {
        let topology = topology(BESIDE_JINJA)?;
        let overriding = topology.path().join("templates");
        fs::create_dir(&overriding).map_err(failed)?;
        fs::copy(templates.join("launcher.service.hbs"), overriding.join("launcher.service.hbs")).map_err(failed)?;
        own.push(cost::of(programs, "waldo compile", &programs.waldo("compile", topology.path()))?.seconds);

        let out = directory()?;
        let mut script = Command::new("python3");
        script.arg(templates.join("render.py")).arg(BESIDE_JINJA.servers.to_string()).arg(out.path());
        peer.push(cost::of(programs, "render.py (needs python3-jinja2)", &script)?.seconds);
    }
    let name = format!("waldo compile, checks included, {} processes", BESIDE_JINJA.processes());
    Ok(Subject { name, unit: "s", peer: "Python and Jinja2", goal: Goal::AtMostPeer(0.2) }.figure(&own, &peer))
}

fn directory() -> Result<tempfile::TempDir, Trouble> {
    tempfile::tempdir().map_err(|error| Trouble::io("make a directory", error))
}

fn topology(flotilla: Flotilla) -> Result<tempfile::TempDir, Trouble> {
    let topology = directory()?;
    let path = topology.path().join("waldo.yaml");
    fs::write(&path, flotilla.text()).map_err(|error| Trouble::io("write a topology", error))?;
    Ok(topology)
}

/// All files below a directory: where they are from there, and what is in them.
fn files(below: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Trouble> {
    let failed = |error| Trouble::io("read what was written", error);
    let (mut files, mut directories) = (vec![], vec![below.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let bytes = fs::read(&path).map_err(failed)?;
                files.push((path.strip_prefix(below).unwrap_or(&path).to_owned(), bytes));
            }
        }
    }
    Ok(files)
}

fn write(below: &Path, files: &[(PathBuf, Vec<u8>)]) -> Result<(), Trouble> {
    let failed = |error| Trouble::io("write a copy", error);
    for (path, bytes) in files {
        let path = below.join(path);
        fs::create_dir_all(path.parent().unwrap_or(below)).map_err(failed)?;
        fs::write(path, bytes).map_err(failed)?;
    }
    Ok(())
}
