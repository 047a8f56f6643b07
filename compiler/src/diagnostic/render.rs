//! Diagnostics as people read them at a terminal, in rustc's look.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

use super::{Diagnostic, Diagnostics, Severity};
use crate::source::{Place, Source};

/// Whether to colour what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With ANSI escapes.
    Ansi,
    /// None.
    Plain,
}

/// All diagnostics of a source, each followed by an empty line.
pub fn render(source: &Source, diagnostics: &Diagnostics, colour: Colour) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&render_one(source, diagnostic, colour));
        text.push_str("\n\n");
    }
    text
}

fn render_one(source: &Source, diagnostic: &Diagnostic, colour: Colour) -> String {
    let level = match diagnostic.rule.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let text = printable(&source.text);
    let mut snippet = Snippet::source(text.as_str()).path(source.name.as_str()).fold(true);
    snippet = snippet.annotation(
        AnnotationKind::Primary
            .span(first_line(source, diagnostic.place))
            .label((!diagnostic.label.is_empty()).then_some(diagnostic.label.as_str())),
    );
    for (place, label) in &diagnostic.secondary {
        snippet = snippet.annotation(AnnotationKind::Context.span(first_line(source, *place)).label(label.as_str()));
    }
    let mut group: Group<'_> =
        level.primary_title(diagnostic.message.as_str()).id(diagnostic.rule.code).element(snippet);
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = match colour {
        Colour::Ansi => Renderer::styled(),
        Colour::Plain => Renderer::plain(),
    };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// The text with control characters blanked, byte for byte: a file can't write escapes to a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let keep = character == '\n' || character == '\t' || !character.is_control();
            let (shown, count) = if keep { (character, 1) } else { (' ', character.len_utf8()) };
            std::iter::repeat_n(shown, count)
        })
        .collect()
}

/// The part of a place on its first line, at least one byte where there is one: a mark under twenty lines helps nobody.
fn first_line(source: &Source, place: Place) -> Range<usize> {
    let length = source.text.len();
    let start = place.start.min(length);
    let line_end = source.text[start..].find('\n').map_or(length, |newline| start + newline);
    let end = place.end.clamp(start, line_end);
    if end > start {
        return start..end;
    }
    let step = source.text[start..line_end].chars().next().map_or(0, char::len_utf8);
    start..start + step
}
