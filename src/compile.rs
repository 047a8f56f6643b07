//! `waldo compile`: writes a topology's plan, and all that follows from it, into a build directory.

mod build_directory;

use std::path::{Path, PathBuf};

use waldo_compiler::{Choice, Origin, PortChoice, Refusal, Templates, plan::Plan, topology::DEFAULT_NAMESPACE};

use crate::{
    deny::Deny,
    exit::{Exit, Failure},
    located::Target,
    topology_file::{TopologyFile, counted},
};

/// What to compile, and where to.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Write here; by default into .waldo/build/NAMESPACE beside the topology.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    deny: Deny,
}

/// What a topology is compared with.
#[derive(Debug, Clone, Copy)]
pub enum Beside<'p> {
    /// Nothing whose plan is known.
    Nothing,
    /// The plan that it would take the place of.
    Old(&'p Plan),
    /// The plan that would take its place.
    New(&'p Plan),
}

impl<'p> Beside<'p> {
    /// The plan beside it.
    pub fn plan(self) -> Option<&'p Plan> {
        match self {
            Self::Nothing => None,
            Self::Old(plan) | Self::New(plan) => Some(plan),
        }
    }
}

/// A plan that can be written.
pub struct Compiled {
    plan: Plan,
    origin: Origin,
    templates: Templates,
}

/// Compiles it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let file = TopologyFile::read(&arguments.target.topologies)?;
    let choice = arguments.target.namespace.as_deref().map_or(Choice::Only, Choice::Named);
    let compiled = compile(&file, choice, PortChoice::default(), arguments.deny.warnings())?;
    let plan = compiled.plan();
    let directory =
        arguments.output.clone().unwrap_or_else(|| file.directory.join(".waldo/build").join(&plan.namespace));
    let files = compiled.write(&directory)?;
    println!("{}: plan {}", directory.display(), plan.digest);
    let processes: usize = plan.servers.values().map(|server| server.processes.len()).sum();
    println!(
        "{} for {} and {}",
        counted(files, "file"),
        counted(plan.servers.len(), "server"),
        counted(processes, "process").replace("processs", "processes"),
    );
    Ok(Exit::Ok)
}

/// Compiles a topology to run on this machine: the namespace that is named, made local if the file doesn't declare it;
/// without a name the only local one, or for a file without namespaces `default`, made local. With `ports`, its portals
/// are in a block of ports from there. Prints what is wrong with the file.
///
/// It is compiled as if nothing had run before: then nothing is bound that a change could disturb, and the ports are those that
/// `waldo compile` shows.
pub fn local(target: &Target, ports: Option<u16>) -> Result<Compiled, Failure> {
    local_onto(target, PortChoice { base: ports, live: None })
}

/// The same to take the place of a plan that is live: portals keep their ports.
pub fn local_onto(target: &Target, ports: PortChoice<'_>) -> Result<Compiled, Failure> {
    // A block that was chosen for a namespace that isn't declared stays its block: nowhere else is it written.
    let undeclared = PortChoice { base: ports.base.or(ports.live.and_then(|live| live.port_base)), ..ports };
    let file = TopologyFile::read(&target.topologies)?;
    let outline = waldo_compiler::outline(&file.sources);
    let declared: Vec<_> = match &outline {
        Some(outline) if outline.declares_namespaces() => outline.namespaces().collect(),
        _ => Vec::new(),
    };
    let Some(name) = target.namespace.as_deref() else {
        let local: Vec<_> = declared.iter().filter(|namespace| namespace.local).collect();
        return match local[..] {
            [only] => compile(&file, Choice::Named(&only.name), ports, false),
            [] if declared.is_empty() => compile(&file, Choice::Local(DEFAULT_NAMESPACE), undeclared, false),
            [] => Err(Failure::new(format!("none of the namespaces in {} is local", file.name)).hint(
                "`-n NAME` with a new name runs the topology on this machine; or add a namespace with `local: true`",
            )),
            _ => {
                let names: Vec<_> = local.iter().map(|namespace| namespace.name.as_str()).collect();
                Err(Failure::new(format!("{} has several local namespaces: {}", file.name, names.join(", ")))
                    .hint("choose one with -n")
                    .exit(Exit::Usage))
            }
        };
    };
    match declared.iter().find(|namespace| namespace.name == name) {
        Some(namespace) if namespace.local => compile(&file, Choice::Named(name), ports, false),
        Some(_) => Err(Failure::new(format!("namespace {name} isn't local: its servers may be other machines"))
            .hint("add `local: true` to it, or choose a new name with -n to run a copy on this machine")),
        None => {
            let own = outline.as_ref().map(|outline| own_ports(&outline.name().value, name));
            let undeclared = PortChoice { base: undeclared.base.or(own), ..undeclared };
            compile(&file, Choice::Local(name), undeclared, false)
        }
    }
}

