//! ZeroMQ sockets as waldo sets them up: the one place that knows libzmq's options.
//!
//! Options that matter, each for a measured reason: no ZMTP heartbeats (libzmq drops a peer that doesn't read, and what
//! was queued for it with it); high-water marks before bind and connect; no high-water mark where credit or a window
//! bounds what is under way; reconnect after 1 ms on IPC (the default of 100 ms makes every restart a gap).

use std::os::unix::fs::PermissionsExt;

use zmq::{Context, DEALER, PULL, PUSH, ROUTER, Socket, SocketType};

use crate::{
    error::{Error, Result},
    wiring::Egress,
};

/// How long a closed socket may go on sending. Milliseconds.
const LINGER: i32 = 2_000;
/// The same where records leave the topology. Milliseconds.
pub const EGRESS_LINGER: i32 = 20_000;
/// How many records are queued for a peer outside.
const EGRESS_QUEUE: i32 = 1_000;

fn socket(context: &Context, kind: SocketType, name: &str) -> Result<Socket> {
    let socket = context.socket(kind).map_err(Error::zmq(format!("make a socket for {name}")))?;
    socket.set_linger(LINGER).map_err(Error::zmq("set linger"))?;
    allow_ipv6(&socket, name)?;
    Ok(socket)
}

/// Lets a socket use an endpoint with an IPv6 address, which ZeroMQ refuses unless told. Others stay as they are: where
/// IPv6 is allowed, host names may turn into IPv6 addresses that nobody listens at.
///
/// # Errors
/// If ZeroMQ refuses.
pub fn allow_ipv6(socket: &Socket, endpoint: &str) -> Result<()> {
    if endpoint.starts_with("tcp://[") { socket.set_ipv6(true).map_err(Error::zmq("allow IPv6")) } else { Ok(()) }
}

fn no_high_water_mark(socket: &Socket) -> Result<()> {
    socket.set_sndhwm(0).and_then(|()| socket.set_rcvhwm(0)).map_err(Error::zmq("set high-water mark"))
}

/// Binds an inbox. Credit bounds what senders put into it.
pub fn inbox(context: &Context, endpoint: &str) -> Result<Socket> {
    let socket = socket(context, PULL, endpoint)?;
    no_high_water_mark(&socket)?;
    socket.bind(endpoint).map_err(Error::zmq(format!("bind {endpoint}")))?;
    if let Some(path) = endpoint.strip_prefix("ipc://") {
        // The namespace's group, which only its processes have, may send to it, whoever they run as.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o770))
            .map_err(Error::io(format!("open {path} to the group")))?;
    }
    Ok(socket)
}

/// Connects to an inbox. What is sent before it is bound waits.
pub fn to_inbox(context: &Context, endpoint: &str) -> Result<Socket> {
    let socket = socket(context, PUSH, endpoint)?;
    no_high_water_mark(&socket)?;
    socket.set_reconnect_ivl(1).map_err(Error::zmq("set reconnect interval"))?;
    socket.set_reconnect_ivl_max(50).map_err(Error::zmq("set reconnect interval"))?;
    socket.connect(endpoint).map_err(Error::zmq(format!("connect {endpoint}")))?;
    Ok(socket)
}

/// Connects to a portal's door for links. The link's window bounds what is under way.
pub fn to_portal(context: &Context, endpoint: &str) -> Result<Socket> {
    let socket = socket(context, DEALER, endpoint)?;
    no_high_water_mark(&socket)?;
    socket.set_reconnect_ivl(10).map_err(Error::zmq("set reconnect interval"))?;
    socket.set_reconnect_ivl_max(500).map_err(Error::zmq("set reconnect interval"))?;
    socket.connect(endpoint).map_err(Error::zmq(format!("connect {endpoint}")))?;
    Ok(socket)
}

/// Binds a portal's door for links. A message over `max_message` bytes ends its connection.
pub fn portal_links(context: &Context, endpoint: &str, max_message: i64) -> Result<Socket> {
    let socket = socket(context, ROUTER, endpoint)?;
    socket.set_maxmsgsize(max_message).map_err(Error::zmq("set the greatest message"))?;
    socket.bind(endpoint).map_err(Error::zmq(format!("bind {endpoint}")))?;
    Ok(socket)
}

/// Opens where records leave the topology. Nothing is queued for a peer that isn't there: whoever has records to send keeps
/// them.
pub fn egress(context: &Context, egress: &Egress) -> Result<Socket> {
    let endpoint = egress.endpoint();
    let socket = context.socket(PUSH).map_err(Error::zmq(format!("make a socket for {endpoint}")))?;
    allow_ipv6(&socket, endpoint)?;
    socket.set_linger(EGRESS_LINGER).map_err(Error::zmq("set linger"))?;
    socket.set_immediate(true).map_err(Error::zmq("set immediate"))?;
    socket.set_sndhwm(EGRESS_QUEUE).map_err(Error::zmq("set high-water mark"))?;
    socket.set_reconnect_ivl(10).map_err(Error::zmq("set reconnect interval"))?;
    socket.set_reconnect_ivl_max(500).map_err(Error::zmq("set reconnect interval"))?;
    match egress {
        Egress::Connect(_) => socket.connect(endpoint).map_err(Error::zmq(format!("connect {endpoint}")))?,
        Egress::Bind(_) => socket.bind(endpoint).map_err(Error::zmq(format!("bind {endpoint}")))?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portals_are_reached_by_ipv4_and_ipv6_addresses() {
        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        for address in ["tcp://127.0.0.1:*", "tcp://[::1]:*"].into_iter().filter(|it| has_ipv6 || !it.contains('[')) {
            let context = Context::new();
            let links = portal_links(&context, address, 1_000).unwrap();
            let endpoint = links.get_last_endpoint().unwrap().unwrap();
            to_portal(&context, &endpoint).unwrap().send("batch", 0).unwrap();
            links.set_rcvtimeo(10_000).unwrap();
            let frames = links.recv_multipart(0).unwrap_or_else(|error| panic!("{address}: {error}"));
            assert_eq!(frames.last().unwrap(), b"batch", "{address}");
        }
    }
}
