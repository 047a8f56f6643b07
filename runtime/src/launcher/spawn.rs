//! Starting one process: what runs, with which arguments and environment, and where its output goes.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use waldo_compiler::plan::{Plan, ProcessPlan, Program, ServerPlan, Speaks, StageProgram};

use super::{Options, kept::Recorded, limits::Limits, logs, owners};
use crate::{
    exec::Setup,
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
        let setup = self.setup(process)?;
        let variables = self.variables(process, incarnation)?;
        let start = |mut command: Command| {
            let output = logs::open(&self.places.log(&process.name))?;
            for variable in service::VARIABLES {
                command.env_remove(variable);
            }
            command.envs(variables.iter().map(|(name, value)| (name, value)));
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0).spawn()
        };
        // The shim costs more than all else that a start takes, so it is used only where it has something to do, or to say:
        // it writes into the log why a program can't be run.
        let direct = if setup.is_plain() { start(directly(&setup, &variables)?).ok() } else { None };
        let child = direct.map_or_else(|| start(self.by_the_shim(&setup)), Ok)?;
        let pid = child.id() as i32;
        // If it has ended already there is nobody to record.
        if let Some(identity) = Identity::of(pid) {
            let recorded = Recorded { identity, incarnation };
            fs::write(self.places.identity(&process.name), serde_json::to_vec(&recorded)?)?;
        }
        Ok(pid)
    }

    /// What the process becomes, and how it is set up.
    fn setup(&self, process: &ProcessPlan) -> std::io::Result<Setup> {
        let itself = |task: &str| vec![self.waldo.clone().into_os_string(), OsString::from(task)];
        let Program::Stage(program) = &process.program else {
            let (cwd, argv) = (Some(self.root.clone()), itself("__portal"));
            return Ok(Setup { group: self.group, cwd, argv, ..Setup::default() });
        };
        let placed = self.place(program);
        Ok(Setup {
            user: placed.user,
            group: self.group,
            nofile: placed.nofile,
            memory: self.limits.by_the_process(program),
            cgroups: self.limits.groups(&process.name, program)?,
            cwd: Some(PathBuf::from(placed.cwd)),
            argv: match placed.speaks {
                Speaks::Sdk => placed.argv.into_iter().map(OsString::from).collect(),
                Speaks::Ack | Speaks::Lines | Speaks::Egress => itself("__bridge"),
            },
        })
    }

    /// The variables of its environment that aren't the launcher's own.
    fn variables(&self, process: &ProcessPlan, incarnation: u64) -> std::io::Result<Vec<(String, OsString)>> {
        let mut variables: Vec<(String, OsString)> = Vec::new();
        if let Program::Stage(program) = &process.program {
            if program.speaks != Speaks::Sdk {
                variables.push(("WALDO_PROGRAM".into(), serde_json::to_string(&self.place(program))?.into()));
            }
            variables.extend(program.env.iter().map(|(name, value)| (name.clone(), value.into())));
        }
        let wiring = &process.wiring;
        variables.extend([
            ("WALDO_WIRING".into(), self.places.wiring(&process.name).into()),
            ("WALDO_INCARNATION".into(), incarnation.to_string().into()),
            ("WALDO_TOPOLOGY".into(), (&self.topology).into()),
            ("WALDO_NAMESPACE".into(), (&self.namespace).into()),
            ("WALDO_SERVER".into(), (&self.server).into()),
            ("WALDO_STAGE".into(), (&wiring.stage).into()),
            ("WALDO_INSTANCE".into(), wiring.instance.to_string().into()),
            ("WALDO_STATE_DIR".into(), self.places.state(&process.name).into()),
        ]);
        Ok(variables)
    }

    /// The shim, which sets itself up and then becomes the program.
    fn by_the_shim(&self, setup: &Setup) -> Command {
        let mut command = Command::new(&self.waldo);
        command.arg("__exec");
        let numbers = [("--nofile", setup.nofile), ("--memory", setup.memory), ("--group", setup.group.map(u64::from))];
        for (option, number) in numbers {
            command.args(number.map(|number| format!("{option}={number}")));
        }
        let user = setup.user.as_ref().map(|user| ("--user", OsString::from(user)));
        let cwd = setup.cwd.as_ref().map(|cwd| ("--cwd", cwd.into()));
        let cgroups = setup.cgroups.iter().map(|cgroup| ("--cgroup", cgroup.into()));
        for (option, value) in user.into_iter().chain(cwd).chain(cgroups) {
            command.arg(option).arg(value);
        }
        command.arg("--").args(&setup.argv);
        command
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

/// The program itself. One without a slash is looked up here: the library would do that in the new process, by trying to run
/// it in each directory of `PATH`, while this one waits.
fn directly(setup: &Setup, variables: &[(String, OsString)]) -> std::io::Result<Command> {
    let (program, arguments) = setup.argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let has_own_path = variables.iter().any(|(name, _)| name == "PATH");
    let name = program.to_str().filter(|name| !name.contains('/') && !has_own_path);
    let found = name.and_then(|name| resolve_program(Path::new("/"), name, std::env::var_os("PATH").as_ref()));
    let found = found.filter(|path| path.is_absolute()).map_or_else(|| program.clone(), PathBuf::into_os_string);
    let mut command = Command::new(found);
    command.arg0(program).args(arguments);
    if let Some(cwd) = &setup.cwd {
        command.current_dir(cwd);
    }
    Ok(command)
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
    fn a_program_is_looked_up_before_it_is_started_unless_its_own_path_says_where() {
        let setup = Setup { argv: vec!["true".into()], ..Setup::default() };
        let program = |variables: &[(String, OsString)]| directly(&setup, variables).unwrap().get_program().to_owned();
        assert!(Path::new(&program(&[])).is_absolute());
        assert_eq!(program(&[("PATH".into(), "/elsewhere".into())]), "true");
        assert!(directly(&setup, &[]).unwrap().status().unwrap().success());
    }

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
