//! Which bytes the programs of a plan are, so that one that was built again is known, also where it lies in the same place
//! and has the same name.
//!
//! A program is the file that is executed, and the files of code among its arguments ([`CODE`]): who runs `python3 score.py`
//! means `score.py`. What those load in their turn isn't looked at. Of a script, the file itself is looked at, not its
//! interpreter.
//!
//! What is live has its digests beside its plan in the store. They are taken before processes are started: so a file that is
//! replaced meanwhile makes for a restart too many, never for one too few.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use waldo_compiler::{
    diff::{Action, Diff},
    plan::{Plan, Program, StageProgram},
};
use xxhash_rust::xxh3::Xxh3Default;

use crate::launcher::resolve_program;

/// The version of what is kept.
const FORMAT: u32 = 1;
/// How much of a file is read at once. Bytes.
const PIECE: usize = 1 << 20;
/// By these endings an argument that names a file is known to be code.
const CODE: [&str; 22] = [
    "awk", "bash", "cjs", "jar", "jl", "jq", "js", "lua", "mjs", "php", "pl", "py", "pyc", "pyz", "r", "rb", "sed",
    "sh", "tcl", "ts", "wasm", "zsh",
];

/// The programs of a plan's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    format: u32,
    /// Where launchers look up programs that are named without a slash.
    path: Option<String>,
    /// Server → process → digest of its program. A program that isn't there, or can't be read, has none.
    digests: BTreeMap<String, BTreeMap<String, String>>,
}

impl Programs {
    /// The programs of a plan whose namespace's root is here, as launchers find them that have this `PATH`.
    pub fn of(plan: &Plan, root: &Path, path: Option<OsString>) -> Self {
        let mut files = Files { root, path: path.as_ref(), digests: HashMap::new() };
        let mut digests: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (server, plan) in &plan.servers {
            for process in &plan.processes {
                let Program::Stage(program) = &process.program else { continue };
                if program.is_own() {
                    continue;
                }
                if let Some(digest) = files.digest_of(program) {
                    digests.entry(server.clone()).or_default().insert(process.name.clone(), digest);
                }
            }
        }
        let path = path.map(|path| path.to_string_lossy().into_owned());
        Self { format: FORMAT, path, digests }
    }

    /// The programs of a plan as they are now, as the same launchers find them.
    #[must_use]
    pub fn now(&self, plan: &Plan, root: &Path) -> Self {
        Self::of(plan, root, self.path.as_ref().map(OsString::from))
    }

    /// Whether a process's program is known.
    pub fn knows(&self, server: &str, process: &str) -> bool {
        self.digest(server, process).is_some()
    }

    /// The processes whose programs are others now: server and name. `now` is of the same plan.
    pub fn rebuilt(&self, now: &Self) -> BTreeSet<(String, String)> {
        let known = self.digests.iter().flat_map(|(server, processes)| {
            processes.iter().map(move |(process, digest)| (server, process, digest.as_str()))
        });
        // One that has vanished can't be started again: that is for those to say who are to start it.
        let is_other = |(server, process, digest): &(&String, &String, &str)| {
            now.digest(server, process).is_some_and(|now| now != *digest)
        };
        known.filter(is_other).map(|(server, process, _)| (server.clone(), process.clone())).collect()
    }

    /// What is known after a rollout from the plan of `self` to the plan of `now`: processes that go on have the program that they were
    /// started from, whatever lies there now.
    #[must_use]
    pub fn followed_by(&self, mut now: Self, diff: &Diff<'_>) -> Self {
        for change in &diff.processes {
            if matches!(change.action, Action::Keep | Action::Rewire)
                && let Some(digest) = self.digest(change.server, change.process)
            {
                let server = now.digests.entry(change.server.to_owned()).or_default();
                server.insert(change.process.to_owned(), digest.to_owned());
            }
        }
        now
    }

    fn digest(&self, server: &str, process: &str) -> Option<&str> {
        self.digests.get(server)?.get(process).map(String::as_str)
    }
}

/// Files whose digests are known; each is read once.
struct Files<'a> {
    root: &'a Path,
    path: Option<&'a OsString>,
    digests: HashMap<PathBuf, Option<u128>>,
}

impl Files<'_> {
    fn digest_of(&mut self, program: &StageProgram) -> Option<String> {
        let (name, arguments) = program.argv.split_first()?;
        let path = program.env.get("PATH").map(OsString::from);
        let executed = resolve_program(self.root, name, path.as_ref().or(self.path))?;
        let mut digest = self.digest(executed)?;
        let place = self.root.join(&program.cwd);
        for argument in arguments.iter().filter(|argument| is_code(argument)) {
            if let Some(of_code) = self.digest(place.join(argument)) {
                let mut both = Xxh3Default::new();
                both.update(&digest.to_le_bytes());
                both.update(&of_code.to_le_bytes());
                digest = both.digest128();
            }
        }
        Some(format!("{digest:032x}"))
    }

    fn digest(&mut self, path: PathBuf) -> Option<u128> {
        *self.digests.entry(path).or_insert_with_key(|path| digest(path).ok())
    }
}

fn is_code(argument: &str) -> bool {
    let ending = Path::new(argument).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| CODE.iter().any(|code| code.eq_ignore_ascii_case(ending)))
}

