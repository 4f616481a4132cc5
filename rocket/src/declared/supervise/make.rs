//! From a declaration to a pod of rocket's: images, manifest, volumes, namespaces.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use super::volumes;
use crate::declared::expand::expand;
use crate::declared::model::{Container, Declaration, Field, Pull, Value};
use crate::dirs::Dirs;
use crate::image::fetch::JOBS;
use crate::image::progress::Show;
use crate::image::registries::Registries;
use crate::image::trust::Checks;
use crate::image::{FetchOptions, Image, Store, limits, obtain};
use crate::network;
use crate::options::{
    AppArguments, AppOptions, Bytes, Cpus, EnvOption, ExecOption, HostsEntry, IpcMode, MountOption,
    NetOption, PidMode, PodOptions, PullPolicy, SeccompOption, Stream, UserNamespace, VolumeKind,
    VolumeOption,
};
use crate::pod::{self, Dns, Manifest, Pod, Pods, Source, State};

/// What cannot be so whatever is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Never(String);

/// The images of all containers, in their order: from the store, or from where they come from.
///
/// # Errors
/// One cannot be had, or is not trusted.
pub fn images(dirs: &Dirs, store: &Store, declaration: &Declaration) -> anyhow::Result<Vec<Image>> {
    let options = |container: &Container| -> anyhow::Result<FetchOptions> {
        Ok(FetchOptions {
            policy: match container.pull {
                Pull::Always => PullPolicy::Update,
                Pull::IfNotPresent => PullPolicy::New,
                Pull::Never => PullPolicy::Never,
            },
            checks: Checks::All,
            show: Show::for_stderr(),
            limits: limits(dirs)?,
            jobs: JOBS,
        })
    };
    let image = |container: &Container| -> anyhow::Result<Image> {
        let failed = || format!("container {}: image {}", container.name, container.image);
        let source = Registries::resolve(dirs, &container.image).with_context(failed)?;
        obtain(store, &source, &options(container)?).with_context(failed)
    };
    declaration.all().map(image).collect()
}

/// A new pod, which runs as far as others see and has no processes yet.
///
/// # Errors
/// It cannot be made; then it is given up.
pub fn pod(
    dirs: &Dirs,
    store: &Store,
    declaration: &Declaration,
    images: &[Image],
) -> anyhow::Result<(Pod, Manifest)> {
    let mut pod = Pods::open(dirs)?.create()?;
    for image in images {
        store.hold(image, pod.path())?;
    }
    let manifest = manifest(&pod, declaration, images, &[])?;
    pod.write_manifest(&manifest)?;
    pod.write_name(&declaration.name)?;
    pod.advance(State::Running)?;
    Ok((pod, manifest))
}

