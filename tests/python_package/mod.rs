//! The Python package as cargo has built it for this test, in a playground's own directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

use crate::playground::{self, Playground};

/// Builds the package and puts it where [`with`] lets Python look for it.
pub fn install(playground: &Playground) {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| playground::build(&["--package", "waldo-python"]));
    let package = packages(playground).join("waldo");
    fs::create_dir_all(&package).expect("a directory");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/python/waldo");
    for file in fs::read_dir(from).expect("the package").map(|file| file.expect("a file")) {
        if file.file_type().expect("a type").is_file() {
            fs::copy(file.path(), package.join(file.file_name())).expect("a copy");
        }
    }
    let built = playground::waldo().with_file_name("lib_waldo.so");
    fs::copy(built, package.join("_waldo.abi3.so")).expect("the module");
}

fn packages(playground: &Playground) -> PathBuf {
    playground.path().join("packages")
}

/// A command whose Python finds the package.
pub fn with(playground: &Playground, mut command: Command) -> Command {
    command.env("PYTHONPATH", packages(playground)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}
