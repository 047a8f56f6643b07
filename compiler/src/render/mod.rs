//! Plan → the files of a build directory. Byte for byte the same for the same plan.

pub mod escape;

use std::collections::BTreeMap;

use handlebars::{Handlebars, RenderError, TemplateError};
use serde::Serialize;
use serde_json::json;
use waldo_sdk::wiring::SpoolLimits;

use crate::plan::{Plan, Program, ServerPlan};

/// The script that starts a server's launcher by hand.
const LAUNCH: &str = include_str!("../../../templates/launch.sh.hbs");

/// Why a plan could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A value that JSON can't hold.
    #[error("the plan can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A template that can't be parsed.
    #[error("a template can't be read: {0}")]
    Template(#[from] Box<TemplateError>),
    /// A template that asks for something that isn't there.
    #[error("a template can't be filled in: {0}")]
    Render(#[from] Box<RenderError>),
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

/// Path in the build directory → contents.
pub fn render(plan: &Plan) -> Result<BTreeMap<String, String>, Failure> {
    let mut files = BTreeMap::new();
    files.insert("plan.json".to_owned(), pretty(plan)?);
    files.insert("guide.json".to_owned(), pretty(&plan.guide)?);
    for (name, server) in &plan.servers {
        let directory = format!("servers/{name}");
        files.insert(format!("{directory}/portals.json"), pretty(&portals(server))?);
        files.insert(format!("{directory}/endpoints.json"), pretty(&endpoints(plan, name, server))?);
        files.insert(format!("{directory}/processes.json"), pretty(&server.processes)?);
        files.insert(format!("{directory}/launch.sh"), launch_script(LAUNCH, plan, name)?);
    }
    Ok(files)
}

fn pretty(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
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

fn launch_script(template: &str, plan: &Plan, server: &str) -> Result<String, Failure> {
    let mut templates = Handlebars::new();
    templates.set_strict_mode(true);
    templates.register_escape_fn(escape::shell);
    templates.register_template_string("launch.sh", template).map_err(Box::new)?;
    let values = json!({
        "topology": plan.topology,
        "namespace": plan.namespace,
        "server": server,
        "digest": plan.digest,
        "local": plan.local,
    });
    Ok(templates.render("launch.sh", &values).map_err(Box::new)?)
}
