//! Samples of what a portal has rejected, for a person to look at: a file of JSON lines that doesn't grow without end.

use std::{fs::OpenOptions, io::Write, path::PathBuf};

/// How much of a message is kept. Bytes.
const SAMPLE: usize = 256;
/// How large the file may get. Bytes.
const FILE: u64 = 1024 * 1024;

/// Where rejected messages are kept.
pub struct Quarantine {
    path: PathBuf,
    written: u64,
}

impl Quarantine {
    /// A quarantine in this file, which is made when it is first needed.
    pub fn new(path: PathBuf) -> Self {
        let written = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, written }
    }

    /// Keeps the beginning of a message, if there is room. The count of rejected records doesn't depend on it.
    pub fn keep(&mut self, from: &str, reason: &str, message: &[u8]) {
        if self.written >= FILE {
            return;
        }
        let sample = String::from_utf8_lossy(&message[..message.len().min(SAMPLE)]);
        let entry = serde_json::json!({"from": from, "reason": reason, "bytes": message.len(), "sample": sample});
        let line = format!("{entry}\n");
        let file = self
            .path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| OpenOptions::new().create(true).append(true).open(&self.path));
        if file.and_then(|mut file| file.write_all(line.as_bytes())).is_ok() {
            self.written += line.len() as u64;
        }
    }
}
