//! From what was asked for, and images, to what a pod is to be. Reads files of variables and
//! the accounts of images; changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use oci_spec::image::{Config, ImageConfiguration};
use uuid::Uuid;

use super::capabilities::{self, CapabilityError};
use super::manifest::VERSION;
use super::variables::Variables;
use super::{App, Dns, ImageName, Layers, Limits, LookupError, Manifest, Mount, UserName, Volume};
use crate::options::{AppArguments, EnvOption, PodOptions, VolumeKind};

/// Programs are looked for here if the image does not say where.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The signal that asks an app to stop, if its image does not say another.
const STOP: i32 = nix::libc::SIGTERM;

/// What is read of a file of variables at most.
const MOST: u64 = 4 << 20;

/// A pod that cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Two apps have one name.
    #[error("two apps are called {0:?}; give one another --name")]
    SameName(String),
    /// No program is given.
    #[error("image {0} names no program; give one with --exec or after --")]
    NoProgram(String),
    /// A volume is not declared.
    #[error(
        "app {app} mounts volume {volume:?}, which the pod does not have; declare it with --volume {volume},kind=…"
    )]
    NoVolume {
        /// The app.
        app: String,
        /// The volume.
        volume: String,
    },
    /// Two volumes have one name, or one place.
    #[error("volume {0:?} is declared twice")]
    SameVolume(String),
    /// Two mounts have one place.
    #[error("app {app} has two volumes at {}", .target.display())]
    SameTarget {
        /// The app.
        app: String,
        /// The place.
        target: PathBuf,
    },
    /// A file of variables cannot be read.
    #[error("reading variables of {}", .path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line is not a variable.
    #[error("{}:{line}: expected NAME=VALUE or NAME", .path.display())]
    EnvLine {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// The user of an app.
    #[error("the user of app {app}")]
    User {
        /// The app.
        app: String,
        /// The cause.
        source: LookupError,
    },
    /// Capabilities of an app.
    #[error("capabilities of app {app}")]
    Capability {
        /// The app.
        app: String,
        /// The cause.
        source: CapabilityError,
    },
    /// A signal that there is not.
    #[error("image {image} stops by signal {signal:?}, which there is not")]
    Signal {
        /// The image.
        image: String,
        /// Its signal.
        signal: String,
    },
    /// Ports need a network that rocket or a plugin makes.
    #[error(
        "--port needs a network of the pod's own; with --net=host its apps listen on the host, with --net=none nowhere"
    )]
    PortWithoutNetwork,
    /// Nobody inside could do anything with the host's processes, `/proc` could not be mounted.
    #[error("--pid=host and --userns=auto exclude each other; leave one of them out")]
    HostProcessesInOwnUsers,
}

/// An image that an app is made of.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its digest.
    pub id: &'a str,
    /// What it was asked for by.
    pub name: &'a str,
    /// Its configuration.
    pub config: &'a ImageConfiguration,
    /// Its layers, lowest first.
    pub layers: &'a [PathBuf],
}

