//! The idle proof's time: over the pages of a server with many processes, beside a program that reads the page files.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    time::Instant,
};

use waldo_runtime::idle::{Pages, Scope};
use waldo_sdk::page::{Kind, Page};

use crate::{
    Trouble,
    figure::{Figure, Goal, Subject},
};

/// Proofs of which a run takes the median.
const PROOFS: usize = 50;
/// More than the processor's caches hold. Bytes.
const LARGE: usize = 64 << 20;

/// The pages of one server: a portal that delivers to every other process, each of which sends to three portals.
struct Server {
    directory: tempfile::TempDir,
    pages: Pages,
    files: Vec<PathBuf>,
}

impl Server {
    fn new(processes: usize) -> Result<Self, Trouble> {
        let failed = |error| Trouble::io("make counters pages", error);
        let directory = tempfile::tempdir().map_err(failed)?;
        let mut server = Self { directory, pages: Pages::new("s1"), files: Vec::new() };
        let portal = server.add("relay", 2 * processes)?;
        portal.slot(Kind::Spool, "visit@visit").map_err(failed)?.add_sent(7 * (processes as u64 - 1));
        portal.slot(Kind::Spool, "visit@visit").map_err(failed)?.add_done(7 * (processes as u64 - 1));
        for number in 0..processes - 1 {
            let process = format!("visit.{number}");
            portal.slot(Kind::Sent, &format!("visit>{process}")).map_err(failed)?.add_sent(7);
            let page = server.add(&process, 20)?;
            page.slot(Kind::Done, "visit<relay").map_err(failed)?.add_done(7);
            for other in ["s1", "s2", "s3"] {
                let link = page.slot(Kind::Link, &format!("visit>{other}/relay")).map_err(failed)?;
                link.add_sent(5);
                link.add_done(5);
            }
        }
        Ok(server)
    }

    fn add(&mut self, process: &str, capacity: usize) -> Result<Page, Trouble> {
        let path = self.directory.path().join(process);
        let page = Page::create(&path, capacity).map_err(|error| Trouble::io("make a counters page", error))?;
        page.begin_incarnation(1);
        self.pages.watch(process, page.clone());
        self.files.push(path);
        Ok(page)
    }

    fn proof(&mut self) -> f64 {
        let begun = Instant::now();
        let verdict = self.pages.prove(Scope::All);
        let took = begun.elapsed();
        assert!(verdict.is_idle(), "the bench's pages are of an idle server: {verdict}");
        took.as_secs_f64() * 1e6
    }

    /// What a program does that knows the pages' format and keeps nothing: reads every file, twice.
    fn plain(&self) -> Result<f64, Trouble> {
        let begun = Instant::now();
        for _ in ["done", "sent"] {
            for file in &self.files {
                black_box(read(file)?);
            }
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Trouble> {
    fs::read(file).map_err(|error| Trouble::io(format!("read {}", file.display()), error))
}

/// Pushes everything else out of the processor's caches.
fn fill_caches(large: &mut [u8]) {
    for byte in large.iter_mut().step_by(64) {
        *byte = byte.wrapping_add(1);
    }
    black_box(large);
}

/// The time of a proof over the pages of so many processes.
pub fn measure(processes: usize, runs: usize) -> Result<Figure, Trouble> {
    let mut server = Server::new(processes)?;
    let mut large = vec![0; LARGE];
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    server.proof();
    for _ in 0..runs {
        let mut proofs = Vec::new();
        for _ in 0..PROOFS {
            fill_caches(&mut large);
            proofs.push(server.proof());
        }
        own.push(crate::figure::median(&proofs));
        fill_caches(&mut large);
        peer.push(server.plain()?);
    }
    let name = format!("idle proof over {processes} processes, cold caches");
    let subject = Subject { name, unit: "µs", peer: "reading the pages as files", goal: Goal::AtMost(200.0) };
    Ok(subject.figure(&own, &peer))
}
