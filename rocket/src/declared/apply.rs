//! Makes what runs the same as what is declared.

use std::collections::BTreeSet;

use super::plan::plan;
pub use super::plan::{Action, Step};
use super::{Set, state, unit};
use crate::detach;
use crate::dirs::Dirs;

/// Files that change while this works are looked at again, this often at most.
const ROUNDS: usize = 5;

/// Whoever runs units.
pub trait Units {
    /// Reads all units again.
    ///
    /// # Errors
    /// It cannot.
    fn reload(&self) -> anyhow::Result<()>;
    /// Starts one. Does not wait.
    ///
    /// # Errors
    /// It cannot.
    fn start(&self, unit: &str) -> anyhow::Result<()>;
    /// Stops one if it runs, and starts it. Does not wait.
    ///
    /// # Errors
    /// It cannot.
    fn restart(&self, unit: &str) -> anyhow::Result<()>;
    /// Stops one, and waits for its end.
    ///
    /// # Errors
    /// It cannot.
    fn stop(&self, unit: &str) -> anyhow::Result<()>;
}

/// systemd.
#[derive(Debug, Clone, Copy)]
pub struct Systemd;

impl Units for Systemd {
    fn reload(&self) -> anyhow::Result<()> {
        detach::reload()
    }

    fn start(&self, unit: &str) -> anyhow::Result<()> {
        detach::begin(unit)
    }

    fn restart(&self, unit: &str) -> anyhow::Result<()> {
        detach::begin_again(unit)
    }

    fn stop(&self, unit: &str) -> anyhow::Result<()> {
        detach::end(unit)
    }
}

/// What became of one step.
#[derive(Debug)]
pub struct Done {
    /// The step.
    pub step: Step,
    /// Why it was not done.
    pub error: Option<anyhow::Error>,
}

/// What is declared on a host, and what would have to be done about it.
///
/// # Errors
/// A directory cannot be read.
pub fn compare(dirs: &Dirs) -> anyhow::Result<(Set, Vec<Step>)> {
    let set = Set::load(dirs)?;
    let steps = plan(&set, &state::all(dirs)?);
    Ok((set, steps))
}

/// Does it. Returns what is declared now, and what was done.
///
/// # Errors
/// A directory cannot be read, or units cannot be read again. A step that fails ends nothing.
pub fn apply(dirs: &Dirs, units: &impl Units) -> anyhow::Result<(Set, Vec<Done>)> {
    let mut all: Vec<Done> = Vec::new();
    let mut asked = BTreeSet::new();
    let (mut set, mut steps) = compare(dirs)?;
    for _ in 0..ROUNDS {
        units.reload()?;
        for step in steps {
            // Of what was asked for just now there may be no sign yet.
            if matches!(step.action, Action::Start | Action::Restart) {
                let hash = set.pod(&step.name).map(|declared| declared.hash.clone());
                if !asked.insert((step.name.clone(), hash)) {
                    continue;
                }
            }
            let error = one(dirs, units, &step).err();
            all.retain(|done| done.step.name != step.name || done.step.action != Action::Keep);
            all.push(Done { step, error });
        }
        let now = Set::load(dirs)?;
        if now == set {
            break;
        }
        (set, steps) = (now.clone(), plan(&now, &state::all(dirs)?));
    }
    Ok((set, all))
}

fn one(dirs: &Dirs, units: &impl Units, step: &Step) -> anyhow::Result<()> {
    let unit = unit(&step.name);
    match step.action {
        Action::Stop => {
            units.stop(&unit)?;
            state::forget(dirs, &step.name)
        }
        Action::Forget => state::forget(dirs, &step.name),
        Action::Restart => units.restart(&unit),
        Action::Start => units.start(&unit),
        Action::Keep | Action::Hold => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::{PodState, Standing};
    use std::cell::RefCell;
    use std::fs;

    /// A service manager that has what was started run at once.
    struct Imitated<'a> {
        dirs: &'a Dirs,
        calls: RefCell<Vec<String>>,
    }

    impl Imitated<'_> {
        fn called(&self, what: String) -> anyhow::Result<()> {
            self.calls.borrow_mut().push(what);
            Ok(())
        }

        fn run(&self, unit: &str) -> anyhow::Result<()> {
            let name = unit
                .trim_start_matches("rocket-pod-")
                .trim_end_matches(".service");
            let set = Set::load(self.dirs)?;
            let declared = set.pod(name).unwrap();
            state::write(
                self.dirs,
                &PodState {
                    name: name.into(),
                    hash: declared.hash.clone(),
                    file: declared.file.clone(),
                    uuid: None,
                    standing: Standing::Ready,
                    status: String::new(),
                    containers: Vec::new(),
                },
            )
        }
    }

    impl Units for Imitated<'_> {
        fn reload(&self) -> anyhow::Result<()> {
            self.called("reload".into())
        }

        fn start(&self, unit: &str) -> anyhow::Result<()> {
            self.run(unit)?;
            self.called(format!("start {unit}"))
        }

        fn restart(&self, unit: &str) -> anyhow::Result<()> {
            self.run(unit)?;
            self.called(format!("restart {unit}"))
        }

        fn stop(&self, unit: &str) -> anyhow::Result<()> {
            self.called(format!("stop {unit}"))
        }
    }

    #[test]
    fn what_runs_follows_the_files() {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(root.path());
        let pods = dirs.config()[0].join("pods");
        fs::create_dir_all(&pods).unwrap();
        let write = |name: &str, image: &str| {
            let text = format!(
                "kind: Pod\napiVersion: v1\nmetadata: {{name: {name}}}\nspec:\n  containers: \
                 [{{name: c, image: example.com/x:{image}}}]\n"
            );
            fs::write(pods.join(format!("{name}.yaml")), text).unwrap();
        };
        let units = Imitated {
            dirs: &dirs,
            calls: RefCell::default(),
        };
        let calls = || {
            let (set, done) = apply(&dirs, &units).unwrap();
            assert!(done.iter().all(|done| done.error.is_none()), "{done:?}");
            (set, units.calls.take())
        };
        write("a", "1");
        write("b", "1");
        let started = [
            "reload",
            "start rocket-pod-a.service",
            "start rocket-pod-b.service",
        ];
        assert_eq!(calls().1, started);
        assert_eq!(calls().1, ["reload"]);
        write("a", "2");
        fs::remove_file(pods.join("b.yaml")).unwrap();
        let changed = [
            "reload",
            "stop rocket-pod-b.service",
            "restart rocket-pod-a.service",
        ];
        assert_eq!(calls().1, changed);
        write("a", "@");
        let (set, called) = calls();
        assert_eq!(called, ["reload"]);
        assert_eq!(set.broken.len(), 1);
        assert_eq!(state::all(&dirs).unwrap().len(), 1);
    }
}