/// What the pod is to be, once it has these addresses.
///
/// # Errors
/// Something does not fit its image.
pub fn manifest(
    pod: &Pod,
    declaration: &Declaration,
    images: &[Image],
    addresses: &[IpAddr],
) -> anyhow::Result<Manifest> {
    let ids: Vec<String> = images.iter().map(|image| image.id.to_string()).collect();
    let facts = Facts {
        uid: pod.uuid().to_string(),
        addresses,
    };
    let sources: Vec<(AppArguments, Source<'_>)> = declaration
        .all()
        .zip(images.iter().zip(&ids))
        .map(|(container, (image, id))| {
            let source = Source {
                id,
                name: &image.name,
                config: &image.config,
                layers: &image.layers,
            };
            (arguments(container, &facts), source)
        })
        .collect();
    let below = below(pod);
    let options = options(declaration, &below);
    let mut manifest = pod::manifest(pod.uuid(), Timestamp::now(), &options, &sources, &Nobody)?;
    let groups = declaration.groups.iter().chain(&declaration.fs_group);
    for (app, container) in manifest.apps.iter_mut().zip(declaration.all()) {
        app.user.groups.extend(groups.clone());
        if container.is_not_root && app.user.uid == 0 {
            let name = &container.name;
            bail!(Never(format!(
                "container {name} would run as root, and says runAsNonRoot; give it a runAsUser"
            )));
        }
    }
    Ok(manifest)
}

/// Where volumes of the pod's own are, while it runs.
pub fn below(pod: &Pod) -> PathBuf {
    pod.path_in(State::Running).join("declared")
}

/// Containers know nothing of the environment of whoever runs them.
struct Nobody;

impl pod::Caller for Nobody {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

/// What is known of a pod once it is there.
struct Facts<'a> {
    uid: String,
    addresses: &'a [IpAddr],
}

impl Facts<'_> {
    fn field(&self, field: Field) -> String {
        let addresses = || self.addresses.iter().map(ToString::to_string);
        match field {
            Field::Uid => self.uid.clone(),
            Field::Address => addresses().next().unwrap_or_default(),
            Field::Addresses => addresses().collect::<Vec<_>>().join(","),
            Field::Node => nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }
}

/// Names and values of variables; a value may stand for those before it.
fn variables(container: &Container, facts: &Facts<'_>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut known: HashMap<String, String> = HashMap::new();
    for (name, value) in &container.variables {
        let value = match value {
            Value::Fixed(text) => text.clone(),
            Value::Text(text) => expand(text, |name| known.get(name).map(String::as_str)),
            Value::Field(field) => facts.field(*field),
        };
        known.insert(name.clone(), value.clone());
        all.push((name.clone(), value));
    }
    all
}

fn arguments(container: &Container, facts: &Facts<'_>) -> AppArguments {
    let variables = variables(container, facts);
    let known: HashMap<&str, &str> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expanded = |words: &[String]| -> Vec<String> {
        let word = |word: &String| expand(word, |name| known.get(name).copied());
        words.iter().map(word).collect()
    };
    let command = container.command.as_deref().map(expanded);
    let args = container.args.as_deref().map(expanded);
    // A command stands for the image's entry point and its command.
    let (exec, words) = match command {
        Some(command) => {
            let mut words = command.into_iter();
            let program = words.next().map(ExecOption);
            (
                program,
                Some(words.chain(args.unwrap_or_default()).collect()),
            )
        }
        None => (None, args),
    };
    let mounts = container.mounts.iter().map(|mount| MountOption {
        volume: match &mount.file {
            Some(file) => name_of(&mount.volume, file),
            None => mount.volume.clone(),
        },
        target: mount.target.clone(),
        read_only: mount.read_only,
    });
    AppArguments {
        image: container.image.clone(),
        arguments: words,
        options: AppOptions {
            exec,
            name: Some(container.name.clone()),
            user: container.user.map(|id| id.to_string()),
            group: container.group.map(|id| id.to_string()),
            workdir: container.directory.clone(),
            env: variables
                .iter()
                .map(|(name, value)| EnvOption {
                    name: name.clone(),
                    value: Some(value.clone()),
                })
                .collect(),
            env_file: Vec::new(),
            mount: mounts.collect(),
            memory: container.memory.map(Bytes),
            cpus: container.cpus.map(Cpus),
            pids: None,
            cap_add: container.add.clone(),
            cap_drop: container.drop.clone(),
            seccomp: match container.is_unconfined {
                true => SeccompOption::Unconfined,
                false => SeccompOption::Default,
            },
            read_only: container.read_only,
            stdin: Stream::Null,
            stdout: Stream::Inherit,
            stderr: Stream::Inherit,
        },
    }
}

/// A file of a volume, as a volume of its own.
fn name_of(volume: &str, file: &str) -> String {
    format!("{volume}/{file}")
}

fn options(declaration: &Declaration, below: &Path) -> PodOptions {
    let volume = |name: String, source: PathBuf| VolumeOption {
        name,
        kind: VolumeKind::Host {
            source,
            recursive: true,
        },
        read_only: false,
        target: None,
    };
    let mut all: Vec<VolumeOption> = Vec::new();
    for one in &declaration.volumes {
        all.push(volume(one.name.clone(), volumes::path(below, one)));
    }
    for mount in declaration.all().flat_map(|container| &container.mounts) {
        let Some(file) = &mount.file else {
            continue;
        };
        let name = name_of(&mount.volume, file);
        if !all.iter().any(|other| other.name == name) {
            all.push(volume(name, below.join(&mount.volume).join(file)));
        }
    }
    PodOptions {
        volume: all,
        port: declaration.ports.clone(),
        net: match declaration.host_network {
            true => NetOption::Host,
            false => NetOption::Default,
        },
        dns: declaration.dns.servers.clone(),
        dns_search: declaration.dns.search.clone(),
        dns_opt: declaration.dns.options.clone(),
        hostname: Some(declaration.hostname.clone()),
        hosts_entry: declaration
            .hosts
            .iter()
            .map(|(address, name)| HostsEntry::Name {
                address: *address,
                name: name.clone(),
            })
            .collect(),
        ipc: IpcMode::Pod,
        pid: PidMode::App,
        userns: UserNamespace::Host,
        set_env: Vec::new(),
        uuid_file_save: None,
        pull_policy: PullPolicy::New,
        insecure_options: Vec::new(),
    }
}

/// The pod's `resolv.conf`, from the host's: what the declaration adds comes on top, and is all
/// there is if it says so.
pub fn resolv_conf(declaration: &Declaration, of_host: &str) -> String {
    let asked = &declaration.dns;
    let of_host = if asked.only_own { "" } else { of_host };
    let added = Dns {
        servers: Vec::new(),
        search: asked.search.clone(),
        options: asked.options.clone(),
    };
    let own: String = asked
        .servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    own + &network::resolv_conf(&added, of_host, !declaration.host_network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::parse::{Text, parse};

    fn declaration() -> Declaration {
        let text = Text {
            name: "whole.yaml".into(),
            bytes: include_bytes!("../parse/whole.yaml").to_vec(),
        };
        parse(&[text]).remove(0).pods.remove(0)
    }

    #[test]
    fn variables_and_words_are_expanded_by_what_is_known() {
        let mut declaration = declaration();
        let web = &mut declaration.containers[0];
        web.args = Some(vec![
            "$(URL)$(C_color)".into(),
            "$$(URL)".into(),
            "$(NONE)".into(),
        ]);
        let addresses = ["10.117.0.9".parse().unwrap()];
        let facts = Facts {
            uid: "u".into(),
            addresses: &addresses,
        };
        let made = arguments(web, &facts);
        let expected = ["http://10.117.0.9/blue", "$(URL)", "$(NONE)"].map(String::from);
        assert_eq!(made.arguments.as_deref(), Some(&expected[..]));
        assert!(made.options.exec.is_none());
        let init = arguments(&declaration.init[0], &facts);
        assert_eq!(init.options.exec, Some(ExecOption("sh".into())));
        assert_eq!(init.arguments.unwrap().len(), 2);
    }

    #[test]
    fn a_file_of_a_volume_is_mounted_by_itself() {
        let options = options(&declaration(), Path::new("/v"));
        let source = |name: &str| {
            let found = options.volume.iter().find(|volume| volume.name == name);
            found.map(|volume| volume.kind.clone())
        };
        let host = |path: &str| {
            Some(VolumeKind::Host {
                source: path.into(),
                recursive: true,
            })
        };
        assert_eq!(source("conf/web.conf"), host("/v/conf/web.conf"));
        assert_eq!(source("site"), host("/v/site"));
        assert_eq!(source("logs"), host("/var/log/web"));
    }

    #[test]
    fn names_are_looked_up_as_the_policy_says() {
        let host = "nameserver 192.0.2.1\nsearch lan\n";
        let mut declaration = declaration();
        let own = "nameserver 192.0.2.53\nsearch shop.example\noptions ndots:2 edns0\n";
        assert_eq!(resolv_conf(&declaration, host), own);
        declaration.dns.only_own = false;
        declaration.dns.search.clear();
        declaration.dns.options.clear();
        let both = "nameserver 192.0.2.53\nnameserver 192.0.2.1\nsearch lan\n";
        assert_eq!(resolv_conf(&declaration, host), both);
    }
}
