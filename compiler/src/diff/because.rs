//! Why something is done about a process, in words for the person who reads a diff.

use std::fmt::{self, Display};

/// The longest value that is shown whole. Characters.
const LONGEST: usize = 60;
/// Parts of names of variables whose values aren't shown.
const SECRET: [&str; 4] = ["TOKEN", "SECRET", "PASSWORD", "KEY"];

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Because {
    /// The plan didn't have it.
    New,
    /// The plan doesn't have it any more.
    Gone,
    /// Its server is new.
    ServerNew,
    /// Its server is gone, or drained.
    ServerGone,
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
    /// Keys of this flow have moved to other servers.
    GuideOf(String),
    /// A portal that it sends to is reached elsewhere: `server/portal`.
    PortalMoved(String),
}

impl Because {
    /// Something changed from one value to another.
    pub(super) fn changed(what: impl Into<String>, from: impl Display, to: impl Display) -> Self {
        Self::Changed { what: what.into(), from: shortened(&from.to_string()), to: shortened(&to.to_string()) }
    }

    /// An environment variable changed. The values of those that look like secrets aren't told.
    pub(super) fn variable(name: &str, from: Option<&str>, to: Option<&str>) -> Self {
        let is_secret = SECRET.iter().any(|part| name.to_uppercase().contains(part));
        match (from, to) {
            (Some(from), Some(to)) if !is_secret => Self::changed(name, quoted(from), quoted(to)),
            (Some(_), Some(_)) => Self::changed(name, "a secret", "another"),
            (None, Some(to)) if !is_secret => Self::Added(format!("{name}={}", shortened(&quoted(to)))),
            (None, _) => Self::Added(name.to_owned()),
            (Some(_), None) => Self::Removed(name.to_owned()),
        }
    }
}

/// As a shell would need it written: a value with blanks in quotes.
pub(super) fn quoted(value: &str) -> String {
    shell_words::quote(value).into_owned()
}

fn shortened(value: &str) -> String {
    let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() <= LONGEST {
        return clean;
    }
    let kept: String = clean.chars().take(LONGEST - 1).collect();
    format!("{kept}…")
}

impl Display for Because {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => formatter.write_str("new"),
            Self::Gone => formatter.write_str("not in the plan any more"),
            Self::ServerNew => formatter.write_str("its server is new"),
            Self::ServerGone => formatter.write_str("its server is drained or gone"),
            Self::Changed { what, from, to } => write!(formatter, "{what}: {from} → {to}"),
            Self::Added(what) => write!(formatter, "+ {what}"),
            Self::Removed(what) => write!(formatter, "− {what}"),
            Self::GuideOf(flow) => write!(formatter, "keys of {flow} move"),
            Self::PortalMoved(portal) => write!(formatter, "{portal} is reached elsewhere"),
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
        assert_eq!(Because::variable("API_KEY", None, Some("hunter2")).to_string(), "+ API_KEY");
        assert_eq!(
            Because::variable("MODEL", Some("small"), Some("very big")).to_string(),
            "MODEL: small → 'very big'"
        );
    }

    #[test]
    fn long_and_strange_values_are_shown_on_one_line() {
        let said = Because::changed("arguments", "a\nb", "x".repeat(1000)).to_string();
        assert!(said.starts_with("arguments: a b → xxx") && said.chars().count() < 90, "{said}");
    }
}
