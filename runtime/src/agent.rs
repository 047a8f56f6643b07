//! `waldo agent`: what a command asks of a server over ssh. JSON lines on stdin and stdout; each request is answered by one
//! answer, in order; the agent ends with its stdin. It keeps nothing: what stays on a server is in its launchers' hands.
//!
//! The first line is the agent's own: who it is. What a login shell says before is passed over.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    cluster::{self, Ended, Failed, Seen},
    paths::Paths,
    ssh::{Connection, SshError, last_line},
};

/// The version of the language that agents speak.
const FORMAT: u32 = 1;
/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Starts an agent that may see and end what runs, whoever the user is.
const START: &str =
    "PATH=$PATH:/usr/bin; if [ \"$(id -u)\" = 0 ]; then exec waldo agent; else exec sudo -n waldo agent; fi";
/// The shell's exit status where there is no such program.
const NOT_FOUND: i32 = 127;

/// What an agent can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// How the servers of a namespace are that live on this machine. Answered by [`Answer::Seen`].
    Survey {
        /// The topology's name.
        topology: String,
        /// The namespace's name.
        namespace: String,
    },
    /// End all that runs of a namespace on this machine, and don't let it come back with the machine's next start. Answered by
    /// [`Answer::Ended`].
    End {
        /// The topology's name.
        topology: String,
        /// The namespace's name.
        namespace: String,
        /// The servers that may live here.
        servers: Vec<String>,
        /// Whether to kill at once.
        now: bool,
        /// How long a launcher may take to stop. Milliseconds.
        patience: u64,
    },
}

/// What an agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer", content = "of")]
pub enum Answer {
    /// Said before anything is asked.
    Welcome(Welcome),
    /// How servers are.
    Seen(Vec<Seen>),
    /// What was ended, and which portals didn't end well.
    Ended {
        /// What was ended.
        ended: Ended,
        /// Portals that didn't end well, and what they held.
        failed: Vec<Failed>,
    },
    /// It can't be done: why.
    Failed(String),
}

/// Who an agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of its language.
    format: u32,
    /// The version of its program.
    version: String,
}

/// Why an agent can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no way to its machine.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// There is no waldo.
    #[error("{0} has no waldo")]
    NotThere(String),
    /// It can't be understood.
    #[error("{target} has waldo {version}, which speaks another language than this one ({VERSION})")]
    OtherLanguage {
        /// On which machine.
        target: String,
        /// The program's version there.
        version: String,
    },
    /// It ended.
    #[error("waldo on {target} doesn't answer: {why}")]
    Silent {
        /// On which machine.
        target: String,
        /// What is known of it.
        why: String,
    },
    /// It can't do what it was asked for.
    #[error("{target}: {why}")]
    Failed {
        /// On which machine.
        target: String,
        /// Why.
        why: String,
    },
}

impl AgentError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ssh(error) => error.hint(),
            Self::NotThere(_) | Self::OtherLanguage { .. } => {
                Some("`waldo bootstrap` gives servers this program".to_owned())
            }
            Self::Silent { .. } | Self::Failed { .. } => None,
        }
    }
}

/// An agent on another machine, for as long as this lives.
#[derive(Debug)]
pub struct Agent<'c> {
    connection: &'c Connection,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl<'c> Agent<'c> {
    /// Starts one there.
    ///
    /// # Errors
    /// If there is none, or it speaks another language.
    pub fn start(connection: &'c Connection) -> Result<Self, AgentError> {
        let mut child = connection.start(START)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = BufReader::new(stdout.ok_or_else(|| SshError::Program(io::ErrorKind::BrokenPipe.into()))?);
        let mut agent = Self { connection, child, stdin, stdout };
        loop {
            let line = agent.line()?;
            let Ok(Answer::Welcome(welcome)) = serde_json::from_str(&line) else { continue };
            if welcome.format == FORMAT {
                return Ok(agent);
            }
            let target = connection.target().to_owned();
            return Err(AgentError::OtherLanguage { target, version: welcome.version });
        }
    }

    /// Asks it, and waits for the answer.
    ///
    /// # Errors
    /// If there is none, or it is no.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, AgentError> {
        let mut line = serde_json::to_vec(request).map_err(|error| self.silent(&error.to_string()))?;
        line.push(b'\n');
        let sent = self.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(&line));
        sent.map_err(|error| self.silent(&error.to_string()))?;
        let line = self.line()?;
        match serde_json::from_str(&line) {
            Ok(Answer::Failed(why)) => Err(AgentError::Failed { target: self.connection.target().to_owned(), why }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.silent(&error.to_string())),
        }
    }

    fn line(&mut self) -> Result<String, AgentError> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(0) => Err(self.has_ended()),
            Ok(_) => Ok(line),
            Err(error) => Err(self.silent(&error.to_string())),
        }
    }

    fn has_ended(&mut self) -> AgentError {
        drop(self.stdin.take());
        let mut said = Vec::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_end(&mut said);
        }
        if self.child.wait().is_ok_and(|status| status.code() == Some(NOT_FOUND)) {
            return AgentError::NotThere(self.connection.target().to_owned());
        }
        self.silent(&last_line(&said))
    }

    fn silent(&self, why: &str) -> AgentError {
        AgentError::Silent { target: self.connection.target().to_owned(), why: why.to_owned() }
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// Answers requests until they end.
///
/// # Errors
/// If they can't be read, or nobody takes the answers.
pub fn serve(requests: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    let mut answer = |answer: &Answer| -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        answers.write_all(&line)?;
        answers.flush()
    };
    answer(&Answer::Welcome(Welcome { format: FORMAT, version: VERSION.to_owned() }))?;
    for line in requests.lines() {
        answer(&match serde_json::from_str(&line?) {
            Ok(request) => obey(request),
            Err(error) => Answer::Failed(format!("it doesn't understand the request: {error}")),
        })?;
    }
    Ok(())
}

