//! `waldo send`: sends records into a running namespace from outside, as any client would.

mod records;
mod sending;

use std::path::PathBuf;

use waldo_compiler::plan::Plan;
use waldo_sdk::{guide::FlowGuide, wiring::Carried};

use self::{records::Records, sending::Sending};
use crate::{
    exit::{Exit, Failure},
    located::{Located, Target},
    numbers::grouped,
};

/// What to send, and where.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The flow; clients must be allowed to send it (`from: clients`).
    flow: String,
    /// The records, one a line, without the newline; `-` or nothing for stdin. A file is looked through first: if a record
    /// of it can't be sent, none is.
    #[arg(value_name = "FILE|-")]
    records: Option<PathBuf>,
    /// All of the file is one record, whatever is in it.
    #[arg(long)]
    whole: bool,
    /// The key of every record, for a flow whose key the sender states.
    #[arg(long, default_value = "")]
    key: String,
    /// Through this server's portal; by default the first one's. A portal passes on what another server owns.
    #[arg(long)]
    server: Option<String>,
    /// The topology: its file, or the directory that it is in. By default this directory.
    #[arg(short, long, value_name = "FILE|DIR")]
    topology: Option<PathBuf>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    namespace: Option<String>,
    /// Say as JSON what was sent.
    #[arg(long)]
    json: bool,
}

/// Sends it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let target =
        Target { topologies: arguments.topology.iter().cloned().collect(), namespace: arguments.namespace.clone() };
    let Located { plan, paths } = target.locate()?;
    let guide = flow(&plan, &arguments.flow)?;
    let (server, endpoint) = endpoint(&plan, guide, arguments)?;
    let is_running = || waldo_runtime::cluster::is_running(&paths, server).ok().flatten().is_some();
    if !is_running() {
        return Err(Failure::new(format!("{}/{} doesn't run on {server}", plan.topology, plan.namespace))
            .hint("start it with `waldo up`"));
    }
    let carried = carried(&plan, server, guide, &arguments.flow)?;
    let count = send(arguments, carried, endpoint, is_running)?;
    if arguments.json {
        println!("{}", serde_json::json!({"format": 1, "flow": arguments.flow, "server": server, "sent": count}));
    } else {
        let records = if count == 1 { "record" } else { "records" };
        println!("sent {} {records} of {} to {server} ({endpoint})", grouped(count), arguments.flow);
    }
    Ok(Exit::Ok)
}

fn flow<'a>(plan: &'a Plan, name: &str) -> Result<&'a FlowGuide, Failure> {
    let from_clients = || {
        let names = plan.flows.iter().filter(|(_, flow)| flow.from_clients).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let hint = || match from_clients() {
        none if none.is_empty() => "no flow of this topology is `from: clients`".to_owned(),
        some => format!("clients may send: {some}"),
    };
    match (plan.flows.get(name), plan.guide.flows.get(name)) {
        (None, _) => Err(Failure::new(format!("no flow named {name}")).hint(hint())),
        (Some(flow), Some(guide)) if flow.from_clients => Ok(guide),
        _ => Err(Failure::new(format!("flow {name} doesn't come from clients")).hint(hint())),
    }
}

fn endpoint<'a>(plan: &'a Plan, guide: &FlowGuide, arguments: &Arguments) -> Result<(&'a str, &'a str), Failure> {
    let endpoints = |portals: &'a std::collections::BTreeMap<String, waldo_sdk::guide::Endpoints>| {
        portals.get(&guide.portal).and_then(|endpoints| endpoints.clients.as_deref())
    };
    let mut servers =
        plan.guide.portals.iter().filter_map(|(server, portals)| Some((server.as_str(), endpoints(portals)?)));
    match &arguments.server {
        None => servers.next().ok_or_else(|| Failure::new(format!("no server has a portal for {}", arguments.flow))),
        Some(wanted) => servers
            .find(|(server, _)| server == wanted)
            .ok_or_else(|| Failure::new(format!("server {wanted} has no portal for {}", arguments.flow))),
    }
}

/// What the portal on a server does with the flow.
fn carried<'a>(plan: &'a Plan, server: &str, guide: &FlowGuide, flow: &str) -> Result<&'a Carried, Failure> {
    let processes = plan.servers.get(server).into_iter().flat_map(|server| &server.processes);
    let doors =
        processes.filter(|process| process.name == guide.portal).filter_map(|portal| portal.wiring.portal.as_ref());
    let carried = doors.flat_map(|doors| &doors.flows).find(|carried| carried.flow == flow);
    carried.ok_or_else(|| Failure::new(format!("no portal on {server} carries {flow}")))
}

fn send(
    arguments: &Arguments,
    carried: &Carried,
    endpoint: &str,
    is_running: impl Fn() -> bool,
) -> Result<u64, Failure> {
    let key = arguments.key.as_bytes();
    let file = arguments.records.as_deref().filter(|path| path.as_os_str() != "-");
    let open = || Records::open(file, arguments.whole, carried, key);
    if file.is_some_and(std::path::Path::is_file) {
        let mut records = open()?;
        while records.next().map_err(|failure| failure.hint("nothing was sent"))?.is_some() {}
    }
    let mut records = open()?;
    let mut sending = Sending::begin(endpoint, is_running)?;
    loop {
        match records.next() {
            Ok(Some(payload)) => sending.send([arguments.flow.as_bytes(), key, payload])?,
            Ok(None) => return sending.end(),
            Err(failure) => {
                let count = sending.end()?;
                let were = if count == 1 { "record was" } else { "records were" };
                return Err(failure.hint(format!("{} {were} sent before it", grouped(count))));
            }
        }
    }
}
