//! The initrd: just enough to find and verify `/usr`.
//!
//! Its files are the system tree's own, listed in `image/initrd/`; everything
//! that runs after `/usr` is mounted is taken from there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Job, cpio, elf, source_dir, stage};
use crate::cache::{sha256_file, walk};
use crate::parallel;
use crate::tools::run_logged;

/// Directories and links that every initrd has.
const DIRECTORIES: [&str; 12] = [
    "dev",
    "etc",
    "proc",
    "run",
    "sys",
    "sysroot",
    "sysusr/usr",
    "tmp",
    "usr/bin",
    "usr/lib/modules",
    "usr/sbin",
    "var/tmp",
];
const LINKS: [(&str, &str); 7] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("init", "usr/lib/systemd/systemd"),
    ("etc/initrd-release", "../usr/lib/os-release"),
    ("etc/os-release", "../usr/lib/os-release"),
];

/// Lays out the initrd, archives it and returns the archive's path.
///
/// It consists of three archives one after the other, each compressed by itself
/// and padded to a block: programs and libraries, kernel modules, our own
/// files. A release that changes one leaves the blocks of the others as they
/// were.
pub fn make(job: &Job, stage: &Path, tree: &Path) -> Result<PathBuf> {
    let source = source_dir().join("image/initrd");
    let base = job.scratch.join("initrd/1-base");
    for dir in DIRECTORIES {
        fs::create_dir_all(base.join(dir))?;
    }
    for (link, target) in LINKS {
        std::os::unix::fs::symlink(target, base.join(link))?;
    }
    let files = listed(stage, &source.join("files"))?;
    for file in files.iter().chain(&elf::closure(stage, &files)?) {
        copy(stage, &base, file)?;
    }
    for name in ["passwd", "group"] {
        fs::copy(tree.join("etc").join(name), base.join("etc").join(name))?;
    }
    let drivers = job.scratch.join("initrd/2-modules");
    modules(stage, &drivers, &source.join("modules"))?;
    std::os::unix::fs::symlink("usr/lib", drivers.join("lib"))?;
    stage::depmod(job, &drivers)?;
    let own = job.scratch.join("initrd/3-own");
    overlay(&source.join("tree"), &own)?;
    overlay(
        &source_dir().join("ignition/dist"),
        &own.join("etc/systemd/system"),
    )?;
    copy(stage, &own, Path::new("usr/lib/os-release"))?;
    let parts = parallel::map(&[base, drivers, own], |part| compressed(job, part));
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(part?);
        // The kernel passes over zeros.
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
    }
    let archive = job.scratch.join("initrd.img");
    fs::write(&archive, bytes).with_context(|| format!("writing {}", archive.display()))?;
    Ok(archive)
}

/// The compressed archive of `root`. Kept, because most releases have the same
/// programs and modules in their initrd as the one built before.
fn compressed(job: &Job, root: &Path) -> Result<Vec<u8>> {
    let plain = root.with_extension("cpio");
    let file = fs::File::create(&plain).with_context(|| format!("creating {}", plain.display()))?;
    cpio::write(root, std::io::BufWriter::new(file))?;
    let part = root.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{part}-{}.zst", sha256_file(&plain)?);
    let kept = job.kept.join(&name);
    if let Ok(bytes) = fs::read(&kept) {
        return Ok(bytes);
    }
    let packed = root.with_extension("cpio.zst");
    let mut zstd = job.tools.command("zstd");
    zstd.args(["-19", "--single-thread", "--force", "--quiet", "-o"])
        .args([&packed, &plain]);
    run_logged(&mut zstd, &format!("zstd-{part}"))?;
    fs::create_dir_all(&job.kept).with_context(|| format!("creating {}", job.kept.display()))?;
    for old in fs::read_dir(&job.kept)?.flatten() {
        let is_part = |name: &str| name.starts_with(&format!("{part}-"));
        if is_part(&old.file_name().to_string_lossy()) {
            fs::remove_file(old.path())?;
        }
    }
    fs::rename(&packed, &kept).with_context(|| format!("creating {}", kept.display()))?;
    fs::read(&kept).with_context(|| format!("reading {}", kept.display()))
}

/// Lines of a list file without comments.
fn lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let line = |l: &str| l.split('#').next().unwrap_or_default().trim().to_string();
    Ok(text.lines().map(line).filter(|l| !l.is_empty()).collect())
}

/// Files that a list names, relative to `root`; the last component may hold
/// one `*`. A line that names nothing is an error.
fn listed(root: &Path, list: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for line in lines(list)? {
        let path = PathBuf::from(&line);
        let before = files.len();
        match line.split_once('*') {
            None if root.join(&path).symlink_metadata().is_ok() => files.push(path),
            None => {}
            Some((start, end)) => {
                let dir = path.parent().unwrap_or(Path::new(""));
                for entry in fs::read_dir(root.join(dir)).into_iter().flatten().flatten() {
                    let name = dir.join(entry.file_name());
                    let text = name.to_string_lossy();
                    if text.starts_with(start) && text.ends_with(end) {
                        files.push(name);
                    }
                }
            }
        }
        if files.len() == before {
            bail!("{}: {line} is not in the system tree", list.display());
        }
    }
    Ok(files)
}

