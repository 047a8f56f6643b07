//! What goes wrong: at the beginning of which phase, and how long after.

use fastrand::Rng;
use waldo_runtime::{launcher::Role, rollout::machine::Phase};

use crate::{process::who, world::Moment};

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    KillDeployer(usize),
    StopDeployer(usize, Moment),
    Cancel(usize),
    KillLauncher(usize),
    StopLauncher(usize, Moment),
    KillProcess(usize),
    /// A stage ends again and again: so many times more, each so long after the one before.
    Crashes(usize, u32, Moment),
    StopProcess(usize, Moment),
}

pub struct Faults {
    /// Of 256 phases, in how many something goes wrong.
    often: u8,
    /// Whether processes that hold records are killed too.
    kills_data_path: bool,
    /// Whether one was.
    pub on_data_path: bool,
    /// Who has been asked to stop.
    pub cancelled: Option<usize>,
    pub are_over: bool,
    /// For how many seconds the script waits for a deployer.
    pub patience: u32,
    pub last_deploy: Option<usize>,
}

impl Faults {
    pub fn new(rng: &mut Rng) -> Self {
        Self {
            often: if rng.u8(..3) == 0 { 0 } else { rng.u8(5..80) },
            kills_data_path: rng.u8(..3) == 0,
            on_data_path: false,
            cancelled: None,
            are_over: false,
            patience: rng.u32(..60),
            last_deploy: None,
        }
    }

    /// What goes wrong at a phase of this deployer's.
    pub fn at(&mut self, rng: &mut Rng, _phase: Phase, id: usize, servers: usize) -> Vec<(Moment, Fault)> {
        let mut all = Vec::new();
        while !self.are_over && all.len() < 3 && rng.u8(..) < self.often {
            let server = rng.usize(..servers);
            let process = rng.usize(..servers * 3);
            let time = rng.u64(100..9_000);
            let fault = match rng.u8(..if self.kills_data_path { 16 } else { 10 }) {
                0 | 1 => Fault::KillDeployer(id),
                2 => Fault::StopDeployer(id, time),
                3 => Fault::Cancel(id),
                4..=6 => Fault::KillLauncher(server),
                7 => Fault::StopLauncher(server, time),
                8 | 9 => Fault::StopProcess(process, time),
                10..=13 => Fault::KillProcess(process),
                _ => Fault::Crashes(who(server, Role::Stage), rng.u32(2..8), rng.u64(20..400)),
            };
            let delay = if rng.bool() { rng.u64(..60) } else { rng.u64(..1_500) };
            all.push((delay, fault));
        }
        all
    }
}
