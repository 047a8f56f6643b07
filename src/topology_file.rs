//! A topology's file: found, read, and what is wrong with it printed.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use waldo_compiler::{
    Diagnostics, Source,
    diagnostic::render::{Colour, render},
};

use crate::exit::{Exit, Failure};

/// The file of a directory, or of this one.
const NAME: &str = "waldo.yaml";
/// The greatest size of a topology. Bytes.
const LARGEST: u64 = 64 << 20;

/// A topology's file.
pub struct TopologyFile {
    /// What it says.
    pub source: Source,
    /// The directory that it is in, as it was named.
    pub directory: PathBuf,
}

impl TopologyFile {
    /// Reads the file that was named, `waldo.yaml` in the directory that was named, or `waldo.yaml` here.
    pub fn read(named: Option<&Path>) -> Result<Self, Failure> {
        let path = find(named)?;
        let shown = path.display();
        let mut bytes = Vec::new();
        let size = File::open(&path)
            .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
            .map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?;
        if size as u64 > LARGEST {
            return Err(Failure::new(format!("{shown} is larger than 64 MiB, which no topology is"))
                .hint("name the topology's file"));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].split(|&byte| byte == b'\n').count();
            Failure::new(format!("{shown} isn't text in UTF-8: line {line} has a byte that can't be read"))
                .hint("save it as UTF-8")
        })?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { source: Source::new(shown.to_string(), &text), directory: directory.to_owned() })
    }

    /// Prints findings to stderr, in colour on a terminal.
    pub fn print(&self, diagnostics: &Diagnostics) {
        // Nobody is left to tell if stderr is gone.
        let _ = anstream::stderr().lock().write_all(render(&self.source, diagnostics, Colour::Ansi).as_bytes());
    }

    /// Prints findings, and fails if there are errors among them, or warnings that are denied.
    pub fn judge(&self, diagnostics: &Diagnostics, deny_warnings: bool) -> Result<(), Failure> {
        self.print(diagnostics);
        let (errors, warnings) = (diagnostics.errors(), diagnostics.warnings());
        if errors == 0 && (warnings == 0 || !deny_warnings) {
            return Ok(());
        }
        let code = diagnostics.iter().find(|found| found.is_error() || errors == 0).map(|found| found.rule.code);
        let failure = Failure::new(if errors > 0 {
            format!("{} has {}", self.source.name, counted(errors, "error"))
        } else {
            format!("{} has {}, and warnings are denied", self.source.name, counted(warnings, "warning"))
        });
        Err(match code {
            Some(code) => failure.hint(format!("`waldo explain {code}` says more")),
            None => failure,
        })
    }
}

/// A number and its noun: "1 error", "2 errors".
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = match named {
        None => PathBuf::from(NAME),
        Some(path) if path.is_dir() => path.join(NAME),
        Some(path) => path.to_owned(),
    };
    if path.exists() {
        return Ok(path);
    }
    Err(match named {
        None => Failure::new("there is no waldo.yaml here").hint("name a topology's file or directory"),
        Some(directory) if directory.is_dir() => {
            Failure::new(format!("there is no waldo.yaml in {}", directory.display())).hint("name the topology's file")
        }
        Some(file) => Failure::new(format!("there is no file or directory {}", file.display())),
    }
    .exit(Exit::Error))
}
