//! A large topology: groups of stages, between them keyed flows that cross servers, within them flows that don't.

use std::fmt::Write;

/// Groups of stages; `benches/jinja/render.py` has as many.
const GROUPS: usize = 5;
/// Stages of a group.
const STAGES: usize = 4;

/// How large it is. Each server runs every instance of all twenty stages.
#[derive(Debug, Clone, Copy)]
pub struct Flotilla {
    /// Servers.
    pub servers: usize,
    /// Instances of each stage on each of them.
    pub instances: usize,
}

impl Flotilla {
    /// How many stages' processes it has on all servers, portals aside.
    pub fn processes(self) -> usize {
        self.servers * GROUPS * STAGES * self.instances
    }

    /// The topology's text.
    pub fn text(self) -> String {
        let Self { servers, instances } = self;
        let mut text = "topology: flotilla\nflows:\n".to_owned();
        // Writing into a String doesn't fail.
        for group in 0..GROUPS {
            let clients = if group == 0 { ", from: clients" } else { "" };
            let _ = writeln!(text, "  into-{group}: {{key: sender, guide: hash{clients}}}");
            for stage in 1..STAGES {
                let _ = writeln!(text, "  within-{group}-{stage}: {{max_record: 64KiB}}");
            }
        }
        text.push_str("stages:\n");
        for group in 0..GROUPS {
            for stage in 0..STAGES {
                let input = if stage == 0 { format!("into-{group}") } else { format!("within-{group}-{stage}") };
                let output = match (stage + 1, group + 1) {
                    (STAGES, GROUPS) => String::new(),
                    (STAGES, next) => format!("into-{next}"),
                    (next, _) => format!("within-{group}-{next}"),
                };
                let _ = writeln!(
                    text,
                    "  stage-{group}-{stage}: {{run: [./bin/stage, --model, small], in: [{input}], out: [{output}], \
                     instances: {instances}, env: {{MODEL: small}}, limits: {{nofile: 4096}}}}"
                );
            }
        }
        text.push_str("servers:\n");
        for server in 0..servers {
            let (high, middle, low) = (server >> 16, server >> 8 & 255, server & 255);
            let _ = writeln!(text, "  s{server}: {{address: 10.{high}.{middle}.{low}}}");
        }
        text
    }
}