/// Who asks.
pub trait Caller {
    /// A variable of the caller's environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// This process.
#[derive(Debug, Clone, Copy)]
pub struct Process;

impl Caller for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// The pod `uuid`, made of `apps`, each with its image.
///
/// # Errors
/// Something that was asked for does not fit together; says what.
pub fn manifest(
    uuid: Uuid,
    now: Timestamp,
    pod: &PodOptions,
    apps: &[(AppArguments, Source<'_>)],
    caller: &impl Caller,
) -> Result<Manifest, PrepareError> {
    use crate::options::{NetOption, PidMode, UserNamespace};
    if pod.pid == PidMode::Host && pod.userns == UserNamespace::Auto {
        return Err(PrepareError::HostProcessesInOwnUsers);
    }
    if !pod.port.is_empty() && matches!(pod.net, NetOption::Host | NetOption::None) {
        return Err(PrepareError::PortWithoutNetwork);
    }
    let mut volumes = Vec::new();
    for option in &pod.volume {
        if option.target.is_none() || !volumes.iter().any(|v: &Volume| v.name == option.name) {
            if volumes
                .iter()
                .any(|volume: &Volume| volume.name == option.name)
            {
                return Err(PrepareError::SameVolume(option.name.clone()));
            }
            volumes.push(Volume {
                name: option.name.clone(),
                kind: option.kind.clone(),
                read_only: option.read_only,
            });
        }
    }
    let mut names = BTreeSet::new();
    let mut made = Vec::new();
    for (arguments, source) in apps {
        let app = app(pod, arguments, *source, &mut volumes, caller)?;
        if !names.insert(app.name.clone()) {
            return Err(PrepareError::SameName(app.name));
        }
        made.push(app);
    }
    let short = &uuid.simple().to_string()[..12];
    Ok(Manifest {
        version: VERSION,
        uuid,
        created: now,
        hostname: pod
            .hostname
            .clone()
            .unwrap_or_else(|| format!("rocket-{short}")),
        network: pod.net.clone(),
        ports: pod.port.clone(),
        dns: Dns {
            servers: pod.dns.clone(),
            search: pod.dns_search.clone(),
            options: pod.dns_opt.clone(),
        },
        hosts: pod.hosts_entry.clone(),
        ipc: pod.ipc,
        pid: pod.pid,
        users: pod.userns.clone(),
        volumes,
        apps: made,
    })
}

fn app(
    pod: &PodOptions,
    arguments: &AppArguments,
    source: Source<'_>,
    volumes: &mut Vec<Volume>,
    caller: &impl Caller,
) -> Result<App, PrepareError> {
    let options = &arguments.options;
    let empty = Config::default();
    let config = source.config.config().as_ref().unwrap_or(&empty);
    let name = options
        .name
        .clone()
        .unwrap_or_else(|| app_name(source.name));
    let asked = options
        .user
        .as_deref()
        .or(config.user().as_deref())
        .unwrap_or_default();
    let user = UserName::new(asked, options.group.as_deref())
        .resolve(Layers(source.layers))
        .map_err(|source| PrepareError::User {
            app: name.clone(),
            source,
        })?;
    let capabilities =
        capabilities::decide(&options.cap_add, &options.cap_drop).map_err(|source| {
            PrepareError::Capability {
                app: name.clone(),
                source,
            }
        })?;
    let mounts = mounts(pod, arguments, config, &name, volumes)?;
    Ok(App {
        image: ImageName {
            id: source.id.to_owned(),
            name: source.name.to_owned(),
        },
        layers: source.layers.to_vec(),
        arguments: command(arguments, config, source.name)?,
        environment: environment(pod, arguments, config, &user.home, caller)?,
        directory: directory(arguments, config),
        user: user.user,
        mounts,
        limits: Limits {
            memory: options.memory.map(|bytes| bytes.0),
            cpus: options.cpus.map(|cpus| cpus.0),
            pids: options.pids,
        },
        capabilities,
        seccomp: options.seccomp.clone(),
        read_only: options.read_only,
        streams: [&options.stdin, &options.stdout, &options.stderr].map(Clone::clone),
        stop_signal: stop_signal(config, source.name)?,
        name,
    })
}

/// `--exec` stands for entry point and command; what follows `--` for the command alone.
fn command(
    arguments: &AppArguments,
    config: &Config,
    image: &str,
) -> Result<Vec<String>, PrepareError> {
    let mut words: Vec<String> = match &arguments.options.exec {
        Some(program) => vec![program.0.clone()],
        None => config.entrypoint().clone().unwrap_or_default(),
    };
    match (&arguments.arguments, &arguments.options.exec) {
        (Some(given), _) => words.extend(given.iter().cloned()),
        (None, None) => words.extend(config.cmd().clone().unwrap_or_default()),
        (None, Some(_)) => {}
    }
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        _ => Err(PrepareError::NoProgram(image.to_owned())),
    }
}

/// The image's variables, the pod's, those of files, the app's own: later ones win.
fn environment(
    pod: &PodOptions,
    arguments: &AppArguments,
    config: &Config,
    home: &Path,
    caller: &impl Caller,
) -> Result<Vec<String>, PrepareError> {
    let mut variables = Variables::default();
    variables.set("PATH", PATH);
    variables.set("HOME", &home.to_string_lossy());
    variables.set("container", "rocket");
    for line in config.env().iter().flatten() {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        variables.set(name, value);
    }
    let mut take = |option: &EnvOption| match &option.value {
        Some(value) => variables.set(&option.name, value),
        None => {
            if let Some(value) = caller.variable(&option.name) {
                variables.set(&option.name, &value);
            }
        }
    };
    pod.set_env.iter().for_each(&mut take);
    for path in &arguments.options.env_file {
        env_file(path)?.iter().for_each(&mut take);
    }
    arguments.options.env.iter().for_each(&mut take);
    Ok(variables.into_lines())
}

/// One variable a line; empty lines and those that begin with # say nothing.
fn env_file(path: &Path) -> Result<Vec<EnvOption>, PrepareError> {
    let failed = |source| PrepareError::EnvFile {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > MOST {
        return Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "more than 4 MiB",
        )));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let wanted = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.starts_with('#');
    text.lines()
        .enumerate()
        .filter(wanted)
        .map(|(number, line)| {
            line.parse().map_err(|_| PrepareError::EnvLine {
                path: path.to_owned(),
                line: number + 1,
            })
        })
        .collect()
}

/// The pod's volumes with a place of their own, those that the app names, and an empty one
/// wherever the image declares one and nothing else is mounted.
fn mounts(
    pod: &PodOptions,
    arguments: &AppArguments,
    config: &Config,
    app: &str,
    volumes: &mut Vec<Volume>,
) -> Result<Vec<Mount>, PrepareError> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut add = |mount: Mount| {
        if mounts.iter().any(|other| other.target == mount.target) {
            return Err(PrepareError::SameTarget {
                app: app.to_owned(),
                target: mount.target,
            });
        }
        mounts.push(mount);
        Ok(())
    };
    for volume in &pod.volume {
        if let Some(target) = &volume.target {
            add(Mount {
                volume: volume.name.clone(),
                target: target.clone(),
                read_only: volume.read_only,
            })?;
        }
    }
    for mount in &arguments.options.mount {
        let volume = volumes.iter().find(|volume| volume.name == mount.volume);
        let volume = volume.ok_or_else(|| PrepareError::NoVolume {
            app: app.to_owned(),
            volume: mount.volume.clone(),
        })?;
        add(Mount {
            volume: mount.volume.clone(),
            target: mount.target.clone(),
            read_only: mount.read_only || volume.read_only,
        })?;
    }
    for (number, target) in declared(config).into_iter().enumerate() {
        let name = format!("{app}.{number}");
        let mount = Mount {
            volume: name.clone(),
            target,
            read_only: false,
        };
        // Something was mounted there: that is what the image asks for.
        if add(mount).is_ok() {
            volumes.push(Volume {
                name,
                kind: VolumeKind::Empty,
                read_only: false,
            });
        }
    }
    Ok(mounts)
}

