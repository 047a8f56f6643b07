//! Writes files in place of others, each at once.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
};

use crate::exit::Failure;

/// What some editors put before a text, and compilers drop.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Writes texts into files that are there.
pub fn write(files: &BTreeMap<String, String>) -> Result<(), Failure> {
    files.iter().try_for_each(|(name, text)| {
        replace(Path::new(name), text).map_err(|error| Failure::new(format!("cannot write {name}: {error}")))
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    // The file that a link names, not the link.
    let path = fs::canonicalize(path)?;
    let is_marked = fs::read(&path)?.starts_with(BYTE_ORDER_MARK);
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}.new", std::process::id()));
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.write_all(if is_marked { BYTE_ORDER_MARK } else { b"" })?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
