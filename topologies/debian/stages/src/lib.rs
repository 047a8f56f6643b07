//! What the stages share: the index of packages, and how a stage ends with an error.

use std::{
    collections::HashMap,
    env,
    fmt::Display,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use flate2::read::GzDecoder;

/// Why a stage can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The index can't be read.
    #[error("cannot read the index {path}: {source}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The index isn't what `make-index` writes.
    #[error("the index {path}, line {line}: {what}")]
    Line {
        /// The index.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A record names a package that the index doesn't have.
    #[error("there is no package {0:?} in the index")]
    Unknown(String),
    /// `ORIGINS` is neither a number nor `all`.
    #[error("ORIGINS is {0:?}: write a number of packages, or all")]
    Origins(String),
    /// The program was started without an index.
    #[error("the first argument must be the index of packages")]
    NoIndex,
    /// The file of results can't be written.
    #[error("cannot write {path}: {source}")]
    Found {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Waldo's part.
    #[error(transparent)]
    Stage(#[from] waldo_sdk::Error),
}

/// A package, as its line in the index, from 0.
pub type Package = u32;

/// Which package needs which.
pub struct Index {
    numbers: HashMap<Box<[u8]>, Package>,
    names: Vec<Box<[u8]>>,
    /// The needs of all packages, one after the other; those of package `n` end at `ends[n]`.
    needs: Vec<Package>,
    ends: Vec<usize>,
}

impl Index {
    /// Reads the index that the program's first argument names.
    pub fn from_argument() -> Result<Self, Error> {
        let path = env::args_os().nth(1).ok_or(Error::NoIndex)?;
        Self::read(Path::new(&path))
    }

    /// Reads an index as `make-index` writes it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| GzDecoder::new(file).read_to_string(&mut text))
            .map_err(|source| Error::Index { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(line, what)| Error::Line { path: path.to_owned(), line, what })
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut lines = Vec::new();
        let mut numbers = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let (name, needs) = line.split_once('\t').ok_or((number + 1, "no tab in it".to_owned()))?;
            if numbers.insert(name.as_bytes().into(), number as Package).is_some() {
                return Err((number + 1, format!("{name} is there for a second time")));
            }
            lines.push((name, needs));
        }
        let names = lines.iter().map(|(name, _)| name.as_bytes().into()).collect();
        let (mut needs, mut ends) = (Vec::new(), Vec::with_capacity(lines.len()));
        for (number, (_, needed)) in lines.iter().enumerate() {
            for name in needed.split_ascii_whitespace() {
                needs.push(*numbers.get(name.as_bytes()).ok_or((number + 1, format!("{name} has no line")))?);
            }
            ends.push(needs.len());
        }
        Ok(Self { numbers, names, needs, ends })
    }

    /// The package of this name.
    pub fn number(&self, name: &[u8]) -> Result<Package, Error> {
        self.numbers.get(name).copied().ok_or_else(|| Error::Unknown(String::from_utf8_lossy(name).into_owned()))
    }

    /// A package's name.
    pub fn name(&self, package: Package) -> &[u8] {
        &self.names[package as usize]
    }

    /// What a package needs itself.
    pub fn needs(&self, package: Package) -> &[Package] {
        let package = package as usize;
        let start = package.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.needs[start..self.ends[package]]
    }

    /// The packages that the question is asked for: `wanted` of them (a number or `all`), evenly spaced in the index.
    pub fn origins(&self, wanted: &str) -> Result<impl Iterator<Item = Package>, Error> {
        let packages = self.names.len();
        let count = match wanted {
            "all" => packages,
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse::<usize>().map_err(|_| Error::Origins(wanted.to_owned()))?.min(packages)
            }
            _ => return Err(Error::Origins(wanted.to_owned())),
        };
        Ok((0..count).map(move |n| (n * packages / count) as Package))
    }
}

/// Says on stderr what went wrong, if something did.
pub fn end(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Index {
        Index::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../packages.tsv.gz")).expect("the shipped index")
    }

    #[test]
    fn the_shipped_index_names_what_a_package_needs() {
        let index = shipped();
        let libc6 = index.number(b"libc6").expect("libc6");
        let needs: Vec<_> = index.needs(libc6).iter().map(|&need| index.name(need)).collect();
        assert_eq!(needs, [&b"libgcc-s1"[..]]);
        assert!(index.number(b"no-such-package").is_err());
    }

    #[test]
    fn origins_are_different_and_evenly_spaced_up_to_all() {
        let index = shipped();
        for (wanted, count) in [("0", 0), ("1", 1), ("2000", 2000), ("all", index.names.len())] {
            let origins: Vec<_> = index.origins(wanted).expect(wanted).collect();
            assert_eq!(origins.len(), count, "{wanted}");
            assert!(origins.is_sorted_by(|a, b| a < b), "{wanted}");
        }
        for wanted in ["", "some", "-1", "99999999999999999999999"] {
            assert!(index.origins(wanted).is_err(), "{wanted}");
        }
    }

    #[test]
    fn a_broken_index_is_refused_with_its_line() {
        for (text, line) in [("a\t\nb", 2), ("a\t\na\t", 2), ("a\tb\n", 1)] {
            assert_eq!(Index::parse(text).err().map(|(line, _)| line), Some(line), "{text:?}");
        }
    }
}
