//! What a daemon does when fragments change under it, or are wrong.

use super::fragment::Roots;
use super::merge::{Policy, load};
use super::problem::{Problem, Severity};
use super::schema::Schema;

/// A daemon's view of the policy: the last one that was good.
#[derive(Debug)]
pub struct Follower {
    roots: Roots,
    schema: Schema,
    policy: Policy,
    problems: Vec<Problem>,
}

/// What [`Follower::reload`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The same policy and the same problems as before.
    Unchanged,
    /// Another policy counts now, or there are other warnings.
    Changed,
    /// A fragment cannot be used: the last good policy still counts.
    Kept,
}

impl Follower {
    /// Reads the policy for the first time. There is none to keep yet, so fragments
    /// with errors are left out, and the others count.
    pub fn new(roots: Roots, schema: Schema) -> Self {
        let (policy, problems) = load(&roots, &schema);
        Self {
            roots,
            schema,
            policy,
            problems,
        }
    }

    /// Reads the policy again.
    pub fn reload(&mut self) -> Reload {
        let (policy, problems) = load(&self.roots, &self.schema);
        let same_problems = problems == self.problems;
        self.problems = problems;
        if self.has_errors() {
            return if same_problems {
                Reload::Unchanged
            } else {
                Reload::Kept
            };
        }
        if policy == self.policy && same_problems {
            return Reload::Unchanged;
        }
        self.policy = policy;
        Reload::Changed
    }

    /// The policy that counts.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What is wrong with the files as they are.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Where the fragments are.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    fn has_errors(&self) -> bool {
        let is_error = |problem: &Problem| problem.severity == Severity::Error;
        self.problems.iter().any(is_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::schema::Section;
    use serde::{Deserialize, Serialize};
    use std::fs;

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Update {
        channel: String,
    }

    impl Section for Update {
        const NAME: &'static str = "update";
    }

    #[test]
    fn a_bad_fragment_leaves_the_last_good_policy_in_force_until_it_is_mended() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.toml");
        fs::write(&file, "[update]\nchannel = \"beta\"\n").unwrap();
        let roots = Roots::new(vec![root.path().to_path_buf()]);
        let mut follower = Follower::new(roots, Schema::default().with::<Update>());
        let channel = |f: &Follower| f.policy().section::<Update>().unwrap().channel;
        assert_eq!(channel(&follower), "beta");
        assert_eq!(follower.reload(), Reload::Unchanged);

        fs::write(&file, "[update]\nchannel = 1\n").unwrap();
        assert_eq!(follower.reload(), Reload::Kept);
        assert_eq!(channel(&follower), "beta");
        assert_eq!(follower.problems().len(), 1);
        assert_eq!(follower.reload(), Reload::Unchanged);

        fs::write(&file, "[update]\nchannel = \"alpha\"\n").unwrap();
        assert_eq!(follower.reload(), Reload::Changed);
        assert_eq!(channel(&follower), "alpha");
        assert_eq!(follower.problems(), []);
    }

    #[test]
    fn at_the_start_a_bad_fragment_is_left_out_and_the_others_count() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.toml"), "[update]\nchannel = \"beta\"\n").unwrap();
        fs::write(root.path().join("b.toml"), "[update\n").unwrap();
        let roots = Roots::new(vec![root.path().to_path_buf()]);
        let follower = Follower::new(roots, Schema::default().with::<Update>());
        assert_eq!(
            follower.policy().section::<Update>().unwrap().channel,
            "beta"
        );
        assert_eq!(follower.problems().len(), 1);
    }
}
