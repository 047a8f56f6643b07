//! How the servers of a namespace are that live on other machines.

use std::{collections::BTreeMap, time::Duration};

use waldo_compiler::plan::Plan;
use waldo_runtime::{
    agent::{Answer, Request},
    cluster::Seen,
};

use crate::{exit::Failure, machines::Machine};

/// How long a machine may take to be reached and to answer.
const ANSWERS: Duration = Duration::from_secs(5);

/// What is seen of the servers, and of which nothing is: why.
pub fn survey(plan: &Plan) -> Result<(Vec<Seen>, BTreeMap<String, String>), Failure> {
    let machines = Machine::of(plan, &[])?;
    let request = |_: &Machine| Request::Survey { topology: plan.topology.clone(), namespace: plan.namespace.clone() };
    let (mut seen, mut away) = (Vec::new(), BTreeMap::new());
    for (machine, answer) in machines.iter().zip(Machine::ask_all(&machines, request, ANSWERS)?) {
        let why = match answer {
            Ok(Answer::Seen(of_machine)) => {
                seen.extend(of_machine);
                continue;
            }
            Ok(_) => format!("{} gave an answer that makes no sense", machine.target),
            Err(failure) => failure.to_string(),
        };
        away.extend(machine.servers.iter().map(|server| (server.clone(), why.clone())));
    }
    Ok((seen, away))
}