fn obey(request: Request) -> Answer {
    match request {
        Request::Survey { topology, namespace } => {
            Answer::Seen(cluster::survey(&Paths::installed(&topology, &namespace)))
        }
        Request::End { topology, namespace, servers, now, patience } => {
            let paths = Paths::installed(&topology, &namespace);
            match end(&paths, &topology, &namespace, &servers, now, Duration::from_millis(patience)) {
                Ok((ended, failed)) => Answer::Ended { ended, failed },
                Err(why) => Answer::Failed(why),
            }
        }
    }
}

/// Launchers that systemd looks after are for it to stop: it would start them again. What has none is ended by hand.
fn end(
    paths: &Paths,
    topology: &str,
    namespace: &str,
    servers: &[String],
    now: bool,
    patience: Duration,
) -> Result<(Ended, Vec<Failed>), String> {
    let ran: BTreeSet<String> = paths.servers_running().into_iter().collect();
    let unit = |server: &String| format!("waldo-{topology}-{namespace}-{server}.service");
    let installed: Vec<&String> = servers.iter().filter(|server| is_installed(&unit(server))).collect();
    let mut ended = Ended::default();
    if !installed.is_empty() {
        let units: Vec<String> = installed.iter().map(|server| unit(server)).collect();
        let target = format!("waldo-{topology}-{namespace}.target");
        let with_target = units.iter().cloned().chain(Some(target).filter(|target| is_installed(target)));
        systemctl("disable", &with_target.collect::<Vec<_>>())?;
        if !now {
            // One that is about to follow a launcher that has died takes over at once, and stops what that left in order.
            let left: Vec<String> =
                installed.iter().filter(|server| ran.contains(**server)).map(|server| unit(server)).collect();
            if !left.is_empty() {
                systemctl("start", &left)?;
            }
            systemctl("stop", &units)?;
        }
    }
    let stopped = |server: &&String| ran.contains(*server) && !paths.server(server).run.exists();
    ended.stopped = installed.iter().copied().filter(stopped).cloned().collect();
    let rest = cluster::end(paths, now, patience).map_err(|error| error.to_string())?;
    if now && !installed.is_empty() {
        // They have ended, and are to know that they were meant to.
        systemctl("stop", &installed.iter().map(|server| unit(server)).collect::<Vec<_>>())?;
    }
    ended.stopped.extend(rest.stopped);
    ended.killed.extend(rest.killed);
    ended.cleared.extend(rest.cleared);
    let mut last: Vec<_> = ended.stopped.iter().filter_map(|server| cluster::last_status(paths, server)).collect();
    let failed = cluster::write_off(paths, &mut last);
    paths.forget_pauses_and_plans();
    paths.remove_run();
    Ok((ended, failed))
}

fn is_installed(unit: &str) -> bool {
    let shown = Command::new("systemctl").args(["cat", unit]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    shown.is_ok_and(|status| status.success())
}

fn systemctl(verb: &str, units: &[String]) -> Result<(), String> {
    let output = Command::new("systemctl").arg(verb).args(units).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run systemctl: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`systemctl {verb} {}` failed: {}", units.join(" "), last_line(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(requests: &str) -> Vec<Answer> {
        let mut answers = Vec::new();
        serve(requests.as_bytes(), &mut answers).unwrap();
        String::from_utf8(answers).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_agent_says_who_it_is_and_answers_each_request_in_order() {
        let survey = r#"{"request":"survey","topology":"no-such-topology","namespace":"prod"}"#;
        let answers = answers(&format!("{survey}\nrubbish\n{survey}\n"));
        let welcome = Welcome { format: FORMAT, version: VERSION.to_owned() };
        assert_eq!(answers[..2], [Answer::Welcome(welcome), Answer::Seen(Vec::new())]);
        assert!(matches!(&answers[2], Answer::Failed(why) if why.contains("doesn't understand")), "{answers:?}");
        assert_eq!(answers[3..], [Answer::Seen(Vec::new())]);
    }
}
