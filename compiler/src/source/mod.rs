//! A topology's text: its files, places in them, and what a value may ask of the environment.

pub mod files;
pub mod node;
mod substitution;
pub mod yaml;

pub use files::{Environment, Sources, Unaided};

/// One file of a topology as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's name, as people know it.
    pub name: String,
    /// What it says, without a byte order mark.
    pub text: String,
    /// Which of a topology's files it is.
    pub id: FileId,
    /// Where each line but the first begins.
    lines: Vec<usize>,
}

/// One of a topology's files, by the order in which they were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u16);

/// A stretch of a file's text, in bytes, half-open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Of which file.
    pub file: FileId,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// A value that knows where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Source {
    /// A source; a byte order mark at its start is dropped.
    pub fn new(name: impl Into<String>, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let lines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1).collect();
        Self { name: name.into(), text, id: FileId::default(), lines }
    }

    /// The text at a place.
    pub fn text_at(&self, place: Place) -> &str {
        self.text.get(place.start..place.end).unwrap_or_default()
    }

    /// Line and column of a byte.
    pub fn position(&self, byte: usize) -> Position {
        let mut end = byte.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let line = self.lines.partition_point(|&start| start <= end);
        let start = if line == 0 { 0 } else { self.lines[line - 1] };
        Position { line: line + 1, column: self.text[start..end].chars().count() + 1 }
    }

    /// The bytes of a line, from 1, without its end.
    pub fn line(&self, line: usize) -> std::ops::Range<usize> {
        let start = if line <= 1 { 0 } else { self.lines.get(line - 2).copied().unwrap_or(self.text.len()) };
        let end = self.lines.get(line.max(1) - 1).map_or(self.text.len(), |next| next - 1);
        start..end.max(start)
    }
}

impl Place {
    /// A place of no length.
    pub fn at(file: FileId, byte: usize) -> Self {
        Self { file, start: byte, end: byte }
    }
}

impl<T> Located<T> {
    /// A value and where it stands.
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }

    /// The same place, another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), place: self.place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("a.yaml", "\u{feff}ab\r\ncdé f\n");
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(source.text.find('f').expect("is there")), Position { line: 2, column: 5 });
        assert_eq!(source.position(10_000), Position { line: 3, column: 1 });
        assert_eq!([1, 2, 3, 9].map(|line| &source.text[source.line(line)]), ["ab\r", "cdé f", "", ""]);
    }
}
