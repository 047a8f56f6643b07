//! A directory with a topology in each of its subdirectories: all are checked, and whether they can run beside each other.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;
use waldo_compiler::{Diagnostics, diagnostic::json::Report, workspace};

use super::{Arguments, bounds, missing_here, print_success};
use crate::{
    exit::{Exit, Failure},
    topology_file::{NAME, TopologyFile, counted},
};

/// `check --json` of a workspace.
#[derive(Debug, Serialize)]
struct Reports {
    format: u32,
    topologies: BTreeMap<String, Report>,
}

/// The directories of a workspace's topologies, if it is one that was named.
pub fn find(named: &[PathBuf]) -> Option<Vec<PathBuf>> {
    let directory = match named {
        [] => Path::new(""),
        [directory] => directory,
        _ => return None,
    };
    let entries = std::fs::read_dir(if directory.as_os_str().is_empty() { Path::new(".") } else { directory }).ok()?;
    if directory.join(NAME).exists() {
        return None;
    }
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| directory.join(entry.file_name()))
        .filter(|path| path.join(NAME).is_file())
        .collect();
    found.sort();
    (!found.is_empty()).then_some(found)
}

/// Checks all of them.
pub fn run(arguments: &Arguments, directories: &[PathBuf]) -> Result<Exit, Failure> {
    let files: Vec<TopologyFile> = directories
        .iter()
        .map(|directory| TopologyFile::read(std::slice::from_ref(directory)))
        .collect::<Result<_, _>>()?;
    let (topologies, directories): (Vec<_>, Vec<_>) =
        files.iter().map(|file| (file.sources.clone(), file.directory.clone())).unzip();
    let mut met = false;
    let checked = workspace::check(&topologies, arguments.namespace.as_deref(), |index, topology| {
        met = true;
        if arguments.local { missing_here(topology, &directories[index]) } else { Diagnostics::default() }
    });
    let errors: usize = checked.iter().map(|checked| checked.diagnostics.errors()).sum();
    let warnings: usize = checked.iter().map(|checked| checked.diagnostics.warnings()).sum();
    if let (Some(namespace), false, 0) = (&arguments.namespace, met, errors) {
        return Err(
            Failure::new(format!("no topology of this workspace has a namespace `{namespace}`")).exit(Exit::Usage)
        );
    }
    let denied = arguments.deny.warnings() && warnings > 0;
    if arguments.json {
        let reports = files.iter().zip(checked).map(|(file, checked)| {
            (file.name.clone(), Report::new(&file.sources, &checked.diagnostics, checked.bounds))
        });
        let reports = Reports { format: 1, topologies: reports.collect() };
        let json = serde_json::to_string_pretty(&reports)
            .map_err(|error| Failure::new(format!("the findings can't be written as JSON: {error}")))?;
        println!("{json}");
        return Ok(if errors > 0 || denied { Exit::Error } else { Exit::Ok });
    }
    for (file, checked) in files.iter().zip(&checked) {
        file.print(&checked.diagnostics);
    }
    if errors > 0 || denied {
        let bad = if errors > 0 {
            counted(errors, "error")
        } else {
            format!("{}, and warnings are denied", counted(warnings, "warning"))
        };
        let failure = Failure::new(format!("{} of this workspace: {bad}", counted_topologies(files.len())));
        let code = checked.iter().flat_map(|checked| checked.diagnostics.iter());
        let code = code.filter(|found| found.is_error() || errors == 0).map(|found| found.rule.code).next();
        return Err(match code {
            Some(code) => failure.hint(format!("`waldo explain {code}` says more")),
            None => failure,
        });
    }
    for (file, checked) in files.iter().zip(&checked) {
        print_success(file, &checked.diagnostics);
        bounds::print(&checked.bounds);
    }
    Ok(Exit::Ok)
}

fn counted_topologies(count: usize) -> String {
    if count == 1 { "the topology".to_owned() } else { format!("the {count} topologies") }
}
