//! Where the programs differ on purpose. Everything else that differs is a mistake.
//!
//! `docs/compatibility.md` has the same table; a test compares them.

/// A difference that stays.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// When it shows.
    pub when: &'static str,
    /// What Go Ignition does.
    pub theirs: &'static str,
    /// What ours does.
    pub ours: &'static str,
    /// Why ours does not do what theirs does.
    pub why: &'static str,
    /// Configs for which it must show.
    pub cases: &'static [&'static str],
}

/// All of them, in the order of the table. The first is seen by what the programs say, for
/// any config; see [`super::beforehand`].
const ALL: [Difference; 25] = [
    Difference {
        when: "a config that cannot be carried out (an account's home that is no absolute path, an entry below a file, a name with a colon, …)",
        theirs: "fails in the middle of carrying it out",
        ours: "refuses it before anything is written, with line and column",
        why: "nothing is half done",
        cases: &[],
    },
    Difference {
        when: "a fragment in `append` without a source",
        theirs: "crashes in the middle of carrying it out",
        ours: "refuses it",
        why: "there is nothing to append",
        cases: &["storage/append_no_source"],
    },
    Difference {
        when: "a link without a target in specs before 3.3.0",
        theirs: "refuses it, and `ignition-validate` takes it",
        ours: "refuses it, and `ignition validate` does, too",
        why: "what a host refuses must show before",
        cases: &[
            "refused/rule_link_no_target_3.0.0",
            "refused/rule_link_no_target_3.2.0",
        ],
    },
    Difference {
        when: "a key twice in one object",
        theirs: "takes the last one",
        ours: "refuses it",
        why: "which one was meant is not known",
        cases: &["refused/text_key_twice"],
    },
    Difference {
        when: "a key in another case (`Path`)",
        theirs: "takes it for the key",
        ours: "warns that it is unknown",
        why: "the spec's keys have one spelling",
        cases: &["refused/text_key_of_another_case"],
    },
    Difference {
        when: "half of a surrogate pair in a string (`\\ud800`)",
        theirs: "replaces it by U+FFFD",
        ours: "refuses it, with line and column",
        why: "a name that nobody wrote would be on the disk",
        cases: &["refused/text_lone_surrogate"],
    },
    Difference {
        when: "`null` in a list of strings",
        theirs: "takes it for an empty string",
        ours: "refuses it",
        why: "an empty SSH key was not meant",
        cases: &["refused/type_keys_null"],
    },
    Difference {
        when: "a config of spaces or NUL bytes; an empty one",
        theirs: "refuses the first, takes the second, and `ignition-validate` refuses both",
        ours: "takes all of them for no config",
        why: "a disk or a firmware item without a config reads as that",
        cases: &[
            "refused/text_empty",
            "refused/text_spaces",
            "refused/text_nul",
        ],
    },
    Difference {
        when: "a config that is merged or replaces, and is empty",
        theirs: "takes it for a config that asks for nothing",
        ours: "refuses it",
        why: "a server that sends nothing would make a host without what it was to have",
        cases: &["merge/child_empty", "merge/replaced_empty_source"],
    },
    Difference {
        when: "the directory `/` as an entry",
        theirs: "sets its mode and owner",
        ours: "refuses it",
        why: "it belongs to the release",
        cases: &["refused/rule_path_root"],
    },
    Difference {
        when: "owners below 0 or above 4294967294, timeouts below 0",
        theirs: "takes them, and leaves the owner as it was",
        ours: "refuses them",
        why: "what is written has no meaning",
        cases: &[
            "refused/rule_owner_negative",
            "refused/rule_owner_large",
            "refused/rule_owner_largest",
            "refused/rule_timeout_negative",
        ],
    },
    Difference {
        when: "unit names with a slash, or with nothing before the dot",
        theirs: "writes a file of that name, also outside of `/etc/systemd/system`",
        ours: "refuses them",
        why: "systemd knows no such unit",
        cases: &[
            "refused/rule_unit_name_only_a_suffix",
            "refused/rule_unit_name_slash",
            "refused/rule_unit_name_dots",
        ],
    },
    Difference {
        when: "a unit and a file of the same path",
        theirs: "writes both, the unit last",
        ours: "refuses it",
        why: "newer releases of Go Ignition refuse it too",
        cases: &[
            "units/unit_and_a_file_there",
            "units/unit_masked_and_a_file_there",
        ],
    },
    Difference {
        when: "a unit's setting before the first section, or a section without a name",
        theirs: "takes it",
        ours: "refuses it, with the line",
        why: "systemd ignores the setting, which was not meant",
        cases: &[
            "units/unit_syntax_no_section",
            "units/unit_syntax_empty_section",
        ],
    },
    Difference {
        when: "a line of more than 2048 bytes in a unit",
        theirs: "refuses it",
        ours: "takes it",
        why: "systemd takes lines of up to 1 MiB",
        cases: &["units/unit_syntax_long_line"],
    },
    Difference {
        when: "an authority that is no certificate, and nothing is fetched over TLS",
        theirs: "refuses it",
        ours: "takes it, and refuses it when TLS is spoken",
        why: "what is not needed cannot keep a host from booting",
        cases: &["refused/rule_authority_not_a_certificate"],
    },
    Difference {
        when: "an entry below a link that a directory of the config replaces",
        theirs: "is made where the link led",
        ours: "is made in the directory",
        why: "its path says so",
        cases: &["storage/file_below_a_link_that_becomes_a_directory"],
    },
    Difference {
        when: "a template with a default instance, and another instance of it, both enabled",
        theirs: "writes one line for both, by which systemd enables the other instance only",
        ours: "enables both",
        why: "the config asks for both",
        cases: &["units/instance_and_default_enabled"],
    },
    Difference {
        when: "an enabled instance of a template, and a masked one that is enabled, too",
        theirs: "leaves it to systemd's presets, which stop at the masked one",
        ours: "enables the one that is not masked",
        why: "the config asks for it",
        cases: &["units/instances_masked_and_enabled"],
    },
    Difference {
        when: "an owner for a link that is there already with the same target",
        theirs: "leaves the owner",
        ours: "sets it",
        why: "the config asks for it",
        cases: &["storage/link_there_same_owner"],
    },
    Difference {
        when: "a group that is there already; `shouldExist` of a group in specs that do not have it",
        theirs: "fails",
        ours: "changes it to what the config says",
        why: "a first boot that was cut off starts again, and finds its own groups",
        cases: &[
            "passwd/group_there",
            "passwd/group_there_same_gid",
            "passwd/group_there_password",
            "passwd/group_there_other_gid",
            "merge/since_group_should_exist_3.0.0",
            "merge/since_group_should_exist_3.1.0",
        ],
    },
    Difference {
        when: "a user and the user's primary group are both deleted",
        theirs: "fails, since it deletes the group first",
        ours: "deletes the user first",
        why: "it is what Butane's documentation shows",
        cases: &[
            "passwd/old_and_its_group_deleted",
            "documented/butane/should-not-exist.yaml",
            "documented/ignition/everything-3.3.ign",
        ],
    },
    Difference {
        when: "SSH keys and `noCreateHome`",
        theirs: "fails, since there is no home",
        ours: "makes the home's directory, of root, for the keys",
        why: "sshd looks there",
        cases: &["passwd/user_keys_no_home"],
    },
    Difference {
        when: "`homeDir` of an account that is there: its new parent is missing, or it exists",
        theirs: "fails, with the account changed",
        ours: "makes the parent; leaves what exists",
        why: "a first boot that was cut off starts again, and finds its own homes",
        cases: &["passwd/old_home_deep", "passwd/old_home_there"],
    },
    Difference {
        when: "a deleted account's home belongs to another one",
        theirs: "fails, with the account deleted",
        ours: "keeps the home, warns, goes on",
        why: "what is not its own was not to be deleted",
        cases: &["passwd/service_deleted"],
    },
];

