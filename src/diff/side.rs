//! One side of a comparison: a plan, and where it comes from.

use std::path::{Path, PathBuf};

use waldo_compiler::plan::Plan;
use waldo_runtime::{
    launcher::read_plan,
    paths::{self, Paths},
};

use super::Arguments;
use crate::{
    compile,
    exit::Failure,
    located::{Target, root_of},
};

/// A plan to compare.
pub struct Side {
    /// What people call it.
    pub name: String,
    /// The plan.
    pub plan: Plan,
    /// For a plan that runs: where.
    pub live: Option<Paths>,
}

impl Side {
    /// What is, and what is to be.
    pub fn both(arguments: &Arguments) -> Result<(Self, Self), Failure> {
        match (&arguments.first, &arguments.second) {
            (Some(first), Some(second)) => {
                let (first_is_plan, second_is_plan) = (plan_in(first).is_some(), plan_in(second).is_some());
                // A plan says of which namespace it is; a topology beside it is meant for the same one.
                if first_is_plan || !second_is_plan {
                    let old = Self::of(first, arguments, None)?;
                    let new = Self::of(second, arguments, first_is_plan.then_some(&old.plan))?;
                    Ok((old, new))
                } else {
                    let new = Self::of(second, arguments, None)?;
                    let old = Self::of(first, arguments, Some(&new.plan))?;
                    Ok((old, new))
                }
            }
            (only, _) => {
                let path = only.clone().unwrap_or_else(|| PathBuf::from("."));
                let new = Self::of(&path, arguments, None)?;
                let old = Self::live_or_built(&path, &new.plan)?;
                Ok((old, new))
            }
        }
    }

    fn of(path: &Path, arguments: &Arguments, beside: Option<&Plan>) -> Result<Self, Failure> {
        if let Some(file) = plan_in(path) {
            let plan = read_plan(&file).map_err(|error| Failure::new(error.to_string()))?;
            return Ok(Self { name: file.display().to_string(), plan, live: None });
        }
        let namespace = arguments.namespace.clone().or_else(|| beside.map(|plan| plan.namespace.clone()));
        let target = Target { topologies: vec![path.to_owned()], namespace };
        let plan = compile::as_it_would_run(&target, arguments.ports)?.into_plan();
        Ok(Self { name: path.display().to_string(), plan, live: None })
    }

    /// What runs in a plan's namespace, else what was compiled for it last.
    fn live_or_built(topology: &Path, plan: &Plan) -> Result<Self, Failure> {
        let root = root_of(Some(topology))?;
        let paths = Paths::new(&paths::run_root(), &root, &plan.topology, &plan.namespace);
        let name = format!("{}/{}", plan.topology, plan.namespace);
        let read = |file: &Path| read_plan(file).map_err(|error| Failure::new(error.to_string()));
        if !paths.servers_running().is_empty() && paths.live_plan().exists() {
            let plan = read(&paths.live_plan())?;
            return Ok(Self { name: format!("{name} as it runs"), plan, live: Some(paths) });
        }
        let built = paths.build().join("plan.json");
        if built.exists() {
            return Ok(Self { name: format!("{name} as it was compiled last"), plan: read(&built)?, live: None });
        }
        Err(Failure::new(format!("{name} doesn't run, and has never been compiled: there is nothing to compare with"))
            .hint("name two topologies or plans: `waldo diff OLD NEW`"))
    }
}

/// The plan's file, if it is a plan or a build directory that is named.
fn plan_in(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        let file = path.join("plan.json");
        return file.exists().then_some(file);
    }
    path.extension().is_some_and(|extension| extension == "json").then(|| path.to_owned())
}
