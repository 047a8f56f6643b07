//! One side of a comparison: a plan, and where it comes from.

use std::path::{Path, PathBuf};

use waldo_compiler::{Origin, plan::Plan, verify_digest};
use waldo_runtime::{
    launcher::read_plan,
    paths::{self, Paths},
};

use super::{Arguments, report};
use crate::{
    compile::{self, Beside},
    exit::{Exit, Failure},
    located::{Target, root_of},
    topology_file::TopologyFile,
};

/// A plan to compare.
pub struct Side {
    /// What people call it.
    pub name: String,
    /// The plan.
    pub plan: Plan,
    /// For a plan that runs: where.
    pub live: Option<Paths>,
    /// For one that was compiled just now: what from.
    pub origin: Option<Origin>,
}

impl Side {
    /// As a report names it.
    pub fn as_compared(&self) -> report::Side<'_> {
        report::Side { name: &self.name, digest: &self.plan.digest }
    }

    /// What is, and what is to be.
    pub fn both(arguments: &Arguments) -> Result<(Self, Self), Failure> {
        match (&arguments.first, &arguments.second) {
            (Some(first), Some(second)) => {
                let (first_is_plan, second_is_plan) = (plan_in(first).is_some(), plan_in(second).is_some());
                // A plan says of which namespace it is; a topology beside it is meant for the same one.
                if first_is_plan || !second_is_plan {
                    let old = Self::of(first, arguments, Beside::Nothing)?;
                    let new = Self::of(second, arguments, Beside::Old(&old.plan))?;
                    Ok((old, new))
                } else {
                    let new = Self::of(second, arguments, Beside::Nothing)?;
                    let old = Self::of(first, arguments, Beside::New(&new.plan))?;
                    Ok((old, new))
                }
            }
            (only, _) => {
                let path = only.clone().unwrap_or_else(|| PathBuf::from("."));
                if plan_in(&path).is_some() {
                    let new = Self::of(&path, arguments, Beside::Nothing)?;
                    let old = Self::live_or_built(&path, &new.plan.topology, &new.plan.namespace)?;
                    return Ok((old, new));
                }
                // What is there comes first: it tells whether the topology is meant for this machine alone.
                let (topology, namespace) = namespace_of(&path, arguments)?;
                match Self::live_or_built(&path, &topology, &namespace) {
                    Ok(old) => {
                        let new = Self::of(&path, arguments, Beside::Old(&old.plan))?;
                        Ok((old, new))
                    }
                    // What is wrong with the topology matters more than that there is nothing to compare it with.
                    Err(nothing) => Self::of(&path, arguments, Beside::Nothing).and(Err(nothing)),
                }
            }
        }
    }

    fn of(path: &Path, arguments: &Arguments, beside: Beside<'_>) -> Result<Self, Failure> {
        if let Some(file) = plan_in(path) {
            let plan = read(&file)?;
            if let Some(namespace) = arguments.namespace.as_ref().filter(|namespace| **namespace != plan.namespace) {
                return Err(Failure::new(format!(
                    "{} is a plan of namespace {}, not of {namespace}",
                    file.display(),
                    plan.namespace
                ))
                .hint("a plan has one namespace; -n chooses a topology's"));
            }
            return Ok(Self { name: file.display().to_string(), plan, live: None, origin: None });
        }
        let namespace = arguments.namespace.clone().or_else(|| beside.plan().map(|plan| plan.namespace.clone()));
        let target = Target { topologies: vec![path.to_owned()], namespace };
        let compiled = compile::to_compare(&target, arguments.ports, beside)?;
        let origin = Some(compiled.origin().clone());
        Ok(Self { name: path.display().to_string(), plan: compiled.into_plan(), live: None, origin })
    }

    /// What runs in a namespace, if anything does.
    pub fn live(paths: Paths) -> Result<Option<Self>, Failure> {
        if paths.servers_running().is_empty() || !paths.live_plan().exists() {
            return Ok(None);
        }
        Self::running(paths).map(Some)
    }

    fn running(paths: Paths) -> Result<Self, Failure> {
        // If it has been changed since, that is drift, and told as such.
        let plan = read_plan(&paths.live_plan()).map_err(|error| Failure::new(error.to_string()))?;
        let name = format!("{}/{} as it runs", plan.topology, plan.namespace);
        Ok(Self { name, plan, live: Some(paths), origin: None })
    }

    /// What runs in a plan's namespace, else what was compiled for it last.
    fn live_or_built(given: &Path, topology: &str, namespace: &str) -> Result<Self, Failure> {
        let root = match plan_in(given) {
            Some(file) => root_of_plan(&file)?,
            None => root_of(Some(given))?,
        };
        let paths = Paths::new(&paths::run_root(), &root, topology, namespace);
        let name = format!("{topology}/{namespace}");
        if let Some(running) = Self::live(paths.clone())? {
            return Ok(running);
        }
        let built = paths.build().join("plan.json");
        let is_given = || Some(plan_in(given)?.canonicalize().ok()? == built.canonicalize().ok()?);
        if built.exists() && is_given() != Some(true) {
            return Ok(Self {
                name: format!("{name} as it was compiled last"),
                plan: read(&built)?,
                live: None,
                origin: None,
            });
        }
        Err(Failure::new(format!(
            "{name} doesn't run, and was never compiled otherwise: there is nothing to compare with"
        ))
        .hint("name two topologies or plans: `waldo diff OLD NEW`"))
    }
}

