//! `waldo explain`: what a rule is for, and how to mend what breaks it.

use waldo_compiler::{
    Severity,
    check::{RULES, rule},
};

use crate::exit::{Exit, Failure};

/// Which rule.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The rule's code, as diagnostics show it; without one, all rules are listed.
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Explains it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Some(code) = &arguments.code else {
        for rule in RULES {
            println!("{}  {}", rule.code, rule.title);
        }
        return Ok(Exit::Ok);
    };
    let rule = rule(code).ok_or_else(|| {
        Failure::new(format!("there is no rule {code}"))
            .hint("`waldo explain` without a code lists all rules")
            .exit(Exit::Usage)
    })?;
    let severity = match rule.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    println!("{} ({severity}): {}\n\n{}", rule.code, rule.title, rule.explanation);
    Ok(Exit::Ok)
}
