//! Control groups: what makes processes keep to their memory and processors. Both versions: in version 2 one directory
//! has all controllers, in version 1 each controller has a hierarchy of its own.
//!
//! Only what is below this process's own group is touched. In version 2 a group that has processes can't give controllers to
//! groups below it, so this process moves into a group of its own, `launcher`, first; where others are in its group
//! too (a terminal's session), that fails, and the limits can't be kept by a control group. Each server has a group, and in it each process.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The period within which a group may use its part of the processors. Microseconds; the kernel's own default.
const PERIOD: u64 = 100_000;
/// The least part of it that the kernel takes. Microseconds.
const LEAST_QUOTA: u64 = 1_000;
/// The group that the launcher itself moves into, in version 2.
const OWN: &str = "launcher";

/// What a control group can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// How much memory.
    Memory,
    /// How much of the processors.
    Cpu,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where this process's group is, as far as a controller goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Home {
    version: Version,
    directory: PathBuf,
}

/// A directory of control groups in which each process that is limited gets one.
#[derive(Debug)]
pub struct Groups {
    memory: Option<Home>,
    cpu: Option<Home>,
}

impl Groups {
    /// Makes ready what may be used of control groups here, for processes of the server that `name` stands for. What can't be
    /// used is left out.
    pub fn open(name: &str, wanted: &[Controller]) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (own, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
        let open = |controller| {
            let home = wanted.contains(&controller).then(|| home(&own, &mounts, controller)).flatten()?;
            home.open(name, controller)
        };
        Self { memory: open(Controller::Memory), cpu: open(Controller::Cpu) }
    }

    /// Whether processes can be limited in this by their control groups.
    pub fn can(&self, controller: Controller) -> bool {
        self.home(controller).is_some()
    }

    fn home(&self, controller: Controller) -> Option<&Home> {
        match controller {
            Controller::Memory => self.memory.as_ref(),
            Controller::Cpu => self.cpu.as_ref(),
        }
    }

    /// Makes the control groups of a process with its limits, as far as there are any; answers the directories to join. `memory`
    /// is in bytes, `cpu` in millionths of a processor.
    ///
    /// # Errors
    /// What the system refused.
    pub fn make(&self, process: &str, memory: Option<u64>, cpu: Option<u64>) -> io::Result<Vec<PathBuf>> {
        let mut groups = Vec::new();
        for (controller, limit) in [(Controller::Memory, memory), (Controller::Cpu, cpu)] {
            let (Some(home), Some(limit)) = (self.home(controller), limit) else { continue };
            let group = home.directory.join(process);
            make(&group)?;
            for (file, value) in settings(home.version, controller, limit) {
                set(&group.join(file), &value)?;
            }
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        Ok(groups)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for home in [&self.memory, &self.cpu].into_iter().flatten() {
            // Only empty groups can be removed, and only their directories: the files are the kernel's.
            for group in fs::read_dir(&home.directory).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(group.path());
            }
            let _ = fs::remove_dir(&home.directory);
        }
    }
}

/// Moves this process into a control group.
///
/// # Errors
/// What the system refused.
pub fn join(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), "0").map_err(at(group))
}

impl Home {
    /// Makes the directory for processes' groups; `None` if that isn't allowed.
    fn open(self, name: &str, controller: Controller) -> Option<Self> {
        let above = match self.version {
            Version::One => self.directory,
            Version::Two => free(self.directory, controller)?,
        };
        let directory = above.join(name);
        make(&directory).ok()?;
        if self.version == Version::Two {
            give(&directory, controller).ok()?;
        }
        Some(Self { directory, ..self })
    }
}

/// Makes the group of this process, in version 2, one whose controller groups below it may have; answers its directory.
fn free(own: PathBuf, controller: Controller) -> Option<PathBuf> {
    // The command that started this launcher, or an earlier call, may have moved it already.
    let has_moved = own.file_name().is_some_and(|name| name == OWN);
    let directory = if has_moved { own.parent()?.to_owned() } else { own };
    let available = fs::read_to_string(directory.join("cgroup.controllers")).ok()?;
    if !available.split_whitespace().any(|available| available == controller.name()) {
        return None;
    }
    let own = directory.join(OWN);
    if !has_moved {
        make(&own).and_then(|()| join(&own)).ok()?;
    }
    let given = give(&directory, controller);
    if given.is_err() && !has_moved {
        // Others are in the group that was ours: back to them.
        let _ = join(&directory);
        let _ = fs::remove_dir(&own);
    }
    given.ok().map(|()| directory)
}

fn give(directory: &Path, controller: Controller) -> io::Result<()> {
    set(&directory.join("cgroup.subtree_control"), &format!("+{}", controller.name()))
}

