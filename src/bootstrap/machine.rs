//! What a machine lacks to be a server: from what it says of itself to the commands that mend it.

use std::{collections::BTreeMap, fmt};

/// A script that changes nothing and says what there is, a line each: a word, and what it is.
pub const LOOK: &str = r#"PATH=$PATH:/usr/sbin:/sbin
say() { echo "waldo:$*"; }
say user "$(id -u)"
say system "$(uname -s)"
say processor "$(uname -m)"
[ ! -d /run/systemd/system ] || say systemd yes
! sudo -n true 2>/dev/null || say sudo yes
! command -v apt-get >/dev/null || say apt yes
! ldconfig -p 2>/dev/null | grep -q 'libzmq\.so\.5' || say libzmq yes
! id waldo >/dev/null 2>&1 || say account yes
[ ! -d /opt/waldo ] || [ ! -d /var/lib/waldo ] || say directories yes
[ ! -f /usr/bin/waldo ] || say program "$(sha256sum </usr/bin/waldo | cut -d' ' -f1)""#;

/// The step that gives it the program.
pub const PROGRAM: &str = "the program";

/// What a machine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, String>);

/// Something that it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub what: &'static str,
    /// The command for it, to be run as root.
    pub command: String,
    /// Whether the command's stdin is the program.
    pub takes_program: bool,
}

/// Why it can't be a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Another system or processor than this machine's, whose program it is to run.
    Other(String),
    /// No systemd.
    NoSystemd,
    /// Whoever was let in may not change anything.
    NotRoot,
    /// There is no libzmq, and no apt to install it.
    NoLibzmq,
}

impl Facts {
    /// What [`LOOK`] has said.
    pub fn read(said: &str) -> Self {
        let facts = said.lines().filter_map(|line| line.strip_prefix("waldo:")?.split_once(' '));
        Self(facts.map(|(fact, of)| (fact.to_owned(), of.trim().to_owned())).collect())
    }

    fn of(&self, fact: &str) -> &str {
        self.0.get(fact).map_or("", String::as_str)
    }

    fn has(&self, fact: &str) -> bool {
        self.of(fact) == "yes"
    }

    fn is_root(&self) -> bool {
        self.of("user") == "0"
    }

    /// A command as whoever was let in runs it as root.
    pub fn as_root(&self, command: &str) -> String {
        if self.is_root() { command.to_owned() } else { format!("sudo -n sh -c '{}'", command.replace('\'', r"'\''")) }
    }
}

/// What it lacks, in the order in which it is to be given. `processor` is this machine's, `program` the SHA-256 of the program.
pub fn steps(facts: &Facts, processor: &str, program: &str) -> Result<Vec<Step>, Unfit> {
    if facts.of("system") != "Linux" || facts.of("processor") != processor {
        return Err(Unfit::Other(format!("{} on {}", facts.of("system"), facts.of("processor"))));
    }
    if !facts.has("systemd") {
        return Err(Unfit::NoSystemd);
    }
    let mut steps = Vec::new();
    let mut give = |what, command: &str, takes_program| {
        steps.push(Step { what, command: command.to_owned(), takes_program });
    };
    if !facts.has("libzmq") {
        if !facts.has("apt") {
            return Err(Unfit::NoLibzmq);
        }
        let install = "DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND; \
                       apt-get -qq update && apt-get -qq install --yes --no-install-recommends libzmq5";
        give("libzmq5", install, false);
    }
    if !facts.has("account") {
        let add =
            "useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin waldo";
        give("the user waldo", add, false);
    }
    if !facts.has("directories") {
        give("directories", "install -d -m 0755 /opt/waldo /var/lib/waldo", false);
    }
    if facts.of("program") != program {
        // It is whole, and runs on this machine, before it takes the place of another.
        let put = format!(
            "cat >/usr/bin/.waldo.new && chmod 0755 /usr/bin/.waldo.new && \
             echo \"{program}  /usr/bin/.waldo.new\" | sha256sum --check --quiet && \
             /usr/bin/.waldo.new --version && mv -f /usr/bin/.waldo.new /usr/bin/waldo"
        );
        give(PROGRAM, &put, true);
    }
    if !steps.is_empty() && !facts.is_root() && !facts.has("sudo") {
        return Err(Unfit::NotRoot);
    }
    Ok(steps)
}

impl Unfit {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Other(_) => "build waldo there, and set it up by hand: docs/files.md",
            Self::NoSystemd => "launchers can be started by hand there: `launch.sh` in the build",
            Self::NotRoot => "let `ssh` in the topology name root, or a user who may use sudo without a password",
            Self::NoLibzmq => "install libzmq 4.3 there",
        };
        hint.to_owned()
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(what) => write!(formatter, "it is {what}, which this program doesn't run on"),
            Self::NoSystemd => formatter.write_str("systemd doesn't run there"),
            Self::NotRoot => formatter.write_str("the user there isn't root, and may not use sudo without a password"),
            Self::NoLibzmq => formatter.write_str("libzmq is missing, and there is no apt to install it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str =
        "Welcome to s1\nwaldo:user 0\nwaldo:system Linux\nwaldo:processor x86_64\nwaldo:systemd yes\nwaldo:apt yes\n";

    fn lacks(said: &str) -> Result<Vec<&'static str>, Unfit> {
        let steps = steps(&Facts::read(said), "x86_64", "abc")?;
        Ok(steps.into_iter().map(|step| step.what).collect())
    }

    #[test]
    fn a_bare_machine_is_given_everything_and_a_ready_one_nothing() {
        assert_eq!(lacks(BARE).unwrap(), ["libzmq5", "the user waldo", "directories", PROGRAM]);
        let all = "waldo:libzmq yes\nwaldo:account yes\nwaldo:directories yes\nwaldo:program abc\n";
        assert_eq!(lacks(&format!("{BARE}{all}")).unwrap(), [""; 0]);
        assert_eq!(lacks(&format!("{BARE}{}", all.replace("abc", "other"))).unwrap(), [PROGRAM]);
    }

    #[test]
    fn a_machine_that_cannot_be_a_server_is_left_as_it_is() {
        let without = |what: &str| BARE.replace(what, "");
        assert_eq!(lacks(&BARE.replace("x86_64", "aarch64")), Err(Unfit::Other("Linux on aarch64".to_owned())));
        assert_eq!(lacks(&without("waldo:systemd yes\n")), Err(Unfit::NoSystemd));
        assert_eq!(lacks(&without("waldo:apt yes\n")), Err(Unfit::NoLibzmq));
        assert_eq!(lacks(&BARE.replace("user 0", "user 1000")), Err(Unfit::NotRoot));
    }

    #[test]
    fn who_is_not_root_uses_sudo_and_quotes_stay_whole() {
        let facts = Facts::read(&BARE.replace("user 0", "user 1000"));
        assert_eq!(facts.as_root("echo 'a b'"), r"sudo -n sh -c 'echo '\''a b'\'''");
        assert_eq!(Facts::read(BARE).as_root("echo 'a b'"), "echo 'a b'");
    }
}
