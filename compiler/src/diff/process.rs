//! What is done about each process, and why.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    Action, Because, ProcessChange,
    because::quoted,
    elsewhere::Elsewhere,
    wiring,
    words::{duration, or_none, processors, size, word},
};
use crate::plan::{Plan, ProcessPlan, Program, Speaks, StageProgram};

/// All processes of both plans. `is_rebuilt` says of a stage's process whether its program's file has changed.
pub(super) fn changes<'p>(
    old: &'p Plan,
    new: &'p Plan,
    elsewhere: &Elsewhere<'p>,
    is_rebuilt: &dyn Fn(&str, &ProcessPlan) -> bool,
) -> Vec<ProcessChange<'p>> {
    let mut changes = Vec::new();
    let servers: BTreeSet<&String> = old.servers.keys().chain(new.servers.keys()).collect();
    for server in servers {
        let processes = |plan: &'p Plan| plan.servers.get(server).map_or(&[][..], |server| &server.processes);
        let (before, after) = (processes(old), processes(new));
        let known: HashMap<&str, &ProcessPlan> =
            before.iter().map(|process| (process.name.as_str(), process)).collect();
        let mut wanted = HashSet::new();
        for process in after {
            wanted.insert(process.name.as_str());
            let (action, because) = match known.get(process.name.as_str()) {
                Some(before) => {
                    let (mut action, mut because) = compare(before, process, server, elsewhere);
                    if matches!(process.program, Program::Stage(_)) && is_rebuilt(server, before) {
                        action = Action::Restart;
                        because.push(Because::ProgramChanged);
                    }
                    (action, because)
                }
                None if before.is_empty() => (Action::Start, vec![Because::ServerNew]),
                None => (Action::Start, vec![Because::New]),
            };
            changes.push(ProcessChange { server, process: &process.name, action, because, new: Some(process) });
        }
        let gone = before.iter().filter(|process| !wanted.contains(process.name.as_str()));
        let why = || match (after.is_empty(), new.servers.contains_key(server)) {
            (true, false) => Because::ServerGone,
            (true, true) => Because::ServerDrained,
            (false, _) => Because::Gone,
        };
        changes.extend(gone.map(|process| ProcessChange {
            server,
            process: &process.name,
            action: Action::Stop,
            because: vec![why()],
            new: None,
        }));
    }
    changes
}

fn compare(old: &ProcessPlan, new: &ProcessPlan, server: &str, elsewhere: &Elsewhere<'_>) -> (Action, Vec<Because>) {
    let mut reasons = Vec::new();
    let mut action = Action::Keep;
    if old != new {
        policy(old, new, &mut reasons);
        if old.program != new.program {
            action = Action::Restart;
            program(&old.program, &new.program, &mut reasons);
        }
        if old.wiring != new.wiring {
            // A program that gets an inbox, or loses it, begins anew.
            action = action.max(if old.is_source() == new.is_source() { Action::Rewire } else { Action::Restart });
            wiring::compare(&old.wiring, &new.wiring, &mut reasons);
            if speaks_lines(new) && old.wiring.outputs.is_empty() != new.wiring.outputs.is_empty() {
                action = Action::Restart;
                reasons.push(Because::StandardOutput);
            }
        }
    }
    let before = reasons.len();
    elsewhere.concerns(server, new, &mut reasons);
    if reasons.len() > before {
        action = action.max(Action::Rewire);
    }
    (action, reasons)
}

fn speaks_lines(process: &ProcessPlan) -> bool {
    matches!(&process.program, Program::Stage(program) if program.speaks == Speaks::Lines)
}

/// What only the launcher lives by: the process doesn't notice.
fn policy(old: &ProcessPlan, new: &ProcessPlan, reasons: &mut Vec<Because>) {
    if old.restart != new.restart {
        let words = |process: &ProcessPlan| {
            let restart = &process.restart;
            let max = restart.max.map(|max| format!(", at most {max} times in {}", duration(restart.window)));
            let pauses = format!("pauses up to {}", duration(restart.backoff));
            format!("{}, {pauses}{}", word(&restart.policy), max.unwrap_or_default())
        };
        let (from, to) = (words(old), words(new));
        reasons.push(if from == to {
            Because::changed("restart window", duration(old.restart.window), duration(new.restart.window))
        } else {
            Because::changed("restart", from, to)
        });
    }
    if old.stop != new.stop {
        let words = |process: &ProcessPlan| format!("{}, grace {}", process.stop.signal, duration(process.stop.grace));
        reasons.push(Because::changed("stop", words(old), words(new)));
    }
    if old.alive != new.alive {
        let words = |process: &ProcessPlan| {
            let words = |alive: crate::plan::Alive| format!("{}, then {}", duration(alive.within), word(&alive.then));
            process.alive.map_or_else(|| "none".to_owned(), words)
        };
        reasons.push(Because::changed("alive within", words(old), words(new)));
    }
    if old.ready_timeout != new.ready_timeout {
        reasons.push(Because::changed("ready timeout", duration(old.ready_timeout), duration(new.ready_timeout)));
    }
}

/// What it is executed with.
fn program(old: &Program, new: &Program, reasons: &mut Vec<Because>) {
    let (Program::Stage(old), Program::Stage(new)) = (old, new) else {
        let words = |program: &Program| if *program == Program::Portal { "a portal" } else { "a stage" };
        reasons.push(Because::changed("it is", words(old), words(new)));
        return;
    };
    if old.argv != new.argv {
        let words = |program: &StageProgram| program.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        reasons.push(Because::changed("run", words(old), words(new)));
    }
    if old.speaks != new.speaks {
        reasons.push(Because::changed("speaks", word(&old.speaks), word(&new.speaks)));
    }
    if old.cwd != new.cwd {
        reasons.push(Because::changed("cwd", quoted(&old.cwd), quoted(&new.cwd)));
    }
    let variables: BTreeSet<&String> = old.env.keys().chain(new.env.keys()).collect();
    for name in variables {
        let (from, to) = (old.env.get(name), new.env.get(name));
        if from != to {
            reasons.push(Because::variable(name, from.map(String::as_str), to.map(String::as_str)));
        }
    }
    if old.user != new.user {
        let words = |program: &StageProgram| program.user.clone().unwrap_or_else(|| "the launcher's".to_owned());
        reasons.push(Because::changed("user", words(old), words(new)));
    }
    if old.nofile != new.nofile {
        reasons.push(Because::limit("limits.nofile", old.nofile, new.nofile));
    }
    if old.memory != new.memory {
        reasons.push(Because::changed("limits.memory", or_none(old.memory, size), or_none(new.memory, size)));
    }
    if old.cpu != new.cpu {
        reasons.push(Because::changed("limits.cpu", or_none(old.cpu, processors), or_none(new.cpu, processors)));
    }
}
