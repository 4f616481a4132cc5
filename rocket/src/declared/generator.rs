//! A unit for each declared pod, systemd.generator(7).
//!
//! A file that is broken makes a unit as well, which fails when it is started and says what is
//! wrong: so it stands among the failed units, and not only in the log of a boot.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::supervise::GROUP;
use super::{CONTAINER_FAILED, Set, WRONG, unit};
use crate::detach;
use crate::dirs::Dirs;

/// What the program is called when it is this generator.
const NAME: &str = "rocket-pods-generator";

/// Seconds that pods have to stop whose declaration cannot be read.
const GRACE: u64 = 30;

/// Seconds that a pod's supervisor has beside that.
const MORE: u64 = 15;

/// Where units are that start with the host.
const WANTED: &str = "multi-user.target.wants";

/// Whether the program was called under the generator's name.
pub fn is_called_so(name: impl AsRef<std::ffi::OsStr>) -> bool {
    let name = Path::new(name.as_ref());
    name.file_name().is_some_and(|name| name == NAME)
}

/// The generator: systemd gives it directories, of which the first is the usual one.
pub fn main(words: &[std::ffi::OsString]) -> ExitCode {
    let Some(directory) = words.get(1) else {
        eprintln!("{NAME}: expected a directory, as systemd gives it");
        return ExitCode::from(crate::FAILED);
    };
    match generate(&Dirs::default(), Path::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{NAME}: {error:#}");
            ExitCode::from(crate::FAILED)
        }
    }
}

/// Writes the units of all that is declared.
///
/// # Errors
/// A directory cannot be read, or a unit not be written.
pub fn generate(dirs: &Dirs, directory: &Path) -> anyhow::Result<()> {
    let set = Set::load(dirs)?;
    for declared in &set.pods {
        let about = About {
            name: &declared.pod.name,
            file: &declared.file,
            grace: declared.pod.grace,
            hash: Some(&declared.hash),
        };
        about.write(directory)?;
    }
    for broken in &set.broken {
        for problem in &broken.problems {
            eprintln!("{NAME}: {problem}");
        }
        for name in broken.names.iter().filter(|name| set.pod(name).is_none()) {
            let about = About {
                name,
                file: &broken.file,
                grace: GRACE,
                hash: None,
            };
            about.write(directory)?;
        }
    }
    Ok(())
}

/// What a unit is about.
#[derive(Debug)]
struct About<'a> {
    name: &'a str,
    file: &'a str,
    grace: u64,
    hash: Option<&'a str>,
}

impl About<'_> {
    fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let unit = unit(self.name);
        let path = directory.join(&unit);
        fs::write(&path, self.text()).with_context(|| format!("writing {}", path.display()))?;
        let wanted = directory.join(WANTED);
        fs::create_dir_all(&wanted).with_context(|| format!("creating {}", wanted.display()))?;
        let link = wanted.join(&unit);
        if link.is_symlink() {
            return Ok(());
        }
        symlink(PathBuf::from("..").join(&unit), &link)
            .with_context(|| format!("linking {}", link.display()))
    }

    /// A pod is no part of the default dependencies: a target waits for what it wants, and an
    /// image that cannot be had must not hold up the boot.
    fn text(&self) -> String {
        let Self { name, grace, .. } = self;
        let file = self.file.replace('%', "%%");
        let unit = unit(name);
        let variable = detach::UNIT;
        let timeout = grace + MORE;
        let hash = self.hash.unwrap_or("none: the file is broken");
        format!(
            "# Made by {NAME} of {file}.
[Unit]
Description=Pod {name}
Documentation=man:rocket-pods(8)
SourcePath={file}
DefaultDependencies=no
Requires=sysinit.target
Wants=network-online.target
After=sysinit.target basic.target network-online.target
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
Slice=machine.slice
Delegate=yes
DelegateSubgroup={GROUP}
KillMode=mixed
Environment={variable}={unit}
ExecStart=/usr/bin/rocket pods run {name}
TimeoutStartSec=infinity
TimeoutStopSec={timeout}
# What rocket could not do is tried again; what a container or the file is to blame for is not.
Restart=on-failure
RestartPreventExitStatus={CONTAINER_FAILED} {WRONG}
RestartSec=10
RestartSteps=5
RestartMaxDelaySec=300

[X-Rocket]
Hash={hash}
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_has_a_unit_also_one_that_is_broken() {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(root.path());
        let pods = dirs.config()[0].join("pods");
        fs::create_dir_all(&pods).unwrap();
        let good = "kind: Pod\napiVersion: v1\nmetadata: {name: web}\nspec:\n  \
                    terminationGracePeriodSeconds: 5\n  containers: [{name: c, image: example.com/x:1}]\n";
        fs::write(pods.join("a.yaml"), good).unwrap();
        fs::write(pods.join("Bad One.yaml"), "kind: [").unwrap();
        let known = good.replace("web", "shop").replace("image", "imag");
        fs::write(pods.join("c.yaml"), known).unwrap();
        let out = root.path().join("out");
        fs::create_dir(&out).unwrap();
        // systemd empties the directory; twice shows that nothing depends on it.
        generate(&dirs, &out).unwrap();
        generate(&dirs, &out).unwrap();
        for name in ["web", "bad-one", "shop"] {
            let unit = fs::read_to_string(out.join(format!("{WANTED}/{}", unit(name)))).unwrap();
            assert!(
                unit.contains(&format!("ExecStart=/usr/bin/rocket pods run {name}\n")),
                "{unit}"
            );
        }
        let web = fs::read_to_string(out.join(unit("web"))).unwrap();
        assert!(
            web.contains("\nTimeoutStopSec=20\n") && web.contains("\nHash="),
            "{web}"
        );
        assert!(web.contains("\nRestartPreventExitStatus=1 2\n"), "{web}");
    }

    #[test]
    fn it_is_known_by_its_name() {
        assert!(is_called_so(
            "/usr/lib/systemd/system-generators/rocket-pods-generator"
        ));
        assert!(!is_called_so("/usr/bin/rocket"));
    }
}
