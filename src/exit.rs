//! How the command ends: the exit codes that scripts may rely on, and the failure that a person reads.
//!
//! | code | meaning |
//! | ---: | --- |
//! | 0 | ok, or no difference |
//! | 1 | error; nothing was changed |
//! | 2 | differences (`diff`) |
//! | 3 | rolled back |
//! | 4 | switched, but unhealthy |
//! | 5 | locked: another command works on this namespace, or it runs already |
//! | 6 | stale plan |
//! | 7 | not idle in time; the old plan goes on |
//! | 8 | cancelled |
//! | 9 | servers are on different plans |
//! | 10 | done, but records were lost |
//! | 64 | wrong usage of the command |

use std::{fmt, io::Write, process::ExitCode};

use waldo_compiler::diagnostic::render::printable;

/// How a command ended. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well, or there is no difference.
    Ok = 0,
    /// An error; nothing was changed.
    Error = 1,
    /// There are differences.
    Different = 2,
    /// The new plan didn't work; the old one is live again.
    RolledBack = 3,
    /// The new plan is live, and something is wrong with it.
    Unhealthy = 4,
    /// Another command works on this namespace, or it runs already.
    Locked = 5,
    /// Another plan is live than the one that the difference was made against.
    Stale = 6,
    /// A server wasn't idle in time; the old plan goes on.
    NotIdle = 7,
    /// A person or another command ended it before its time.
    Cancelled = 8,
    /// Servers are on different plans.
    Mixed = 9,
    /// All was done, but records were lost.
    Lost = 10,
    /// The command was called wrongly.
    Usage = 64,
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The word for it in JSON results.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Different => "different",
            Self::RolledBack => "rolled-back",
            Self::Unhealthy => "unhealthy",
            Self::Locked => "locked",
            Self::Stale => "stale",
            Self::NotIdle => "idle-timeout",
            Self::Cancelled => "cancelled",
            Self::Mixed => "mixed",
            Self::Lost => "lost",
            Self::Usage => "usage",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do what it was asked to, in words for the person at the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong, and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit code that it ends with.
    pub exit: Exit,
}

impl Failure {
    /// An error that changed nothing.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: Exit::Error }
    }

    /// The same, saying what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same, ending with another exit code.
    #[must_use]
    pub fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Prints it to stderr, in colour on a terminal.
    pub fn print(&self) {
        let (red, bold, reset) = ("\x1b[1;31m", "\x1b[1m", "\x1b[0m");
        let mut stderr = anstream::stderr().lock();
        let _ = writeln!(stderr, "{red}error{reset}{bold}: {}{reset}", printable(&self.message));
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "  {bold}hint{reset}: {}", printable(hint));
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}
