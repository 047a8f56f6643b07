//! The build directory: what a plan becomes on disk.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use waldo_compiler::{
    Templates,
    plan::Plan,
    render::{self, Sink},
};

use crate::exit::Failure;

/// The file that tells a build from other directories. It is written last.
const PLAN: &str = "plan.json";

/// Writes a build: an earlier one in the directory is replaced, anything else is left alone. `plan.json` comes last and whole:
/// who finds it finds the rest. Answers how many files there are.
pub fn write(plan: &Plan, templates: &Templates, directory: &Path) -> Result<usize, Failure> {
    let unwritable = |error: io::Error| {
        Failure::new(format!("cannot write the build directory {}: {error}", directory.display()))
            .hint("choose another with `waldo compile --output DIR`")
    };
    let is_build = directory.join(PLAN).exists() || directory.join("plan.json.new").exists();
    let is_empty = fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
    if !is_build && !is_empty {
        return Err(Failure::new(format!("{} has other things in it than a build", directory.display()))
            .hint("name a new or empty directory"));
    }
    if directory.join("servers").exists() {
        fs::remove_dir_all(directory.join("servers")).map_err(unwritable)?;
    }
    fs::create_dir_all(directory).map_err(unwritable)?;
    let mut build = Build { directory, made: PathBuf::new(), files: 0 };
    match render::render(plan, templates, &mut build) {
        Ok(()) => Ok(build.files),
        Err(render::Failure::Io(error)) => Err(unwritable(error)),
        Err(render::Failure::Template(flaw)) => Err(Failure::new(flaw.to_string()).hint(flaw.help)),
    }
}

struct Build<'d> {
    directory: &'d Path,
    /// The directory that was made last.
    made: PathBuf,
    files: usize,
}

impl Sink for Build<'_> {
    fn file(
        &mut self,
        path: &str,
        executable: bool,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let whole = self.directory.join(path);
        let parent = whole.parent().unwrap_or(self.directory);
        if parent != self.made {
            fs::create_dir_all(parent)?;
            parent.clone_into(&mut self.made);
        }
        let new = if path == PLAN { self.directory.join("plan.json.new") } else { whole.clone() };
        let mut file = BufWriter::with_capacity(64 * 1024, File::create(&new)?);
        write(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        if executable {
            file.set_permissions(fs::Permissions::from_mode(0o755))?;
        }
        drop(file);
        if path == PLAN {
            fs::rename(&new, &whole)?;
        }
        self.files += 1;
        Ok(())
    }
}
