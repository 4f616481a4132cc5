//! What verbs say and leave, of pods that are prepared and pods that have run.

use std::fs;

use crate::host::{Host, on_a_host};
use crate::image;

/// A pod that is prepared, of an image with a single layer.
fn prepared(host: &Host) -> String {
    let archive = host.path("single.tar");
    image::write(&archive, 1);
    let source = format!("docker-archive:{}", archive.display());
    let words = ["prepare", "--insecure-options=image", "--net=none", &source];
    let script = ["--", "sh", "-c", "echo changed > /etc/own"];
    let said = host.does(&[&words[..], &script].concat());
    said.trim().to_owned()
}

#[test]
fn a_prepared_pod_expires_only_when_its_time_is_over() {
    on_a_host(|host| {
        let uuid = prepared(host);
        host.does(&["gc", "--grace-period=0s"]);
        host.does(&["run-prepared", &uuid]);
        let uuid = prepared(host);
        host.does(&["gc", "--expire-prepared=0s"]);
        let gone = host.rocket(&["status", &uuid]);
        assert_eq!(gone.status.code(), Some(254));
    });
}

#[test]
fn an_export_has_what_the_image_has_and_what_the_app_changed() {
    on_a_host(|host| {
        let uuid = prepared(host);
        let file = host.path("export.tar");
        let path = file.to_str().unwrap();
        let names = || {
            let mut archive = tar::Archive::new(fs::File::open(&file).unwrap());
            let entries = archive.entries().unwrap();
            let name = |entry: tar::Entry<'_, fs::File>| {
                entry.path().unwrap().to_string_lossy().into_owned()
            };
            entries
                .map(|entry| name(entry.unwrap()))
                .collect::<Vec<_>>()
        };
        host.does(&["export", &uuid, path]);
        assert!(names().contains(&"./bin/busybox".to_owned()));
        assert!(!names().contains(&"./etc/own".to_owned()));
        host.does(&["run-prepared", &uuid]);
        let refused = host.rocket(&["export", &uuid, path]);
        assert_eq!(refused.status.code(), Some(254));
        host.does(&["export", "--overwrite", &uuid, path]);
        assert!(names().contains(&"./etc/own".to_owned()));
        let written = host.rocket(&["export", &uuid, "-"]);
        assert_eq!(
            written.stdout.len() as u64,
            fs::metadata(&file).unwrap().len()
        );
    });
}

#[test]
fn an_image_tells_what_options_its_app_has() {
    on_a_host(|host| {
        for verb in ["run", "prepare"] {
            let help = host.does(&[verb, host.image(), "--help"]);
            assert!(
                help.contains("--cap-drop") && help.contains("--memory"),
                "{help}"
            );
        }
    });
}

#[test]
fn a_detached_pod_that_no_unit_started_is_not_kept() {
    on_a_host(|host| {
        let words = host.run(&["--detach", "--net=none"], &["--", "true"]);
        let mut command = host.command(&words);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(254));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("message bus"), "{text}");
        assert_eq!(host.does(&["list", "--no-legend"]), "");
    });
}

#[test]
fn pods_are_named_by_a_file_that_has_their_uuid() {
    on_a_host(|host| {
        let file = host.path("uuid");
        let file = file.to_str().unwrap();
        let options = ["--uuid-file-save", file, "--net=none"];
        host.does(&host.run(&options, &["--", "true"]));
        let status = host.does(&["status", "--uuid-file", file]);
        assert!(status.contains("ended with status 0"), "{status}");
        let stopped = host.rocket(&["stop", "--uuid-file", file]);
        let text = String::from_utf8_lossy(&stopped.stderr);
        assert!(text.contains("it does not run, it is exited"), "{text}");
        host.does(&["rm", "--uuid-file", file]);
    });
}
