//! What a container sees of files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn nothing_of_the_host_is_left() {
    let out = Bundle::new("cat /proc/self/mountinfo | wc -l; ls -A / | tr '\\n' ' '").says();
    let mut lines = out.lines();
    let mounts: usize = lines.next().unwrap().parse().unwrap();
    // Seven, the root, and covers of masked and read-only paths.
    assert!(mounts < 35, "{out}");
    assert_eq!(
        lines.next().unwrap().trim(),
        "bin data dev etc proc run sys tmp"
    );
}

#[test]
fn the_host_sees_no_mount_of_a_container() {
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let bundle = Bundle::new("exec tail -f /dev/null").mount("/x", "tmpfs", Path::new("t"), &[]);
    let id = bundle.id();
    bundle.create(&[]);
    bundle.oci(&["start", &id]).ok();
    let path = bundle.path().to_str().unwrap().to_owned();
    let during = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!during.contains(&path) && !before.contains(&path));
    bundle.delete();
}

#[test]
fn mounts_have_their_options() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "text").unwrap();
    let script = "cat /a/file; touch /a/x 2>&1; touch /b/x && echo b; \
                  grep -c ' /a ro,nosuid,nodev,noexec' /proc/self/mountinfo; \
                  stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'";
    let out = Bundle::new(script)
        .mount(
            "/a",
            "bind",
            source.path(),
            &["rbind", "ro", "nosuid", "nodev", "noexec"],
        )
        .mount("/b", "bind", source.path(), &["bind"])
        .mount("/t", "tmpfs", Path::new("tmpfs"), &["mode=711", "size=64k"])
        .says();
    assert_eq!(
        out,
        "texttouch: /a/x: Read-only file system\nb\n1\n711\n64\n"
    );
    assert!(source.path().join("x").exists());
}

#[test]
fn read_only_is_recursive_if_asked() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("below")).unwrap();
    // A mount below the source that is the test's alone.
    let script = format!(
        "mount -t tmpfs t {0}/below && cd {1} && exec {2} oci --root state run {3}",
        source.path().display(),
        "$BUNDLE",
        crate::bundle::ROCKET,
        "$ID"
    );
    for (option, expected) in [("ro", "written\n"), ("rro", "refused\n")] {
        let bundle = Bundle::new("touch /a/below/x 2>/dev/null && echo written || echo refused")
            .mount("/a", "bind", source.path(), &["rbind", option]);
        bundle.write();
        let mut command = std::process::Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", &script])
            .env("BUNDLE", bundle.path())
            .env("ID", bundle.id());
        let said: crate::bundle::Said = command.output().unwrap().into();
        assert_eq!(said.ok(), expected, "{option}");
    }
}

#[test]
fn links_of_an_image_lead_nowhere_else() {
    let source = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "mine").unwrap();
    let bundle = Bundle::new("cat /link/sub/file; cat /up/sub/file")
        .mount("/link/sub", "bind", source.path(), &["bind"])
        .mount("/up/sub", "bind", source.path(), &["bind"]);
    symlink(outside.path(), bundle.root().join("link")).unwrap();
    symlink("../../../../../../data", bundle.root().join("up")).unwrap();
    assert_eq!(bundle.says(), "minemine");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn proc_is_not_mounted_through_a_link() {
    let bundle = Bundle::new("true");
    fs::remove_dir(bundle.root().join("proc")).unwrap();
    symlink("data", bundle.root().join("proc")).unwrap();
    let error = bundle.run().failed();
    assert!(
        error.contains("/proc") && error.contains("symbolic link"),
        "{error}"
    );
}

#[test]
fn masked_paths_are_masked_also_through_links() {
    let bundle = Bundle::new(
        "cat /proc/kcore | wc -c; ls /proc/acpi /sys/firmware | wc -l; cat /secret /data/secret; \
         touch /hidden/x 2>&1; ls /data/dir | wc -l; [ -c /dev/null ] && echo null",
    )
    .with(|config| {
        let masked = config["linux"]["maskedPaths"].as_array_mut().unwrap();
        masked.extend([json!("/secret"), json!("/hidden"), json!("/missing")]);
    });
    let data = bundle.root().join("data");
    fs::write(data.join("secret"), "secret").unwrap();
    fs::create_dir(data.join("dir")).unwrap();
    fs::write(data.join("dir/file"), "").unwrap();
    symlink("/data/secret", bundle.root().join("secret")).unwrap();
    symlink("/data/dir", bundle.root().join("hidden")).unwrap();
    let out = bundle.says();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "0", "{out}");
    assert!(!out.contains("secret"), "{out}");
    assert!(out.contains("Read-only file system\n0\nnull"), "{out}");
}

