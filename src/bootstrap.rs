//! `waldo bootstrap`: makes servers ready, at the first contact or again: the program, libzmq, a user, directories.

mod machine;

use std::{fmt::Write as _, fs::File, io, path::PathBuf, process::Command};

use serde::Serialize;
use waldo_runtime::ssh::{Connection, Sockets, SshError, at_most};

use self::machine::{Facts, Step, Unfit};
use crate::{
    compile::{self, Beside},
    exit::{Exit, Failure},
    located::Target,
    machines::Machine,
};

/// Which servers, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Servers are reached as `ssh` in the topology says, else by their address, with your own ssh configuration, keys and agent. What a \
server has already is left as it is. Nothing is started.")]
pub struct Arguments {
    /// The topology's file or directory, if it isn't this one; then servers. By default all of them.
    #[arg(value_name = "FILE|DIR|SERVER")]
    names: Vec<String>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    namespace: Option<String>,
    /// Look at the servers, and print every command that would be run there.
    #[arg(long)]
    dry_run: bool,
    /// How many servers are seen to at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Say as JSON what was done.
    #[arg(long)]
    json: bool,
}

/// What came of a machine.
#[derive(Serialize)]
struct Done {
    servers: Vec<String>,
    ssh: String,
    /// What was lacking, in words.
    steps: Vec<String>,
    /// The commands for it.
    commands: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    hint: Option<String>,
}

/// Why a machine isn't ready.
#[derive(Debug)]
enum NotReady {
    Ssh(SshError),
    Unfit(Unfit),
}

/// This program, as it is to be there.
struct Program {
    path: PathBuf,
    sha256: String,
}

/// Makes them ready.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let first = arguments.names.first().map(PathBuf::from).filter(|path| path.exists());
    let names = &arguments.names[usize::from(first.is_some())..];
    let target = Target { topologies: first.into_iter().collect(), namespace: arguments.namespace.clone() };
    let plan = compile::to_compare(&target, None, Beside::Nothing)?.into_plan();
    if plan.local {
        return Err(Failure::new(format!("namespace {} is local: its servers are this machine", plan.namespace))
            .hint("choose another one with -n"));
    }
    let machines = Machine::of(&plan, names)?;
    let program = Program::own()?;
    let sockets = Sockets::new().map_err(|error| Failure::new(error.to_string()))?;
    let done = at_most(arguments.parallel.into(), &machines, |machine| {
        let done = make_ready(machine, &program, &sockets, arguments.dry_run);
        if !arguments.json {
            tell(&done, arguments.dry_run, &program);
        }
        done
    });
    if arguments.json {
        let document = serde_json::json!({"format": 1, "dry_run": arguments.dry_run, "machines": done});
        println!("{document}");
    }
    let failed: Vec<&Done> = done.iter().filter(|done| done.error.is_some()).collect();
    let Some(first) = failed.first() else { return Ok(Exit::Ok) };
    let named: Vec<String> = failed.iter().map(|done| done.servers.join(", ")).collect();
    let failure = Failure::new(format!("not ready: {}", named.join(", ")));
    Err(Failure { hint: first.hint.clone(), ..failure })
}

fn make_ready(machine: &Machine, program: &Program, sockets: &Sockets, dry_run: bool) -> Done {
    let mut done = Done {
        servers: machine.servers.clone(),
        ssh: machine.target.clone(),
        steps: Vec::new(),
        commands: Vec::new(),
        error: None,
        hint: None,
    };
    if let Err(why) = take_steps(machine, program, sockets, dry_run, &mut done) {
        (done.error, done.hint) = match why {
            NotReady::Ssh(error) => (Some(error.to_string()), error.hint()),
            NotReady::Unfit(unfit) => (Some(format!("{}: {unfit}", machine.target)), Some(unfit.hint())),
        };
    }
    done
}

fn take_steps(
    machine: &Machine,
    program: &Program,
    sockets: &Sockets,
    dry_run: bool,
    done: &mut Done,
) -> Result<(), NotReady> {
    let name = machine.servers.first().map_or("server", String::as_str);
    let connection = Connection::open(sockets, name, &machine.target).map_err(NotReady::Ssh)?;
    let said = connection.run("to look at it", machine::LOOK, io::empty()).map_err(NotReady::Ssh)?;
    let facts = Facts::read(&said);
    for step in machine::steps(&facts, std::env::consts::ARCH, &program.sha256).map_err(NotReady::Unfit)? {
        if !dry_run {
            take(&step, &facts, &connection, program)?;
        }
        done.steps.push(step.what.to_owned());
        done.commands.push(facts.as_root(&step.command));
    }
    Ok(())
}

fn take(step: &Step, facts: &Facts, connection: &Connection, program: &Program) -> Result<(), NotReady> {
    let command = facts.as_root(&step.command);
    let taken = if step.takes_program {
        let file = File::open(&program.path).map_err(|error| NotReady::Ssh(error.into()))?;
        connection.run(step.what, &command, file)
    } else {
        connection.run(step.what, &command, io::empty())
    };
    taken.map(drop).map_err(NotReady::Ssh)
}

fn tell(done: &Done, dry_run: bool, program: &Program) {
    let who = if done.servers == [done.ssh.clone()] {
        done.ssh.clone()
    } else {
        format!("{} ({})", done.servers.join(", "), done.ssh)
    };
    // In one piece: others tell at the same time.
    let mut text = match &done.error {
        Some(error) => format!("{who}: {error}\n"),
        None if done.steps.is_empty() => format!("{who}: ready, nothing to do\n"),
        None if dry_run => format!("{who}: would be given {}\n", done.steps.join(", ")),
        None => format!("{who}: ready; given {}\n", done.steps.join(", ")),
    };
    if dry_run {
        for (command, what) in done.commands.iter().zip(&done.steps) {
            let input = if what == machine::PROGRAM { format!(" <{}", program.path.display()) } else { String::new() };
            let _ = writeln!(text, "    {command}{input}");
        }
    }
    print!("{text}");
}

impl Program {
    fn own() -> Result<Self, Failure> {
        let unreadable = |error: io::Error| Failure::new(format!("cannot read this program: {error}"));
        let path = std::env::current_exe().map_err(unreadable)?;
        let output = Command::new("sha256sum").arg(&path).output().map_err(unreadable)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match said.split_whitespace().next() {
            Some(sha256) if output.status.success() => Ok(Self { path, sha256: sha256.to_owned() }),
            _ => Err(Failure::new("cannot read this program: sha256sum failed")),
        }
    }
}
