//! Starting one process: what runs, with which arguments and environment, and where its output goes.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use waldo_compiler::plan::{Plan, ProcessPlan, Program, ServerPlan, Speaks, StageProgram};

use super::{Options, limits::Limits, logs, owners};
use crate::{
    paths::ServerPaths,
    sys::{process::Identity, service},
};

/// What all processes of a server have in common.
pub struct Spawner {
    /// This program, which is also the shim, the portal and the bridge.
    waldo: PathBuf,
    topology: String,
    namespace: String,
    server: String,
    root: PathBuf,
    places: ServerPaths,
    group: Option<u32>,
    limits: Limits,
}

impl Spawner {
    /// For the processes of this server.
    ///
    /// # Errors
    /// If the path of this program can't be found.
    pub fn new(options: &Options, plan: &Plan, places: &ServerPaths, limits: Limits) -> std::io::Result<Self> {
        Ok(Self {
            waldo: std::env::current_exe()?,
            topology: plan.topology.clone(),
            namespace: plan.namespace.clone(),
            server: options.server.clone(),
            root: options.root.clone(),
            places: places.clone(),
            group: owners::group(plan),
            limits,
        })
    }

    /// Goes by another plan for what is started from now on.
    pub fn follow(&mut self, plan: &Plan, server: &ServerPlan) {
        self.group = owners::group(plan);
        self.limits.widen(plan, &self.server, server);
    }

    /// By what a process is kept to its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Starts a process in a group of its own, and records who it is. Answers its pid.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn start(&self, process: &ProcessPlan, incarnation: u64) -> std::io::Result<i32> {
        let output = logs::open(&self.places.log(&process.name))?;
        let mut command = self.command(process, incarnation)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let pid = command.spawn()?.id() as i32;
        // If it has ended already there is nobody to record.
        if let Some(identity) = Identity::of(pid) {
            fs::write(self.places.identity(&process.name), serde_json::to_vec(&identity)?)?;
        }
        Ok(pid)
    }

    fn command(&self, process: &ProcessPlan, incarnation: u64) -> std::io::Result<Command> {
        let mut command = Command::new(&self.waldo);
        command.arg("__exec");
        if let Some(group) = self.group {
            command.arg("--group").arg(group.to_string());
        }
        match &process.program {
            Program::Portal => {
                command.arg("--cwd").arg(&self.root).arg("--").arg(&self.waldo).arg("__portal");
            }
            Program::Stage(program) => {
                let placed = self.place(program);
                command.arg("--cwd").arg(&placed.cwd);
                if let Some(user) = &placed.user {
                    command.arg("--user").arg(user);
                }
                if let Some(nofile) = placed.nofile {
                    command.arg("--nofile").arg(nofile.to_string());
                }
                if let Some(memory) = self.limits.by_the_process(program) {
                    command.arg("--memory").arg(memory.to_string());
                }
                for group in self.limits.groups(&process.name, program)? {
                    command.arg("--cgroup").arg(group);
                }
                command.arg("--");
                match placed.speaks {
                    Speaks::Sdk => command.args(&placed.argv),
                    Speaks::Ack | Speaks::Lines => {
                        command.env("WALDO_PROGRAM", serde_json::to_string(&placed)?);
                        command.arg(&self.waldo).arg("__bridge")
                    }
                };
                command.envs(&program.env);
            }
        }
        for variable in service::VARIABLES {
            command.env_remove(variable);
        }
        let wiring = &process.wiring;
        command
            .env("WALDO_WIRING", self.places.wiring(&process.name))
            .env("WALDO_INCARNATION", incarnation.to_string())
            .env("WALDO_TOPOLOGY", &self.topology)
            .env("WALDO_NAMESPACE", &self.namespace)
            .env("WALDO_SERVER", &self.server)
            .env("WALDO_STAGE", &wiring.stage)
            .env("WALDO_INSTANCE", wiring.instance.to_string())
            .env("WALDO_STATE_DIR", self.places.state(&process.name));
        Ok(command)
    }

    /// The program with its paths made absolute.
    fn place(&self, program: &StageProgram) -> StageProgram {
        let mut placed = program.clone();
        placed.cwd = self.root.join(&program.cwd).to_string_lossy().into_owned();
        if let Some(first) = placed.argv.first_mut()
            && first.contains('/')
        {
            *first = self.root.join(&*first).to_string_lossy().into_owned();
        }
        placed
    }
}

/// Where a program is that a topology in `root` names: with a slash from `root`, without one in `PATH`. `None` if there
/// is no such file that may be executed.
pub fn resolve_program(root: &Path, name: &str, path: Option<&OsString>) -> Option<PathBuf> {
    let executable = |path: &Path| path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    if name.contains('/') {
        let program = root.join(name);
        return executable(&program).then_some(program);
    }
    std::env::split_paths(path?).map(|directory| directory.join(name)).find(|program| executable(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_slash_is_looked_up_from_the_root_and_another_in_the_path() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("bin")).unwrap();
        fs::copy("/bin/true", directory.path().join("bin/work")).unwrap();
        fs::write(directory.path().join("bin/data"), "").unwrap();
        let path = OsString::from(directory.path().join("bin"));
        let expected = Some(directory.path().join("bin/work"));
        assert_eq!(resolve_program(directory.path(), "bin/work", None), expected);
        assert_eq!(resolve_program(Path::new("/"), "work", Some(&path)), expected);
        assert_eq!(resolve_program(directory.path(), "work", None), None);
        assert_eq!(resolve_program(directory.path(), "bin/data", None), None, "not executable");
    }
}
