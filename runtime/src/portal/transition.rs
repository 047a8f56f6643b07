//! From adoption until settled: what a portal must remember of the plan before.
//!
//! It stands in the file `transition.json` beside the spool, so that a portal that dies in between knows what it was at.
//! The launcher writes it before it replaces the wiring, also for a portal that the plan before didn't have; a portal that
//! adopts a plan and doesn't find it writes it itself. The portal removes it when it has settled.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};
use waldo_sdk::{guide::Guide, wiring::Carried};

/// The version of `transition.json` that is read and written.
const FORMAT: u32 = 1;
const FILE: &str = "transition.json";

/// What the plan before said, as far as it matters to a portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The version of this file.
    pub format: u32,
    /// The generation that the rollout leads to.
    pub generation: u64,
    /// The guide of the plan before.
    pub guide: Guide,
    /// What this portal carried then; nothing if it wasn't there.
    pub flows: Vec<Carried>,
}

impl Transition {
    /// From this guide and these flows to a generation.
    pub fn new(generation: u64, guide: Guide, flows: Vec<Carried>) -> Self {
        Self { format: FORMAT, generation, guide, flows }
    }

    /// Reads it from a portal's spool directory, if it is there.
    ///
    /// # Errors
    /// If it can't be read or used.
    pub fn read(spool: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(spool.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let unusable = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let transition: Self = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
        if transition.format != FORMAT {
            return Err(unusable(format!("format {}, this program reads {FORMAT}", transition.format)));
        }
        transition.guide.check().map_err(unusable)?;
        Ok(Some(transition))
    }

    /// Writes it to a portal's spool directory, which is made if need be. The disk needn't have it: after a loss of power
    /// everything is started from nothing, and portals that are have no use for it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, spool: &Path) -> io::Result<()> {
        fs::create_dir_all(spool)?;
        let new = spool.join("transition.json.new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, spool.join(FILE))
    }

    /// Removes it from a portal's spool directory.
    ///
    /// # Errors
    /// If it stays there.
    pub fn remove(spool: &Path) -> io::Result<()> {
        match fs::remove_file(spool.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// How far a portal has come with it.
pub struct UnderWay {
    /// Endpoints for links that are still bound, though the plan doesn't have them any more.
    pub old_links: Vec<String>,
    /// The same for clients.
    pub old_clients: Vec<String>,
    /// How far its launcher has let it go.
    pub asked: Asked,
    /// Whether it has said that it has handed over.
    pub handed_over: bool,
}

/// What the launcher has asked for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// To adopt the plan.
    Adopt,
    /// To hand over.
    HandOver,
    /// To settle.
    Settle,
}