/// Copies one file or directory tree, and what its links point at.
fn copy(from: &Path, to: &Path, name: &Path) -> Result<()> {
    let (source, target) = (from.join(name), to.join(name));
    if target.symlink_metadata().is_ok() {
        return Ok(());
    }
    let meta =
        fs::symlink_metadata(&source).with_context(|| format!("reading {}", source.display()))?;
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir)?;
    }
    if meta.is_dir() {
        let mut files = Vec::new();
        walk(&source, &mut files)?;
        for file in files {
            copy(from, to, file.strip_prefix(from)?)?;
        }
        return Ok(());
    }
    if meta.is_symlink() {
        let link = fs::read_link(&source)?;
        std::os::unix::fs::symlink(&link, &target)?;
        let next = resolve(name, &link);
        if from.join(&next).symlink_metadata().is_ok() {
            copy(from, to, &next)?;
        }
        return Ok(());
    }
    fs::copy(&source, &target).with_context(|| format!("copying {}", source.display()))?;
    Ok(())
}

/// Where a link called `name` with the target `link` leads, inside the root.
fn resolve(name: &Path, link: &Path) -> PathBuf {
    let start = match name.parent() {
        Some(dir) if link.is_relative() => dir.to_path_buf(),
        _ => PathBuf::new(),
    };
    let mut path = start;
    for part in link.components() {
        match part {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    path
}

/// Lays the files of `from` over `to`.
fn overlay(from: &Path, to: &Path) -> Result<()> {
    let mut files = Vec::new();
    walk(from, &mut files)?;
    for file in files {
        let name = file.strip_prefix(from)?.to_path_buf();
        let target = to.join(&name);
        if target.symlink_metadata().is_ok() {
            fs::remove_file(&target)?;
        }
        copy(from, to, &name)?;
    }
    Ok(())
}

/// Copies the listed kernel modules and what they depend on.
fn modules(stage: &Path, root: &Path, list: &Path) -> Result<()> {
    let dir = stage::kernel_dir(stage)?;
    let relative = dir.strip_prefix(stage)?;
    let builtin = fs::read_to_string(dir.join("modules.builtin"))?;
    let depends = dependencies(&fs::read_to_string(dir.join("modules.dep"))?);
    let mut wanted = BTreeSet::new();
    for name in lines(list)? {
        let is = |path: &str| module_name(path) == name;
        match depends.keys().find(|path| is(path)) {
            Some(path) => {
                wanted.insert(path.clone());
                wanted.extend(depends[path].iter().cloned());
            }
            None if builtin.lines().any(is) => {}
            None => bail!("{}: the kernel has no module {name}", list.display()),
        }
    }
    for module in &wanted {
        copy(stage, root, &relative.join(module))?;
    }
    for index in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        copy(stage, root, &relative.join(index))?;
    }
    Ok(())
}

/// Parses `modules.dep`: the files a module needs, itself left out.
fn dependencies(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| {
            let needs = needs.split_whitespace().map(String::from).collect();
            (module.to_string(), needs)
        })
        .collect()
}

/// `kernel/fs/ext4/ext4.ko` is the module `ext4`; `-` and `_` are the same.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_resolve_inside_the_root() {
        let at = |name: &str, link: &str| resolve(Path::new(name), Path::new(link));
        assert_eq!(at("usr/lib/a", "b"), Path::new("usr/lib/b"));
        assert_eq!(at("usr/lib/a", "../bin/b"), Path::new("usr/bin/b"));
        assert_eq!(at("usr/lib/a", "/usr/b"), Path::new("usr/b"));
        assert_eq!(at("a", "../../../etc/b"), Path::new("etc/b"));
    }

    #[test]
    fn module_dependencies_are_read() {
        let deps = dependencies("kernel/a/x-y.ko: kernel/b.ko kernel/c.ko\nkernel/b.ko:\n");
        assert_eq!(deps["kernel/a/x-y.ko"], ["kernel/b.ko", "kernel/c.ko"]);
        assert!(deps["kernel/b.ko"].is_empty());
        assert_eq!(module_name("kernel/a/x-y.ko"), "x_y");
    }

    #[test]
    fn a_listed_file_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("list"), "# comment\nusr/bin/sh # shell\n").unwrap();
        let error = listed(dir.path(), &dir.path().join("list")).unwrap_err();
        assert!(error.to_string().contains("usr/bin/sh"), "{error}");
    }
}
