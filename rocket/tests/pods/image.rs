//! An image around a static busybox, in the form of `docker save`.

use std::fs;
use std::path::Path;
use std::process::Command;

use rocket::image::Digest;
use serde_json::{Value, json};
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
    write_archive(path, &plain(), &archives);
}

/// An image of small files only, which cannot be run.
pub fn write_small(path: &Path, layers: usize) {
    let archives: Vec<Vec<u8>> = (1..=layers).map(small).collect();
    write_archive(path, &plain(), &archives);
}

/// An image of one layer whose user is 33 and which declares a volume that has files.
pub fn write_with_volume(path: &Path) {
    let mut builder = Builder::new(Vec::new());
    add_tools(&mut builder);
    for (name, mode) in [("data/", 0o750), ("data/deep/", 0o700)] {
        let mut header = directory(mode);
        header.set_uid(33);
        header.set_gid(34);
        builder
            .append_data(&mut header, name, std::io::empty())
            .unwrap();
    }
    let mut header = Header::new_gnu();
    header.set_mode(0o640);
    header.set_uid(33);
    header.set_gid(34);
    header.set_size(5);
    let name = "data/deep/seed";
    builder
        .append_data(&mut header, name, &b"seed\n"[..])
        .unwrap();
    let config = json!({
        "Cmd": ["sh"], "Env": ["PATH=/bin"], "User": "33:34", "Volumes": { "/data": {} },
    });
    write_archive(path, &config, &[builder.into_inner().unwrap()]);
}

fn plain() -> Value {
    json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] })
}

fn write_archive(path: &Path, config: &Value, archives: &[Vec<u8>]) {
    let ids: Vec<Digest> = archives.iter().map(|bytes| Digest::of(bytes)).collect();
    let about = json!({
        "architecture": "amd64", "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let places: Vec<String> = (0..archives.len()).map(|n| format!("{n}.tar")).collect();
    let manifest = json!([{
        "Config": "config.json", "RepoTags": ["example.com/box:1"], "Layers": places,
    }]);
    let mut builder = Builder::new(fs::File::create(path).unwrap());
    let texts = [("config.json", &about), ("manifest.json", &manifest)];
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
    let mut builder = Builder::new(Vec::new());
    add_tools(&mut builder);
    builder.into_inner().unwrap()
}

fn directory(mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(mode);
    header.set_size(0);
    header
}

fn add_tools(builder: &mut Builder<Vec<u8>>) {
    assert!(
        Path::new(BUSYBOX).exists(),
        "these tests need {BUSYBOX} (Debian: busybox-static)"
    );
    for name in ["bin/", "etc/", "proc/", "sys/", "dev/", "tmp/", "run/"] {
        builder
            .append_data(&mut directory(0o755), name, std::io::empty())
            .unwrap();
    }
    add(builder, "bin/busybox", &fs::read(BUSYBOX).unwrap(), 0o755);
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
}

fn add(builder: &mut Builder<impl std::io::Write>, name: &str, bytes: &[u8], mode: u32) {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, name, bytes).unwrap();
}
