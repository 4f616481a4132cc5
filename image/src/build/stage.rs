//! The files of `/usr`: the system tree's, completed and made hermetic.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Job;
use super::guest::Programs;
use crate::cache::walk;
use crate::tools::{remove_tree, run_logged};

/// Where the release's defaults for `/etc` live: the overlay's lower layer.
pub const ETC: &str = "usr/share/ballast/etc";

/// What the build left in `/etc` and no host uses.
const ETC_LEFTOVERS: [&str; 48] = [
    ".pwd.lock",
    "apt",
    "cron.d",
    "cron.daily",
    "debconf.conf",
    "dhcp",
    "dpkg",
    "e2scrub.conf",
    "group-",
    "gshadow-",
    "hostname",
    "init.d",
    "initramfs-tools",
    "kernel",
    "ld.so.conf.d/fakeroot",
    "logcheck",
    "machine-id",
    "mtab",
    "passwd-",
    "perl",
    "python3",
    "python3.13",
    "rc0.d",
    "rc1.d",
    "rc2.d",
    "rc3.d",
    "rc4.d",
    "rc5.d",
    "rc6.d",
    "rcS.d",
    "runit",
    "shadow-",
    "subgid-",
    "subuid-",
    "sv",
    "ufw",
    "modules-load.d/modules.conf",
    // Without these a host has the same settings, and its config can write them without
    // being asked whether it means to overwrite them.
    "localtime",
    "systemd/journald.conf",
    "systemd/logind.conf",
    "systemd/networkd.conf",
    "systemd/pstore.conf",
    "systemd/resolved.conf",
    "systemd/sleep.conf",
    "systemd/system.conf",
    "systemd/timesyncd.conf",
    "systemd/user.conf",
    "vconsole.conf",
];

/// Where what an operator installs below `/usr/local` is kept, seen from there.
const USR_LOCAL: &str = "../var/usrlocal";

/// Lays out everything under `STAGE/usr` and returns `STAGE`.
pub fn make(job: &Job, tree: &Path, programs: &Programs) -> Result<PathBuf> {
    let stage = job.scratch.join("stage");
    fs::create_dir_all(stage.join("usr/share/ballast"))?;
    // depmod looks below `lib`.
    std::os::unix::fs::symlink("usr/lib", stage.join("lib"))?;
    copy(&tree.join("usr"), &stage)?;
    copy(&tree.join("etc"), &stage.join("usr/share/ballast"))?;
    if let Some(overlay) = &job.overlay {
        copy(&overlay.join("usr"), &stage)?;
    }
    trim_etc(&stage.join(ETC))?;
    give_away_local(&stage.join("usr/local"))?;
    modules(job, &stage)?;
    fs::write(stage.join("usr/lib/os-release"), os_release(&job.version))?;
    for program in [
        &programs.ignition,
        &programs.update_engine,
        &programs.updatectl,
        &programs.locksmithd,
        &programs.locksmithctl,
        &programs.rocket,
    ] {
        let name = program.file_name().unwrap_or_default();
        install(program, &stage.join("usr/bin").join(name))?;
    }
    for program in [
        &programs.updatectl,
        &programs.locksmithctl,
        &programs.rocket,
    ] {
        generate(job, &stage, program)?;
    }
    let root = "usr/share/ballast/tuf/root.json";
    fs::create_dir_all(stage.join("usr/share/ballast/tuf"))?;
    fs::write(stage.join(root), &job.root.bytes).with_context(|| format!("writing {root}"))?;
    same_modes(&stage)?;
    Ok(stage)
}

/// Manual pages and shell completions, written by the program that they are about.
fn generate(job: &Job, stage: &Path, program: &Path) -> Result<()> {
    let tools = job.tools.clone();
    let mut command = tools.command(&program.display().to_string());
    command
        .args(["generate", "--dir"])
        .arg(stage.join("usr/share"));
    run_logged(&mut command, "generate")
}

/// Takes away what the umask of a clone may have left to group and others.
fn same_modes(stage: &Path) -> Result<()> {
    let mut command = Command::new("chmod");
    command.args(["--recursive", "go-w"]).arg(stage);
    run_logged(&mut command, "modes")
}

/// Copies `from` into the directory `to` with owners, modes and attributes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    command
        .args(["--archive", "--reflink=auto"])
        .arg(from)
        .arg(to);
    run_logged(&mut command, "copy")
}

fn install(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("setting the mode of {}", to.display()))
}

/// `/usr/local` is the host's and can be written, as the rest of `/usr` cannot. Fails if the
/// packages have put something there.
fn give_away_local(local: &Path) -> Result<()> {
    let mut found = Vec::new();
    walk(local, &mut found)?;
    // Directories and links between them are all that a base system has there.
    if let Some(file) = found.iter().find(|path| !path.is_symlink()) {
        bail!(
            "{} would be hidden by the host's /usr/local",
            file.display()
        );
    }
    remove_tree(local)?;
    std::os::unix::fs::symlink(USR_LOCAL, local)
        .with_context(|| format!("linking {}", local.display()))
}

