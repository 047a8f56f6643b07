//! The machines on which the servers of a namespace live, reached by ssh.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use waldo_compiler::plan::Plan;
use waldo_runtime::{
    agent::{Agent, AgentError, Answer, Request},
    paths::Paths,
    ssh::{Connection, Sockets},
};

use crate::exit::Failure;

/// A machine, and the servers of the topology that live on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Their names.
    pub servers: Vec<String>,
    /// As `ssh` understands it.
    pub target: String,
}

/// Whether a namespace lives on other machines than this one.
pub fn are_elsewhere(plan: &Plan, paths: &Paths) -> bool {
    // By hand, launchers of any namespace can be started here.
    !plan.local && paths.servers_running().is_empty()
}

impl Machine {
    /// Those of these servers, or of all servers if none is named.
    pub fn of(plan: &Plan, names: &[String]) -> Result<Vec<Self>, Failure> {
        if let Some(unknown) = names.iter().find(|name| !plan.servers.contains_key(*name)) {
            let known: Vec<&str> = plan.servers.keys().map(String::as_str).collect();
            return Err(Failure::new(format!("there is no server named {unknown}"))
                .hint(format!("the servers are {}", known.join(", "))));
        }
        let mut machines: Vec<Self> = Vec::new();
        for (name, server) in plan.servers.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
            let target = server.ssh.clone().unwrap_or_else(|| server.address.clone());
            match machines.iter_mut().find(|machine| machine.target == target) {
                Some(machine) => machine.servers.push(name.clone()),
                None => machines.push(Self { servers: vec![name.clone()], target }),
            }
        }
        Ok(machines)
    }

    /// Asks the agents of all machines, all at once; answers in their order. Who has said nothing within `patience` has no
    /// answer, and delays nobody.
    pub fn ask_all(
        machines: &[Self],
        request: impl Fn(&Self) -> Request,
        patience: Duration,
    ) -> Result<Vec<Result<Answer, Failure>>, Failure> {
        let sockets = Arc::new(Sockets::new().map_err(|error| Failure::new(error.to_string()))?);
        let (sender, receiver) = mpsc::channel();
        for (place, machine) in machines.iter().enumerate() {
            let (machine, request, sockets, sender) =
                (machine.clone(), request(machine), Arc::clone(&sockets), sender.clone());
            thread::spawn(move || {
                // Nobody waits for it any more if it was late.
                let _ = sender.send((place, machine.ask(&request, &sockets)));
            });
        }
        drop(sender);
        let mut answers: Vec<Option<Result<Answer, Failure>>> = machines.iter().map(|_| None).collect();
        let until = Instant::now() + patience;
        while let Ok((place, answer)) = receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some(known) = answers.get_mut(place) {
                *known =
                    Some(answer.map_err(|error| Failure { hint: error.hint(), ..Failure::new(error.to_string()) }));
            }
        }
        sockets.remove();
        let late = |machine: &Self| {
            Err(Failure::new(format!("{} has said nothing in {} s", machine.target, patience.as_secs())))
        };
        Ok(answers.into_iter().zip(machines).map(|(answer, machine)| answer.unwrap_or_else(|| late(machine))).collect())
    }

    fn ask(&self, request: &Request, sockets: &Sockets) -> Result<Answer, AgentError> {
        let name = self.servers.first().map_or("server", String::as_str);
        let connection = Connection::open(sockets, name, &self.target)?;
        Agent::start(&connection)?.ask(request)
    }
}
