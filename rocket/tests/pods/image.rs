//! An image around a static busybox, in the form of `docker save`.

use std::fs;
use std::path::Path;
use std::process::Command;

use rocket::image::Digest;
use serde_json::json;
use tar::{Builder, EntryType, Header};

const BUSYBOX: &str = "/bin/busybox";

/// An image of several layers. The first has the tools; the others have a small file each.
pub fn write(path: &Path, layers: usize) {
    let archives: Vec<Vec<u8>> = (0..layers)
        .map(|number| match number {
            0 => tools(),
            number => small(number),
        })
        .collect();
    write_archive(path, &archives);
}

/// An image of small files only, which cannot be run.
pub fn write_small(path: &Path, layers: usize) {
    let archives: Vec<Vec<u8>> = (1..=layers).map(small).collect();
    write_archive(path, &archives);
}

fn write_archive(path: &Path, archives: &[Vec<u8>]) {
    let ids: Vec<Digest> = archives.iter().map(|bytes| Digest::of(bytes)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Cmd": ["sh"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let places: Vec<String> = (0..archives.len()).map(|n| format!("{n}.tar")).collect();
    let manifest = json!([{
        "Config": "config.json", "RepoTags": ["example.com/box:1"], "Layers": places,
    }]);
    let mut builder = Builder::new(fs::File::create(path).unwrap());
    let texts = [("config.json", &config), ("manifest.json", &manifest)];
    for (name, value) in texts {
        add(&mut builder, name, value.to_string().as_bytes(), 0o644);
    }
    for (name, bytes) in places.iter().zip(archives) {
        add(&mut builder, name, bytes, 0o644);
    }
    builder.finish().unwrap();
}

fn small(number: usize) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let name = format!("etc/part-{number}");
    add(&mut builder, &name, number.to_string().as_bytes(), 0o644);
    builder.into_inner().unwrap()
}

fn tools() -> Vec<u8> {
    assert!(
        Path::new(BUSYBOX).exists(),
        "these tests need {BUSYBOX} (Debian: busybox-static)"
    );
    let mut builder = Builder::new(Vec::new());
    for name in ["bin/", "etc/", "proc/", "sys/", "dev/", "tmp/", "run/"] {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        builder
            .append_data(&mut header, name, std::io::empty())
            .unwrap();
    }
    add(
        &mut builder,
        "bin/busybox",
        &fs::read(BUSYBOX).unwrap(),
        0o755,
    );
    let listed = Command::new(BUSYBOX).arg("--list").output().unwrap();
    for tool in String::from_utf8(listed.stdout).unwrap().lines() {
        if tool != "busybox" {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            let name = format!("bin/{tool}");
            builder.append_link(&mut header, name, "busybox").unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn add(builder: &mut Builder<impl std::io::Write>, name: &str, bytes: &[u8], mode: u32) {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, name, bytes).unwrap();
}
