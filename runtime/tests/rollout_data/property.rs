//! Whatever the guides before and after, whoever sends what when, and whichever portal is started anew in between: each
//! consumer handles the records of each sender and key once, in order.

use proptest::prelude::*;
use waldo_sdk::{
    Stage,
    guide::{Map, Otherwise, SLOTS},
};

use super::{
    KEYS, Sent,
    cluster::{self, Cluster, Plan, ServerPlan, assert_exact, payload},
    key,
};

const SERVERS: [&str; 3] = ["s1", "s2", "s3"];
/// The steps of a rollout, before each of which something happens.
const STEPS: usize = 8;

/// Which key lives where.
#[derive(Debug, Clone)]
enum Owners {
    /// By slot: the server of slot n is `(n × factor / 7 + shift) mod 3`.
    Slots { factor: usize, shift: usize },
    /// By the first letters of the key.
    Ranges([u16; 2]),
    /// Some keys by name.
    Table { keys: Vec<(usize, u16)>, default: u16 },
}

impl Owners {
    fn put_into(&self, plan: &mut Plan) {
        plan.tables = vec![vec![0; SLOTS]];
        plan.map = match self {
            Self::Slots { factor, shift } => {
                plan.tables = vec![(0..SLOTS).map(|slot| ((slot * factor / 7 + shift) % 3) as u16).collect()];
                Map::Hash(0)
            }
            Self::Ranges([low, high]) => Map::Ranges(vec![(String::new(), *low), ("key-2".into(), *high)]),
            Self::Table { keys, default } => Map::Table {
                keys: keys.iter().map(|&(number, server)| (format!("key-{number}"), server)).collect(),
                default: Otherwise::Server(*default),
            },
        };
    }
}

#[derive(Debug, Clone)]
enum Happening {
    /// One of the sources sends so many rounds.
    Send { source: usize, rounds: u64 },
    /// A client pushes so many rounds into one of the portals.
    Push { portal: usize, rounds: u64 },
    /// A portal is stopped and started anew.
    Restart { portal: usize },
}

fn owners() -> impl Strategy<Value = Owners> {
    prop_oneof![
        (0..12_usize, 0..3_usize).prop_map(|(factor, shift)| Owners::Slots { factor, shift }),
        [0..3_u16, 0..3_u16].prop_map(Owners::Ranges),
        (prop::collection::vec((0..KEYS, 0..3_u16), 0..20), 0..3_u16)
            .prop_map(|(keys, default)| Owners::Table { keys, default }),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..3_usize, 1..12_u64).prop_map(|(source, rounds)| Happening::Send { source, rounds }),
        2 => (0..3_usize, 1..6_u64).prop_map(|(portal, rounds)| Happening::Push { portal, rounds }),
        1 => (0..3_usize).prop_map(|portal| Happening::Restart { portal }),
    ]
}

/// One rollout: where it leads, in which order portals and sources adopt, and what happens before each step.
#[derive(Debug, Clone)]
struct Rollout {
    to: Owners,
    order: Vec<usize>,
    happenings: Vec<Vec<Happening>>,
}

fn rollout() -> impl Strategy<Value = Rollout> {
    let happenings = prop::collection::vec(prop::collection::vec(happening(), 0..3), STEPS);
    let order = Just(vec![0, 1, 2]).prop_shuffle();
    (owners(), order, happenings).prop_map(|(to, order, happenings)| Rollout { to, order, happenings })
}

struct Run {
    cluster: Cluster,
    sources: Vec<Stage>,
    clients: Vec<zmq::Socket>,
    sent: Sent,
    held: Vec<&'static str>,
}

impl Run {
    fn new(from: &Owners, consumers: usize, memory: u64) -> Self {
        let servers = SERVERS.map(|name| {
            let all = vec![("score", cluster::ANY, 1), ("slow", cluster::KEY, 2)];
            let consumers = all.into_iter().take(consumers).collect();
            ServerPlan { consumers, spool: cluster::limits(memory, 1 << 30), ..ServerPlan::new(name) }
        });
        let mut plan = Plan::by_slot(servers.to_vec(), |_| 0);
        from.put_into(&mut plan);
        let mut cluster = Cluster::new(plan);
        cluster.all_sinks();
        let sources = SERVERS.map(|name| cluster.source(name, "wanted.0")).into_iter().collect();
        let context = zmq::Context::new();
        let client = |server: &ServerPlan| {
            let socket = context.socket(zmq::PUSH).unwrap();
            socket.connect(&format!("tcp://127.0.0.1:{}", server.clients)).unwrap();
            socket
        };
        let clients = cluster.plan.servers.iter().map(client).collect();
        Self { cluster, sources, clients, sent: Sent::new(), held: vec![] }
    }

