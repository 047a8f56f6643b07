//! A process that isn't our child, held by a descriptor: its end can be waited for, and a signal to it hits nobody else.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use super::process::{self, Identity, Marks};

/// How often to look again while waiting for what a process has started to go.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A process that is watched without being our child.
#[derive(Debug)]
pub struct Watched {
    descriptor: OwnedFd,
    /// Who it is.
    pub identity: Identity,
}

impl Watched {
    /// Begins to watch this process; `None` if it has ended.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(identity: Identity) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(identity.pid) else { return Ok(None) };
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Only now: whoever has this pid is who the descriptor stands for.
        Ok(identity.lives().then_some(Self { descriptor, identity }))
    }

    /// Whether it has ended, whether or not its parent has taken notice.
    pub fn has_ended(&self) -> bool {
        let mut watched = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Sends it a signal. That it has ended already is no error.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal as i32)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        match pidfd_send_signal(&self.descriptor, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => other.map_err(io::Error::from),
        }
    }

    /// Kills it with its whole group, if it leads one.
    pub fn kill_group(&self) {
        // Its pid is its own as long as it lives.
        if self.identity.lives() && process::group_of(self.identity.pid) == Some(self.identity.pid) {
            let _ = process::kill_group(self.identity.pid);
        }
        let _ = self.signal(Signal::SIGKILL);
    }

    /// Kills what a process that has ended has left in its group or has started outside it. Answers whether that is gone;
    /// gives up after `bound`.
    pub fn end_what_is_left(&self, marks: Marks<'_>, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        loop {
            let mut left = process::members_of_group(self.identity.pid);
            // A process that has its pid now leads a new group, which is none of ours.
            if left.iter().any(|member| member.pid == self.identity.pid) {
                left.clear();
            }
            left.extend(marks.bearers());
            if left.is_empty() {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            for member in left.iter().filter(|member| member.lives()) {
                let _ = process::signal(member.pid, Signal::SIGKILL);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, path::Path, process::Command};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn await_end(watched: &Watched) {
        let until = Instant::now() + SOON;
        while !watched.has_ended() {
            assert!(Instant::now() < until, "it goes on");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    #[test]
    fn an_end_is_seen_before_the_parent_takes_notice_and_after() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id() as i32).unwrap();
        let watched = Watched::open(identity).unwrap().unwrap();
        assert!(!watched.has_ended());
        watched.signal(Signal::SIGTERM).unwrap();
        await_end(&watched);
        child.wait().unwrap();
        assert!(watched.has_ended());
        watched.signal(Signal::SIGTERM).unwrap();
        assert!(Watched::open(identity).unwrap().is_none());
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_taken_for_it() {
        let own = Identity::own().unwrap();
        assert!(Watched::open(own).unwrap().is_some());
        assert!(Watched::open(Identity { started: own.started + 1, ..own }).unwrap().is_none());
        assert!(Watched::open(Identity { boot: own.boot ^ 1, ..own }).unwrap().is_none(), "of before a restart");
    }

    #[test]
    fn what_an_ended_process_leaves_in_its_group_is_ended_too() {
        let mut leader =
            Command::new("sh").args(["-c", "sleep 60 & sleep 60 & wait"]).process_group(0).spawn().unwrap();
        let watched = Watched::open(Identity::of(leader.id() as i32).unwrap()).unwrap().unwrap();
        let until = Instant::now() + SOON;
        while process::members_of_group(watched.identity.pid).len() < 3 && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
        watched.signal(Signal::SIGKILL).unwrap();
        await_end(&watched);
        assert_eq!(
            process::members_of_group(watched.identity.pid).len(),
            2,
            "its parent hasn't taken notice of it yet"
        );
        let nowhere = Marks { run: Path::new("/nowhere"), state: Path::new("/nowhere") };
        assert!(watched.end_what_is_left(nowhere, SOON));
        assert_eq!(process::members_of_group(watched.identity.pid), []);
        leader.wait().unwrap();
    }
}
