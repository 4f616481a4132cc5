//! What Ballast is compared with, built by mkosi in the tools tree.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use image::build::{source_dir, tree};
use image::cache::{Key, cache_dir};
use image::tools::{SUITE, Tools, remove_tree};

/// What a baseline shares with the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Kernel, modules and packages; Debian's own choice of units.
    Packages,
    /// All that, and our files and units: only initrd, boot loader and root
    /// file system differ.
    SameUnits,
}

/// A built baseline.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// Bootable disk image.
    pub disk: PathBuf,
    /// Its unified kernel image.
    pub uki: PathBuf,
}

impl Variant {
    /// Its name in tables and on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Packages => "mkosi-default",
            Self::SameUnits => "mkosi-same-units",
        }
    }

    /// The directory of the configuration, as mkosi sees it.
    fn directory(self) -> &'static str {
        match self {
            Self::Packages => "/src/tests/baseline",
            Self::SameUnits => "/src",
        }
    }

    /// What turns the image's own configuration into a bootable disk.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Packages => &[],
            Self::SameUnits => &["--format=disk", "--bootable=yes"],
        }
    }
}

/// Returns a baseline, building it if it is not there or its inputs changed. The
/// caller holds the lock of the benchmark.
pub fn ensure(variant: Variant, tools: &Tools) -> Result<Baseline> {
    let dir = cache_dir().join("bench");
    let out = dir.join(variant.name());
    let name = variant.name();
    let baseline = Baseline {
        disk: out.join(format!("{name}.raw")),
        uki: out.join(format!("{name}.efi")),
    };
    let key = key(variant, tools)?;
    if fs::read_to_string(out.join(".inputs")).is_ok_and(|had| had == key) {
        return Ok(baseline);
    }
    image::host::become_root("to build the baseline")?;
    let mut progress = image::progress::Progress::new("bench", 1);
    progress.stage(&format!("baseline {name}"), || {
        build(variant, tools, &dir, &out)
    })?;
    for file in [&baseline.disk, &baseline.uki] {
        ensure!(file.is_file(), "mkosi did not make {}", file.display());
    }
    fs::write(out.join(".inputs"), key).with_context(|| format!("writing to {}", out.display()))?;
    Ok(baseline)
}

fn key(variant: Variant, tools: &Tools) -> Result<String> {
    let source = source_dir();
    let mut key = Key::default();
    key.add("tools", tools.id())
        .add("variant", variant.name())
        .add("cmdline", command_line()?);
    for path in ["tests/baseline", "mkosi.conf", "image/mkosi.conf.d"] {
        key.add_path(&source.join(path))?;
    }
    if variant == Variant::SameUnits {
        key.add_path(&source.join("image/tree"))?;
    }
    Ok(key.finish())
}

fn build(variant: Variant, tools: &Tools, dir: &Path, out: &Path) -> Result<()> {
    remove_tree(out)?;
    let mut arguments: Vec<String> = vec![
        "--bootloader=systemd-boot".into(),
        "--sector-size=512".into(),
        format!("--output={}", variant.name()),
        // Our units read both from os-release.
        "--image-id=baseline".into(),
        "--image-version=0".into(),
        format!("--release={SUITE}"),
        format!("--kernel-command-line={}", command_line()?),
    ];
    arguments.extend(
        variant
            .arguments()
            .iter()
            .map(|argument| argument.to_string()),
    );
    tree::run(
        tools,
        &tree::Run {
            config: variant.directory(),
            scratch: dir,
            out,
            log: &format!("mkosi-{}", variant.name()),
            arguments: &arguments,
        },
    )
}

/// The image's kernel command line without what belongs to its verity `/usr`.
fn command_line() -> Result<String> {
    Ok(without_usr(image::build::kernel::command_line()?))
}

fn without_usr(words: Vec<String>) -> String {
    let ours = ["mount.usr", "systemd.verity", "usrhash="];
    let words = words
        .into_iter()
        .filter(|word| !ours.iter().any(|prefix| word.starts_with(prefix)));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_keeps_all_but_usr() {
        let words = ["console=ttyS0", "loglevel=6", "mount.usrflags=ro", "rw"];
        let words = words.map(String::from).to_vec();
        assert_eq!(without_usr(words), "console=ttyS0 loglevel=6 rw");
    }

    /// A fragment that is added to the image is added to the baseline, or this
    /// fails.
    #[test]
    fn the_baseline_includes_every_fragment_that_lists_packages() {
        let config = fs::read_to_string(source_dir().join("tests/baseline/mkosi.conf")).unwrap();
        let fragments = source_dir().join("image/mkosi.conf.d");
        let mut with_packages = 0;
        for entry in fs::read_dir(fragments).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let line = format!("Include=../../image/mkosi.conf.d/{name}");
            let included = config.lines().any(|l| l == line);
            let text = fs::read_to_string(&path).unwrap();
            let lists = text.lines().any(|l| l.starts_with("Packages="));
            assert_eq!(included, lists, "{name}");
            with_packages += usize::from(lists);
        }
        assert!(with_packages > 0);
    }
}
