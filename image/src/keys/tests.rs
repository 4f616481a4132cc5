use super::*;
use std::os::unix::fs::PermissionsExt;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn spec(text: &str) -> RoleSpec {
    text.parse().unwrap()
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/keys");
    let store = create(&dir, &[spec("targets=1/2")], 30).unwrap();
    let before = names(&dir);
    let count = |role: &str| before.iter().filter(|n| n.starts_with(role)).count();
    assert_eq!(
        ["root-", "targets-", "snapshot-", "timestamp-"].map(count),
        [3, 2, 1, 1]
    );
    assert_eq!(before.len(), 8, "{before:?}");
    for name in before.iter().filter(|name| name.ends_with(".pem")) {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
    let root = &store.newest().signed.signed;
    assert_eq!(root.roles[&RoleType::Root].threshold.get(), 2);
    let error = create(&dir, &[], 30).unwrap_err();
    assert!(error.to_string().contains("never overwritten"), "{error}");
    assert_eq!(names(&dir), before);
    assert_eq!(names(temp.path()), ["a"]);
}

#[test]
fn a_new_root_is_signed_by_the_old_and_the_new_keys() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("keys");
    let first = create(&dir, &[], 30).unwrap();
    let spec = |role| same_number(&first, role).unwrap();
    let specs = [RoleType::Root, RoleType::Timestamp].map(spec);
    let store = rotate(&dir, &[], &specs, 60).unwrap();
    let (old, new) = (first.newest(), store.newest());
    assert_eq!(new.version().get(), 2);
    old.signed.signed.verify_role(&new.signed).unwrap();
    new.signed.signed.verify_role(&new.signed).unwrap();
    let ids = |root: &RootFile, role| root.signed.signed.roles[&role].keyids.clone();
    assert_ne!(ids(old, RoleType::Root), ids(new, RoleType::Root));
    assert_ne!(ids(old, RoleType::Timestamp), ids(new, RoleType::Timestamp));
    assert_eq!(ids(old, RoleType::Targets), ids(new, RoleType::Targets));
    assert_eq!(new.signed.signed.keys.len(), 6, "old keys are gone");
    assert_eq!(store.roots().count(), 2);
}

#[test]
fn one_stolen_root_key_makes_no_root() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, kept) = (temp.path().join("keys"), temp.path().join("kept"));
    let store = create(&dir, &[], 30).unwrap();
    let specs = [same_number(&store, RoleType::Root).unwrap()];
    fs::create_dir(&kept).unwrap();
    let root_keys = names(&dir).into_iter().filter(|n| n.starts_with("root-"));
    for name in root_keys.skip(1) {
        fs::rename(dir.join(&name), kept.join(&name)).unwrap();
    }
    let error = rotate(&dir, &[], &specs, 30).unwrap_err();
    assert!(error.to_string().contains("--also"), "{error:#}");
    assert_eq!(
        KeyStore::open(&dir, &[]).unwrap().newest().version().get(),
        1
    );
    let store = rotate(&dir, &[kept], &specs, 30).unwrap();
    assert_eq!(store.newest().version().get(), 2);
}

#[test]
fn a_key_that_others_may_read_signs_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("keys");
    create(&dir, &[], 30).unwrap();
    let name = names(&dir).into_iter().find(|n| n.starts_with("root-"));
    let path = dir.join(name.unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = rotate(&dir, &[], &[], 30).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("chmod 600") && text.contains(".pem"),
        "{text}"
    );
}

#[test]
fn a_forged_root_in_the_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, other) = (temp.path().join("keys"), temp.path().join("other"));
    create(&dir, &[], 30).unwrap();
    create(&other, &[], 30).unwrap();
    rotate(&other, &[], &[], 30).unwrap();
    fs::copy(other.join("2.root.json"), dir.join("2.root.json")).unwrap();
    let error = KeyStore::open(&dir, &[]).unwrap_err();
    assert!(error.to_string().contains("2.root.json"), "{error}");
}

#[test]
fn keys_stay_out_of_the_clone() {
    let inside = crate::build::source_dir().join("keys");
    let error = create(&inside, &[], 30).unwrap_err();
    assert!(error.to_string().contains("inside"), "{error}");
    assert!(!inside.exists());
}

#[test]
fn numbers_of_keys_make_sense() {
    assert_eq!(spec("root=2/3"), RoleSpec::standard(RoleType::Root));
    for bad in [
        "root",
        "root=0/1",
        "root=2/1",
        "root=1/17",
        "mirror=1/1",
        "root=1",
        "=1/1",
    ] {
        assert!(bad.parse::<RoleSpec>().is_err(), "{bad}");
    }
}
