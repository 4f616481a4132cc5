//! What has to be done so that what runs is what is declared.

use super::state::PodState;
use super::{Broken, Set};

/// What is to be done about one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is not declared any more, and runs.
    Stop,
    /// It is not declared any more, and does not run.
    Forget,
    /// It was changed.
    Restart,
    /// It is new.
    Start,
    /// It is as it was declared when it started.
    Keep,
    /// It runs, and the file that declared it is broken now.
    Hold,
}

/// A pod and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub action: Action,
    /// Which pod.
    pub name: String,
}

/// What is declared, against what was started in this boot. First what stops, since others may
/// want its ports.
pub fn plan(set: &Set, states: &[PodState]) -> Vec<Step> {
    let declared = set.pods.iter().map(|declared| {
        let name = &declared.pod.name;
        let action = match states.iter().find(|state| state.name == *name) {
            None => Action::Start,
            Some(state) if state.hash != declared.hash => Action::Restart,
            Some(_) => Action::Keep,
        };
        Step {
            action,
            name: name.clone(),
        }
    });
    let gone = states.iter().filter(|state| set.pod(&state.name).is_none());
    let gone = gone.map(|state| {
        let is_of =
            |broken: &Broken| broken.file == state.file || broken.names.contains(&state.name);
        let action = match state.standing.is_over() {
            true => Action::Forget,
            false if set.broken.iter().any(is_of) => Action::Hold,
            false => Action::Stop,
        };
        Step {
            action,
            name: state.name.clone(),
        }
    });
    let mut steps: Vec<Step> = gone.chain(declared).collect();
    steps.sort_by(|one, other| (one.action, &one.name).cmp(&(other.action, &other.name)));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::Standing;
    use crate::declared::parse::Text;

    fn set(texts: &[(&str, &str)]) -> Set {
        let text = |(name, text): &(&str, &str)| Text {
            name: (*name).into(),
            bytes: text.as_bytes().to_vec(),
        };
        let texts: Vec<Text> = texts.iter().map(text).collect();
        Set::of(&texts).unwrap()
    }

    fn pod(name: &str, image: &str) -> String {
        format!(
            "kind: Pod\napiVersion: v1\nmetadata: {{name: {name}}}\nspec:\n  containers: \
             [{{name: c, image: {image}}}]\n"
        )
    }

    /// The pods of a set as they run.
    fn running(set: &Set) -> Vec<PodState> {
        let state = |declared: &super::super::Declared| PodState {
            name: declared.pod.name.clone(),
            hash: declared.hash.clone(),
            file: declared.file.clone(),
            uuid: None,
            standing: Standing::Ready,
            status: String::new(),
            containers: Vec::new(),
        };
        set.pods.iter().map(state).collect()
    }

    fn actions(set: &Set, states: &[PodState]) -> Vec<(Action, String)> {
        let steps = plan(set, states).into_iter();
        steps.map(|step| (step.action, step.name)).collect()
    }

    #[test]
    fn each_change_has_its_action() {
        let (a, b, c) = (
            pod("a", "example.com/x:1"),
            pod("b", "example.com/x:1"),
            pod("c", "example.com/x:1"),
        );
        let before = set(&[("a.yaml", &a), ("b.yaml", &b), ("c.yaml", &c)]);
        let states = running(&before);
        assert!(
            plan(&before, &states)
                .iter()
                .all(|step| step.action == Action::Keep)
        );
        assert!(
            plan(&before, &[])
                .iter()
                .all(|step| step.action == Action::Start)
        );
        let changed = pod("b", "example.com/x:2");
        let after = set(&[
            ("b.yaml", &changed),
            ("c.yaml", &c),
            ("d.yaml", &pod("d", "example.com/x:1")),
        ]);
        let expected = [
            (Action::Stop, "a".to_owned()),
            (Action::Restart, "b".into()),
            (Action::Start, "d".into()),
            (Action::Keep, "c".into()),
        ];
        assert_eq!(actions(&after, &states), expected);
        let mut ended = states.clone();
        ended[0].standing = Standing::Ended;
        assert_eq!(actions(&after, &ended)[0], (Action::Forget, "a".into()));
    }

    #[test]
    fn what_runs_stays_when_its_file_is_broken() {
        let a = pod("a", "example.com/x:1");
        let states = running(&set(&[("a.yaml", &a)]));
        for broken in ["kind: Pod\n\t", &a.replace("image", "imag"), "kind: Pod"] {
            let set = set(&[("a.yaml", broken)]);
            assert_eq!(
                actions(&set, &states),
                [(Action::Hold, "a".into())],
                "{broken}"
            );
        }
        // Also if it was moved to another file meanwhile.
        let moved = a.replace("image", "imag");
        assert_eq!(
            actions(&set(&[("b.yaml", &moved)]), &states)[0].0,
            Action::Hold
        );
    }

    #[test]
    fn what_a_map_holds_is_part_of_the_pods_that_use_it() {
        let map = |value: &str| {
            format!(
                "kind: ConfigMap\napiVersion: v1\nmetadata: {{name: m}}\ndata: {{k: {value}}}\n"
            )
        };
        let uses = pod("a", "example.com/x:1, envFrom: [{configMapRef: {name: m}}]");
        let other = pod("b", "example.com/x:1");
        let (one, two) = (map("one"), map("two"));
        let before = set(&[("a.yaml", &uses), ("b.yaml", &other), ("m.yaml", &one)]);
        assert!(before.broken.is_empty(), "{:?}", before.broken);
        let after = set(&[("a.yaml", &uses), ("b.yaml", &other), ("m.yaml", &two)]);
        let expected = [
            (Action::Restart, "a".to_owned()),
            (Action::Keep, "b".into()),
        ];
        assert_eq!(actions(&after, &running(&before)), expected);
        // Without it the pod that uses it is broken, and stays as it is.
        let without = set(&[("a.yaml", &uses), ("b.yaml", &other)]);
        assert!(actions(&without, &running(&before)).contains(&(Action::Hold, "a".into())));
    }
}
