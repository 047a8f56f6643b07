//! What is changed while records flow, and back again.

use std::path::Path;

use crate::programs::Programs;

/// The topology, as far as it changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Topology {
    heavier: bool,
    ranges: bool,
    queue: bool,
    passes: bool,
    spool: bool,
    policy: bool,
    instances: bool,
    noted: bool,
    colours: [u32; 3],
}

/// A kind of change: each time that it is made it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// s2 gets more keys, or fewer again.
    Weights,
    /// Ranges in place of slots, or slots again.
    Ranges,
    /// Another queue of the stage in the loop.
    Queue,
    /// How often a record may go round.
    Passes,
    /// How much a portal holds in memory.
    Spool,
    /// When a stage is started again.
    Policy,
    /// A second instance in the loop, or one less.
    Instances,
    /// One more stage that gets every record, or none again.
    Consumer,
    /// Another environment of this stage, which has to be started again for that.
    Restart(usize),
}

const STAGES: [&str; 3] = ["enter", "lap", "keep"];

impl Kind {
    /// Those for which no process has to restart.
    const IN_PLACE: [Self; 8] = [
        Self::Weights,
        Self::Queue,
        Self::Ranges,
        Self::Passes,
        Self::Instances,
        Self::Spool,
        Self::Consumer,
        Self::Policy,
    ];

    /// The kind of the change with this number, from 0: every fourth restarts a stage, and all take turns.
    pub fn of(number: usize) -> Self {
        let turn = number / 4;
        if number % 4 == 3 { Self::Restart(turn % STAGES.len()) } else { Self::IN_PLACE[(turn * 3 + number % 4) % 8] }
    }

    /// Whether a stage is restarted on each server.
    pub fn restarts(self) -> bool {
        matches!(self, Self::Restart(_))
    }

    /// In words.
    pub fn name(self) -> String {
        match self {
            Self::Weights => "weights".to_owned(),
            Self::Ranges => "guide kind".to_owned(),
            Self::Queue => "queue".to_owned(),
            Self::Passes => "passes".to_owned(),
            Self::Spool => "spool".to_owned(),
            Self::Policy => "restart policy".to_owned(),
            Self::Instances => "instances".to_owned(),
            Self::Consumer => "consumer".to_owned(),
            Self::Restart(stage) => format!("env of {}", STAGES[stage]),
        }
    }
}

impl Topology {
    /// Changes it.
    pub fn change(&mut self, kind: Kind) {
        let flag = match kind {
            Kind::Weights => &mut self.heavier,
            Kind::Ranges => &mut self.ranges,
            Kind::Queue => &mut self.queue,
            Kind::Passes => &mut self.passes,
            Kind::Spool => &mut self.spool,
            Kind::Policy => &mut self.policy,
            Kind::Instances => &mut self.instances,
            Kind::Consumer => &mut self.noted,
            Kind::Restart(stage) => {
                self.colours[stage] += 1;
                return;
            }
        };
        *flag = !*flag;
    }

    /// Its text. `rate` is how many records each of the two sources makes in a second.
    pub fn text(&self, programs: &Programs, books: &Path, rate: u64) -> String {
        let pick = |flag: bool, with: &'static str, without: &'static str| if flag { with } else { without };
        let (program, books) = (programs.own.display(), books.display());
        let stage = |role: &str, arguments: &str| format!("[{program}, rollouts, {role}, --books, {books}{arguments}]");
        let [enter, lap, keep] = self.colours;
        let note = format!("  note: {{run: {}, in: [{{flow: kept, spread: key}}]}}\n", stage("keep", ""));
        format!(
            "topology: rollouts\n\
             flows:\n  \
               call: {{key: sender, guide: hash}}\n  \
               turn: {{key: sender, guide: hash}}\n  \
               kept: {{key: sender, guide: {guide}}}\n\
             stages:\n  \
               feed: {{run: {feed}, out: [call]}}\n  \
               enter: {{run: {pass}, in: [{{flow: call, spread: key}}], out: [turn], env: {{COLOUR: {enter}}}}}\n  \
               lap: {{run: {around}, in: [{{flow: turn, spread: key}}], out: [turn, kept], instances: {instances}, queue: {queue}, env: {{COLOUR: {lap}}}}}\n  \
               keep: {{run: {keeping}, in: [{{flow: kept, spread: key}}], restart: {policy}, env: {{COLOUR: {keep}}}}}\n\
             {note}\
             loops: {{turns: {{flows: [turn], passes: {passes}}}}}\n\
             portals: {{relay: {{flows: [call, turn, kept], spool: {{memory: {spool}}}}}}}\n\
             servers: {{s1: {{address: 127.0.0.1}}, s2: {{address: 127.0.0.1, weight: {weight}}}}}\n\
             namespaces: {{bench: {{local: true, ports: {port}}}}}\n",
            guide = pick(self.ranges, "{ranges: {\"\": s1, key30: s2}}", "hash"),
            feed = stage("feed", &format!(", --rate, \"{rate}\", --to, call")),
            pass = stage("pass", ", --to, turn"),
            around = stage("loop", ", --round, turn, --to, kept"),
            keeping = stage("keep", ""),
            instances = pick(self.instances, "2", "1"),
            queue = pick(self.queue, "500", "1000"),
            policy = pick(self.policy, "on-failure", "always"),
            note = if self.noted { note.as_str() } else { "" },
            passes = pick(self.passes, "9", "8"),
            spool = pick(self.spool, "96MiB", "64MiB"),
            weight = pick(self.heavier, "1.3", "1"),
            port = programs.port,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fourth_change_restarts_a_stage_and_all_kinds_come() {
        let kinds: Vec<Kind> = (0..200).map(Kind::of).collect();
        assert_eq!(kinds.iter().filter(|kind| kind.restarts()).count(), 50);
        assert!(Kind::IN_PLACE.iter().all(|kind| kinds.iter().filter(|it| *it == kind).count() >= 12));
        assert!((0..STAGES.len()).all(|stage| kinds.contains(&Kind::Restart(stage))));
    }
}