fn settings(version: Version, controller: Controller, limit: u64) -> Vec<(&'static str, String)> {
    // Millionths of a processor → microseconds of each period.
    let quota = (limit.saturating_mul(PERIOD) / 1_000_000).max(LEAST_QUOTA);
    match (controller, version) {
        (Controller::Memory, Version::One) => vec![("memory.limit_in_bytes", limit.to_string())],
        (Controller::Memory, Version::Two) => vec![("memory.max", limit.to_string())],
        (Controller::Cpu, Version::One) => {
            vec![("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota.to_string())]
        }
        (Controller::Cpu, Version::Two) => vec![("cpu.max", format!("{quota} {PERIOD}"))],
    }
}

/// Where a controller's hierarchy has this process: by `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn home(own: &str, mounts: &str, controller: Controller) -> Option<Home> {
    // "6:memory:/path", in version 2 "0::/path".
    let groups = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let has = |list: &str| list.split(',').any(|name| name == controller.name());
    let (version, path) =
        groups.clone().find(|(controllers, _)| has(controllers)).map(|(_, path)| (Version::One, path)).or_else(
            || groups.clone().find(|(controllers, _)| controllers.is_empty()).map(|(_, path)| (Version::Two, path)),
        )?;
    // "36 35 0:32 ROOT MOUNTED options … - cgroup source options,memory"
    let mount = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let right = match version {
            Version::One => kind == "cgroup" && has(options),
            Version::Two => kind == "cgroup2",
        };
        let mut fields = mount.split(' ').skip(3);
        right.then_some((fields.next()?, fields.next()?))
    });
    let (root, mounted) = mount?;
    // A container sees a part of the hierarchy, and its path as the host or as itself does.
    let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
    Some(Home { version, directory: Path::new(mounted).join(below.trim_start_matches('/')) })
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(group)(error)),
        _ => Ok(()),
    }
}

fn set(file: &Path, value: &str) -> io::Result<()> {
    fs::write(file, value).map_err(at(file))
}

fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controllers_own_hierarchy_comes_before_the_one_of_all() {
        let own = "6:cpu,cpuacct:/user\n4:memory:/box\n0::/user.slice/one.scope\n";
        let mounts = "\
31 25 0:29 / /sys/fs/cgroup/unified rw,relatime shared:1 - cgroup2 cgroup2 rw
35 31 0:32 /box /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
";
        let home = |own: &str, controller| home(own, mounts, controller).map(|home| (home.version, home.directory));
        assert_eq!(home(own, Controller::Memory), Some((Version::One, "/sys/fs/cgroup/memory/".into())));
        assert_eq!(home(own, Controller::Cpu), Some((Version::One, "/sys/fs/cgroup/cpu,cpuacct/user".into())));
        let unified = "0::/user.slice/one.scope\n";
        let expected = Some((Version::Two, "/sys/fs/cgroup/unified/user.slice/one.scope".into()));
        assert_eq!(home(unified, Controller::Cpu), expected);
        assert_eq!(home("", Controller::Cpu), None);
    }

    #[test]
    fn limits_are_written_as_each_version_has_them() {
        let half = |version| settings(version, Controller::Cpu, 500_000);
        assert_eq!(half(Version::Two), [("cpu.max", "50000 100000".to_owned())]);
        let expected = [("cpu.cfs_period_us", "100000".to_owned()), ("cpu.cfs_quota_us", "50000".to_owned())];
        assert_eq!(half(Version::One), expected);
        assert_eq!(settings(Version::Two, Controller::Cpu, 1), [("cpu.max", "1000 100000".to_owned())], "the least");
        assert_eq!(settings(Version::Two, Controller::Memory, 4096), [("memory.max", "4096".to_owned())]);
    }

    #[test]
    fn a_group_of_version_2_is_made_beside_the_launchers_own_and_only_with_the_controllers_that_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("cgroup.controllers"), "cpuset cpu\n").unwrap();
        let home = |directory: &Path| Home { version: Version::Two, directory: directory.to_owned() };
        assert_eq!(home(root).open("calls", Controller::Memory), None);
        let cpu = home(root).open("calls", Controller::Cpu);
        assert_eq!(cpu, Some(home(&root.join("calls"))));
        assert_eq!(fs::read_to_string(root.join("cgroup.subtree_control")).unwrap(), "+cpu");
        assert_eq!(fs::read_to_string(root.join("launcher/cgroup.procs")).unwrap(), "0");
        // Seen from there, it is the same place.
        assert_eq!(home(&root.join("launcher")).open("calls", Controller::Cpu), cpu);
        let groups = Groups { memory: None, cpu };
        assert!(groups.can(Controller::Cpu) && !groups.can(Controller::Memory));
        let group = root.join("calls/score.0");
        assert_eq!(groups.make("score.0", Some(1 << 30), Some(2_000_000)).unwrap(), vec![group.clone()]);
        assert_eq!(fs::read_to_string(group.join("cpu.max")).unwrap(), "200000 100000");
        assert!(!group.join("memory.max").exists());
    }
}
