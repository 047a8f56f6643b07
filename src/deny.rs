//! `--deny warnings`: what a command fails on besides errors.

/// What else to fail on.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Deny {
    /// Fail on warnings too.
    #[arg(long, value_name = "warnings", value_enum)]
    deny: Option<What>,
    /// The same in one word.
    #[arg(long, hide = true)]
    deny_warnings: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    /// All warnings.
    Warnings,
}

impl Deny {
    /// Whether warnings fail.
    pub fn warnings(self) -> bool {
        self.deny_warnings || matches!(self.deny, Some(What::Warnings))
    }
}
