//! A topology on hosts, set up by hand as `docs/files.md` says, whose records are counted without asking waldo.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
};

use waldo_tally::{Count, Expected, Laps};

use crate::machines::{Machines, eventually, eventually_or, outcome};

/// What the unit of a host's launcher is called.
pub fn unit(host: &str) -> String {
    format!("waldo-calls-prod-{host}")
}

/// What the stage that receives has to see.
const EXPECTED: Expected = Expected { book: "keep", each: 1, laps: Laps::First };

/// A topology `calls` that sources on every host send into, and stages on every host receive.
pub struct Fleet<'m> {
    machines: &'m Machines,
    hosts: Vec<String>,
}

impl<'m> Fleet<'m> {
    /// Compiles it for these hosts, with this added to the stage that receives, and puts it on them.
    pub fn set_up(machines: &'m Machines, hosts: &[&str], keep: &str) -> Self {
        let fleet = Self { machines, hosts: hosts.iter().map(|&host| host.to_owned()).collect() };
        let directory = fleet.directory();
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("waldo.yaml"), topology(hosts, keep)).expect("a topology");
        let compiled = outcome(Command::new(env!("CARGO_BIN_EXE_waldo")).arg("compile").current_dir(&directory));
        assert_eq!(compiled.code, Some(0), "{compiled:#?}");
        for part in ["", "sent", "unsure", "seen"] {
            let part = machines.path().join("shared/books").join(part);
            fs::create_dir_all(&part).expect("a directory");
            fs::set_permissions(&part, Permissions::from_mode(0o777)).expect("rights");
        }
        for host in &fleet.hosts {
            fleet.install(host);
        }
        fleet
    }

    fn directory(&self) -> PathBuf {
        self.machines.path().join("laptop")
    }

    fn install(&self, host: &str) {
        let build = self.directory().join(".waldo/build/prod");
        self.machines.put(host, &build.join("plan.json"), "/opt/waldo/calls/prod/plan/plan.json");
        for file in [format!("{}.service", unit(host)), "waldo-calls-prod.target".to_owned()] {
            let from = build.join("servers").join(host).join(&file);
            self.machines.put(host, &from, &format!("/etc/systemd/system/{file}"));
        }
        let unit = unit(host);
        self.machines.run(
            host,
            &format!(
                "useradd --system --user-group --no-create-home waldo
                 mkdir -p /etc/systemd/system/{unit}.service.d
                 printf '[Service]\\nReadWritePaths=/shared\\nUMask=0000\\n' >/etc/systemd/system/{unit}.service.d/books.conf
                 systemctl daemon-reload
                 systemctl enable waldo-calls-prod.target {unit}.service"
            ),
        );
    }

    /// Starts it on all hosts.
    pub fn start(&self) {
        for host in &self.hosts {
            self.machines.run(host, "systemctl start --no-block waldo-calls-prod.target");
        }
        for host in &self.hosts {
            self.await_flowing(host);
        }
    }

    /// Waits until a host's launcher says that all is ready.
    pub fn await_flowing(&self, host: &str) {
        let show = format!("systemctl show -p ActiveState -p StatusText {}", unit(host));
        let flows = || {
            let shown = self.machines.run(host, &show);
            shown.contains("ActiveState=active") && shown.contains("StatusText=flowing")
        };
        let journal = format!("{show}; journalctl -u {} -o cat | tail -n 30", unit(host));
        eventually_or(&format!("{host} flows"), flows, || self.machines.run(host, &journal));
    }

    /// The process ids of a stage's program on a host.
    pub fn processes(&self, host: &str, mode: &str) -> Vec<String> {
        let found = self.machines.run(host, &format!("pgrep -f '^/usr/bin/tally {mode} ' || true"));
        found.lines().map(str::to_owned).collect()
    }

    /// How many records a host's stages have received.
    pub fn received_on(&self, host: &str) -> u64 {
        let mut count = self.count();
        count.book(EXPECTED.book).received_on(host)
    }

    fn count(&self) -> Count {
        let mut count = Count::of(&self.machines.path().join("shared/books"), 0);
        count.read().expect("books");
        count
    }

    /// Asserts that everything that was sent has been received, once and in order. For when nothing runs, or is paused.
    #[track_caller]
    pub fn assert_complete(&self) {
        let mut count = self.count();
        let sent = count.sent().expect("books");
        assert!(sent.values().sum::<u64>() > 0, "nothing was sent");
        let missing = count.missing(&EXPECTED, &sent).expect("books");
        assert_eq!(missing.count, 0, "of {sent:?} didn't come: {:?}", missing.examples);
        self.assert_nothing_twice();
    }

    /// Asserts that no record has come twice, or after a later one of its key.
    #[track_caller]
    pub fn assert_nothing_twice(&self) {
        let mut count = self.count();
        let book = count.book(EXPECTED.book);
        assert_eq!(book.repeated.count, 0, "came twice: {:?}", book.repeated.examples);
        assert_eq!(book.disordered.count, 0, "out of order: {:?}", book.disordered.examples);
    }

    /// The same for a host whose unit has been stopped: what came to its portal after that held is delivered in the next run.
    #[track_caller]
    pub fn assert_complete_in_the_next_run(&self, host: &str) {
        self.pause(true);
        self.machines.run(host, &format!("systemctl start {}", unit(host)));
        eventually("all has come", || self.is_complete());
        self.assert_complete();
    }

    /// How many records have come twice, and how many after a later one of their key.
    pub fn twice_and_disordered(&self) -> (u64, u64) {
        let mut count = self.count();
        let book = count.book(EXPECTED.book);
        (book.repeated.count, book.disordered.count)
    }

    /// Whether everything that has been sent has been received.
    pub fn is_complete(&self) -> bool {
        let mut count = self.count();
        let sent = count.sent().expect("books");
        count.missing(&EXPECTED, &sent).expect("books").count == 0
    }

    /// Keeps sources from sending, or lets them go on.
    pub fn pause(&self, paused: bool) {
        let file = self.machines.path().join("shared/books/pause");
        let done = if paused { fs::write(&file, "") } else { fs::remove_file(&file) };
        done.expect("the books");
    }
}

fn topology(hosts: &[&str], keep: &str) -> String {
    let server = |host: &&str| {
        let number = host.trim_start_matches('h');
        format!("  {host}: {{address: 10.77.0.1{number}, ssh: {host}}}\n")
    };
    let servers: String = hosts.iter().map(server).collect();
    format!(
        "topology: calls
flows:
  call: {{key: sender, guide: hash}}
stages:
  feed:
    run: /usr/bin/tally source /shared/books call rate=500 keys=50
    out: [call]
  keep:
    run: /usr/bin/tally keep /shared/books
    in: [call]
    {keep}
servers:
{servers}namespaces:
  prod: {{}}
"
    )
}
