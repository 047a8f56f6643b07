//! Which gates a person means by the names of servers, portals and sources. Pure.

use std::collections::{BTreeMap, BTreeSet};

use waldo_compiler::suggestion;

use crate::exit::Failure;

/// A server that runs.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its portals, and its stages that are sources.
    pub gates: BTreeSet<String>,
    /// Whether its launcher answers.
    pub answers: bool,
}

/// What is meant of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// All that it has, and will have.
    All,
    /// These.
    Named(BTreeSet<String>),
}

/// What is meant of each server; of all that run, if there are no names.
///
/// # Errors
/// For a name that nothing has, or if a server that is meant doesn't answer.
pub fn choose(names: &[String], servers: &[Server]) -> Result<BTreeMap<String, Chosen>, Failure> {
    let mut chosen = BTreeMap::new();
    if names.is_empty() {
        chosen.extend(servers.iter().map(|server| (server.name.clone(), Chosen::All)));
    }
    for name in names {
        if servers.iter().any(|server| server.name == *name) {
            chosen.insert(name.clone(), Chosen::All);
            continue;
        }
        let (on, gate) = name.split_once('/').map_or((None, name.as_str()), |(server, gate)| (Some(server), gate));
        let having = servers.iter().filter(|server| on.is_none_or(|on| server.name == on));
        let having: Vec<&Server> = having.filter(|server| server.gates.contains(gate)).collect();
        if having.is_empty() {
            return Err(unknown(name, servers));
        }
        for server in having {
            if let Chosen::Named(gates) =
                chosen.entry(server.name.clone()).or_insert_with(|| Chosen::Named(BTreeSet::new()))
            {
                gates.insert(gate.to_owned());
            }
        }
    }
    let deaf = servers.iter().find(|server| !server.answers && chosen.contains_key(&server.name));
    match deaf {
        None => Ok(chosen),
        Some(server) => Err(Failure::new(format!("the launcher of {} doesn't answer", server.name))
            .hint("`waldo status` shows what runs; nothing was changed")),
    }
}

fn unknown(name: &str, servers: &[Server]) -> Failure {
    let mut known: BTreeSet<String> = servers.iter().map(|server| server.name.clone()).collect();
    let with_server = name.contains('/');
    for server in servers {
        let gates = server.gates.iter();
        known.extend(gates.map(|gate| if with_server { format!("{}/{gate}", server.name) } else { gate.clone() }));
    }
    let help = suggestion::help(name, known.iter().map(String::as_str), "servers, portals and sources that run");
    Failure::new(format!("no server, portal or source named `{name}` runs")).hint(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> Vec<Server> {
        let server = |name: &str, gates: &[&str]| Server {
            name: name.to_owned(),
            gates: gates.iter().map(|&gate| gate.to_owned()).collect(),
            answers: name != "s3",
        };
        vec![server("s1", &["intake", "relay", "feed"]), server("s2", &["intake", "relay"]), server("s3", &[])]
    }

    fn chosen(names: &[&str]) -> Result<BTreeMap<String, Chosen>, Failure> {
        choose(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), &servers())
    }

    fn named(names: &[&str]) -> Chosen {
        Chosen::Named(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn a_portal_is_meant_wherever_it_is_and_a_server_as_a_whole() {
        assert_eq!(chosen(&["relay"]).unwrap(), [("s1", named(&["relay"])), ("s2", named(&["relay"]))].map(own).into());
        assert_eq!(chosen(&["s2/relay"]).unwrap(), [own(("s2", named(&["relay"])))].into());
        assert_eq!(chosen(&["feed", "s1/relay"]).unwrap(), [own(("s1", named(&["feed", "relay"])))].into());
        assert_eq!(chosen(&["relay", "s1"]).unwrap(), [("s1", Chosen::All), ("s2", named(&["relay"]))].map(own).into());
        assert_eq!(chosen(&["s1", "relay"]).unwrap()["s1"], Chosen::All);
    }

    fn own((name, chosen): (&str, Chosen)) -> (String, Chosen) {
        (name.to_owned(), chosen)
    }

    #[test]
    fn a_name_that_nothing_has_is_told_with_what_was_meant() {
        let failure = chosen(&["intke"]).unwrap_err();
        assert_eq!(failure.message, "no server, portal or source named `intke` runs");
        assert_eq!(failure.hint.unwrap(), "did you mean `intake`?");
        assert_eq!(chosen(&["s2/intak"]).unwrap_err().hint.unwrap(), "did you mean `s2/intake`?");
        assert!(chosen(&["s2/feed"]).is_err(), "it runs on s1 alone");
    }

    #[test]
    fn nothing_is_paused_on_a_server_whose_launcher_does_not_answer() {
        assert!(chosen(&[]).unwrap_err().message.contains("s3"));
        assert!(chosen(&["s3"]).is_err());
    }
}
