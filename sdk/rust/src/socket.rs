//! ZeroMQ sockets as waldo sets them up: the one place that knows libzmq's options.
//!
//! Options that matter, each for a measured reason: no ZMTP heartbeats (libzmq drops a peer that doesn't read, and what
//! was queued for it with it); high-water marks before bind and connect; no high-water mark where credit or a window
//! bounds what is under way; reconnect after 1 ms on IPC (the default of 100 ms makes every restart a gap).

use zmq::{Context, DEALER, PULL, PUSH, ROUTER, Socket, SocketType};

use crate::error::{Error, Result};

/// How long a closed socket may go on sending. Milliseconds.
const LINGER: i32 = 2_000;

fn socket(context: &Context, kind: SocketType, name: &str) -> Result<Socket> {
    let socket = context.socket(kind).map_err(Error::zmq(format!("make a socket for {name}")))?;
    socket.set_linger(LINGER).map_err(Error::zmq("set linger"))?;
    Ok(socket)
}

fn no_high_water_mark(socket: &Socket) -> Result<()> {
    socket.set_sndhwm(0).and_then(|()| socket.set_rcvhwm(0)).map_err(Error::zmq("set high-water mark"))
}

/// Binds an inbox. Credit bounds what senders put into it.
pub fn inbox(context: &Context, endpoint: &str) -> Result<Socket> {
    let socket = socket(context, PULL, endpoint)?;
    no_high_water_mark(&socket)?;
    socket.bind(endpoint).map_err(Error::zmq(format!("bind {endpoint}")))?;
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

/// Binds a portal's door for clients. A frame over `max_message` bytes ends its connection.
pub fn portal_clients(context: &Context, endpoint: &str, max_message: i64) -> Result<Socket> {
    let socket = socket(context, PULL, endpoint)?;
    socket.set_maxmsgsize(max_message).map_err(Error::zmq("set the greatest message"))?;
    socket.bind(endpoint).map_err(Error::zmq(format!("bind {endpoint}")))?;
    Ok(socket)
}

/// Connects a client to a portal, to push three frames: flow, key, payload.
pub fn client(context: &Context, endpoint: &str) -> Result<Socket> {
    let socket = socket(context, PUSH, endpoint)?;
    socket.connect(endpoint).map_err(Error::zmq(format!("connect {endpoint}")))?;
    Ok(socket)
}
