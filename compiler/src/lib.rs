//! From a topology's YAML to a plan. Pure: no clock, no environment, no processes, no sockets.
//!
//! The tree is the pipeline: [`source`] → [`topology`] → [`mod@check`] → [`place`] → [`guide`] → [`plan`] (put together by
//! [`assemble`] and [`wiring`]) → [`mod@render`].

pub mod assemble;
pub mod bounds;
pub mod check;
pub mod diagnostic;
pub mod diff;
pub mod draw;
pub mod graph;
pub mod guide;
pub mod origin;
pub mod place;
pub mod plan;
pub mod render;
pub mod schema;
pub mod source;
pub mod suggestion;
pub mod topology;
pub mod wiring;
pub mod workspace;

pub use assemble::{digest, verify_digest};
use bounds::Bounds;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use origin::Origin;
pub use place::ports::PortChoice;
use plan::Plan;
pub use render::{Templates, render};
pub use source::{Source, Sources};
use topology::{FileOutline, Namespace, Topology};
use workspace::Placed;

/// What a check of a file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// All findings, in the order of the file.
    pub diagnostics: Diagnostics,
    /// What can be in queues at most, for the namespaces without errors.
    pub bounds: Bounds,
}

/// Which of a file's namespaces to compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'n> {
    /// The only one.
    Only,
    /// The one of this name.
    Named(&'n str),
    /// One of this name that the file doesn't declare: the topology as written, every server on this machine.
    Local(&'n str),
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file has errors.
    #[error("the topology has errors")]
    Errors(Diagnostics),
    /// There are several namespaces and none was chosen.
    #[error("choose a namespace with `-n`: {}", check::listed(.0))]
    Ambiguous(Vec<String>),
    /// There is no namespace of the name that was chosen.
    #[error("there is no namespace `{name}`; the file has {}", check::listed(.known))]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A name that a namespace can't have.
    #[error(
        "`{0}` can't be the name of a namespace: write a lower-case letter, then lower-case letters, digits, `_` or `-`"
    )]
    BadName(String),
}

/// A plan and the warnings on the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// Warnings.
    pub warnings: Diagnostics,
}

/// Checks a topology in every one of its namespaces.
pub fn check(sources: &Sources) -> Checked {
    check_namespaces(sources, |_| true, &mut |_| Diagnostics::default()).0
}

/// Checks a topology in one of its namespaces.
///
/// # Errors
/// [`Refusal::Unknown`] if there is no such namespace.
pub fn check_one(sources: &Sources, namespace: &str) -> Result<Checked, Refusal> {
    check_also(sources, Some(namespace), |_| Diagnostics::default())
}

/// Checks a topology in one or in every one of its namespaces, and adds what another has to say of each, as far as it could be
/// read.
///
/// # Errors
/// [`Refusal::Unknown`] if there is no such namespace.
pub fn check_also(
    sources: &Sources,
    namespace: Option<&str>,
    mut also: impl FnMut(&Topology) -> Diagnostics,
) -> Result<Checked, Refusal> {
    if let (Some(name), Some(outline)) = (namespace, outline(sources)) {
        choose(&outline, Choice::Named(name))?;
    }
    Ok(check_namespaces(sources, |name| namespace.is_none_or(|wanted| wanted == name), &mut also).0)
}

