//! A rollout whose effects can't act: which server would be asked for what, in which order, if all went well.

use super::{
    machine::{Effect, Event, Machine, Phase},
    step::Stage,
};

/// The phases, each with the servers that take part in it.
pub fn rehearse(mut machine: Machine, generation: u64) -> Vec<(Phase, Vec<String>)> {
    let mut phases: Vec<(Phase, Vec<String>)> = Vec::new();
    let mut events = vec![Event::Begin];
    while let Some(event) = events.pop() {
        let mut answers = Vec::new();
        for effect in machine.handle(0, event) {
            match effect {
                Effect::Ask { server, step } => {
                    let phase = machine.phase();
                    match phases.last_mut().filter(|(last, _)| *last == phase) {
                        Some((_, servers)) => servers.push(server.clone()),
                        None => phases.push((phase, vec![server.clone()])),
                    }
                    answers.push(Event::Stands { server, generation, step: step.name(), stage: Stage::Done });
                }
                Effect::ProveDrained { .. } => answers.push(Event::Drained),
                Effect::Decide(decision) => answers.push(Event::Decided(decision)),
                Effect::Revive { server } => answers.push(Event::Back { server }),
                Effect::Finish(_) => return phases,
            }
        }
        // Answered in the order in which they were asked.
        events.extend(answers.into_iter().rev());
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::machine::{Bounds, Part};

    #[test]
    fn servers_that_hold_go_through_all_phases_and_others_only_learn_the_plan() {
        let part = |server: &str, holds, changes| Part {
            server: server.to_owned(),
            holds,
            changes,
            drains: Vec::new(),
            rebuilt: Vec::new(),
        };
        let parts = vec![part("s1", true, true), part("s2", false, true), part("s3", false, false)];
        let bounds = Bounds { idle: 1, switch: 1 };
        let phases = rehearse(Machine::new(2, "plan".into(), "digest".to_owned(), parts, bounds), 2);
        let of = |phase| phases.iter().find(|(known, _)| *known == phase).map(|(_, servers)| servers.join(" "));
        assert_eq!(of(Phase::Prepare).as_deref(), Some("s1 s2 s3"));
        assert_eq!(of(Phase::Hold).as_deref(), Some("s1"));
        assert_eq!(of(Phase::Switch).as_deref(), Some("s1 s2"));
        assert_eq!(of(Phase::Release).as_deref(), Some("s1 s2 s3"));
        assert_eq!(of(Phase::Drain), None);
    }
}
