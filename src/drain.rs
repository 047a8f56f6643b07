//! `waldo drain`: takes a server out of action, or back, in the plan that is live. The topology's files may say other things
//! by now: what counts is what that plan was compiled from.

use std::{io::Write, path::PathBuf};

use waldo_compiler::{
    Origin, Refusal,
    diagnostic::render::{Colour, render},
    origin::State,
    plan::Plan,
    source::Sources,
    suggestion,
};
use waldo_runtime::rollout::{Store, StoreError};

use crate::{
    deploy::{self, Manner},
    diff::side::Side,
    exit::{Exit, Failure},
    located::{Located, Target},
};

/// Which server.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A drained server runs no stages and owns no keys; its portals leave when they are empty. It is changed in the plan that is live,
and rolled out as any other change: held, proved idle, switched, accounted for. The topology's file stays as it is, and the next
deploy of it brings the server back unless it says `state: drained` too. Exit codes as of `waldo deploy`.")]
pub struct Arguments {
    /// The server.
    server: String,
    /// Take it back into action.
    #[arg(long)]
    undo: bool,
    /// The topology: its file, or the directory that it is in. By default this directory.
    #[arg(short, long, value_name = "FILE|DIR")]
    topology: Option<PathBuf>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    manner: Manner,
}

/// Shows the difference, asks, and rolls it out.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    arguments.manner.told(drain(arguments))
}

fn drain(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { server, undo, manner, .. } = arguments;
    let target =
        Target { topologies: arguments.topology.iter().cloned().collect(), namespace: arguments.namespace.clone() };
    let Located { plan, paths } = target.locate()?;
    let old = Side::live(paths.clone())?.ok_or_else(|| deploy::nothing_runs(&plan))?;
    if !old.plan.servers.contains_key(server) {
        let known = old.plan.servers.keys().map(String::as_str);
        return Err(Failure::new(format!("there is no server named `{server}`"))
            .hint(suggestion::help(server, known, "servers")));
    }
    let origin = origin(&Store::open(&paths.store()).map_err(|error| unreadable(&error))?)?;
    let (next, plan) = if *undo { back(&origin, server, &old.plan)? } else { out(&origin, server, &old.plan)? };
    let (name, note) = if *undo {
        (format!("plan with {server} back"), undone(&next, server))
    } else {
        (format!("plan without {server}"), done(&next, server))
    };
    if plan.digest != old.plan.digest {
        manner.note(&note);
    }
    let new = Side { name, plan, live: None, origin: Some(next) };
    deploy::change_over(if *undo { "waldo drain --undo" } else { "waldo drain" }, &old, &new, manner)
}

fn unreadable(error: &StoreError) -> Failure {
    Failure::new(error.to_string())
}

fn origin(store: &Store) -> Result<Origin, Failure> {
    let live = store.live().map_err(|error| unreadable(&error))?.unwrap_or(0);
    let origin = store.origin(live).map_err(|error| unreadable(&error))?;
    origin.ok_or_else(|| {
        Failure::new(format!("plan {live} was deployed as a plan, without what it was compiled from"))
            .hint("write `state: drained` at the server in the topology, and `waldo deploy` that")
    })
}

/// Without the server.
fn out(origin: &Origin, server: &str, live: &Plan) -> Result<(Origin, Plan), Failure> {
    if live.servers.len() == 1 {
        return Err(Failure::new(format!("{server} is the only server: no other could take over"))
            .hint("`waldo pause` holds it, `waldo down` ends it"));
    }
    let next = origin.clone().with_state(server, State::Drained);
    let plan = compile(&next, live)?;
    Ok((next, plan))
}

/// With the server. If the topology itself has it drained, it is set active in spite of that.
fn back(origin: &Origin, server: &str, live: &Plan) -> Result<(Origin, Plan), Failure> {
    let plain = origin.clone().without_state(server);
    let plan = compile(&plain, live)?;
    if plan.servers.get(server).is_some_and(|server| !server.processes.is_empty()) {
        return Ok((plain, plan));
    }
    let next = plain.with_state(server, State::Active);
    let plan = compile(&next, live)?;
    Ok((next, plan))
}

fn compile(origin: &Origin, live: &Plan) -> Result<Plan, Failure> {
    let sources = origin.sources();
    match origin.compile(&sources, Some(live)) {
        Ok(compiled) => Ok(compiled.plan),
        Err(Refusal::Errors(found)) => {
            print(&sources, &found);
            Err(Failure::new("without it the topology can't be compiled").hint("nothing was changed"))
        }
        Err(refusal) => Err(Failure::new(refusal.to_string())),
    }
}

fn print(sources: &Sources, found: &waldo_compiler::Diagnostics) {
    // Nobody is left to tell if stderr is gone.
    let _ = anstream::stderr().lock().write_all(render(sources, found, Colour::Ansi).as_bytes());
}

fn done(next: &Origin, server: &str) -> String {
    let written = next.states_as_written().unwrap_or_default();
    format!(
        "this changes the plan that is live, not the topology's file: a later deploy of that brings {server} back,\n\
         unless you write there: {written}"
    )
}

fn undone(next: &Origin, server: &str) -> String {
    match next.states_as_written() {
        Some(written) => format!(
            "this changes the plan that is live, not the topology's file: a later deploy of that drains {server} again,\n\
             unless you write there: {written}"
        ),
        None => format!("{server} is back as the topology's file had it when it was deployed"),
    }
}