/// Volumes that an image declares, in a fixed order.
fn declared(config: &Config) -> Vec<PathBuf> {
    let targets: BTreeSet<PathBuf> = config
        .volumes()
        .iter()
        .flatten()
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .collect();
    targets.into_iter().collect()
}

fn directory(arguments: &AppArguments, config: &Config) -> PathBuf {
    let own = config
        .working_dir()
        .as_deref()
        .filter(|dir| dir.starts_with('/'));
    match (&arguments.options.workdir, own) {
        (Some(asked), _) => asked.clone(),
        (None, Some(own)) => own.into(),
        (None, None) => "/".into(),
    }
}

/// `SIGTERM`, `TERM` or `15`.
fn stop_signal(config: &Config, image: &str) -> Result<i32, PrepareError> {
    let Some(text) = config.stop_signal() else {
        return Ok(STOP);
    };
    let wrong = || PrepareError::Signal {
        image: image.to_owned(),
        signal: text.clone(),
    };
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(wrong())
        };
    }
    if let Some(real_time) = text.strip_prefix("SIGRTMIN+") {
        // The C library keeps the first two for itself.
        let number: i32 = real_time.parse().map_err(|_| wrong())?;
        return if (0..=30).contains(&number) {
            Ok(34 + number)
        } else {
            Err(wrong())
        };
    }
    let name = if text.starts_with("SIG") {
        text.clone()
    } else {
        format!("SIG{text}")
    };
    let signal: nix::sys::signal::Signal = name.parse().map_err(|_| wrong())?;
    Ok(signal as i32)
}

