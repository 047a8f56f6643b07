//! The processes that another launcher has started and this one has taken over.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::Signal;

use super::state::ProcessIndex;
use crate::sys::pidfd::Watched;

/// Processes that aren't children of this launcher.
#[derive(Debug, Default)]
pub struct Adopted(Vec<(ProcessIndex, Watched)>);

impl Adopted {
    /// These processes.
    pub fn new(processes: Vec<(ProcessIndex, Watched)>) -> Self {
        Self(processes)
    }

    /// What to poll: readable once a process has ended.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(_, watched)| watched.as_fd())
    }

    /// The processes that have ended since the last time.
    pub fn take_ended(&mut self) -> Vec<(ProcessIndex, Watched)> {
        self.0.extract_if(.., |(_, watched)| watched.has_ended()).collect()
    }

    /// Sends one a signal; answers whether it is one of these.
    pub fn signal(&self, process: ProcessIndex, signal: Signal) -> bool {
        // That it can't be sent shows in the process not leaving, and is followed by a kill.
        self.find(process).map(|watched| watched.signal(signal)).is_some()
    }

    /// Kills one with its group; answers whether it is one of these.
    pub fn kill(&self, process: ProcessIndex) -> bool {
        let watched = self.find(process);
        watched.inspect(|watched| watched.kill_group()).is_some()
    }

    fn find(&self, process: ProcessIndex) -> Option<&Watched> {
        self.0.iter().find(|(index, _)| *index == process).map(|(_, watched)| watched)
    }
}
