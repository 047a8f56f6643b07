//! What a launcher must find out before it takes part in a rollout, and what it puts in place then.

use std::{collections::BTreeSet, path::Path};

use waldo_compiler::{
    diff::{Action, diff_with_programs},
    plan::{Plan, ProcessPlan, Program, ServerPlan, Speaks},
    verify_digest,
};

use super::{
    machine::change::{Order, Part},
    nothing_yet, owners, read_plan,
};
use crate::{
    cluster::preflight,
    paths::{Paths, ServerPaths},
    portal::Transition,
};

/// Reads the plan that a rollout leads to.
///
/// # Errors
/// In words for a person, if it can't be read, or isn't the one that is meant.
pub fn read(path: &Path, digest: &str, live: &Plan) -> Result<Plan, String> {
    let plan = read_plan(path).map_err(|error| error.to_string())?;
    if plan.digest != digest || !verify_digest(&plan) {
        return Err(format!("{} isn't the plan that was announced", path.display()));
    }
    if (&plan.topology, &plan.namespace) != (&live.topology, &live.namespace) {
        return Err(format!(
            "{} is a plan of {}/{}, not of {}/{}",
            path.display(),
            plan.topology,
            plan.namespace,
            live.topology,
            live.namespace
        ));
    }
    Ok(plan)
}

/// What a plan has on a server; nothing if it doesn't have it.
pub fn server_of(plan: &Plan, server: &str) -> ServerPlan {
    plan.servers.get(server).cloned().unwrap_or_else(nothing_yet)
}

/// What becomes of each process of a server, in the order in which the new plan starts them. `rebuilt` are those whose programs
/// are others than when they were started, whatever the plans say.
///
/// # Errors
/// If the plans aren't of the same topology.
pub fn parts(
    live: &Plan,
    next: &Plan,
    server: &str,
    rebuilt: &BTreeSet<String>,
) -> Result<Vec<(String, Part)>, String> {
    let is_rebuilt = |other: &str, process: &ProcessPlan| other == server && rebuilt.contains(&process.name);
    let diff = diff_with_programs(live, next, &is_rebuilt).map_err(|error| error.to_string())?;
    let order = |action| match action {
        Action::Keep => Order::Keep,
        Action::Rewire => Order::Adopt,
        Action::Restart => Order::Restart,
        Action::Start => Order::Start,
        Action::Stop => Order::Leave,
    };
    let mut parts: Vec<(String, Part)> = diff
        .processes
        .iter()
        .filter(|change| change.server == server)
        .map(|change| {
            let part = Part { order: order(change.action), plan: change.new.cloned(), after: Vec::new() };
            (change.process.to_owned(), part)
        })
        .collect();
    let before = server_of(live, server).processes;
    let leaves: Vec<bool> = before
        .iter()
        .map(|process| {
            let part = parts.iter().find(|(name, _)| *name == process.name);
            part.is_some_and(|(_, part)| matches!(part.order, Order::Restart | Order::Leave))
        })
        .collect();
    for (name, part) in &mut parts {
        let Some(place) = before.iter().position(|process| process.name == *name).filter(|place| leaves[*place]) else {
            continue;
        };
        // A filter says its last words when its input ends. Receivers stand before their senders in a plan, so those of a
        // loop can't all wait for each other.
        let senders = before[place].wiring.inputs.iter().flat_map(|input| &input.from);
        part.after = senders
            .filter(|sender| {
                let sender = before.iter().position(|process| process.name == **sender);
                sender.is_some_and(|sender| sender > place && leaves[sender] && is_filter(&before[sender]))
            })
            .cloned()
            .collect();
    }
    let rank = |name: &str| next.servers.get(server).and_then(|it| it.processes.iter().position(|it| it.name == name));
    parts.sort_by_key(|(name, _)| rank(name).unwrap_or(usize::MAX));
    Ok(parts)
}

fn is_filter(process: &ProcessPlan) -> bool {
    matches!(&process.program, Program::Stage(program) if program.speaks == Speaks::Lines)
}