#[test]
fn a_null_device_of_the_image_covers_nothing() {
    // The cover must be the host's device and not what an image has at its place.
    let bundle = Bundle::new("wc -c < /secret").with(|config| {
        config["linux"]["maskedPaths"] = json!(["/secret"]);
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    });
    fs::write(bundle.root().join("secret"), "secret").unwrap();
    symlink("/secret", bundle.root().join("dev/null")).unwrap();
    let error = bundle.run().failed();
    assert!(
        error.contains("/dev/null") && error.contains("another file"),
        "{error}"
    );
}

#[test]
fn read_only_paths_cannot_be_written() {
    let out = Bundle::new(
        "for f in /proc/sys/kernel/panic /proc/sysrq-trigger /proc/irq/default_smp_affinity; do \
         (echo 1 > $f) 2>/dev/null && echo $f; done; echo done",
    )
    .says();
    assert_eq!(out, "done\n");
}

#[test]
fn a_read_only_root_is() {
    let script = "touch /x 2>&1; touch /tmp/x 2>&1; touch /dev/shm/x && echo shm";
    let out = Bundle::new(script)
        .with(|config| config["root"]["readonly"] = json!(true))
        .mount("/tmp", "tmpfs", Path::new("tmpfs"), &["mode=1777"])
        .says();
    assert_eq!(out, "touch: /x: Read-only file system\nshm\n");
}

#[test]
fn a_tmpfs_may_begin_with_what_the_image_has() {
    let script =
        "cat /data/sub/file; readlink /data/link; stat -c '%a %u' /data/sub; touch /data/x";
    let bundle = Bundle::new(script).mount("/data", "tmpfs", Path::new("tmpfs"), &["tmpcopyup"]);
    let data = bundle.root().join("data");
    fs::create_dir(data.join("sub")).unwrap();
    fs::write(data.join("sub/file"), "copied\n").unwrap();
    symlink("/etc/passwd", data.join("link")).unwrap();
    std::os::unix::fs::chown(data.join("sub"), Some(33), Some(33)).unwrap();
    fs::set_permissions(
        data.join("sub"),
        std::os::unix::fs::PermissionsExt::from_mode(0o710),
    )
    .unwrap();
    assert_eq!(bundle.says(), "copied\n/etc/passwd\n710 33\n");
    assert!(!data.join("x").exists());
}

#[test]
fn a_read_only_tmpfs_has_what_belongs_in_it() {
    let out = Bundle::new("touch /dev/x 2>&1; echo > /dev/null && echo null")
        .with(|config| {
            let dev = &mut config["mounts"].as_array_mut().unwrap()[1];
            assert_eq!(dev["destination"], "/dev");
            dev["options"].as_array_mut().unwrap().push(json!("ro"));
        })
        .says();
    assert_eq!(out, "touch: /dev/x: Read-only file system\nnull\n");
}

#[test]
fn devices_are_there() {
    let script = "for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo $d; done; \
                  stat -c '%t:%T %a %g' /dev/fuse; [ -p /dev/pipe ] && echo pipe; \
                  for l in fd stdin ptmx; do readlink /dev/$l; done; ls /dev/pts";
    let out = Bundle::new(script)
        .with(|config| {
            config["linux"]["devices"] = json!([
                {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640,
                 "uid": 0, "gid": 33},
                {"path": "/dev/pipe", "type": "p", "major": 0, "minor": 0},
            ]);
        })
        .says();
    let expected = "a:e5 640 33\npipe\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\nptmx\n";
    assert_eq!(out, expected);
}

#[test]
fn devices_that_are_not_allowed_cannot_be_opened() {
    let script = "mknod /dev/mem c 1 1 && (cat /dev/mem | wc -c) 2>&1; \
                  mknod /dev/second c 1 5 && head -c 3 /dev/second | wc -c";
    let out = Bundle::new(script)
        .with(|config| {
            for set in ["bounding", "effective", "permitted"] {
                let set = config["process"]["capabilities"][set]
                    .as_array_mut()
                    .unwrap();
                set.push(json!("CAP_MKNOD"));
            }
            let dev = &mut config["mounts"].as_array_mut().unwrap()[1];
            dev["options"] = json!(["mode=755"]);
        })
        .says();
    assert!(out.contains("Operation not permitted"), "{out}");
    assert!(out.ends_with("0\n3\n"), "{out}");
}

#[test]
fn mounts_are_passed_on_as_asked() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("below")).unwrap();
    // In a mount namespace of the test's own, in which everything is shared.
    let script = r#"
        set -e
        mount --bind "$SOURCE" "$SOURCE"; mount --make-rshared "$SOURCE"
        cd "$BUNDLE"; "$ROCKET" oci --root state create "$ID" > /dev/null
        "$ROCKET" oci --root state start "$ID"
        mount -t tmpfs t "$SOURCE/below"
        "$ROCKET" oci --root state exec "$ID" sh -c 'grep -c " /$0/below " /proc/self/mountinfo' a || true
        "$ROCKET" oci --root state exec "$ID" sh -c 'grep -c " /$0/below " /proc/self/mountinfo' b || true
        "$ROCKET" oci --root state delete --force "$ID"
    "#;
    let bundle = Bundle::new("exec tail -f /dev/null")
        .mount("/a", "bind", source.path(), &["rbind", "rslave"])
        .mount("/b", "bind", source.path(), &["rbind", "rprivate"]);
    bundle.write();
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .env("SOURCE", source.path())
        .env("BUNDLE", bundle.path())
        .env("ROCKET", crate::bundle::ROCKET)
        .env("ID", bundle.id())
        .output()
        .unwrap();
    assert_eq!(crate::bundle::Said::from(output).ok(), "1\n0\n");
}

