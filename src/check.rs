//! `waldo check`: says what is wrong with a topology, or with those of a workspace, all of it at once.

mod bounds;
mod workspace;

use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use waldo_compiler::{
    Diagnostics,
    check::{nothing_shipped, program, user},
    diagnostic::json::Report,
    topology::{Stage, Topology},
};

use crate::{
    deny::Deny,
    exit::{Exit, Failure},
    topology_file::{TopologyFile, counted},
};

/// What to check, and how.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The topology: its file, or the directory that it is in. By default this directory. Of several files what comes later
    /// is merged into what came before. A directory without a waldo.yaml whose subdirectories have one is a workspace: all of
    /// them are checked, and whether they can run beside each other.
    #[arg(value_name = "FILE|DIR")]
    topologies: Vec<PathBuf>,
    /// Look at this namespace only; by default at all.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Look also whether the programs are on this machine.
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    deny: Deny,
    /// Print the findings as one JSON document.
    #[arg(long)]
    json: bool,
}

/// Checks it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if let Some(directories) = workspace::find(&arguments.topologies) {
        return workspace::run(arguments, &directories);
    }
    let file = TopologyFile::read(&arguments.topologies)?;
    let missing = |topology: &Topology| {
        if arguments.local { missing_here(topology, &file.directory) } else { Diagnostics::default() }
    };
    let checked = waldo_compiler::check_also(&file.sources, arguments.namespace.as_deref(), missing)
        .map_err(|refusal| Failure::new(refusal.to_string()).exit(Exit::Usage))?;
    if arguments.json {
        let report = Report::new(&file.sources, &checked.diagnostics, checked.bounds);
        let json = serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::new(format!("the findings can't be written as JSON: {error}")))?;
        println!("{json}");
        let denied = arguments.deny.warnings() && !checked.diagnostics.is_empty();
        return Ok(if checked.diagnostics.errors() > 0 || denied { Exit::Error } else { Exit::Ok });
    }
    file.judge(&checked.diagnostics, arguments.deny.warnings())?;
    print_success(&file, &checked.diagnostics);
    bounds::print(&checked.bounds);
    Ok(Exit::Ok)
}

fn print_success(file: &TopologyFile, diagnostics: &Diagnostics) {
    match diagnostics.warnings() {
        0 => println!("{}: no errors", file.name),
        warnings => println!("{}: no errors, {}", file.name, counted(warnings, "warning")),
    }
}

/// What a topology needs and this machine doesn't have: programs, users, files to ship.
fn missing_here(topology: &Topology, root: &Path) -> Diagnostics {
    let mut missing = Diagnostics::default();
    for (name, stage) in &topology.stages {
        if let Err((why, help)) = runs_here(stage, root) {
            missing.push(program::missing(name, stage, why, &help));
        }
        if let Some(user) = &stage.user
            && !matches!(nix::unistd::User::from_name(&user.value), Ok(Some(_)))
        {
            missing.push(user::unknown(name, user, &users()));
        }
    }
    for pattern in topology.files.iter().flat_map(|files| &files.value) {
        let below = Path::new(&glob::Pattern::escape(&root.to_string_lossy())).join(&pattern.value);
        let mut found = glob::glob(&below.to_string_lossy()).into_iter().flatten().flatten();
        if found.next().is_none() {
            missing.push(nothing_shipped::pattern(pattern));
        }
    }
    missing
}

/// The names of the users in `/etc/passwd`, to suggest one.
fn users() -> Vec<String> {
    let lines = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    lines.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned()).collect()
}

fn runs_here(stage: &Stage, root: &Path) -> Result<(), (&'static str, String)> {
    // What names no program was reported when the file was read.
    let Some(program) = stage.run.value.first() else { return Ok(()) };
    if program.contains('/') {
        let path = root.join(program);
        let Ok(metadata) = path.metadata() else {
            return Err(("isn't there", format!("build it, or mend the path: looked for {}", path.display())));
        };
        if !metadata.is_file() {
            return Err(("isn't a file", format!("name the program itself: {} isn't one", path.display())));
        }
        return if is_executable(&path) {
            Ok(())
        } else {
            Err(("isn't executable", format!("chmod +x {}", path.display())))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|directory| is_executable(&directory.join(program))) {
        return Ok(());
    }
    Err(("isn't in PATH", "install it, or write its path; one beside the topology is written `./program`".to_owned()))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
