//! `waldo send`: sends records into a running namespace from outside, one for each line, as any client would.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    time::{Duration, Instant},
};

use waldo_compiler::plan::Plan;
use waldo_sdk::guide::FlowGuide;

use crate::{
    exit::{Exit, Failure},
    located::{Located, Target},
    numbers::grouped,
};

/// How long the portal may take to accept a connection, and then each record.
const ACCEPTS: Duration = Duration::from_secs(10);
/// How long what has been queued may take to be sent after the last line. Milliseconds.
const LINGER: i32 = 30_000;
/// The longest line. Bytes.
const LONGEST_LINE: u64 = 64 << 20;

/// What to send, and where.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The flow; clients must be allowed to send it (`from: clients`).
    flow: String,
    /// The records, one a line, without the newline; `-` or nothing for stdin.
    #[arg(value_name = "FILE|-")]
    records: Option<PathBuf>,
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
    let target = Target { topology: arguments.topology.clone(), namespace: arguments.namespace.clone() };
    let Located { plan, paths } = target.locate()?;
    let guide = flow(&plan, &arguments.flow)?;
    let (server, endpoint) = endpoint(&plan, guide, arguments)?;
    if waldo_runtime::cluster::is_running(&paths, server).ok().flatten().is_none() {
        return Err(Failure::new(format!("{}/{} doesn't run on {server}", plan.topology, plan.namespace))
            .hint("start it with `waldo up`"));
    }
    let count = send(arguments, endpoint)?;
    if arguments.json {
        println!("{}", serde_json::json!({"format": 1, "flow": arguments.flow, "server": server, "sent": count}));
    } else {
        println!("sent {} records of {} to {server} ({endpoint})", grouped(count), arguments.flow);
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

fn send(arguments: &Arguments, endpoint: &str) -> Result<u64, Failure> {
    let failed = |doing: &'static str| move |error: zmq::Error| Failure::new(format!("cannot {doing}: {error}"));
    let mut records: Box<dyn BufRead> = match &arguments.records {
        Some(path) if path.as_os_str() != "-" => {
            let file = File::open(path);
            Box::new(BufReader::new(
                file.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?,
            ))
        }
        _ => Box::new(io::stdin().lock()),
    };
    let context = zmq::Context::new();
    let socket = context.socket(zmq::PUSH).map_err(failed("make a socket"))?;
    socket.set_linger(LINGER).map_err(failed("set up a socket"))?;
    // Queue nothing for a portal that isn't there.
    socket.set_immediate(true).map_err(failed("set up a socket"))?;
    socket.connect(endpoint).map_err(failed("connect to the portal"))?;
    let mut count = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut records, LONGEST_LINE).read_until(b'\n', &mut line);
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(Failure::new(format!("cannot read records after {count}: {error}"))),
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == LONGEST_LINE {
            return Err(Failure::new(format!("line {} is longer than {LONGEST_LINE} bytes", count + 1)));
        }
        await_room(&socket, endpoint, count)?;
        let frames = [arguments.flow.as_bytes(), arguments.key.as_bytes(), line.as_slice()];
        socket.send_multipart(frames, zmq::DONTWAIT).map_err(failed("send"))?;
        count += 1;
    }
    drop(socket);
    // Waits until everything is sent, at most LINGER.
    drop(context);
    Ok(count)
}

/// Waits until the portal takes a record: sending without room would lose it.
fn await_room(socket: &zmq::Socket, endpoint: &str, count: u64) -> Result<(), Failure> {
    let until = Instant::now() + ACCEPTS;
    loop {
        match socket.poll(zmq::POLLOUT, 100) {
            Ok(ready) if ready > 0 => return Ok(()),
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(error) => return Err(Failure::new(format!("cannot wait for the portal: {error}"))),
        }
        if Instant::now() > until {
            let seconds = ACCEPTS.as_secs();
            return Err(Failure::new(format!(
                "the portal at {endpoint} has taken nothing for {seconds} s; {count} records were sent"
            ))
            .hint("its spool may be full: `waldo status` shows it"));
        }
    }
}
