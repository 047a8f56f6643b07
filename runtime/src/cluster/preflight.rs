//! What is checked before anything is started: programs, ports, paths, and what isn't supported yet.

use std::{
    ffi::OsString,
    net::{TcpListener, ToSocketAddrs},
    path::{Path, PathBuf},
};

use waldo_compiler::plan::{Plan, ProcessPlan, Program};
use waldo_sdk::wiring::{Egress, Place, Wiring};

use super::neighbours;
use crate::{
    launcher::resolve_program,
    paths::{Paths, Unusable},
};

/// Why a plan can't run here.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// A server isn't on this machine.
    #[error("server {server} is at {address}, not on this machine: rollouts to other machines are not supported yet")]
    Remote {
        /// Which.
        server: String,
        /// Where.
        address: String,
    },
    /// A program isn't there.
    #[error("stage {stage}: no program {program} that can be executed, {}", looked(program, root))]
    Program {
        /// Whose.
        stage: String,
        /// Its name in the topology.
        program: String,
        /// Where relative paths begin.
        root: PathBuf,
    },
    /// A stage's working directory isn't there.
    #[error("stage {stage}: no directory {} to run in", path.display())]
    Directory {
        /// Whose.
        stage: String,
        /// Which.
        path: PathBuf,
    },
    /// An address is bound by another portal of waldo's.
    #[error("{server}/{portal} cannot listen at {address}: portal {} of {}/{} does, on its server {}", other.process, other.topology, other.namespace, other.server)]
    Taken {
        /// On which server.
        server: String,
        /// Which portal.
        portal: String,
        /// Where.
        address: String,
        /// Who listens there.
        other: Box<Place>,
    },
    /// An address can't be bound.
    #[error("{server}/{portal} cannot listen at {address}: {why}")]
    Port {
        /// On which server.
        server: String,
        /// Which portal.
        portal: String,
        /// Where.
        address: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// A place can't be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

fn looked(program: &str, root: &std::path::Path) -> String {
    if program.contains('/') { format!("looked for from {}", root.display()) } else { "looked for in PATH".to_owned() }
}

impl Unfit {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Remote { .. } => Some("name a namespace with `local: true`, or one that isn't declared".to_owned()),
            Self::Program { program, .. } if program.contains('/') => {
                Some("build it, or make it executable with chmod +x".to_owned())
            }
            Self::Program { .. } => Some("install it, or write a path with a slash".to_owned()),
            Self::Directory { .. } => None,
            Self::Port { why, .. } if why.kind() == std::io::ErrorKind::AddrInUse => {
                Some("end what listens there, or choose another block of ports with --ports".to_owned())
            }
            Self::Taken { other, .. } => Some(format!(
                "end {}/{} with `waldo down`, or choose another block of ports with --ports",
                other.topology, other.namespace
            )),
            Self::Port { .. } => Some("choose another block of ports with --ports".to_owned()),
            Self::Unusable(unusable) => Some(unusable.hint()),
        }
    }
}

/// Checks that every server of the plan is on this machine.
///
/// # Errors
/// The first server that isn't.
pub fn is_here(plan: &Plan) -> Result<(), Unfit> {
    let remote = plan.servers.iter().find(|(_, server)| !plan.local && !is_loopback(&server.address));
    match remote {
        Some((name, server)) => Err(Unfit::Remote { server: name.clone(), address: server.address.clone() }),
        None => Ok(()),
    }
}

fn is_loopback(address: &str) -> bool {
    match address.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => address == "localhost",
    }
}

/// Checks that sockets' paths are short enough and programs are there.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(plan: &Plan, paths: &Paths) -> Result<(), Unfit> {
    for (name, server) in &plan.servers {
        let processes = server.processes.iter().map(|process| process.name.as_str());
        paths.server(name).check_socket_paths(processes)?;
    }
    plan.servers
        .values()
        .flat_map(|server| &server.processes)
        .try_for_each(|process| check_program(process, paths.root()))
}