/// The last part of an image's name, without tag and digest: letters, digits, `-`, `_`, `.`.
fn app_name(image: &str) -> String {
    let path = image.split('@').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let plain = last.split(':').next().unwrap_or_default();
    let good = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = plain.chars().map(good).take(63).collect();
    let name = name.trim_matches('-');
    if name.is_empty() {
        "app".to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::split;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        pod: PodOptions,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    }

    struct Env;

    impl Caller for Env {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "HELD").then(|| "caller".to_owned())
        }
    }

    fn made(config: &str, line: &str) -> Result<Manifest, String> {
        let words = std::iter::once("rocket").chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let text = format!(
            r#"{{"architecture": "amd64", "os": "linux", "config": {config},
                "rootfs": {{"type": "layers", "diff_ids": []}}}}"#
        );
        let config: ImageConfiguration = serde_json::from_str(&text).unwrap();
        let apps = split(&line.rest).map_err(|error| error.to_string())?;
        let source = |app: &AppArguments| Source {
            id: "sha256:0",
            name: Box::leak(app.image.clone().into_boxed_str()),
            config: &config,
            layers: &[],
        };
        let apps: Vec<_> = apps
            .into_iter()
            .map(|app| {
                let source = source(&app);
                (app, source)
            })
            .collect();
        manifest(Uuid::nil(), Timestamp::UNIX_EPOCH, &line.pod, &apps, &Env)
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    }

    #[test]
    fn arguments_stand_for_the_command_and_exec_for_all() {
        let image = r#"{"Entrypoint": ["/entry"], "Cmd": ["a", "b"]}"#;
        let words = |line: &str| {
            made(image, line)
                .unwrap()
                .apps
                .remove(0)
                .arguments
                .join(" ")
        };
        assert_eq!(words("i"), "/entry a b");
        assert_eq!(words("i -- c"), "/entry c");
        assert_eq!(words("i --"), "/entry");
        assert_eq!(words("i --exec /x"), "/x");
        assert_eq!(words("i --exec /x -- c"), "/x c");
        let none = made("{}", "i").unwrap_err();
        assert_eq!(
            none,
            "image i names no program; give one with --exec or after --"
        );
    }

    #[test]
    fn later_variables_win() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        fs::write(&file, "# note\n\nFILE=1\nBOTH=file\n").unwrap();
        let image = r#"{"Cmd": ["a"], "Env": ["PATH=/bin", "IMAGE=1", "POD=image"]}"#;
        let line = format!(
            "--set-env POD=pod --set-env HELD i --env-file {} --env BOTH=app --env NOT_HELD",
            file.display()
        );
        let environment = made(image, &line).unwrap().apps.remove(0).environment;
        let expected = [
            "PATH=/bin",
            "HOME=/root",
            "container=rocket",
            "IMAGE=1",
            "POD=pod",
            "HELD=caller",
            "FILE=1",
            "BOTH=app",
        ];
        assert_eq!(environment, expected);
        fs::write(&file, "ok=1\n=bad\n").unwrap();
        assert!(
            made(image, &line)
                .unwrap_err()
                .contains("env:2: expected NAME=VALUE")
        );
    }

    #[test]
    fn volumes_of_an_image_are_empty_unless_something_is_mounted_there() {
        let image = r#"{"Cmd": ["a"], "Volumes": {"/data": {}, "/cache": {}}}"#;
        let pod = made(image, "--volume keep:/data i").unwrap();
        let targets: Vec<_> = pod.apps[0]
            .mounts
            .iter()
            .map(|m| (m.volume.as_str(), m.target.to_str().unwrap()))
            .collect();
        assert_eq!(targets, [("keep", "/data"), ("i.0", "/cache")]);
        assert_eq!(pod.volumes[0].kind, VolumeKind::Named);
        assert_eq!(pod.volumes[1].kind, VolumeKind::Empty);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let image = r#"{"Cmd": ["a"]}"#;
        for (line, said) in [
            ("i --- i", "two apps are called \"i\""),
            (
                "i --mount volume=v,target=/v",
                "which the pod does not have",
            ),
            (
                "--volume v,kind=empty --volume v,kind=empty i",
                "declared twice",
            ),
            ("--volume /a:/x --volume /b:/x i", "two volumes at /x"),
            ("--net none --port 80:80 i", "--port needs a network"),
            ("--pid host --userns auto i", "exclude each other"),
            ("i --user nobody", "no user \"nobody\""),
            ("i --cap-add CAP_X", "CAP_X"),
        ] {
            let error = made(image, line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
        let signal = made(r#"{"Cmd": ["a"], "StopSignal": "SIGX"}"#, "i").unwrap_err();
        assert!(signal.contains("signal \"SIGX\""), "{signal}");
    }

    #[test]
    fn an_app_is_named_after_its_image() {
        assert_eq!(app_name("example.com:5000/team/web:1.2"), "web");
        assert_eq!(app_name("example.com/web@sha256:0"), "web");
        assert_eq!(app_name("docker-archive:/tmp/x.tar"), "x-tar");
        assert_eq!(app_name("oci:/"), "app");
    }
}
