//! Plan → the files of a build directory. Byte for byte the same for the same plan.

pub mod escape;
pub mod template;
mod values;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;
pub use template::{Flaw, Templates};
use template::{LAUNCH, SERVICE, TARGET};
use waldo_sdk::wiring::SpoolLimits;

use crate::plan::{Plan, Program, ServerPlan};

/// Why a plan could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A template that can't be read or filled in.
    #[error(transparent)]
    Template(#[from] Flaw),
    /// What takes the files doesn't.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One of a server's portals in `portals.json`.
#[derive(Serialize)]
struct PortalRow<'p> {
    links: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<&'p str>,
    /// Flow → the stages on this server that get a copy each.
    flows: BTreeMap<&'p str, Vec<&'p str>>,
    spool: SpoolLimits,
}

/// Where the files of a build go.
pub trait Sink {
    /// Takes one file, whose contents `write` puts out: its path in the build directory, and whether it is to be run.
    ///
    /// # Errors
    /// If it can't be kept.
    fn file(
        &mut self,
        path: &str,
        executable: bool,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()>;
}

/// Path → contents, for those who want a build in memory.
impl Sink for BTreeMap<String, String> {
    fn file(&mut self, path: &str, _: bool, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut contents = Vec::new();
        write(&mut contents)?;
        self.insert(path.to_owned(), String::from_utf8(contents).map_err(io::Error::other)?);
        Ok(())
    }
}

/// Hands out the files of a build, `plan.json` last: who finds that finds the rest.
///
/// # Errors
/// If a template or the sink fails.
pub fn render(plan: &Plan, templates: &Templates, sink: &mut dyn Sink) -> Result<(), Failure> {
    json(sink, "guide.json", &plan.guide)?;
    let unit = format!("waldo-{}-{}", plan.topology, plan.namespace);
    let users = values::has_users(plan);
    for (name, server) in &plan.servers {
        let directory = format!("servers/{name}");
        json(sink, &format!("{directory}/portals.json"), &portals(server))?;
        json(sink, &format!("{directory}/endpoints.json"), &endpoints(plan, name, server))?;
        json(sink, &format!("{directory}/processes.json"), &server.processes)?;
        let values = values::of(plan, name, server, users, templates.wants_processes).map_err(io::Error::from)?;
        let from_templates = [
            (LAUNCH, "launch.sh".to_owned(), true),
            (SERVICE, format!("{unit}-{name}.service"), false),
            (TARGET, format!("{unit}.target"), false),
        ];
        for (template, file, executable) in from_templates {
            let text = templates.render(template, &values)?;
            sink.file(&format!("{directory}/{file}"), executable, &mut |out| out.write_all(text.as_bytes()))?;
        }
    }
    json(sink, "plan.json", plan)?;
    Ok(())
}

fn json(sink: &mut dyn Sink, path: &str, value: &impl Serialize) -> io::Result<()> {
    sink.file(path, false, &mut |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

fn portals(server: &ServerPlan) -> BTreeMap<&str, PortalRow<'_>> {
    let doors =
        server.processes.iter().filter_map(|process| Some((process.name.as_str(), process.wiring.portal.as_ref()?)));
    doors
        .map(|(name, doors)| {
            let flows = doors.flows.iter().map(|flow| {
                (flow.flow.as_str(), flow.consumers.iter().map(|consumer| consumer.stage.as_str()).collect())
            });
            let portal = PortalRow {
                links: &doors.links,
                clients: doors.clients.as_deref(),
                flows: flows.collect(),
                spool: doors.spool,
            };
            (name, portal)
        })
        .collect()
}

/// Process → its IPC name, from the run directory; sources and portals have no inbox.
fn endpoints<'p>(plan: &Plan, server: &str, of: &'p ServerPlan) -> BTreeMap<&'p str, String> {
    of.processes
        .iter()
        .filter(|process| matches!(process.program, Program::Stage(_)) && !process.is_source())
        .map(|process| {
            let path = format!("{}/{}/{server}/{}/in", plan.topology, plan.namespace, process.name);
            (process.name.as_str(), path)
        })
        .collect()
}
