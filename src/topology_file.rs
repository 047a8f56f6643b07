//! A topology's files: found, read, and what is wrong with them printed.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use waldo_compiler::{
    Diagnostics, Source, Sources,
    diagnostic::render::{Colour, render},
    source::Environment,
};

use crate::exit::{Exit, Failure};

/// The file of a directory, or of this one.
const NAME: &str = "waldo.yaml";
/// The greatest size of a topology. Bytes.
const LARGEST: u64 = 64 << 20;

/// A topology's files.
pub struct TopologyFile {
    /// What people call them.
    pub name: String,
    /// What they say.
    pub sources: Sources,
    /// The directory that the first is in, as it was named.
    pub directory: PathBuf,
}

/// This process's environment, and the files of this machine.
struct Here;

impl Environment for Here {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn variables(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }

    fn include(&self, from: &str, pattern: &str) -> Result<Vec<Source>, String> {
        let directory = Path::new(from).parent().unwrap_or(Path::new(""));
        // What the directory is called is no pattern.
        let directory = glob::Pattern::escape(&directory.to_string_lossy());
        let whole = Path::new(&directory).join(pattern);
        let paths = glob::glob(&whole.to_string_lossy()).map_err(|error| format!("no pattern: {}", error.msg))?;
        let mut sources = Vec::new();
        for path in paths {
            let path = path.map_err(|error| format!("cannot read {}: {}", error.path().display(), error.error()))?;
            sources.push(read(&path).map_err(|failure| failure.message)?);
        }
        Ok(sources)
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
        let given = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let name = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" + ");
        let directory = paths[0].parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { name, directory: directory.to_owned(), sources: Sources::read(given, &Here) })
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

/// Reads one file.
fn read(path: &Path) -> Result<Source, Failure> {
    let shown = path.display();
    let kind = std::fs::metadata(path).map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?;
    if !kind.is_file() {
        // A pipe would keep us waiting, a device might never end.
        return Err(Failure::new(format!("{shown} is no file")).hint("name the topology's file, or its directory"));
    }
    let mut bytes = Vec::new();
    let size = File::open(path)
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
    Ok(Source::new(shown.to_string(), &text))
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
