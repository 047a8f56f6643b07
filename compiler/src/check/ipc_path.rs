//! W027: the paths of inboxes fit.

use super::{Rule, Whole};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W027",
    severity: Severity::Error,
    title: "an IPC path that is too long",
    explanation: "\
Each process has its inbox at `<run>/<topology>/<namespace>/<server>/<process>/in`, a Unix socket, and the path of one may
have 107 bytes. Names aren't shortened behind your back: choose shorter ones. The check counts with `/run/waldo`; where
the run directory is longer, the launcher checks again when it starts.

  wrong   stages: {normalise-and-deduplicate-calls: {...}}    # with other names as long
  right   stages: {normalise: {...}}",
};

/// The greatest length of a Unix socket's path, without the closing NUL. Bytes.
pub const LONGEST: usize = 107;
/// The run directory that paths are counted with.
pub const RUN: &str = "/run/waldo";

/// The path of a process's inbox.
pub fn inbox(run: &str, topology: &str, namespace: &str, server: &str, process: &str) -> String {
    format!("{run}/{topology}/{namespace}/{server}/{process}/in")
}

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let topology = whole.topology;
    for (name, stage) in topology.stages.iter().filter(|(_, stage)| !stage.is_source()) {
        let process = format!("{name}.{}", stage.instances.value - 1);
        let Some(server) = whole.placement.servers_of(name).max_by_key(|server| server.len()) else { continue };
        let path = inbox(RUN, &topology.name.value, &topology.namespace.name, server, &process);
        if path.len() > LONGEST {
            let over = path.len() - LONGEST;
            diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    stage.place,
                    format!(
                        "the inbox of `{process}` on `{server}` has a path of {} bytes, {over} too many",
                        path.len()
                    ),
                )
                .label(format!("{over} bytes over {LONGEST}"))
                .note(format!("the path is {path}"))
                .help(format!(
                    "shorten the names of topology, namespace, server and stage by {over} characters together"
                )),
            );
        }
    }
}
