//! What the build machine must have, and what it tells about itself.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A program that the host must offer, and the Debian package that has it.
#[derive(Debug)]
pub struct Need {
    /// Its name on `PATH`.
    pub program: &'static str,
    /// The package, or several.
    pub package: &'static str,
    /// What it is for: "to …".
    pub why: &'static str,
}

/// All that is taken from the host. The rest comes with the tools tree.
const NEEDS: [Need; 4] = [
    Need {
        program: "debootstrap",
        package: "debootstrap",
        why: "to make the Debian tree that holds every other tool",
    },
    Need {
        program: "bwrap",
        package: "bubblewrap",
        why: "to run programs inside that tree",
    },
    Need {
        program: "cc",
        package: "gcc libc6-dev",
        why: "to link Rust programs",
    },
    Need {
        program: "protoc",
        package: "protobuf-compiler libprotobuf-dev",
        why: "to compile what locksmith says to etcd",
    },
];

/// Cargo, as if no other cargo had started this process: build scripts of dependencies
/// look at variables that it set, and would run again, with all that follows from it.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_cargo(&mut cargo);
    cargo
}

/// Keeps from `command` what a cargo that started this process told it about its package.
pub fn forget_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// Installs what builds need and is missing, as [`ensure`] does.
pub fn ensure_programs() -> Result<()> {
    ensure(&NEEDS)
}

/// Installs what is missing on Debian, as root; elsewhere fails naming what is missing.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs
        .iter()
        .filter(|n| which(n.program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    become_root("to install what is missing on this machine")?;
    let list: String = missing
        .iter()
        .map(|n| {
            format!(
                "  {} (Debian package {}): {}\n",
                n.program, n.package, n.why
            )
        })
        .collect();
    if which("apt-get").is_none() {
        bail!(
            "programs are missing on this machine:\n{list}\
             Install them with this distribution's package manager and run the command again."
        );
    }
    eprintln!("host: installing with apt what is missing:\n{list}");
    let packages = missing.iter().flat_map(|n| n.package.split(' '));
    apt(&["update"])?;
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(packages);
    apt(&args)
}

fn apt(args: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr())
        .status()
        .context("running apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed ({status})", args.join(" "));
    }
    Ok(())
}

/// The Rust target that must be present for a build.
///
/// Fails telling what to run where there is no `rustup` to ask.
pub fn ensure_rust_target(target: &str) -> Result<()> {
    let sysroot = capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    let lib = Path::new(sysroot.trim()).join("lib/rustlib").join(target);
    if lib.join("lib").is_dir() {
        return Ok(());
    }
    if which("rustup").is_none() {
        bail!(
            "the Rust target {target} is missing in {}; install this toolchain's \
             standard library for it",
            sysroot.trim()
        );
    }
    eprintln!("host: adding the Rust target {target}, for the boot selector");
    let status = Command::new("rustup")
        .args(["target", "add", target])
        .status()
        .context("running rustup")?;
    if !status.success() {
        bail!("rustup target add {target} failed ({status})");
    }
    Ok(())
}

/// Runs a command and returns its standard output.
pub fn capture(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading the output of {program}"))
}

/// The path of a program on `PATH`; administrators' directories included.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
}

/// Makes sure this process is root: runs itself again through `sudo` if not.
///
/// Returns only as root. Building needs it for file ownership in the tree, for
/// mounts and for `apt`.
pub fn become_root(why: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    if which("sudo").is_none() {
        bail!("root is needed {why}, and there is no sudo: run this as root");
    }
    eprintln!("host: asking sudo for root, {why}");
    let mut keep: Vec<OsString> = Vec::new();
    for (name, value) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if is_kept(&text) {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            keep.push(pair);
        }
    }
    let error = Command::new("sudo")
        .arg("env")
        .args(keep)
        .arg(std::env::current_exe().context("finding this program")?)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).context("running sudo")
}

/// What of the caller's environment goes through `sudo`.
fn is_kept(name: &str) -> bool {
    const NAMES: [&str; 6] = ["HOME", "PATH", "LANG", "TERM", "XDG_CACHE_HOME", "CI"];
    const PREFIXES: [&str; 6] = ["CARGO", "RUSTUP", "BALLAST_", "SSL_CERT_", "http", "HTTP"];
    NAMES.contains(&name) || PREFIXES.iter().any(|p| name.starts_with(p))
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| {
        use std::os::unix::fs::MetadataExt;
        m.uid() == 0
    })
}

/// Gives `path` and all below it to the user who called `sudo`, if any did.
pub fn give_back(path: &Path) -> Result<()> {
    let id = |name| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
    let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) else {
        return Ok(());
    };
    let mut paths = Vec::new();
    crate::cache::walk(path, &mut paths)?;
    paths.push(path.to_path_buf());
    for path in paths {
        std::os::unix::fs::lchown(&path, Some(uid), Some(gid))
            .with_context(|| format!("giving {} back to its user", path.display()))?;
    }
    Ok(())
}

