//! What one has without waldo: the same stages over plain ZeroMQ sockets, under supervisord; a stage is changed by
//! `supervisorctl restart`.
//!
//! ```text
//! feed ──ipc──▶ enter ──ipc──▶ lap ──ipc──▶ keep        enter and lap under supervisord
//! ```

use std::{fs, path::Path, process::Command, thread::sleep, time::Duration};

use super::{
    BETWEEN, STEADY,
    book::{Account, now},
};
use crate::{Trouble, figure::median, process::Running, programs::Programs};

/// What the restarts cost.
pub struct Restarts {
    /// How many there were.
    pub count: usize,
    /// Records that never came.
    pub lost: u64,
    /// Records that were made in a second.
    pub rate: f64,
    /// The middle of the breaks that the last stage saw. Milliseconds.
    pub pause: f64,
}

/// Restarts a stage so many times; `None`, and says so, where there is no supervisord.
pub fn measure(programs: &Programs, rate: u64, restarts: usize) -> Result<Option<Restarts>, Trouble> {
    let has = |program: &str| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
    };
    if !has("supervisord") || !has("supervisorctl") {
        eprintln!("bench: supervisord is NOT installed, so rollouts are NOT measured beside `supervisorctl restart`");
        return Ok(None);
    }
    let directory = crate::programs::in_memory()?;
    let at = directory.path().display().to_string();
    let books = directory.path().join("books");
    fs::create_dir(&books).map_err(|error| Trouble::io("make a directory", error))?;
    let own = programs.own.display();
    let stage = |name: &str, arguments: &str| format!("{own} rollouts {name} --books {at}/books --name {arguments}");
    let under = |name: &str, arguments: &str| {
        format!("[program:{name}]\ncommand={}\nautorestart=true\nstartsecs=0\n", stage("pass", arguments))
    };
    let conf = directory.path().join("supervisord.conf");
    let text = format!(
        "[unix_http_server]\nfile={at}/socket\n\
         [supervisord]\nnodaemon=true\nloglevel=critical\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={at}/pid\nchildlogdir={at}\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{at}/socket\n{}{}",
        under("enter", &format!("enter --at ipc://{at}/enter --to ipc://{at}/lap")),
        under("lap", &format!("lap --at ipc://{at}/lap --to ipc://{at}/keep")),
    );
    fs::write(&conf, text).map_err(|error| Trouble::io(format!("write {}", conf.display()), error))?;
    let start = |name: &str, arguments: &str| {
        let line = stage(name, arguments);
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        Running::start(name, command.args(words))
    };
    let keep = start("keep", &format!("keep --at ipc://{at}/keep"))?;
    let supervisord = Running::start("supervisord", Command::new("supervisord").arg("-c").arg(&conf))?;
    sleep(STEADY);
    let begun = now();
    let feed = start("feed", &format!("feed --rate {rate} --to ipc://{at}/enter"))?;
    sleep(STEADY);
    let mut windows = Vec::new();
    for _ in 0..restarts {
        let from = now();
        let mut command = Command::new("supervisorctl");
        Running::start("supervisorctl", command.arg("-c").arg(&conf).args(["restart", "lap"]))?.end()?;
        sleep(BETWEEN);
        windows.push((from, now()));
    }
    fs::write(books.join("enough"), "").map_err(|error| Trouble::io("end the sources", error))?;
    feed.end()?;
    let seconds = (now() - begun) as f64 / 1e9;
    // What is still on the way gets there in much less.
    sleep(Duration::from_secs(1));
    keep.stop()?;
    supervisord.stop()?;
    account(&books, &windows, seconds).map(Some)
}

fn account(books: &Path, windows: &[(u64, u64)], seconds: f64) -> Result<Restarts, Trouble> {
    let account = Account::read(books).map_err(|error| Trouble::io("read the books", error))?;
    let faults = account.faults("keep");
    let breaks = windows.iter().filter_map(|&(from, to)| account.longest_break("here", from, to, &["keep"]));
    let pauses: Vec<f64> = breaks.map(|(milliseconds, _)| milliseconds).collect();
    if pauses.is_empty() || faults.made == 0 {
        return Err(Trouble::Account("no records came through the plain pipeline".to_owned()));
    }
    let rate = faults.made as f64 / seconds;
    Ok(Restarts { count: windows.len(), lost: faults.lost, rate, pause: median(&pauses) })
}
