//! Samples of what a portal has rejected, for a person to look at: JSON lines in two files that take turns, so that the
//! newest are there and they never grow beyond [`FILE`] each.
//!
//! Counting doesn't depend on it: of a flood of one kind only [`EACH`] a second are kept.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// How much of a message is kept. Bytes.
pub const SAMPLE: usize = 256;
/// How large each of the two files may get. Bytes.
pub const FILE: u64 = 512 << 10;
/// How many are kept of each reason, and of how many reasons, in [`WINDOW`].
const EACH: u32 = 10;
const REASONS: usize = 32;
const WINDOW: Duration = Duration::from_secs(1);
/// The longest reason. Characters.
const REASON: usize = 200;

/// The file that is written.
const NOW: &str = "rejects";
/// The file before.
const BEFORE: &str = "rejects.before";

/// What has been rejected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rejected<'a> {
    /// The address that it came from, if that is known.
    pub peer: Option<SocketAddr>,
    /// `server/process`, if it came by a link and said so.
    pub sender: Option<&'a str>,
    /// The flow that it was for, if it said so.
    pub flow: Option<&'a str>,
    /// Why.
    pub reason: &'a str,
    /// How long it was. Bytes.
    pub size: u64,
    /// What there is of it.
    pub sample: &'a [u8],
}

/// A sample as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub at: u64,
    /// The address that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// `server/process`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Why.
    pub reason: String,
    /// How long it was. Bytes.
    pub bytes: u64,
    /// Its beginning, if that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Else in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

impl Sample {
    fn of(rejected: &Rejected<'_>) -> Self {
        let beginning = &rejected.sample[..rejected.sample.len().min(SAMPLE)];
        let (text, hex) = match text(beginning) {
            Some(text) => (Some(text.to_owned()), None),
            None => (None, Some(hex(beginning))),
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            at: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            peer: rejected.peer.map(|peer| peer.to_string()),
            sender: rejected.sender.map(str::to_owned),
            flow: rejected.flow.map(str::to_owned),
            reason: rejected.reason.chars().take(REASON).collect(),
            bytes: rejected.size,
            text,
            hex,
        }
    }
}

/// The text that the bytes are, if they are: of a character that was cut off at the end nothing is left.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    text.chars().all(|one| !one.is_control() || matches!(one, '\t' | '\n' | '\r')).then_some(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // A String takes everything.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Where rejected messages are kept.
pub struct Quarantine {
    directory: PathBuf,
    written: u64,
    window: Instant,
    kept: HashMap<String, u32>,
}

impl Quarantine {
    /// A quarantine in this directory; its files are made when they are first needed.
    pub fn new(directory: PathBuf) -> Self {
        let written = fs::metadata(directory.join(NOW)).map_or(0, |metadata| metadata.len());
        Self { directory, written, window: Instant::now(), kept: HashMap::new() }
    }

    /// Keeps the beginning of a message, unless enough of its kind has been kept.
    pub fn keep(&mut self, rejected: &Rejected<'_>) {
        let now = Instant::now();
        if now.duration_since(self.window) >= WINDOW {
            self.window = now;
            self.kept.clear();
        }
        let reasons = self.kept.len();
        match self.kept.get_mut(rejected.reason) {
            Some(kept) if *kept >= EACH => return,
            Some(kept) => *kept += 1,
            None if reasons >= REASONS => return,
            None => drop(self.kept.insert(rejected.reason.to_owned(), 1)),
        }
        // A disk that refuses takes nothing from the portal but this sample.
        let _ = self.write(&Sample::of(rejected));
    }

    fn write(&mut self, sample: &Sample) -> io::Result<()> {
        let mut line = serde_json::to_vec(sample)?;
        line.push(b'\n');
        fs::create_dir_all(&self.directory)?;
        let file = self.directory.join(NOW);
        if self.written > 0 && self.written + line.len() as u64 > FILE {
            fs::rename(&file, self.directory.join(BEFORE))?;
            self.written = 0;
        }
        OpenOptions::new().create(true).append(true).open(&file)?.write_all(&line)?;
        self.written += line.len() as u64;
        Ok(())
    }
}

/// What a portal whose spool is in this directory has kept, the oldest first. What isn't a sample is passed over: a portal
/// that is killed may leave half a line.
pub fn samples(directory: &Path) -> Vec<Sample> {
    let files = [BEFORE, NOW].into_iter().filter_map(|name| File::open(directory.join(name)).ok());
    let lines = files.flat_map(|file| BufReader::new(file).split(b'\n').map_while(Result::ok));
    lines.filter_map(|line| serde_json::from_slice(&line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_flood_are_few_and_files_stay_small() {
        let directory = tempfile::tempdir().unwrap();
        let mut quarantine = Quarantine::new(directory.path().join("spool"));
        let spool = directory.path().join("spool");
        for _ in 0..10_000 {
            quarantine.keep(&Rejected { reason: "no key", size: 3, sample: b"abc", ..Rejected::default() });
        }
        assert!(samples(&spool).len() <= EACH as usize * 3, "{}", samples(&spool).len());
        // However much is kept in all.
        for number in 0..20_000_u64 {
            quarantine.kept.clear();
            quarantine.keep(&Rejected { reason: "no key", size: number, sample: &[b'x'; 1000], ..Rejected::default() });
        }
        for name in [NOW, BEFORE] {
            assert!(fs::metadata(spool.join(name)).unwrap().len() <= FILE, "{name}");
        }
        let kept = samples(&spool);
        assert_eq!(kept.last().unwrap().bytes, 19_999, "the newest are there");
        assert!(kept.is_sorted_by_key(|sample| sample.bytes), "in order");
    }

    #[test]
    fn what_is_text_is_kept_as_text_and_the_rest_in_hexadecimal() {
        let of = |sample: &[u8]| {
            let sample = Sample::of(&Rejected { sample, ..Rejected::default() });
            (sample.text, sample.hex)
        };
        assert_eq!(of("größer\t1\n".as_bytes()), (Some("größer\t1\n".into()), None));
        assert_eq!(of(b"\xff\x00\x7f"), (None, Some("ff007f".into())));
        assert_eq!(of(b"\x1b[31m"), (None, Some("1b5b33316d".into())));
        let cut = "ü".repeat(SAMPLE);
        assert_eq!(of(cut.as_bytes()).0.unwrap().len(), SAMPLE);
    }
}