/// Checks that what the rollout starts here can be started.
///
/// # Errors
/// In words for a person: the first thing that is wrong.
pub fn verify(live: &Plan, next: &Plan, server: &str, parts: &[(String, Part)], paths: &Paths) -> Result<(), String> {
    let places = paths.server(server);
    places.check_socket_paths(parts.iter().map(|(name, _)| name.as_str())).map_err(|error| error.to_string())?;
    owners::check(&server_of(next, server)).map_err(|error| error.to_string())?;
    for (_, part) in parts {
        let Some(plan) = part.plan.as_ref().filter(|_| matches!(part.order, Order::Start | Order::Restart)) else {
            continue;
        };
        preflight::check_program(plan, paths.root()).map_err(|error| error.to_string())?;
    }
    preflight::check_new_ports(live, next, server).map_err(|error| error.to_string())
}

/// What a portal must know of the plan before, until all records are where the new plan wants them.
///
/// # Errors
/// If the disk refuses.
pub fn put_transition(
    live: &Plan,
    server: &str,
    portal: &str,
    generation: u64,
    places: &ServerPaths,
) -> std::io::Result<()> {
    let before = server_of(live, server);
    let doors = before.processes.iter().find(|process| process.name == portal).and_then(|it| it.wiring.portal.as_ref());
    let flows = doors.map_or_else(Vec::new, |doors| doors.flows.clone());
    Transition::new(generation, live.guide.clone(), flows).write(&places.spool(portal))
}

/// A portal that is about to leave: it passes on all that still comes, and lets no client in.
pub fn leaving(portal: &ProcessPlan) -> ProcessPlan {
    let mut leaving = portal.clone();
    if let Some(doors) = &mut leaving.wiring.portal {
        doors.clients = None;
        doors.flows.clear();
    }
    leaving
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "
topology: t
flows: {a: {}, b: {}}
stages:
  feed: {run: echo, out: [a]}
  sort: {run: sort, in: [a], out: [b], speaks: lines}
  count: {run: wc, in: [b], speaks: lines}
  watch: {run: echo, in: [b]}
";

    fn plan(text: &str) -> Plan {
        let sources = waldo_compiler::Sources::of("t.yaml", text);
        waldo_compiler::compile(&sources, waldo_compiler::Choice::Only, None).unwrap().plan
    }

    fn of(before: &str, after: &str) -> Vec<(String, Part)> {
        parts(&plan(before), &plan(after), "here", &BTreeSet::new()).unwrap()
    }

    fn part<'a>(parts: &'a [(String, Part)], name: &str) -> &'a Part {
        &parts.iter().find(|(part, _)| part == name).unwrap().1
    }

    #[test]
    fn a_filter_says_its_last_words_before_those_leave_that_hear_them() {
        let parts = of(BEFORE, &BEFORE.replace("run: sort", "run: sort -r").replace("run: wc", "run: wc -l"));
        assert_eq!(part(&parts, "sort.0").order, Order::Restart);
        assert_eq!(part(&parts, "sort.0").after, Vec::<String>::new());
        assert_eq!(part(&parts, "count.0").after, ["sort.0"]);
        assert_eq!(part(&parts, "watch.0").order, Order::Keep);
    }

    #[test]
    fn what_is_new_stands_where_the_plan_starts_it_and_what_leaves_at_the_end() {
        let parts = of(BEFORE, &BEFORE.replace("  watch: {run: echo, in: [b]}\n", "  look: {run: echo, in: [b]}\n"));
        let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.last(), Some(&"watch.0"), "{names:?}");
        assert!(names.iter().position(|name| *name == "look.0") < names.iter().position(|name| *name == "feed.0"));
        assert_eq!((part(&parts, "look.0").order, part(&parts, "watch.0").order), (Order::Start, Order::Leave));
        assert_eq!(part(&parts, "sort.0").order, Order::Adopt);
    }

    #[test]
    fn a_rebuilt_program_is_started_anew() {
        let (before, rebuilt) = (plan(BEFORE), BTreeSet::from(["watch.0".to_owned()]));
        let parts = parts(&before, &before, "here", &rebuilt).unwrap();
        assert_eq!(part(&parts, "watch.0").order, Order::Restart);
        assert!(parts.iter().filter(|(name, _)| name != "watch.0").all(|(_, part)| part.order == Order::Keep));
    }
}