    /// `whole`: whether all portals are at the same generation, so that one may be started anew.
    fn happens(&mut self, happenings: &[Happening], whole: bool) {
        for happening in happenings {
            match *happening {
                Happening::Send { source, rounds } => {
                    super::send(&mut self.sources[source], source as u8, rounds, &mut self.sent);
                }
                Happening::Push { portal, rounds } => {
                    let sender = 10 + portal as u8;
                    for number in (0..rounds).flat_map(|_| 0..KEYS) {
                        let count = self.sent.entry((sender, key(number))).or_default();
                        let frames = [b"call".to_vec(), key(number), payload(sender, *count)];
                        self.clients[portal].send_multipart(frames, 0).unwrap();
                        *count += 1;
                    }
                }
                Happening::Restart { portal } if whole => {
                    // What clients have pushed and the portal hasn't read would be lost with it: they have no receipts.
                    let server = self.cluster.server(SERVERS[portal]);
                    let pushed = || self.sent.iter().filter(|((sender, _), _)| *sender == 10 + portal as u8);
                    let pushed: u64 = pushed().map(|(_, count)| count).sum();
                    cluster::wait_until("what clients pushed", || server.count("clients call") == pushed);
                    self.cluster.stop_portal(SERVERS[portal]);
                    self.cluster.start_portal(SERVERS[portal]);
                    if self.held.contains(&SERVERS[portal]) {
                        self.cluster.server(SERVERS[portal]).gate("relay", true);
                    }
                }
                Happening::Restart { .. } => {}
            }
        }
    }

    fn roll_out(&mut self, Rollout { to, order, happenings }: &Rollout) {
        let before = self.cluster.plan.clone();
        let mut next = Plan { version: before.generation + 1, ..before.next() };
        to.put_into(&mut next);
        self.happens(&happenings[0], true);
        let loses = |server: &&&str| {
            (0..KEYS).any(|number| before.owner(&key(number)) == **server && next.owner(&key(number)) != **server)
        };
        self.held = SERVERS.iter().filter(loses).copied().collect();
        self.cluster.hold(&self.held);
        self.happens(&happenings[1], true);
        self.cluster.replace_files(&next);
        for &portal in order {
            self.cluster.adopt_portals(&[SERVERS[portal]]);
            self.happens(&happenings[2][..happenings[2].len().min(1)], false);
        }
        self.happens(&happenings[3], true);
        for &source in order {
            self.cluster.switch_source(SERVERS[source], "wanted.0");
            self.happens(&happenings[4][..happenings[4].len().min(1)], true);
        }
        self.cluster.switch();
        self.happens(&happenings[5], true);
        self.cluster.hand_over();
        self.happens(&happenings[6], true);
        self.cluster.settle();
        self.happens(&happenings[7], true);
        self.cluster.release();
        self.held.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 30, ..ProptestConfig::default() })]
    #[test]
    fn each_consumer_handles_the_records_of_each_sender_and_key_once_and_in_order(
        from in owners(),
        consumers in 1..3_usize,
        memory in prop_oneof![Just(0_u64), 1_000..50_000_u64],
        rollouts in prop::collection::vec(rollout(), 1..4),
    ) {
        let mut run = Run::new(&from, consumers, memory);
        for rollout in &rollouts {
            run.roll_out(rollout);
        }
        let total: u64 = run.sent.values().sum();
        let Run { cluster, sources, sent, .. } = run;
        for source in sources {
            source.finish().unwrap();
        }
        let stages = &["score", "slow"][..consumers];
        for stage in stages {
            cluster.all_handled(stage, total);
        }
        let handled = cluster.end();
        for stage in stages {
            assert_exact(&handled, stage, &sent);
        }
    }
}
