//! Traps of libzmq: what it does that nobody expects, and that sockets as waldo sets them up don't fall into it.
//! docs/protocol.md lists them all, with the tests of those that need more than a socket.

use std::{
    fs,
    path::{Path, PathBuf},
};

use waldo_sdk::{socket, wiring::Egress};
use zmq::{Context, DONTWAIT, POLLIN, ROUTER, SNDMORE, Socket};

/// How long something may take that takes a moment. Milliseconds.
const SOON: i64 = 30_000;
/// More than libzmq queues by default.
const MANY: u32 = 10_000;

fn name(directory: &tempfile::TempDir) -> String {
    format!("ipc://{}/in", directory.path().display())
}

fn receive(socket: &Socket) -> u32 {
    assert!(socket.poll(POLLIN, SOON).unwrap() > 0, "nothing comes");
    u32::from_le_bytes(socket.recv_bytes(0).unwrap().try_into().unwrap())
}

#[test]
fn no_data_socket_has_heartbeats_as_they_cut_off_who_does_not_read_and_lose_what_was_queued() {
    let (context, directory) = (Context::new(), tempfile::tempdir().unwrap());
    let sockets = [
        socket::inbox(&context, &name(&directory)).unwrap(),
        socket::to_inbox(&context, &name(&directory)).unwrap(),
        socket::portal_links(&context, "tcp://127.0.0.1:*", 1_000).unwrap(),
        socket::to_portal(&context, "tcp://127.0.0.1:9").unwrap(),
        socket::egress(&context, &Egress::Connect("tcp://127.0.0.1:9".to_owned())).unwrap(),
    ];
    assert!(sockets.iter().all(|socket| socket.get_heartbeat_ivl().unwrap() == 0));
}

#[test]
fn what_credit_bounds_no_high_water_mark_stops_also_before_anybody_is_there() {
    let (context, directory) = (Context::new(), tempfile::tempdir().unwrap());
    // A high-water mark that is set after connecting is none.
    let sender = socket::to_inbox(&context, &name(&directory)).unwrap();
    for number in 0..MANY {
        sender.send(&number.to_le_bytes()[..], DONTWAIT).unwrap();
    }
    let inbox = socket::inbox(&context, &name(&directory)).unwrap();
    assert!((0..MANY).all(|number| receive(&inbox) == number));
}

#[test]
fn a_receiver_that_comes_back_is_looked_for_every_millisecond() {
    let (context, directory) = (Context::new(), tempfile::tempdir().unwrap());
    let sender = socket::to_inbox(&context, &name(&directory)).unwrap();
    // libzmq's own hundred make each restart of a receiver a gap.
    assert_eq!((sender.get_reconnect_ivl().unwrap(), sender.get_reconnect_ivl_max().unwrap()), (1, 50));
    for number in 0..3_u32 {
        let inbox = socket::inbox(&context, &name(&directory)).unwrap();
        // What is sent before the sender has seen the other one go is lost: another trap.
        let mut tries = 0..1_000;
        while inbox.poll(POLLIN, 10).unwrap() == 0 && tries.next().is_some() {
            sender.send(&number.to_le_bytes()[..], 0).unwrap();
        }
        assert_eq!(receive(&inbox), number);
    }
}

/// Why a launcher holds a lock on its server's directory before anything is bound.
#[test]
fn a_second_bind_of_an_ipc_name_takes_it_from_the_first_and_nobody_is_told() {
    let (context, directory) = (Context::new(), tempfile::tempdir().unwrap());
    let first = socket::inbox(&context, &name(&directory)).unwrap();
    let second = socket::inbox(&context, &name(&directory)).unwrap();
    let sender = socket::to_inbox(&context, &name(&directory)).unwrap();
    sender.send(&7_u32.to_le_bytes()[..], 0).unwrap();
    assert_eq!(receive(&second), 7);
    assert_eq!(first.poll(POLLIN, 0).unwrap(), 0);
}

/// Why senders ask again for receipts that don't come.
#[test]
fn a_router_drops_what_it_cannot_route_and_says_that_it_was_sent() {
    let context = Context::new();
    let router = context.socket(ROUTER).unwrap();
    router.bind("tcp://127.0.0.1:*").unwrap();
    router.send(&b"nobody"[..], SNDMORE).unwrap();
    router.send(&b"a receipt"[..], 0).unwrap();
}

#[test]
fn nothing_is_queued_for_a_receiver_outside_that_is_not_there() {
    let context = Context::new();
    let way = socket::egress(&context, &Egress::Connect("tcp://127.0.0.1:9".to_owned())).unwrap();
    assert_eq!(way.send(&b"record"[..], DONTWAIT), Err(zmq::Error::EAGAIN));
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn nobody_steers_a_proxy_as_pause_and_resume_are_exchanged_in_libzmq_4_3_5() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut all = Vec::new();
    for room in ["sdk/rust/src", "runtime/src", "src", "compiler/src"] {
        sources(&root.join(room), &mut all);
    }
    assert!(all.len() > 50);
    for path in all {
        assert!(!fs::read_to_string(&path).unwrap().contains("steerable"), "{}", path.display());
    }
}
