//! Why something is done about a process, in words for the person who reads a diff.

use std::fmt::{self, Display};

use super::words::{listed, shortened};

/// Parts of names of variables whose values aren't shown.
const SECRET: [&str; 5] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY"];

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Because {
    /// The plan didn't have it.
    New,
    /// The plan doesn't have it any more.
    Gone,
    /// Its server is new, or runs something again.
    ServerNew,
    /// Its server is drained.
    ServerDrained,
    /// Its server isn't in the plan any more.
    ServerGone,
    /// The file of its program isn't the one that it was started from.
    ProgramChanged,
    /// What it is was something else.
    Changed {
        /// What.
        what: String,
        /// As it was.
        from: String,
        /// As it is.
        to: String,
    },
    /// It has something more.
    Added(String),
    /// It has something less.
    Removed(String),
    /// The same, written in another order.
    Reordered(&'static str),
    /// The guide of this flow says the same in other words.
    Rewritten(String),
    /// Keys of this flow live elsewhere, or are found otherwise.
    GuideOf(String),
    /// It speaks in lines, and gets its first output or loses its only one: that is connected when it starts.
    StandardOutput,
    /// A portal that it sends to is reached elsewhere.
    PortalMoved {
        /// The portal.
        portal: String,
        /// On which servers, in words.
        servers: String,
    },
}

impl Because {
    /// Something changed from one value to another.
    pub(super) fn changed(what: impl Into<String>, from: impl Display, to: impl Display) -> Self {
        let (from, to) = shortened(&from.to_string(), &to.to_string());
        Self::Changed { what: what.into(), from, to }
    }

    /// The same in numbers; `None` is written `none`.
    pub(super) fn limit(what: impl Into<String>, from: Option<u64>, to: Option<u64>) -> Self {
        let words = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        Self::changed(what, words(from), words(to))
    }

    /// An environment variable changed. The values of those that look like secrets aren't told.
    pub(super) fn variable(name: &str, from: Option<&str>, to: Option<&str>) -> Self {
        let is_secret = SECRET.iter().any(|part| name.to_uppercase().contains(part));
        match (from, to) {
            (Some(from), Some(to)) if !is_secret => Self::changed(name, quoted(from), quoted(to)),
            (Some(_), Some(_)) => Self::changed(name, "a secret", "another"),
            (None, Some(to)) if !is_secret => Self::Added(format!("{name}={}", shortened("", &quoted(to)).1)),
            (None, _) => Self::Added(name.to_owned()),
            (Some(_), None) => Self::Removed(name.to_owned()),
        }
    }

    /// A portal that is reached elsewhere on these servers.
    pub(super) fn portal_moved(portal: &str, servers: &[&str]) -> Self {
        Self::PortalMoved { portal: portal.to_owned(), servers: listed(servers) }
    }
}

/// As a shell would need it written: a value with blanks in quotes.
pub(super) fn quoted(value: &str) -> String {
    shell_words::quote(value).into_owned()
}

impl Display for Because {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => formatter.write_str("new"),
            Self::Gone => formatter.write_str("not in the plan any more"),
            Self::ServerNew => formatter.write_str("its server is new"),
            Self::ServerDrained => formatter.write_str("its server is drained"),
            Self::ServerGone => formatter.write_str("its server is gone"),
            Self::ProgramChanged => formatter.write_str("program changed"),
            Self::Changed { what, from, to } => write!(formatter, "{what}: {from} → {to}"),
            Self::Added(what) => write!(formatter, "+ {what}"),
            Self::Removed(what) => write!(formatter, "− {what}"),
            Self::Reordered(what) => write!(formatter, "{what} in another order"),
            Self::Rewritten(flow) => write!(formatter, "the guide of {flow} is written otherwise, and no key moves"),
            Self::StandardOutput => {
                formatter.write_str("the output of a program that speaks lines is connected at its start")
            }
            Self::GuideOf(flow) => write!(formatter, "guide of {flow}"),
            Self::PortalMoved { portal, servers } => write!(formatter, "{portal} of {servers} is reached elsewhere"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_not_told() {
        let said = Because::variable("DB_PASSWORD", Some("hunter2"), Some("hunter3")).to_string();
        assert_eq!(said, "DB_PASSWORD: a secret → another");
        assert_eq!(Because::variable("api_key", None, Some("hunter2")).to_string(), "+ api_key");
        assert_eq!(
            Because::variable("MODEL", Some("small"), Some("very big")).to_string(),
            "MODEL: small → 'very big'"
        );
    }
}