/// The difference for which the config `name` is there.
pub fn of(name: &str) -> Option<&'static Difference> {
    ALL.iter()
        .find(|difference| difference.cases.contains(&name))
}

/// Whether all that differs is that ours enables instances of a template whose presets
/// theirs could not apply, since one instance is masked.
pub fn seen(found: &[String], theirs: &str) -> bool {
    let stopped = |template: &str| {
        let unit = format!("/etc/systemd/system/{template}@");
        let mut lines = theirs.lines();
        lines.any(|line| {
            line.starts_with("Failed to preset unit: Unit ")
                && line.contains(&unit)
                && line.ends_with(" is masked")
        })
    };
    let is_instance = |line: &String| {
        let (path, what) = line.split_once(": only ours: ").unwrap_or_default();
        let link = path.strip_prefix("/etc/systemd/system/");
        let unit = link.and_then(|link| link.split_once(".wants/"));
        let template = unit.and_then(|(_, unit)| unit.split_once('@'));
        let is_link = what.starts_with("0777 0:0 link to \"/etc/systemd/system/");
        is_link && template.is_some_and(|(template, _)| stopped(template))
    };
    !found.is_empty() && found.iter().all(is_instance)
}

/// All names of configs that are here.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|difference| difference.cases).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_instances_beside_a_masked_one_are_explained_by_what_is_seen() {
        let link = |unit: &str| {
            format!(
                "/etc/systemd/system/multi-user.target.wants/{unit}: only ours: 0777 0:0 link \
                 to \"/etc/systemd/system/t@.service\""
            )
        };
        let masked =
            "x\nFailed to preset unit: Unit /w/root/etc/systemd/system/t@x.service is masked\n";
        assert!(seen(&[link("t@y.service")], masked));
        assert!(!seen(&[], masked));
        assert!(!seen(&[link("t@y.service")], "x\n"));
        assert!(!seen(&[link("u@y.service")], masked));
        assert!(!seen(&[link("a.service")], masked));
        let other = "/opt/f: only ours: 0644 0:0 file of 0 bytes".to_owned();
        assert!(!seen(&[link("t@y.service"), other], masked));
    }

    #[test]
    fn the_docs_have_every_difference_and_no_other() {
        let path = image::build::source_dir().join("docs/compatibility.md");
        let text = std::fs::read_to_string(path).unwrap();
        let header = "| when | Go Ignition | ours | why |\n|---|---|---|---|\n";
        let row = |difference: &Difference| {
            let Difference {
                when,
                theirs,
                ours,
                why,
                ..
            } = difference;
            format!("| {when} | {theirs} | {ours} | {why} |\n")
        };
        let rows: String = ALL.iter().map(row).collect();
        assert!(
            text.contains(&format!("{header}{rows}\n")),
            "{header}{rows}"
        );
    }
}
