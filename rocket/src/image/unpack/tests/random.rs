//! Archives that nobody thought of.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Files by path; none is a directory.
fn tree() -> impl Strategy<Value = BTreeMap<String, Option<Vec<u8>>>> {
    let path = prop::collection::vec("[a-c]{1,3}", 1..4);
    let content = prop::option::of(prop::collection::vec(any::<u8>(), 0..2000));
    prop::collection::vec((path, content), 0..20).prop_map(|files| {
        let mut tree: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
        for (parts, content) in files {
            // What is a directory of another stays one.
            let above = (1..parts.len()).map(|count| parts[..count].join("/"));
            let above: Vec<_> = above.collect();
            let taken = above
                .iter()
                .any(|path| tree.get(path).is_some_and(Option::is_some));
            if taken || tree.contains_key(&parts.join("/")) {
                continue;
            }
            tree.extend(above.into_iter().map(|path| (path, None)));
            tree.insert(parts.join("/"), content);
        }
        tree
    })
}

fn read_tree(root: &Path, below: &Path, into: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if path.is_dir() {
            into.insert(name, None);
            read_tree(root, &path, into);
        } else {
            into.insert(name, Some(fs::read(&path).unwrap()));
        }
    }
}

/// Names that try to get out.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("up".to_owned()),
        Just(".wh.a".to_owned()),
        Just(".wh..wh..opq".to_owned()),
    ];
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
    fn random_trees_packed_and_unpacked_are_equal(tree in tree(), compressed: bool) {
        let mut archive = Archive::new();
        for (name, content) in &tree {
            archive = match content {
                None => archive.directory(name),
                Some(content) => archive.file(name, content),
            };
        }
        let bytes = archive.bytes();
        let fetched = if compressed { gzip(&bytes) } else { bytes.clone() };
        let (outer, made) = unpack_bytes(&fetched, &bytes);
        prop_assert_eq!(made.unwrap().entries, tree.len() as u64);
        let root = outer.path().join("tree");
        let mut found = BTreeMap::new();
        read_tree(&root, &root, &mut found);
        prop_assert_eq!(found, tree);
    }

    #[test]
    fn hostile_archives_never_write_outside(
        entries in prop::collection::vec((0u8..5, hostile(), hostile()), 0..12)
    ) {
        let mut archive = Archive::new();
        for (kind, name, link) in &entries {
            archive = match kind {
                0 => archive.file(name, b"x"),
                1 => archive.directory(name),
                2 => archive.symlink(name, link),
                3 => archive.symlink("up", link),
                _ => archive.hardlink(name, link),
            };
        }
        let (outer, _) = archive.unpack();
        let names: Vec<_> = fs::read_dir(outer.path()).unwrap().collect();
        prop_assert_eq!(names.len(), 1);
    }

    #[test]
    fn damaged_archives_end_in_an_error_or_a_tree(
        place in 0usize..3000, value: u8, cut in 0usize..4000
    ) {
        let mut bytes = Archive::new()
            .records(&[("path", b"x/y")])
            .file("a", &[1; 600])
            .symlink("l", "a")
            .bytes();
        let length = bytes.len();
        bytes[place % length] = value;
        bytes.truncate(cut.max(1));
        let (outer, _) = unpack_bytes(&bytes, &bytes);
        prop_assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
    }
}