/// Checks that a stage's program and directory are there.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_program(process: &ProcessPlan, root: &Path) -> Result<(), Unfit> {
    let Program::Stage(program) = &process.program else { return Ok(()) };
    if program.is_own() {
        return Ok(());
    }
    let stage = || process.wiring.stage.clone();
    let path = program.env.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"));
    let name = program.argv.first().map_or("", String::as_str);
    if resolve_program(root, name, path.as_ref()).is_none() {
        return Err(Unfit::Program { stage: stage(), program: name.to_owned(), root: root.to_owned() });
    }
    let path = root.join(&program.cwd);
    if path.is_dir() { Ok(()) } else { Err(Unfit::Directory { stage: stage(), path }) }
}

/// Checks that a server's portals can listen where the new plan says and the live one doesn't.
///
/// # Errors
/// The first place that can't be bound.
pub fn check_new_ports(live: &Plan, next: &Plan, server: &str) -> Result<(), Unfit> {
    let doors = |plan: &Plan| {
        let processes = plan.servers.get(server).into_iter().flat_map(|server| server.processes.clone());
        let endpoints = processes.flat_map(|process| {
            let endpoints = bound_by(&process.wiring).map(str::to_owned).collect::<Vec<_>>();
            endpoints.into_iter().map(move |endpoint| (process.name.clone(), endpoint))
        });
        endpoints.collect::<Vec<_>>()
    };
    let bound = doors(live);
    for (portal, endpoint) in doors(next) {
        if bound.iter().any(|(_, taken)| *taken == endpoint) {
            continue;
        }
        let address = address_of(&endpoint);
        can_bind(&address).map_err(|why| Unfit::Port { server: server.to_owned(), portal, address, why })?;
    }
    Ok(())
}

/// The endpoints that a process binds.
fn bound_by(wiring: &Wiring) -> impl Iterator<Item = &str> {
    let doors = wiring.portal.iter().flat_map(|doors| [Some(doors.links.as_str()), doors.clients.as_deref()]);
    let egress = wiring.egress.iter().map(|egress| match egress {
        Egress::Bind(endpoint) => Some(endpoint.as_str()),
        Egress::Connect(_) => None,
    });
    doors.chain(egress).flatten()
}

/// Where a portal that is told to bind this endpoint listens.
fn address_of(endpoint: &str) -> String {
    endpoint.trim_start_matches("tcp://").replacen("*:", "0.0.0.0:", 1)
}

/// Checks that the portals' ports are free. To be called when no earlier launcher of the namespace runs any more.
///
/// # Errors
/// The first one that isn't.
pub fn check_ports(plan: &Plan, run_root: &Path) -> Result<(), Unfit> {
    for (server, of_server) in &plan.servers {
        for process in &of_server.processes {
            for endpoint in bound_by(&process.wiring) {
                let address = address_of(endpoint);
                let Err(why) = can_bind(&address) else { continue };
                let (server, portal) = (server.clone(), process.name.clone());
                let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
                let other = port
                    .filter(|_| why.kind() == std::io::ErrorKind::AddrInUse)
                    .and_then(|port| neighbours::listener(run_root, port));
                return Err(match other {
                    Some(other) => Unfit::Taken { server, portal, address, other: Box::new(other) },
                    None => Unfit::Port { server, portal, address, why },
                });
            }
        }
    }
    Ok(())
}

fn can_bind(address: &str) -> std::io::Result<()> {
    // The standard library binds as ZeroMQ does, with SO_REUSEADDR: connections that linger are no obstacle.
    let addresses: Vec<_> = address.to_socket_addrs()?.collect();
    TcpListener::bind(&addresses[..]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_cannot_be_bound_and_one_that_was_is_free_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(can_bind(&address).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        drop(listener);
        can_bind(&address).unwrap();
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for (address, here) in [("127.0.0.1", true), ("::1", true), ("localhost", true), ("10.0.0.1", false)] {
            assert_eq!(is_loopback(address), here, "{address}");
        }
    }
}