/// The digest of a file's bytes. Only a plain file has one.
fn digest(path: &Path) -> io::Result<u128> {
    // Asked before: opening a named pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = File::open(path)?;
    let mut hasher = Xxh3Default::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.digest128()),
            Ok(count) => hasher.update(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use waldo_compiler::{Choice, Sources, compile, diff::diff_with_programs};

    use super::*;

    /// A namespace's root with a program, a script, and a script of an interpreter's.
    struct Root(tempfile::TempDir);

    impl Root {
        fn new() -> Self {
            let root = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(root.path().join("work")).unwrap();
            root.put("feed", "\x7fELF one");
            root.put("parse", "#!/bin/sh\ncat\n");
            root.put("work/score.py", "print(1)");
            root.put("data.csv", "1,2");
            root
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn put(&self, name: &str, text: &str) {
            let path = self.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn programs(&self) -> Programs {
            Programs::of(&plan(""), self.path(), Some("/usr/bin:/bin".into()))
        }

        /// The processes that are other programs than before, once these files have been changed.
        fn rebuilt(&self, changed: &[(&str, &str)]) -> String {
            let before = self.programs();
            for (name, text) in changed {
                self.put(name, text);
            }
            names(&before.rebuilt(&before.now(&plan(""), self.path())))
        }
    }

    fn plan(more: &str) -> Plan {
        let text = format!(
            "topology: t\nflows:\n  call: {{}}\nstages:\n  feed: {{run: ./feed, out: [call]}}\n  \
             parse: {{run: ./parse data.csv, in: [call], instances: 2{more}}}\n  \
             score: {{run: sh -u score.py, cwd: work, in: [call]}}\n"
        );
        compile(&Sources::of("t.yaml", &text), Choice::Only, None).unwrap().plan
    }

    fn names(processes: &BTreeSet<(String, String)>) -> String {
        processes.iter().map(|(_, process)| process.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_program_is_another_when_its_bytes_are_wherever_it_is_written_to() {
        let root = Root::new();
        assert_eq!(root.rebuilt(&[]), "");
        assert_eq!(root.rebuilt(&[("feed", "\x7fELF two")]), "feed.0", "in place");
        fs::remove_file(root.path().join("feed")).unwrap();
        assert_eq!(root.rebuilt(&[("feed", "\x7fELF two")]), "", "what comes back isn't known to have been another");
        root.put("copy", "\x7fELF two");
        let before = root.programs();
        fs::rename(root.path().join("copy"), root.path().join("feed")).unwrap();
        assert_eq!(before.rebuilt(&root.programs()), BTreeSet::new(), "another file with the same bytes");
    }

    #[test]
    fn scripts_count_and_those_that_an_interpreter_is_given_and_data_does_not() {
        let root = Root::new();
        assert_eq!(root.rebuilt(&[("parse", "#!/bin/sh\ncat -u\n")]), "parse.0 parse.1");
        assert_eq!(root.rebuilt(&[("work/score.py", "print(2)")]), "score.0", "looked up where the program runs");
        assert_eq!(root.rebuilt(&[("data.csv", "1,3")]), "");
    }

    #[test]
    fn a_program_from_the_path_is_the_one_that_launchers_find() {
        let root = Root::new();
        let before = root.programs();
        root.put("sh", "#!/bin/sh\nexec /bin/sh \"$@\"\n");
        let path = format!("{}:/usr/bin:/bin", root.path().display());
        let of_another_shell = Programs::of(&plan(""), root.path(), Some(path.into()));
        assert_eq!(names(&before.rebuilt(&of_another_shell)), "score.0");
        assert_eq!(before.rebuilt(&before.now(&plan(""), root.path())), BTreeSet::new());
    }

    #[test]
    fn a_program_that_is_gone_or_cannot_be_read_is_not_known() {
        let root = Root::new();
        let before = root.programs();
        assert!(before.knows("here", "feed.0") && !before.knows("here", "intake"));
        fs::remove_file(root.path().join("feed")).unwrap();
        let now = root.programs();
        assert!(!now.knows("here", "feed.0") && now.knows("here", "parse.1"));
        assert_eq!(before.rebuilt(&now), BTreeSet::new());
    }

    #[test]
    fn a_process_that_goes_on_keeps_the_program_that_it_was_started_from() {
        let root = Root::new();
        let (old, new) = (plan(""), plan(", env: {MODEL: big}"));
        let live = root.programs();
        // Between the question which programs are others and the start of processes.
        let diff = diff_with_programs(&old, &new, &|_, _| false).unwrap();
        root.put("feed", "\x7fELF two");
        root.put("parse", "#!/bin/sh\ncat -u\n");
        let then = live.followed_by(live.now(&new, root.path()), &diff);
        assert_eq!(names(&then.rebuilt(&then.now(&new, root.path()))), "feed.0", "parse has been restarted since");
    }

    #[test]
    fn many_processes_of_one_program_read_it_once() {
        let root = Root::new();
        let mut plan = plan("");
        let server = plan.servers.get_mut("here").unwrap();
        let process = server.processes.iter().find(|process| process.name == "parse.0").unwrap().clone();
        server.processes = (0..1_000)
            .map(|number| waldo_compiler::plan::ProcessPlan { name: format!("p.{number}"), ..process.clone() })
            .collect();
        let mut files = Files { root: root.path(), path: None, digests: HashMap::new() };
        for process in &plan.servers["here"].processes {
            let Program::Stage(program) = &process.program else { panic!("a stage") };
            assert!(files.digest_of(program).is_some());
        }
        assert_eq!(files.digests.len(), 1);
    }
}