fn check_namespaces(
    sources: &Sources,
    wanted: impl Fn(&str) -> bool,
    also: &mut dyn FnMut(&Topology) -> Diagnostics,
) -> (Checked, Vec<Placed>) {
    let mut diagnostics = Diagnostics::default();
    let Some(outline) = read(sources, &mut diagnostics) else {
        diagnostics.sort();
        return (Checked { diagnostics, bounds: Bounds::new() }, Vec::new());
    };
    let namespaces: Vec<&Namespace> = outline.namespaces().filter(|namespace| wanted(&namespace.name)).collect();
    let mut found = Vec::new();
    let mut bounds = Bounds::new();
    let (mut placed, mut machines) = (Vec::new(), Vec::new());
    for namespace in &namespaces {
        let mut of_namespace = Diagnostics::default();
        let topology = topology::read(&outline, namespace, &mut of_namespace);
        if let Some(whole) = check::check(&topology, PortChoice::default(), &mut of_namespace) {
            if of_namespace.errors() == 0 && diagnostics.errors() == 0 {
                let plan = assemble::undigested(&whole);
                check::full_queues::check(&topology, &plan, &mut of_namespace);
                bounds.insert(namespace.name.clone(), bounds::of(&plan));
            }
            placed.push(Placed::of(whole));
        }
        of_namespace.extend(also(&topology));
        machines.push(check::unit_clash::machines(namespace, &topology));
        found.push((namespace.name.clone(), of_namespace));
    }
    check::port_room::across(&namespaces, &mut diagnostics);
    if diagnostics.errors() == 0 {
        check::port_clash::across(&placed, &mut diagnostics);
        check::unit_clash::across(&machines, &mut diagnostics);
    }
    diagnostics.extend(Diagnostics::across(found));
    diagnostics.drop_follow_ups(sources.found());
    diagnostics.sort();
    (Checked { diagnostics, bounds }, placed)
}

/// Compiles one namespace of a file. With `port_base`, as if the namespace said `ports: port_base`.
///
/// # Errors
/// [`Refusal`]: the errors of the file in that namespace, or a namespace that isn't there.
pub fn compile(sources: &Sources, choice: Choice<'_>, port_base: Option<u16>) -> Result<Compiled, Refusal> {
    compile_onto(sources, choice, PortChoice { base: port_base, live: None })
}

/// Compiles one namespace of a file to take the place of a plan that is live in it: portals keep the ports that they have, as far as the
/// topology doesn't write others; new ones get ports that aren't bound. Everything else is as [`compile`] makes it.
///
/// # Errors
/// As for [`compile`].
pub fn compile_onto(sources: &Sources, choice: Choice<'_>, ports: PortChoice<'_>) -> Result<Compiled, Refusal> {
    let mut diagnostics = Diagnostics::default();
    let Some(outline) = read(sources, &mut diagnostics) else {
        diagnostics.sort();
        return Err(Refusal::Errors(diagnostics));
    };
    let namespace = choose(&outline, choice)?;
    let topology = topology::read(&outline, &namespace, &mut diagnostics);
    let whole = check::check(&topology, ports, &mut diagnostics);
    diagnostics.drop_follow_ups(sources.found());
    match whole {
        Some(whole) if diagnostics.errors() == 0 => {
            let plan = assemble::plan(&whole);
            check::full_queues::check(&topology, &plan, &mut diagnostics);
            diagnostics.sort();
            Ok(Compiled { plan, warnings: diagnostics })
        }
        _ => {
            diagnostics.sort();
            Err(Refusal::Errors(diagnostics))
        }
    }
}

/// A file's name and namespaces, as far as they can be read; what is wrong with it is for [`fn@check`] and [`compile`] to say.
pub fn outline(sources: &Sources) -> Option<FileOutline> {
    read(sources, &mut Diagnostics::default())
}

fn read(sources: &Sources, diagnostics: &mut Diagnostics) -> Option<FileOutline> {
    diagnostics.extend(sources.found().clone());
    topology::outline(sources.tree()?, sources.removed(), diagnostics)
}

fn choose(outline: &FileOutline, choice: Choice<'_>) -> Result<Namespace, Refusal> {
    let known = || outline.namespaces().map(|namespace| namespace.name.clone()).collect::<Vec<_>>();
    let named = |name: &str| outline.namespaces().find(|namespace| namespace.name == name).cloned();
    match choice {
        Choice::Only if outline.namespaces().len() > 1 => Err(Refusal::Ambiguous(known())),
        Choice::Only => outline.namespaces().next().cloned().ok_or_else(|| Refusal::Ambiguous(known())),
        Choice::Named(name) => named(name).ok_or_else(|| Refusal::Unknown { name: name.to_owned(), known: known() }),
        // The word is reserved, but it is what the only namespace of a file without any is called.
        Choice::Local(name) if name != topology::DEFAULT_NAMESPACE && topology::name::flaw(name).is_some() => {
            Err(Refusal::BadName(name.to_owned()))
        }
        Choice::Local(name) => {
            Ok(Namespace { name: name.to_owned(), place: outline.name().place, local: true, ports: None })
        }
    }
}
