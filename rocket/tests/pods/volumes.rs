//! Volumes begin with what the image has at their place.

use std::fs;

use crate::host::{Host, on_a_host};
use crate::image;

/// Fetches an image whose user is 33 and which declares `/data`.
fn with_an_image(test: impl FnOnce(&Host, &str) + Send) {
    on_a_host(|host| {
        let archive = host.path("volume.tar");
        image::write_with_volume(&archive);
        let source = format!("docker-archive:{}", archive.display());
        host.does(&["fetch", "--insecure-options=image", &source]);
        test(host, &source);
    });
}

const LOOK: &str = "stat -c '%u %g %a' /data /data/deep /data/deep/seed; \
                    cat /data/deep/seed; echo more >> /data/deep/seed";

fn look(host: &Host, image: &str, pod: &[&str]) -> String {
    let start = ["run", "--insecure-options=image", "--net=none"];
    host.does(&[&start[..], pod, &[image, "--", "sh", "-c", LOOK]].concat())
}

const FRESH: &str = "33 34 750\n33 34 700\n33 34 640\nseed\n";

#[test]
fn a_volume_that_an_image_declares_has_its_files_and_is_writable_for_its_user() {
    with_an_image(|host, image| {
        for options in [&[][..], &["--userns=auto"]] {
            assert_eq!(look(host, image, options), FRESH, "{options:?}");
            // Each pod has its own.
            assert_eq!(look(host, image, options), FRESH, "{options:?}");
        }
    });
}

#[test]
fn a_named_volume_is_filled_once() {
    with_an_image(|host, image| {
        let options = ["--volume=keep:/data"];
        assert_eq!(look(host, image, &options), FRESH);
        assert_eq!(look(host, image, &options), format!("{FRESH}more\n"));
        let elsewhere = ["--volume=other:/none"];
        let start = ["run", "--insecure-options=image", "--net=none"];
        let words = [image, "--", "sh", "-c", "ls -A /none | wc -l"];
        let said = host.does(&[&start[..], &elsewhere, &words].concat());
        assert_eq!(said, "0\n", "the image has nothing there");
    });
}

#[test]
fn a_volume_that_a_killed_rocket_began_is_removed_or_made_again() {
    with_an_image(|host, image| {
        let begun = host.path("rocket/data/volumes/.new-keep");
        let begin = || {
            fs::create_dir_all(begun.join("deep")).unwrap();
            fs::write(begun.join("part"), "").unwrap();
        };
        begin();
        host.does(&["gc"]);
        assert!(!begun.exists());
        begin();
        assert_eq!(look(host, image, &["--volume=keep:/data"]), FRESH);
        assert!(!begun.exists() && !begun.with_file_name("keep/part").exists());
    });
}
