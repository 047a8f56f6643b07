//! Reads servers, portals and loops.

use super::fields::{Fields, Reader};
use crate::{
    check::bad_literal,
    source::{Located, Place, node::Node},
    topology::{
        Loop, Portal, Server, Spool,
        language::{self, names},
        literal::{self, Weight},
        near,
    },
};

/// The server of a topology that states none.
pub fn here(place: Place) -> Server {
    Server {
        place,
        address: Some(Located::new("127.0.0.1".to_owned(), place)),
        listen: None,
        ssh: None,
        weight: Weight::ONE,
        weight_place: None,
        labels: Vec::new(),
        memory: None,
        cpu: None,
        drained: None,
    }
}

impl Reader<'_> {
    pub fn cycle(&mut self, owner: String, place: Place, node: &Node) -> Option<Loop> {
        let fields = self.fields(node, owner, place, &names(language::LOOP))?;
        let flows = self
            .required(&fields, "flows", "flows: [suspect]")
            .and_then(|(node, what)| self.texts(node, &what, "flows"))
            .unwrap_or_default();
        if flows.is_empty() {
            self.has_holes = true;
        }
        let passes = self.count(fields.get("passes"), 1, u64::from(u16::MAX));
        if fields.entry("passes").is_none() {
            self.report(crate::check::loop_without_passes::missing(&fields.owner, fields.place));
        }
        Some(Loop { place: fields.place, flows, passes: passes.map(|passes| passes.value as u16) })
    }

    pub fn portal(&mut self, owner: String, place: Place, node: &Node) -> Option<Portal> {
        let fields = self.fields(node, owner, place, &names(language::PORTAL))?;
        let mut port = |field| {
            let port = self.count(fields.get(field), 1, u64::from(u16::MAX))?;
            Some(port.map(|port| port as u16))
        };
        let (port, link) = (port("port"), port("link"));
        Some(Portal {
            place: fields.place,
            flows: fields.get("flows").and_then(|(node, what)| self.texts(node, &what, "flows")),
            port,
            link,
            spool: self.spool(&fields),
        })
    }

    fn spool(&mut self, fields: &Fields<'_>) -> Spool {
        let Some((node, what)) = fields.get("spool") else { return Spool::default() };
        let Some(fields) = self.fields(node, what, node.place, &names(language::SPOOL)) else {
            return Spool::default();
        };
        Spool {
            memory: self.near(fields.get("memory"), literal::size, near::size),
            disk: self.near(fields.get("disk"), literal::size, near::size),
            sync: fields.entry("sync").map(|entry| entry.key_place),
        }
    }

    pub fn server(&mut self, owner: String, place: Place, node: &Node) -> Option<Server> {
        let fields = self.fields(node, owner, place, &names(language::SERVER))?;
        let labels = fields.get("labels").and_then(|(node, what)| self.texts(node, &what, "labels"));
        let labels = labels.unwrap_or_default();
        for label in &labels {
            self.name(&label.value, label.place, "label");
        }
        let weight = self.near(fields.get("weight"), literal::millionths, near::decimal);
        let drained = self.choice(fields.get("state"), &[("drained", true), ("active", false)]);
        Some(Server {
            place: fields.place,
            address: self.address(&fields, "address"),
            listen: self.address(&fields, "listen"),
            ssh: self.literal(fields.get("ssh"), login),
            weight: weight.as_ref().map_or(Weight::ONE, |weight| Weight(weight.value)),
            weight_place: weight.map(|weight| weight.place),
            labels,
            memory: self.near(fields.get("memory"), literal::size, near::size),
            cpu: self.near(fields.get("cpu"), literal::millionths, near::decimal),
            drained: drained.filter(|drained| drained.value).map(|drained| drained.place),
        })
    }

    fn address(&mut self, fields: &Fields<'_>, field: &str) -> Option<Located<String>> {
        let (node, what) = fields.get(field)?;
        let text = self.text(node, &what)?;
        let wildcard = field == "listen" && text.value == "*";
        if !is_address(&text.value) && !wildcard {
            let expected = "an IP address or a host name; ports are written under `portals`";
            self.report(match near::address(&text.value).filter(|meant| is_address(meant)) {
                Some(meant) => bad_literal::near(&what, &text.value, text.place, expected, meant),
                None => bad_literal::literal(&what, &text.value, text.place, expected),
            });
        }
        Some(text)
    }
}

/// What `ssh` takes for a destination, without a word that it would take for an option.
fn login(text: &str) -> Result<String, &'static str> {
    let (user, host) = text.split_once('@').map_or((None, text), |(user, host)| (Some(user), host));
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && !text.chars().any(|character| {
                character.is_whitespace() || character.is_control() || "'\"`$;&|<>\\".contains(character)
            })
    };
    if plain(host) && user.is_none_or(plain) && !host.contains('@') {
        Ok(text.to_owned())
    } else {
        Err("where `ssh` logs in: `HOST` or `USER@HOST`, as your ssh config knows it")
    }
}

fn is_address(text: &str) -> bool {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.len() <= 253 && !numeric && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_hosts_with_or_without_a_user_and_never_options() {
        for text in ["s1", "ops@s1", "ops@10.0.0.1", "s1.example.org", "ops@[::1]"] {
            assert!(login(text).is_ok(), "{text}");
        }
        for text in ["", "-oProxyCommand=x", "ops@-x", "a b", "a;b", "a@b@c", "@s1", "s1\n", "$(x)"] {
            assert!(login(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_ips_or_host_names_without_port_or_scheme() {
        for text in ["10.0.0.1", "::1", "localhost", "db-1.example.org"] {
            assert!(is_address(text), "{text}");
        }
        for text in ["", "10.0.0.1:80", "tcp://a", "a b", "a_b", "1.2.3", "300.1.1.1", "-a", "a..b", "[::1]"] {
            assert!(!is_address(text), "{text}");
        }
    }
}
