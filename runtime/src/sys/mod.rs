//! What waldo asks of the operating system, behind one seam: signals, processes and kernel locks.

pub mod cgroup;
pub mod lock;
pub mod pidfd;
pub mod process;
pub mod service;

use nix::sys::signal::{SigHandler, Signal, signal};

/// Gives every signal its default meaning again. A program started by waldo must not inherit that, say, SIGPIPE or
/// SIGINT is ignored.
pub fn default_signals() -> nix::Result<()> {
    for each in Signal::iterator().filter(|each| !matches!(each, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: no handler of ours is installed by this call, so no code can run in a signal's context.
        unsafe { signal(each, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Has programs that this one starts inherit no signal that is ignored: whoever started it may have ignored some. Only a
/// broken pipe stays one for this program, which the library resets in what it starts.
pub fn ignore_no_signals() -> nix::Result<()> {
    default_signals()?;
    // SAFETY: as above.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.map(drop)
}

/// The signal of this name, with or without `SIG`.
pub fn signal_named(name: &str) -> Option<Signal> {
    let name = name.trim().to_ascii_uppercase();
    if name.starts_with("SIG") { name.parse().ok() } else { format!("SIG{name}").parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_found_with_and_without_their_prefix() {
        for name in ["TERM", "SIGTERM", "sigterm"] {
            assert_eq!(signal_named(name), Some(Signal::SIGTERM), "{name}");
        }
        assert_eq!(signal_named("NONSENSE"), None);
    }
}
