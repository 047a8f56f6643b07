//! `waldo.h` is what cbindgen makes of the library.

use std::{env, fs, path::Path};

#[test]
fn the_header_is_the_librarys() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_src(root.join("src/lib.rs")).with_config(config);
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let header = root.join("waldo.h");
    if env::var_os("REWRITE").is_some() {
        fs::write(&header, &made).unwrap();
    }
    let there = fs::read_to_string(&header).unwrap_or_default();
    assert!(there == made, "{} isn't what src/lib.rs says: run `REWRITE=1 cargo test -p waldo-c`", header.display());
}
