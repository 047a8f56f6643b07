//! Diagnostics as people read them at a terminal, in rustc's look.

use std::{collections::BTreeMap, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

use super::{Diagnostic, Diagnostics, Severity};
use crate::source::{FileId, Place, Source, Sources};

/// How many findings are printed: nobody reads more before mending some.
const MOST: usize = 100;
/// A line that is longer is shown around the mark only. Bytes.
const LONGEST_LINE: usize = 400;
/// What stands for the rest of such a line.
const CUT: &str = "…";
/// Marks that are farther from each other are shown without what lies between. Bytes.
const FARTHEST: usize = 20_000;
/// How much of such a line is shown before the mark, and at most behind its beginning. Bytes.
const AROUND: usize = 100;

/// Whether to colour what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With ANSI escapes.
    Ansi,
    /// None.
    Plain,
}

/// The diagnostics of a topology, the first ones, each followed by an empty line.
pub fn render(sources: &Sources, diagnostics: &Diagnostics, colour: Colour) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(MOST) {
        text.push_str(&render_one(sources, diagnostic, colour));
        text.push_str("\n\n");
    }
    if diagnostics.len() > MOST {
        let more = diagnostics.len() - MOST;
        text.push_str("… and ");
        text.push_str(&more.to_string());
        text.push_str(" more; `waldo check --json` tells them\n\n");
    }
    text
}

fn render_one(sources: &Sources, diagnostic: &Diagnostic, colour: Colour) -> String {
    let level = match diagnostic.rule.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let label = (!diagnostic.label.is_empty()).then_some(diagnostic.label.as_str());
    let mut marks = vec![(diagnostic.place, AnnotationKind::Primary, label)];
    let secondary = diagnostic.secondary.iter();
    marks.extend(secondary.map(|(place, label)| (*place, AnnotationKind::Context, Some(label.as_str()))));
    let mut files: Vec<FileId> = Vec::new();
    for (place, ..) in &marks {
        if !files.contains(&place.file) {
            files.push(place.file);
        }
    }
    let excerpts: Vec<Excerpt<'_>> = files
        .iter()
        .flat_map(|file| {
            let of_file: Vec<_> = marks.iter().filter(|(place, ..)| place.file == *file).collect();
            Excerpt::of(sources.file(Place::at(*file, 0)), &of_file)
        })
        .collect();
    let snippets = excerpts.iter().map(|excerpt| {
        let snippet =
            Snippet::source(excerpt.text.as_str()).path(excerpt.name.as_str()).line_start(excerpt.line).fold(true);
        let annotations = excerpt.marks.iter().map(|(span, kind, label)| kind.span(span.clone()).label(*label));
        snippet.annotations(annotations)
    });
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.rule.code);
    let mut group: Group<'_> = title.elements(snippets);
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
    let mut text = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
    for (shown, true_one) in excerpts.iter().filter_map(|excerpt| excerpt.position.as_ref()) {
        text = text.replacen(shown, true_one, 1);
    }
    text
}

type Mark<'d> = (Place, AnnotationKind, Option<&'d str>);

/// The lines of a file from the first mark to the last, with the marks in them.
struct Excerpt<'d> {
    name: String,
    line: usize,
    /// Where it is a part of a line: what the renderer takes for the mark's position, and what that is.
    position: Option<(String, String)>,
    text: String,
    marks: Vec<(Range<usize>, AnnotationKind, Option<&'d str>)>,
}

impl<'d> Excerpt<'d> {
    fn of(source: &'d Source, marks: &[&Mark<'d>]) -> Vec<Self> {
        let spans: Vec<Range<usize>> = marks.iter().map(|(place, ..)| first_line(source, *place)).collect();
        let lines: Vec<usize> = spans.iter().map(|span| source.position(span.start).line).collect();
        if lines.iter().any(|&line| source.line(line).len() > LONGEST_LINE) {
            let each = spans.iter().zip(&lines).zip(marks);
            return each.map(|((span, &line), mark)| Self::within(source, line, span, mark)).collect();
        }
        let (first, last) = (lines.iter().min().copied().unwrap_or(1), lines.iter().max().copied().unwrap_or(1));
        let range = source.line(first).start..source.line(last).end;
        if range.len() <= FARTHEST {
            let marks: Vec<_> = spans.iter().zip(marks).collect();
            return vec![Self::lines(source, first, range, &marks)];
        }
        let mut by_line: BTreeMap<usize, Vec<(&Range<usize>, &&Mark<'d>)>> = BTreeMap::new();
        for (line, mark) in lines.iter().zip(spans.iter().zip(marks)) {
            by_line.entry(*line).or_default().push(mark);
        }
        by_line.iter().map(|(&line, marks)| Self::lines(source, line, source.line(line), marks)).collect()
    }

    /// Whole lines.
    fn lines(source: &'d Source, line: usize, range: Range<usize>, marks: &[(&Range<usize>, &&Mark<'d>)]) -> Self {
        let marks = marks
            .iter()
            .map(|(span, (_, kind, label))| (span.start - range.start..span.end - range.start, *kind, *label))
            .collect();
        let text = printable(&source.text[range]);
        Self { name: one_line(&source.name), line, position: None, text, marks }
    }

    /// A part of one long line.
    fn within(source: &'d Source, line: usize, span: &Range<usize>, mark: &Mark<'d>) -> Self {
        let whole = source.line(line);
        let start = source.boundary(span.start.saturating_sub(AROUND).max(whole.start));
        let end = source.boundary((span.start + AROUND).min(whole.end));
        let cut = |at: usize| at.clamp(start, end) - start;
        let (_, kind, label) = *mark;
        let mut text = printable(&source.text[start..end]);
        let mut span = cut(span.start)..cut(span.end);
        let column = source.position(span.start + start).column;
        if start > whole.start {
            text.insert_str(0, CUT);
            span = span.start + CUT.len()..span.end + CUT.len();
        }
        if end < whole.end {
            text.push_str(CUT);
        }
        let shown = text[..span.start].chars().count() + 1;
        let name = one_line(&source.name);
        let position = (format!("{name}:{line}:{shown}"), format!("{name}:{line}:{column}"));
        Self { name, line, position: Some(position), text, marks: vec![(span, kind, label)] }
    }
}

/// The text with control characters blanked, byte for byte: a file can't write escapes to a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let keep = character == '\n' || character == '\t' || !character.is_control();
            let (shown, count) = if keep { (character, 1) } else { (' ', character.len_utf8()) };
            std::iter::repeat_n(shown, count)
        })
        .collect()
}

/// A file's name, which may hold anything.
fn one_line(name: &str) -> String {
    printable(name).replace(['\n', '\t'], " ")
}

/// The part of a place on its first line, at least one byte where there is one: a mark under twenty lines helps nobody.
fn first_line(source: &Source, place: Place) -> Range<usize> {
    let start = source.boundary(place.start);
    let line_end = source.line(source.position(start).line).end.max(start);
    let end = place.end.clamp(start, line_end);
    if end > start {
        return start..end;
    }
    let step = source.text[start..line_end].chars().next().map_or(0, char::len_utf8);
    start..start + step
}
