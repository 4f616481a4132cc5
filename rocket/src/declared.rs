//! Declared pods: files of Kubernetes' `Pod` YAML become running pods, without an agent.
//!
//! Files in `/etc/rocket/pods` and `/usr/lib/rocket/pods` say what is to run. A
//! [`generator`] makes a unit of each pod; the unit runs [`run`], which is the parent of all of
//! the pod's containers as long as it lives; [`apply`] makes what runs the same as what is
//! declared.
//!
//! Reading ([`parse`]) and deciding ([`plan`]) touch nothing.

pub mod apply;
mod expand;
mod files;
pub mod generator;
mod model;
pub mod parse;
mod plan;
mod quantity;
mod reader;
mod state;
mod supervise;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::dirs::Dirs;
use crate::image::Digest;

pub use model::Declaration;
pub use reader::Problem;
pub use state::{ContainerState, PodState, Standing, all as states};
pub use supervise::run;

/// Status of a pod that ended and of which a container failed.
pub const CONTAINER_FAILED: u8 = 1;

/// Status of a pod whose declaration is wrong.
pub const WRONG: u8 = 2;

/// The unit of the declared pod `name`.
pub fn unit(name: &str) -> String {
    format!("rocket-pod-{name}.service")
}

/// A pod that is declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// What it is to be.
    pub pod: Declaration,
    /// The file that declares it.
    pub file: String,
    /// Names all of it: its document, and what is used of ConfigMaps and Secrets.
    pub hash: String,
}

/// A file in which something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub file: String,
    /// Names of its pods as far as they can be read, else one that is made of the file's.
    pub names: Vec<String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// All that is declared on a host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Set {
    /// Pods, by name.
    pub pods: Vec<Declared>,
    /// Files that declare nothing until they are put right.
    pub broken: Vec<Broken>,
    /// What is accepted and has no effect.
    pub notes: Vec<Problem>,
}

impl Set {
    /// What is declared in the directories of policy.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn load(dirs: &Dirs) -> anyhow::Result<Self> {
        let files = files::read(&directories(dirs))?;
        let mut set = Self::of(&files.texts)?;
        let strange = files.strange.iter().map(|path| Problem {
            file: path.display().to_string(),
            line: 0,
            path: String::new(),
            message: "not read: names of files here end with .yaml".into(),
        });
        set.notes.extend(strange);
        for (path, message) in files.unreadable {
            let file = path.display().to_string();
            set.broken.push(Broken {
                names: names(&file, Vec::new()),
                problems: vec![Problem {
                    file: file.clone(),
                    line: 0,
                    path: String::new(),
                    message,
                }],
                file,
            });
        }
        Ok(set)
    }

    /// What these files declare, wherever they are.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn of_files(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut texts = Vec::new();
        for path in paths {
            let text = files::text(path).with_context(|| format!("reading {}", path.display()))?;
            texts.push(text.with_context(|| format!("{} is empty, or not there", path.display()))?);
        }
        Self::of(&texts)
    }

    fn of(texts: &[parse::Text]) -> anyhow::Result<Self> {
        let mut set = Self::default();
        for (text, parsed) in texts.iter().zip(parse::parse(texts)) {
            set.notes.extend(parsed.notes);
            if !parsed.problems.is_empty() {
                set.broken.push(Broken {
                    names: names(&text.name, parsed.names),
                    file: text.name.clone(),
                    problems: parsed.problems,
                });
            }
            for pod in parsed.pods {
                set.pods.push(Declared {
                    hash: hash(&pod)?,
                    file: text.name.clone(),
                    pod,
                });
            }
        }
        set.pods
            .sort_by(|one, other| one.pod.name.cmp(&other.pod.name));
        Ok(set)
    }

    /// The pod of this name.
    pub fn pod(&self, name: &str) -> Option<&Declared> {
        self.pods.iter().find(|declared| declared.pod.name == name)
    }

    /// The broken file that should declare the pod of this name.
    pub fn broken(&self, name: &str) -> Option<&Broken> {
        let is_it = |broken: &&Broken| broken.names.iter().any(|other| other == name);
        self.broken.iter().find(is_it)
    }
}

/// Where files that declare pods are, the one that wins first.
fn directories(dirs: &Dirs) -> Vec<PathBuf> {
    let below = |dir: &PathBuf| dir.join(files::DIRECTORY);
    dirs.config().iter().map(below).collect()
}

/// What the pods of a broken file are called.
fn names(file: &str, found: Vec<String>) -> Vec<String> {
    if !found.is_empty() {
        return found;
    }
    let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str());
    let good = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = stem
        .unwrap_or_default()
        .chars()
        .map(good)
        .take(63)
        .collect();
    let name = name.trim_matches('-');
    vec![if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name.to_owned()
    }]
}

/// The first digits of a digest of all that counts.
fn hash(pod: &Declaration) -> anyhow::Result<String> {
    let bytes = serde_json::to_vec(pod).context("writing a declaration")?;
    let digest = Digest::of(&bytes).to_string();
    let digits = digest.rsplit(':').next().unwrap_or_default();
    Ok(digits.chars().take(16).collect())
}