fn trim_etc(etc: &Path) -> Result<()> {
    for name in ETC_LEFTOVERS {
        let path = etc.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => remove_tree(&path)?,
            Ok(_) => {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?
            }
            Err(_) => {}
        }
    }
    // Host keys belong to one host; each makes its own on first boot.
    for entry in fs::read_dir(etc.join("ssh"))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Stores modules uncompressed, so that only changed ones are fetched again,
/// and leaves the kernel itself to the boot image.
fn modules(job: &Job, stage: &Path) -> Result<()> {
    let dir = kernel_dir(stage)?;
    let mut files = Vec::new();
    walk(&dir, &mut files)?;
    let packed: Vec<&PathBuf> = files
        .iter()
        .filter(|f| f.to_string_lossy().ends_with(".ko.xz"))
        .collect();
    for group in packed.chunks(200) {
        let mut xz = job.tools.command("xz");
        xz.arg("--decompress").arg("--").args(group);
        run_logged(&mut xz, "modules")?;
    }
    fs::rename(dir.join("vmlinuz"), job.scratch.join("vmlinuz"))
        .context("taking the kernel out of the system tree")?;
    depmod(job, stage)?;
    let nodes =
        fs::read_to_string(dir.join("modules.devname")).context("reading modules.devname")?;
    let name = "usr/lib/tmpfiles.d/ballast-static-nodes.conf";
    fs::write(stage.join(name), static_nodes(&nodes)).with_context(|| format!("writing {name}"))
}

/// tmpfiles.d(5) lines for device nodes whose driver is loaded when they are opened,
/// from depmod's list (`fuse fuse c10:229`).
///
/// A release has one kernel, so what kmod-static-nodes.service would find out at every
/// boot is known here.
fn static_nodes(devname: &str) -> String {
    let mut lines = BTreeSet::new();
    for line in devname.lines().filter(|l| !l.starts_with('#')) {
        let mut words = line.split_whitespace().skip(1);
        let (Some(node), Some(device)) = (words.next(), words.next()) else {
            continue;
        };
        if let Some((dir, _)) = node.rsplit_once('/') {
            lines.insert(format!("d /dev/{dir} 0755 - - -\n"));
        }
        let (kind, numbers) = device.split_at(1);
        lines.insert(format!("{kind}! /dev/{node} 0600 - - - {numbers}\n"));
    }
    // A directory comes before what is in it.
    let (dirs, nodes): (Vec<_>, Vec<_>) = lines.into_iter().partition(|l| l.starts_with('d'));
    dirs.concat() + &nodes.concat()
}

/// Writes the module index of the tree `root`.
pub fn depmod(job: &Job, root: &Path) -> Result<()> {
    let version = kernel_version(root)?;
    let mut command = job.tools.command("depmod");
    command.arg("--basedir").arg(root).arg(version);
    run_logged(&mut command, "depmod")
}

/// `usr/lib/modules/VERSION` of the one kernel in `root`.
pub fn kernel_dir(root: &Path) -> Result<PathBuf> {
    let modules = root.join("usr/lib/modules");
    let mut found: Vec<PathBuf> = fs::read_dir(&modules)
        .with_context(|| format!("reading {}", modules.display()))?
        .flatten()
        .map(|e| e.path())
        .collect();
    match (found.pop(), found.len()) {
        (Some(dir), 0) => Ok(dir),
        _ => bail!("{} must hold exactly one kernel version", modules.display()),
    }
}

/// The release of the one kernel in `root`, as `uname -r` prints it.
pub fn kernel_version(root: &Path) -> Result<String> {
    let dir = kernel_dir(root)?;
    Ok(dir
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned())
}

/// `/usr/lib/os-release`, os-release(5).
pub fn os_release(version: &str) -> String {
    format!(
        "ID=ballast\nID_LIKE=debian\nNAME=\"Ballast\"\nPRETTY_NAME=\"Ballast {version}\"\n\
         VERSION_ID={version}\nIMAGE_ID=ballast\nIMAGE_VERSION={version}\n\
         DEFAULT_HOSTNAME=ballast\nANSI_COLOR=\"0;36\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{give_away_local, static_nodes};

    #[test]
    fn the_local_tree_is_the_hosts_unless_a_package_put_a_file_there() {
        let usr = tempfile::tempdir().unwrap();
        let local = usr.path().join("local");
        std::fs::create_dir_all(local.join("share/man")).unwrap();
        std::os::unix::fs::symlink("share/man", local.join("man")).unwrap();
        std::fs::write(local.join("share/file"), "").unwrap();
        let error = give_away_local(&local).unwrap_err().to_string();
        assert!(
            error.contains("/local/share/file would be hidden"),
            "{error}"
        );
        std::fs::remove_file(local.join("share/file")).unwrap();
        give_away_local(&local).unwrap();
        let target = std::fs::read_link(&local).unwrap();
        assert_eq!(target, std::path::Path::new("../var/usrlocal"));
    }

    #[test]
    fn nodes_of_drivers_come_after_their_directories() {
        let text = "# comment\nfuse fuse c10:229\ntun net/tun c10:200\nloop loop-control c10:237\n";
        assert_eq!(
            static_nodes(text),
            "d /dev/net 0755 - - -\nc! /dev/fuse 0600 - - - 10:229\n\
             c! /dev/loop-control 0600 - - - 10:237\nc! /dev/net/tun 0600 - - - 10:200\n"
        );
    }
}
