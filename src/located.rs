//! Which namespace of which topology a command is about: found by what `waldo up` or `waldo compile` left beside the
//! topology, so that it works also while the topology itself can't be compiled.

use std::{
    fs,
    path::{Path, PathBuf},
};

use waldo_compiler::plan::Plan;
use waldo_runtime::{launcher::read_plan, paths, paths::Paths};

use crate::exit::{Exit, Failure};

/// The arguments that say so.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Target {
    /// The topology: its file, or the directory that it is in. By default this directory. Of several files what comes later
    /// is merged into what came before.
    #[arg(value_name = "FILE|DIR")]
    pub topologies: Vec<PathBuf>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    pub namespace: Option<String>,
}

/// A namespace that has been compiled.
pub struct Located {
    /// What runs; if nothing does, what was compiled last.
    pub plan: Plan,
    /// Where everything of it is.
    pub paths: Paths,
}

/// The topology's directory, absolute: programs and state are found from there.
pub fn root_of(topology: Option<&Path>) -> Result<PathBuf, Failure> {
    let topology = topology.unwrap_or(Path::new("."));
    let directory = if topology.is_dir() { topology } else { topology.parent().unwrap_or(Path::new("")) };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    directory
        .canonicalize()
        .map_err(|error| Failure::new(format!("cannot use the directory {}: {error}", directory.display())))
}

impl Target {
    /// The directory of the topology's first file, absolute.
    pub fn root(&self) -> Result<PathBuf, Failure> {
        root_of(self.topologies.first().map(PathBuf::as_path))
    }

    /// The namespace that is meant: the one that is named, else the only one that runs, else the only one compiled.
    pub fn locate(&self) -> Result<Located, Failure> {
        let root = self.root()?;
        let builds = root.join(".waldo/build");
        if let Some(namespace) = &self.namespace {
            let file = builds.join(namespace).join("plan.json");
            if !file.exists() {
                return Err(Failure::new(format!(
                    "namespace {namespace} has never been compiled in {}",
                    root.display()
                ))
                .hint("the names of those that have: ls .waldo/build"));
            }
            return load(&root, &file);
        }
        let mut compiled = Vec::new();
        for entry in fs::read_dir(&builds).into_iter().flatten().flatten() {
            let file = entry.path().join("plan.json");
            if file.exists() {
                compiled.push(load(&root, &file)?);
            }
        }
        let names = |of: &[Located]| of.iter().map(|one| one.plan.namespace.clone()).collect::<Vec<_>>().join(", ");
        if compiled.len() > 1 {
            let (running, others): (Vec<_>, Vec<_>) =
                compiled.into_iter().partition(|one| !one.paths.servers_running().is_empty());
            compiled = if running.is_empty() { others } else { running };
        }
        match compiled.len() {
            0 => Err(Failure::new(format!("nothing has been compiled or run in {}", root.display()))
                .hint("name the topology's directory, or start it with `waldo up`")),
            1 => Ok(compiled.remove(0)),
            _ => Err(Failure::new(format!("there are several namespaces here: {}", names(&compiled)))
                .hint("choose one with -n")
                .exit(Exit::Usage)),
        }
    }
}

fn load(root: &Path, file: &Path) -> Result<Located, Failure> {
    let plan = read_plan(file).map_err(|error| Failure::new(error.to_string()).hint("compile it again"))?;
    let paths = Paths::new(&paths::run_root(), root, &plan.topology, &plan.namespace);
    // What was compiled last needn't be what runs.
    let is_running = !paths.servers_running().is_empty();
    let live = is_running.then(|| read_plan(&paths.live_plan()).ok()).flatten();
    Ok(Located { plan: live.unwrap_or(plan), paths })
}
