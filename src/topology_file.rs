//! A topology's files: found, read, and what is wrong with them printed.

use std::{
    collections::BTreeMap,
    env::VarError,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use glob::MatchOptions;
use waldo_compiler::{
    Diagnostics, Source, Sources, Templates,
    diagnostic::render::{Colour, render},
    source::{Environment, MOST_BYTES, MOST_FILES, Missing, Recorded},
};

use crate::{
    exit::{Exit, Failure},
    numbers::grouped,
};

/// The file of a directory, or of this one.
pub const NAME: &str = "waldo.yaml";

/// A topology's files.
pub struct TopologyFile {
    /// What people call them.
    pub name: String,
    /// What they say.
    pub sources: Sources,
    /// What they were read from.
    pub recorded: Recorded,
    /// The directory that the first is in, as it was named.
    pub directory: PathBuf,
}

/// This process's environment, and the files of this machine.
struct Here;

impl Environment for Here {
    fn variable(&self, name: &str) -> Result<String, Missing> {
        std::env::var(name).map_err(|error| match error {
            VarError::NotPresent => Missing::Unset,
            VarError::NotUnicode(_) => Missing::NotText,
        })
    }

    fn variables(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }

    fn matching(&self, from: &str, pattern: &str) -> Result<Vec<String>, String> {
        let directory = Path::new(from).parent().unwrap_or(Path::new(""));
        // What the directory is called is no pattern.
        let directory = glob::Pattern::escape(&directory.to_string_lossy());
        let whole = Path::new(&directory).join(pattern);
        // As in a shell, what editors hide beside a file isn't meant.
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
        let paths = glob::glob_with(&whole.to_string_lossy(), options)
            .map_err(|error| format!("it is no pattern: {}", error.msg))?;
        let mut matching = Vec::new();
        for path in paths {
            let path = path.map_err(|error| format!("cannot read {}: {}", error.path().display(), error.error()))?;
            matching.push(
                path.into_os_string()
                    .into_string()
                    .map_err(|path| format!("the name of {} isn't text in UTF-8", path.display()))?,
            );
            if matching.len() > MOST_FILES {
                return Err(format!("it names more than {} files", grouped(MOST_FILES as u64)));
            }
        }
        matching.sort();
        Ok(matching)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        read(Path::new(name)).map_err(|failure| failure.message)
    }

    fn identity(&self, name: &str) -> String {
        std::fs::canonicalize(name).map_or_else(|_| name.to_owned(), |path| path.to_string_lossy().into_owned())
    }
}

impl TopologyFile {
    /// Reads the files that were named, or `waldo.yaml` in the directories that were named, or `waldo.yaml` here; and what they
    /// include.
    pub fn read(named: &[PathBuf]) -> Result<Self, Failure> {
        let paths = match named {
            [] => vec![find(None)?],
            named => named.iter().map(|path| find(Some(path))).collect::<Result<_, _>>()?,
        };
        let mut given = Vec::new();
        let mut bytes = 0;
        // What is beyond the limits the compiler refuses, but needn't be in memory for that.
        for path in paths.iter().take(MOST_FILES + 1) {
            let source = Source::of_bytes(path.display().to_string(), read(path)?);
            bytes += source.text.len();
            given.push(source);
            if bytes > MOST_BYTES {
                break;
            }
        }
        let name = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" + ");
        let directory = paths[0].parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (sources, recorded) = Recorded::read(given, &Here);
        Ok(Self { name, directory: directory.to_owned(), sources, recorded })
    }

    /// Waldo's templates, and those in `templates/` beside the topology in place of them.
    pub fn templates(&self) -> Result<Templates, Failure> {
        let directory = self.directory.join("templates");
        let mut overrides = BTreeMap::new();
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "hbs") {
                continue;
            }
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Failure::new(format!("cannot read the template {}: {error}", path.display())))?;
            overrides.insert(name.to_owned(), text);
        }
        Templates::with(&overrides)
            .map_err(|flaw| Failure::new(format!("in {}: {flaw}", directory.display())).hint(flaw.help))
    }

    /// Prints findings to stderr, in colour on a terminal.
    pub fn print(&self, diagnostics: &Diagnostics) {
        // Nobody is left to tell if stderr is gone.
        let _ = anstream::stderr().lock().write_all(render(&self.sources, diagnostics, Colour::Ansi).as_bytes());
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
            format!("{} has {}", self.name, counted(errors, "error"))
        } else {
            format!("{} has {}, and warnings are denied", self.name, counted(warnings, "warning"))
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

/// Reads one file, or as much of it as is more than a topology has.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let unreadable = |error: io::Error| Failure::new(format!("cannot read {shown}: {error}"));
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if !kind.is_file() {
        // A pipe would keep us waiting, a device might never end.
        return Err(Failure::new(format!("{shown} is no file")).hint("name the topology's file, or its directory"));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    Ok(bytes)
}

fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = match named {
        None => PathBuf::from(NAME),
        Some(path) if path.is_dir() => path.join(NAME),
        Some(path) => path.to_owned(),
    };
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // What else is wrong with it, reading tells.
        _ => return Ok(path),
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
