//! `waldo down` of a namespace whose servers are other machines: their agents end it.

use waldo_compiler::plan::Plan;
use waldo_runtime::{
    agent::{Answer, Request},
    cluster::{self, Ended, Failed},
};

use super::words;
use crate::{
    exit::{Exit, Failure},
    machines::Machine,
};

/// How long a machine may take beside what its servers need to stop: to be reached, and to kill.
const BESIDE: std::time::Duration = std::time::Duration::from_secs(30);

/// Ends it on all machines at once, and says what that was.
pub fn end(plan: &Plan, now: bool, json: bool) -> Result<Exit, Failure> {
    let machines = Machine::of(plan, &[])?;
    let patience = cluster::stop_takes(plan);
    let request = |machine: &Machine| Request::End {
        topology: plan.topology.clone(),
        namespace: plan.namespace.clone(),
        servers: machine.servers.clone(),
        now,
        patience: patience.as_millis() as u64,
    };
    let answers = Machine::ask_all(&machines, request, patience * 2 + BESIDE)?;
    let (mut all, mut portals, mut failures) = (Ended::default(), Vec::<Failed>::new(), Vec::new());
    for (machine, answer) in machines.iter().zip(answers) {
        match answer {
            Ok(Answer::Ended { ended, failed }) => {
                all.stopped.extend(ended.stopped);
                all.killed.extend(ended.killed);
                all.cleared.extend(ended.cleared);
                portals.extend(failed);
            }
            Ok(_) => {
                failures
                    .push((machine, Failure::new(format!("{} gave an answer that makes no sense", machine.target))));
            }
            Err(failure) => failures.push((machine, failure)),
        }
    }
    for list in [&mut all.stopped, &mut all.killed] {
        list.sort();
    }
    if json {
        let unreachable: serde_json::Map<_, _> = failures
            .iter()
            .flat_map(|(machine, failure)| {
                machine.servers.iter().map(|server| (server.clone(), failure.to_string().into()))
            })
            .collect();
        let cleared: serde_json::Map<_, _> =
            all.cleared.iter().map(|(server, count)| (server.clone(), (*count).into())).collect();
        let report = serde_json::json!({"format": 1, "topology": plan.topology, "namespace": plan.namespace,
            "stopped": all.stopped, "killed": all.killed, "cleared": cleared, "rollout": null, "unreachable": unreachable});
        println!("{report}");
    } else {
        println!("{}/{}: {}", plan.topology, plan.namespace, words(&all));
    }
    if let Some((_, first)) = failures.first() {
        let said: Vec<String> = failures.iter().map(|(_, failure)| failure.to_string()).collect();
        return Err(Failure {
            hint: first.hint.clone(),
            ..Failure::new(format!("not ended everywhere: {}", said.join("; ")))
        });
    }
    portals.first().map_or(Ok(Exit::Ok), |failed| Err(crate::up::portal_failed(failed)))
}
