//! Images that scenarios run: made here, of Debian's busybox.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::context::Context;

/// Commands that scenarios use of it.
const APPLETS: &str = "sh cat echo sleep true false id ps mount grep ls nc wget httpd hostname ip \
    kill env touch dd sync test nslookup head stat mkdir rm wc seq";

/// An image of busybox as `docker save` writes it: one layer, no entry point.
pub fn busybox(context: &Context, config: &Value) -> Result<Vec<u8>> {
    let tools = context.prepared().tools.with_packages(&["busybox-static"]);
    let tools = tools.context("making a tree with busybox")?;
    let output = tools.command("cat").arg("/usr/bin/busybox").output();
    let output = output.context("reading busybox")?;
    ensure!(
        output.status.success(),
        "reading busybox: {}",
        output.status
    );
    archive(&layer(&output.stdout)?, config)
}

/// The file system: the program, a link for every command, accounts.
fn layer(program: &[u8]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for dir in ["bin", "etc", "tmp", "var", "proc", "sys", "dev", "run"] {
        let mut header = header(
            EntryType::Directory,
            if dir == "tmp" { 0o1777 } else { 0o755 },
        );
        tar.append_data(&mut header, dir, &b""[..])?;
    }
    file(&mut tar, "bin/busybox", 0o755, program)?;
    for applet in APPLETS.split_ascii_whitespace() {
        let mut header = header(EntryType::Symlink, 0o777);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    file(
        &mut tar,
        "etc/passwd",
        0o644,
        b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n",
    )?;
    file(&mut tar, "etc/group", 0o644, b"root:x:0:\nweb:x:33:\n")?;
    Ok(tar.into_inner()?)
}

/// Layer, configuration and manifest in one file.
fn archive(layer: &[u8], config: &Value) -> Result<Vec<u8>> {
    let diff = hex(&Sha256::digest(layer));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff}")]},
    });
    let config = config.to_string();
    let id = hex(&Sha256::digest(&config));
    let manifest = json!([{
        "Config": format!("{id}.json"),
        "RepoTags": ["e2e.test/busybox:latest"],
        "Layers": [format!("{diff}/layer.tar")],
    }]);
    let mut tar = Builder::new(Vec::new());
    file(&mut tar, &format!("{id}.json"), 0o644, config.as_bytes())?;
    file(&mut tar, &format!("{diff}/layer.tar"), 0o644, layer)?;
    file(
        &mut tar,
        "manifest.json",
        0o644,
        manifest.to_string().as_bytes(),
    )?;
    Ok(tar.into_inner()?)
}

fn file(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, Path::new(path), content)
        .with_context(|| format!("packing {path}"))
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
