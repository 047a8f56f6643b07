//! Lines that fit the terminal.

use std::io::IsTerminal;

/// The width without a terminal, and the narrowest that lines are broken for.
const WIDTH: usize = 80;
const NARROWEST: usize = 40;

pub const BOLD: &str = "\x1b[1m";
pub const RESET: &str = "\x1b[0m";

/// A text that grows line by line.
pub struct Text {
    text: String,
    width: usize,
}

impl Text {
    /// As wide as the terminal that stdout is.
    pub fn of_terminal() -> Self {
        let columns = || {
            let stdout = std::io::stdout();
            let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten()?;
            Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
        };
        Self::of_width(columns().unwrap_or(WIDTH))
    }

    fn of_width(width: usize) -> Self {
        Self { text: String::new(), width: width.max(NARROWEST) }
    }

    pub fn as_str(&self) -> &str {
        self.text.trim_end_matches('\n')
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// What follows is about this.
    pub fn heading(&mut self, heading: &str) {
        self.gap();
        self.line(0, &format!("{BOLD}{heading}{RESET}"));
    }

    /// A line, broken where it gets too long.
    pub fn line(&mut self, indent: usize, line: &str) {
        self.hanging(indent, indent + 2, line);
    }

    /// The same, what is broken off being indented by `further`.
    pub fn hanging(&mut self, indent: usize, further: usize, line: &str) {
        self.text.extend(std::iter::repeat_n(' ', indent));
        let mut column = indent;
        let mut at_start = true;
        // Blanks that stand together stay together: they are there to line things up.
        for word in line.split_inclusive(' ') {
            let width = shown(word.trim_end());
            if column + width > self.width && !at_start {
                self.text.truncate(self.text.trim_end().len());
                self.text.push('\n');
                self.text.extend(std::iter::repeat_n(' ', further));
                column = further;
            }
            self.text.push_str(word);
            column += shown(word);
            at_start = false;
        }
        self.text.push('\n');
    }

    /// Writes each of `things`, or, if there are more than `most` and not all are wanted, the first ones and how many more
    /// there are.
    pub fn some<T>(&mut self, all: bool, most: usize, things: &[T], write: impl Fn(&mut Self, &T)) {
        let shown = if all || things.len() <= most { things.len() } else { most };
        for thing in &things[..shown] {
            write(self, thing);
        }
        if things.len() > shown {
            self.line(2, &format!("and {} more (--all shows them)", things.len() - shown));
        }
    }
}

/// How many columns a text takes, colours aside.
fn shown(text: &str) -> usize {
    let mut in_escape = false;
    text.chars()
        .filter(|character| {
            let counts = !in_escape && *character != '\x1b';
            in_escape = (in_escape && *character != 'm') || *character == '\x1b';
            counts
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_blanks_and_colours_take_no_room() {
        let mut text = Text::of_width(40);
        text.hanging(2, 6, &format!("{BOLD}one{RESET} {}", "abcdefgh ".repeat(6)));
        let lines: Vec<&str> = text.as_str().lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("  \x1b[1mone") && lines[1].starts_with("      abcdefgh"), "{lines:?}");
        assert!(lines.iter().all(|line| shown(line) <= 40), "{lines:?}");
    }
}