/// Compiles a topology for comparing: as `waldo up` would if it can run here, else as `waldo compile` would.
fn as_it_would_run(target: &Target, ports: PortChoice<'_>) -> Result<Compiled, Failure> {
    let file = TopologyFile::read(&target.topologies)?;
    let outline = waldo_compiler::outline(&file.sources);
    let declared: Vec<_> = match &outline {
        Some(outline) if outline.declares_namespaces() => outline.namespaces().collect(),
        _ => Vec::new(),
    };
    let named = target.namespace.as_deref();
    let is_elsewhere =
        declared.iter().any(|namespace| !namespace.local && named.is_none_or(|name| namespace.name == name));
    if is_elsewhere && ports.base.is_none() {
        return compile(&file, named.map_or(Choice::Only, Choice::Named), ports, false);
    }
    local_onto(target, ports)
}

/// Compiles a topology to be compared with a plan, or with another topology. One that declares no namespaces can be meant
/// for this machine alone (`waldo up`) or for the servers' addresses (`waldo compile`): the plan beside it tells.
pub fn to_compare(target: &Target, ports: Option<u16>, with: Beside<'_>) -> Result<Compiled, Failure> {
    let plan = with.plan();
    let live = if let Beside::Old(plan) = with { Some(plan) } else { None };
    let ports = PortChoice { base: ports, live };
    let file = TopologyFile::read(&target.topologies)?;
    let declares_some = waldo_compiler::outline(&file.sources).is_some_and(|outline| outline.declares_namespaces());
    let is_only = target.namespace.as_deref().is_none_or(|name| name == DEFAULT_NAMESPACE);
    if !declares_some && is_only && ports.base.is_none() && !plan.is_some_and(|plan| plan.local) {
        return compile(&file, Choice::Only, ports, false);
    }
    as_it_would_run(target, ports)
}

/// A block of ports for a namespace that nobody declared: by its name, so that copies seldom meet and each stays where
/// it was. Below the ports that systems give to outgoing connections.
fn own_ports(topology: &str, namespace: &str) -> u16 {
    const FIRST: u16 = 10_000;
    const BLOCK: u16 = 100;
    const BLOCKS: u64 = 200;
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{topology}/{namespace}").as_bytes());
    FIRST + BLOCK * (hash % BLOCKS) as u16
}

fn compile(
    file: &TopologyFile,
    choice: Choice<'_>,
    ports: PortChoice<'_>,
    deny_warnings: bool,
) -> Result<Compiled, Failure> {
    match waldo_compiler::compile_onto(&file.sources, choice, ports) {
        Ok(compiled) => {
            file.judge(&compiled.warnings, deny_warnings)?;
            let origin = Origin::new(file.recorded.clone(), choice, ports.base);
            Ok(Compiled { plan: compiled.plan, origin, templates: file.templates()? })
        }
        Err(Refusal::Errors(diagnostics)) => {
            file.judge(&diagnostics, deny_warnings)?;
            Err(Failure::new(format!("{} can't be compiled", file.name)))
        }
        Err(refusal) => Err(Failure::new(format!("{}: {refusal}", file.name)).exit(Exit::Usage)),
    }
}

impl Compiled {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What it was compiled from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The plan.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// Writes the build directory; answers how many files it has.
    ///
    /// # Errors
    /// If a template or the disk fails, or there is something else than a build in the directory.
    pub fn write(&self, directory: &Path) -> Result<usize, Failure> {
        build_directory::write(&self.plan, &self.templates, directory)
    }
}