/// Which state of a Debian release packages are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SuiteState {
    /// With its updates and security fixes.
    #[default]
    Updated,
    /// Without them, as of the last point release: what an update is measured from.
    AsReleased,
}

/// Debian mirrors: the main archive and the security archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// URI of the main archive.
    pub main: String,
    /// URI of the security archive.
    pub security: String,
}

impl Mirrors {
    /// The mirrors that the host's own apt uses.
    ///
    /// `BALLAST_MIRROR` and `BALLAST_MIRROR_SECURITY` override them, and are
    /// needed on a host that has no apt. Fails naming the variable otherwise.
    pub fn of_host() -> Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self::parse(
            &apt_sources(),
            set("BALLAST_MIRROR"),
            set("BALLAST_MIRROR_SECURITY"),
        )
    }

    /// Reads apt source lists in either format, joined into one text.
    fn parse(text: &str, main: Option<String>, security: Option<String>) -> Result<Self> {
        let uris = uris(text);
        let find = |given: Option<String>, suffix: &str, variable: &str| {
            let known = || {
                uris.iter()
                    .find(|u| u.trim_end_matches('/').ends_with(suffix))
            };
            given
                .or_else(|| known().cloned())
                .map(|u| u.trim_end_matches('/').to_string())
                .with_context(|| {
                    format!(
                        "this host's apt configuration names no Debian mirror ending in \
                         {suffix}: set {variable} to the URI of one"
                    )
                })
        };
        Ok(Self {
            main: find(main, "/debian", "BALLAST_MIRROR")?,
            security: find(security, "/debian-security", "BALLAST_MIRROR_SECURITY")?,
        })
    }

    /// The Debian release `suite` as a deb822 source file.
    pub fn sources(&self, suite: &str, state: SuiteState) -> String {
        let stanza = |uri: &str, suites: &str| {
            format!(
                "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
            )
        };
        match state {
            SuiteState::Updated => format!(
                "{}\n{}",
                stanza(&self.main, &format!("{suite} {suite}-updates")),
                stanza(&self.security, &format!("{suite}-security"))
            ),
            SuiteState::AsReleased => stanza(&self.main, suite),
        }
    }
}

/// The text of all source lists of the host's apt, in the order apt reads them.
fn apt_sources() -> String {
    let parts = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten();
    let mut files: Vec<PathBuf> = parts.flatten().map(|e| e.path()).collect();
    files.sort();
    files.insert(0, "/etc/apt/sources.list".into());
    let is_source = |p: &&PathBuf| p.extension().is_some_and(|e| e == "list" || e == "sources");
    files
        .iter()
        .filter(is_source)
        .filter_map(|p| fs::read_to_string(p).ok())
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// URIs of binary packages in one-line and deb822 source lists.
fn uris(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(list) = line.strip_prefix("URIs:") {
            found.extend(list.split_whitespace().map(String::from));
        } else if let Some(rest) = line.strip_prefix("deb ") {
            let options = rest.find(']').map_or(0, |end| end + 1);
            let uri = rest[options..].split_whitespace().next();
            found.extend(uri.map(String::from));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_from_both_source_formats() {
        let old = "deb [signed-by=/x y=z] http://m.example/debian trixie main\n\
                   # deb http://no.example/debian-security x main\n\
                   deb http://s.example/debian-security/ trixie-security main\n";
        let new = "Types: deb\nURIs: http://m.example/debian/\nSuites: trixie\n\n\
                   Types: deb\nURIs: http://s.example/debian-security\n";
        for text in [old, new] {
            let mirrors = Mirrors::parse(text, None, None).unwrap();
            assert_eq!(mirrors.main, "http://m.example/debian");
            assert_eq!(mirrors.security, "http://s.example/debian-security");
        }
    }

    #[test]
    fn a_host_without_a_debian_mirror_is_told_which_variable_to_set() {
        let text = "deb http://other.example/ubuntu noble main";
        let error = Mirrors::parse(text, None, None).unwrap_err().to_string();
        assert!(error.contains("BALLAST_MIRROR"), "{error}");
        let main = Some("http://m.example/d/".to_string());
        let error = Mirrors::parse(text, main, None).unwrap_err().to_string();
        assert!(error.contains("BALLAST_MIRROR_SECURITY"), "{error}");
    }

    #[test]
    fn sources_name_the_suite_its_updates_and_its_security_archive() {
        let given = |s: &str| Some(s.to_string());
        let mirrors = Mirrors::parse("", given("http://m.example/d"), given("http://s.example/s"));
        let mirrors = mirrors.unwrap();
        let text = mirrors.sources("trixie", SuiteState::Updated);
        assert!(text.contains("Suites: trixie trixie-updates\n"));
        assert!(text.contains("Suites: trixie-security\n"));
        let text = mirrors.sources("trixie", SuiteState::AsReleased);
        let suites = text.lines().filter(|line| line.starts_with("Suites:"));
        assert_eq!(suites.collect::<Vec<_>>(), ["Suites: trixie"]);
    }
}
