//! Of which namespace a command is that a launcher starts: there is no topology's file to ask.

use std::path::PathBuf;

use waldo_runtime::paths::{self, Paths};

/// The namespace, by its root and names.
#[derive(Debug, clap::Args)]
pub struct OfNamespace {
    /// The namespace's root.
    #[arg(long)]
    root: PathBuf,
    /// The topology's name.
    #[arg(long)]
    topology: String,
    /// The namespace's name.
    #[arg(long)]
    namespace: String,
}

impl OfNamespace {
    /// Where it is.
    pub fn paths(&self) -> Paths {
        Paths::new(&paths::run_root(), &self.root, &self.topology, &self.namespace)
    }
}
