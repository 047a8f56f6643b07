//! By what stages are kept to their limits of memory and processors: by control groups where the launcher may make them; else
//! memory by a limit of each process, and processors by nothing, which is said.

use std::{io, path::PathBuf};

use waldo_compiler::plan::{Plan, ProcessPlan, Program, ServerPlan, StageProgram};

use crate::{
    control::{Keeper, KeptLimits},
    sys::cgroup::{Controller, Groups},
};

/// What can be used on this machine for the processes of a server.
#[derive(Debug)]
pub struct Limits {
    /// `None` where no process has a limit: then control groups aren't touched.
    groups: Option<Groups>,
}

impl Limits {
    /// Finds out.
    pub fn of(plan: &Plan, name: &str, server: &ServerPlan) -> Self {
        let wanted = wanted(&server.processes);
        let name = format!("waldo-{}-{}-{name}", plan.topology, plan.namespace);
        Self { groups: (!wanted.is_empty()).then(|| Groups::open(&name, &wanted)) }
    }

    /// Makes ready what another plan's processes need besides.
    pub fn widen(&mut self, plan: &Plan, name: &str, server: &ServerPlan) {
        let lacks = wanted(&server.processes).into_iter().any(|controller| !self.can(controller));
        if lacks {
            // What is in use stays: only empty groups go.
            self.groups = None;
            *self = Self::of(plan, name, server);
        }
    }

    /// The same for the command that starts all launchers: they find themselves in the group that it has moved into, out of the
    /// way of their processes' groups. To be kept as long as they run.
    pub fn of_all(plan: &Plan) -> Self {
        let wanted = wanted(plan.servers.values().flat_map(|server| &server.processes));
        let name = format!("waldo-{}-{}", plan.topology, plan.namespace);
        Self { groups: (!wanted.is_empty()).then(|| Groups::open(&name, &wanted)) }
    }

    fn can(&self, controller: Controller) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.can(controller))
    }

    /// The limit of memory that a process must keep on its own, no control group being there for it. Bytes.
    pub fn by_the_process(&self, program: &StageProgram) -> Option<u64> {
        program.memory.filter(|_| !self.can(Controller::Memory))
    }

    /// Makes the control groups that a process is to join.
    ///
    /// # Errors
    /// What the system refused.
    pub fn groups(&self, process: &str, program: &StageProgram) -> io::Result<Vec<PathBuf>> {
        self.groups.as_ref().map_or_else(|| Ok(Vec::new()), |groups| groups.make(process, program.memory, program.cpu))
    }

    /// By what a process is kept to its limits.
    pub fn kept(&self, plan: &ProcessPlan) -> KeptLimits {
        let keeper = |controller, otherwise| if self.can(controller) { Keeper::ControlGroup } else { otherwise };
        let program = program(plan);
        KeptLimits {
            memory: program.and_then(|it| it.memory).map(|_| keeper(Controller::Memory, Keeper::Process)),
            cpu: program.and_then(|it| it.cpu).map(|_| keeper(Controller::Cpu, Keeper::Nothing)),
        }
    }
}

/// What control groups are needed for.
fn wanted<'p>(processes: impl IntoIterator<Item = &'p ProcessPlan>) -> Vec<Controller> {
    let mut wanted = Vec::new();
    for program in processes.into_iter().filter_map(program) {
        for (controller, limit) in [(Controller::Memory, program.memory), (Controller::Cpu, program.cpu)] {
            if limit.is_some() && !wanted.contains(&controller) {
                wanted.push(controller);
            }
        }
    }
    wanted
}

fn program(process: &ProcessPlan) -> Option<&StageProgram> {
    match &process.program {
        Program::Portal => None,
        Program::Stage(program) => Some(program),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_are_no_control_groups_memory_is_kept_by_processes_and_cpu_by_nothing() {
        let text = "topology: t\nstages: {a: {run: echo, limits: {memory: 1MiB, cpu: 0.5}}, b: {run: echo, limits: {nofile: 64}}}\n";
        let sources = waldo_compiler::Sources::of("t.yaml", text);
        let plan = waldo_compiler::compile(&sources, waldo_compiler::Choice::Only, None).unwrap().plan;
        let limits = Limits { groups: None };
        let processes = &plan.servers["here"].processes;
        let kept: Vec<KeptLimits> = processes.iter().map(|process| limits.kept(process)).collect();
        let limited = KeptLimits { memory: Some(Keeper::Process), cpu: Some(Keeper::Nothing) };
        assert!(kept.contains(&limited) && kept.contains(&KeptLimits::default()), "{kept:?}");
        let a = processes.iter().find(|process| process.name == "a.0").and_then(program).unwrap();
        assert_eq!(limits.by_the_process(a), Some(1 << 20));
        assert_eq!(limits.groups("a.0", a).unwrap(), Vec::<PathBuf>::new());
    }
}
