//! Logs of processes, kept small: a log that has grown is copied away and cut, so that whoever writes it in append
//! mode goes on without knowing. What is written between copy and cut is lost; that is at most some milliseconds' worth,
//! once in [`LARGEST`] bytes.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// A log that is larger is rotated. Bytes.
pub const LARGEST: u64 = 10 << 20;
/// How many old logs are kept, as `.1` (the newest) to `.3`.
const KEPT: u32 = 3;
/// How far back [`last_lines`] looks. Bytes.
const TAIL: u64 = 64 << 10;

/// Opens a log to be written at its end.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Rotates the log if it is larger than `largest` bytes.
pub fn rotate(path: &Path, largest: u64) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > largest => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    for number in (1..KEPT).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::copy(path, numbered(path, 1))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(true)
}

/// The path of an old log.
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// The last lines of a log, from the byte `from` on; if it is shorter than that it has been rotated since, and all of it
/// is newer.
pub fn last_lines(path: &Path, from: u64, count: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let from = if from > length { 0 } else { from };
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL))))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|&line| line.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_that_has_grown_is_copied_away_and_its_writer_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("score.0.log");
        let mut writer = open(&path).unwrap();
        for round in 0..5 {
            writeln!(writer, "round {round} {}", "x".repeat(100)).unwrap();
            assert!(rotate(&path, 50).unwrap());
        }
        assert!(!rotate(&path, 50).unwrap());
        writer.write_all(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
        for (number, round) in [(1, 4), (2, 3), (3, 2)] {
            assert!(fs::read_to_string(numbered(&path, number)).unwrap().starts_with(&format!("round {round}")));
        }
        assert!(!numbered(&path, 4).exists());
    }

    #[test]
    fn the_last_lines_begin_where_they_are_asked_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        fs::write(&path, "old\none\n\ntwo\n").unwrap();
        assert_eq!(last_lines(&path, 4, 10), ["one", "two"]);
        assert_eq!(last_lines(&path, 0, 1), ["two"]);
        assert!(last_lines(&directory.path().join("none"), 0, 1).is_empty());
        assert!(last_lines(&path, 13, 10).is_empty(), "nothing new");
        assert_eq!(last_lines(&path, 14, 1), ["two"], "the log was rotated: all that is there is newer");
    }
}