#[test]
fn a_root_that_its_maker_shares_becomes_one() {
    let script = r#"
        set -e
        mount --bind "$BUNDLE/rootfs" "$BUNDLE/rootfs"; mount --make-rshared "$BUNDLE/rootfs"
        cd "$BUNDLE"; "$ROCKET" oci --root state run "$ID"
    "#;
    let bundle = Bundle::new("echo inside; grep -c ' / / .* shared:' /proc/self/mountinfo");
    bundle.write();
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .env("BUNDLE", bundle.path())
        .env("ROCKET", crate::bundle::ROCKET)
        .env("ID", bundle.id())
        .output()
        .unwrap();
    assert_eq!(crate::bundle::Said::from(output).out, "inside\n0\n");
}

#[test]
fn owners_are_mapped_in_a_user_namespace() {
    let script = "id -u; stat -c %u /bin/busybox /mapped/file /plain/file; \
                  cat /proc/self/uid_map | tr -s ' '; touch /made /mapped/made; \
                  for d in null zero tty; do [ -c /dev/$d ] || echo $d; done; hostname";
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "").unwrap();
    fs::set_permissions(
        source.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let bundle = Bundle::new(script)
        .in_user_namespace(700_000)
        .mount("/mapped", "bind", source.path(), &["bind", "idmap"])
        .mount("/plain", "bind", source.path(), &["bind"]);
    assert_eq!(bundle.says(), "0\n0\n0\n65534\n 0 700000 65536\nbox\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        fs::metadata(bundle.root().join("made")).unwrap().uid(),
        700_000
    );
    assert_eq!(fs::metadata(source.path().join("made")).unwrap().uid(), 0);
}

/// Another container that shares a directory swaps it for a link as long as mounts are made.
#[test]
fn a_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere() {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    use std::sync::atomic::{AtomicBool, Ordering};
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "of the host").unwrap();
    let source = tempfile::tempdir().unwrap();
    let bundle = Bundle::new("cat /shared/secret; touch /shared/new; true")
        .mount("/shared/sub/deep", "bind", source.path(), &["bind"])
        .mount("/shared/memory", "tmpfs", Path::new("tmpfs"), &[])
        .with(|config| {
            config["linux"]["maskedPaths"] = json!(["/shared/secret", "/proc/kcore"]);
            config["linux"]["readonlyPaths"] = json!(["/shared/fixed", "/proc/sys"]);
        });
    let (shared, link) = (bundle.root().join("shared"), bundle.root().join("link"));
    fs::create_dir_all(shared.join("fixed")).unwrap();
    fs::write(shared.join("secret"), "of the image").unwrap();
    symlink(outside.path(), &link).unwrap();
    let is_over = AtomicBool::new(false);
    let mut swaps = 0;
    std::thread::scope(|scope| {
        let swap = || {
            let mut count = 0;
            while !is_over.load(Ordering::SeqCst) {
                let flags = RenameFlags::RENAME_EXCHANGE;
                renameat2(AT_FDCWD, &shared, AT_FDCWD, &link, flags).unwrap();
                count += 1;
            }
            count
        };
        let swapping = scope.spawn(swap);
        for _ in 0..25 {
            // It may be refused: what counts is what it reaches.
            let said = bundle.run();
            assert!(!said.out.contains("of the host"), "{}", said.out);
        }
        is_over.store(true, Ordering::SeqCst);
        swaps = swapping.join().unwrap();
    });
    assert!(swaps > 100, "only {swaps} swaps");
    let names = fs::read_dir(outside.path()).unwrap();
    assert_eq!(names.count(), 1, "something was made outside");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(outside.path().to_str().unwrap()));
}

#[test]
fn settings_are_not_written_into_what_covers_proc() {
    let source = tempfile::tempdir().unwrap();
    let decoy = source.path().join("net/ipv4/ip_default_ttl");
    fs::create_dir_all(decoy.parent().unwrap()).unwrap();
    fs::write(&decoy, "decoy").unwrap();
    let bundle = Bundle::new("cat /proc/sys/net/ipv4/ip_default_ttl")
        .mount("/proc/sys", "bind", source.path(), &["bind"])
        .with(|config| config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "33"}));
    let error = bundle.run().failed();
    assert!(
        error.contains("ip_default_ttl") && error.contains("mounted over"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&decoy).unwrap(), "decoy");
}
