//! `waldo explain`: what a rule is for, and how to mend what breaks it.

use waldo_compiler::{
    Severity,
    check::{RULES, Rule, rule},
};

use crate::exit::{Exit, Failure};

/// Which rule.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The rule's code, as diagnostics show it; without one, all rules are listed.
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// How wide an explanation is. Columns.
const WIDTH: usize = 90;

/// Explains it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Some(code) = &arguments.code else {
        for rule in RULES {
            println!("{}", line(rule));
        }
        return Ok(Exit::Ok);
    };
    let rule = rule(code)
        .ok_or_else(|| Failure::new(format!("there is no rule `{code}`")).hint(suggestion(code)).exit(Exit::Usage))?;
    let severity = match rule.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    println!("{} ({severity}): {}\n\n{}", rule.code, rule.title, wrapped(rule.explanation));
    Ok(Exit::Ok)
}

fn line(rule: &Rule) -> String {
    let warning = if rule.severity == Severity::Warning { " (warning)" } else { "" };
    format!("{}  {}{warning}", rule.code, rule.title)
}

/// The rule that was probably meant, or where all of them are.
fn suggestion(code: &str) -> String {
    let digits: String = code.chars().filter(char::is_ascii_digit).collect();
    if let Some(meant) = digits.parse::<u32>().ok().and_then(|number| rule(&format!("W{number:03}"))) {
        return format!("did you mean {}: {}?", meant.code, meant.title);
    }
    let word = code.to_lowercase();
    let about: Vec<String> =
        RULES.iter().filter(|rule| rule.title.to_lowercase().contains(&word)).map(|rule| line(rule)).collect();
    if word.len() > 2 && !about.is_empty() {
        return format!("rules about it:\n  {}", about.join("\n  "));
    }
    "`waldo explain` without a code lists all rules".to_owned()
}

/// The text with its paragraphs wrapped; what is indented, the examples, stays as it is.
fn wrapped(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        if paragraph.starts_with(' ') {
            return paragraph.to_owned();
        }
        let mut lines: Vec<String> = Vec::new();
        for word in paragraph.split_whitespace() {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines.join("\n")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_and_examples_stay() {
        let words = "word ".repeat(40);
        let text = format!("{words}\n{words}\n\n  wrong   a:    b\n  right   a: b");
        let wrapped = wrapped(&text);
        assert!(wrapped.lines().all(|line| line.len() <= WIDTH));
        assert_eq!(wrapped.split_whitespace().filter(|word| *word == "word").count(), 80);
        assert!(wrapped.ends_with("\n\n  wrong   a:    b\n  right   a: b"));
    }

    #[test]
    fn a_mistyped_code_is_recognised() {
        for code in ["W7", "7", "E007", "w0007", "W-007"] {
            assert!(suggestion(code).starts_with("did you mean W007"), "{code}");
        }
        assert!(suggestion("guide").contains("W019  a guide names a server"));
        assert!(suggestion("W999").contains("lists all rules"));
    }
}