/// The names of a topology and of the namespace that is meant: the one that was chosen, else the only one, else the only local one.
fn namespace_of(path: &Path, arguments: &Arguments) -> Result<(String, String), Failure> {
    let file = TopologyFile::read(&[path.to_owned()])?;
    let Some(outline) = waldo_compiler::outline(&file.sources) else {
        file.judge(&waldo_compiler::check(&file.sources).diagnostics, false)?;
        return Err(Failure::new(format!("{} can't be read", file.name)));
    };
    let namespaces: Vec<_> = outline.namespaces().collect();
    let local: Vec<_> = namespaces.iter().filter(|namespace| namespace.local).collect();
    let namespace = match (&arguments.namespace, &namespaces[..], &local[..]) {
        (Some(named), ..) => named.clone(),
        (None, [only], _) => only.name.clone(),
        (None, _, [only]) => only.name.clone(),
        _ => {
            let names: Vec<_> = namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
            return Err(Failure::new(format!("{} has several namespaces: {}", file.name, names.join(", ")))
                .hint("choose one with -n")
                .exit(Exit::Usage));
        }
    };
    Ok((outline.name().value.clone(), namespace))
}

/// Reads a plan that nobody may have changed.
fn read(file: &Path) -> Result<Plan, Failure> {
    let plan = read_plan(file).map_err(|error| Failure::new(error.to_string()))?;
    if !verify_digest(&plan) {
        return Err(Failure::new(format!("{} has been changed since it was compiled", file.display()))
            .hint("change the topology, and compile it again"));
    }
    Ok(plan)
}

/// The plan's file, if it is a plan or a build directory that is named.
fn plan_in(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        let file = path.join("plan.json");
        return file.exists().then_some(file);
    }
    path.extension().is_some_and(|extension| extension == "json").then(|| path.to_owned())
}

/// The directory of the topology whose plan this is, if it is where `waldo compile` puts it; else this directory.
fn root_of_plan(file: &Path) -> Result<PathBuf, Failure> {
    let file = file
        .canonicalize()
        .map_err(|error| Failure::new(format!("cannot use the plan {}: {error}", file.display())))?;
    let namespace = file.parent();
    let root = namespace.and_then(|namespace| {
        let builds = namespace.parent().filter(|builds| builds.ends_with(".waldo/build"))?;
        builds.parent()?.parent()
    });
    root.map_or_else(|| root_of(None), |root| Ok(root.to_owned()))
}
