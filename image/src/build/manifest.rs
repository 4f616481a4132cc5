//! What is in a release: package manifest, SBOM, descriptor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::usr::{BLOCK, SALT};
use super::{Job, source_dir};
use crate::cache::sha256_file;
use crate::host::capture;

/// One part of the image, from Debian or from crates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Package {
    kind: &'static str,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    license: String,
}

/// Writes `packages.json` and `sbom.spdx.json`.
pub fn make(job: &Job, tree: &Path) -> Result<()> {
    let mut packages = debian(tree)?;
    packages.extend(crates()?);
    packages.sort();
    packages.dedup();
    write(
        &job.out.join("packages.json"),
        &json!({
            "image": "ballast",
            "version": job.version,
            "packages": packages,
        }),
    )?;
    write(&job.out.join("sbom.spdx.json"), &spdx(job, &packages)?)
}

/// Installed Debian packages, from dpkg's database (deb822 stanzas).
fn debian(tree: &Path) -> Result<Vec<Package>> {
    let path = tree.join("var/lib/dpkg/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.split("\n\n").filter_map(stanza).collect())
}

fn stanza(text: &str) -> Option<Package> {
    let fields: BTreeMap<&str, &str> = text
        .lines()
        .filter(|l| !l.starts_with(' '))
        .filter_map(|l| l.split_once(": "))
        .collect();
    if !fields.get("Status")?.ends_with(" installed") {
        return None;
    }
    let name = (*fields.get("Package")?).to_string();
    let source = fields.get("Source").map_or(name.as_str(), |s| s);
    Some(Package {
        kind: "deb",
        source: source.split(' ').next().unwrap_or_default().to_string(),
        version: (*fields.get("Version")?).to_string(),
        license: String::new(),
        name,
    })
}

/// Crates that are compiled into the image's Rust programs.
fn crates() -> Result<Vec<Package>> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(source_dir());
    let metadata: Value = serde_json::from_str(&capture(&mut cargo)?)
        .context("reading what cargo metadata printed")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let packages: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let ours = |name: &str| {
        [
            "ignition",
            "bootloader",
            "locksmith",
            "rocket",
            "update-engine",
        ]
        .contains(&name)
    };
    let mut open: Vec<String> = packages
        .iter()
        .filter(|(_, p)| p["source"].is_null() && ours(&text(&p["name"])))
        .map(|(id, _)| id.clone())
        .collect();
    let mut found = BTreeMap::new();
    while let Some(id) = open.pop() {
        let (Some(package), Some(node)) = (packages.get(&id), nodes.get(&id)) else {
            continue;
        };
        if found.contains_key(&id) {
            continue;
        }
        for dep in list(&node["deps"]) {
            // A dependency without a kind is a normal one: not for tests or
            // build scripts only.
            if list(&dep["dep_kinds"]).iter().any(|k| k["kind"].is_null()) {
                open.push(text(&dep["pkg"]));
            }
        }
        found.insert(
            id,
            Package {
                kind: "crate",
                name: text(&package["name"]),
                version: text(&package["version"]),
                source: String::new(),
                license: text(&package["license"]),
            },
        );
    }
    Ok(found.into_values().collect())
}

/// An SPDX 2.3 document (spdx.github.io/spdx-spec/v2.3).
fn spdx(job: &Job, packages: &[Package]) -> Result<Value> {
    let usr = sha256_file(&job.out.join("usr.img"))?;
    let mut elements = vec![json!({
        "SPDXID": "SPDXRef-Image",
        "name": "ballast",
        "versionInfo": job.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "checksums": [{"algorithm": "SHA256", "checksumValue": usr}],
    })];
    let mut relations = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-Image",
    })];
    for (number, package) in packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{number}");
        let license = match package.license.replace('/', " OR ") {
            none if none.is_empty() => "NOASSERTION".to_string(),
            some => some,
        };
        elements.push(json!({
            "SPDXID": id,
            "name": package.name,
            "versionInfo": package.version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseDeclared": license,
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl(package),
            }],
        }));
        relations.push(json!({
            "spdxElementId": "SPDXRef-Image",
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": id,
        }));
    }
    Ok(json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("ballast-{}", job.version),
        "documentNamespace": format!("urn:ballast:{}:{usr}", job.version),
        "creationInfo": {
            "created": "2025-01-01T00:00:00Z",
            "creators": ["Tool: ballast-image"],
        },
        "packages": elements,
        "relationships": relations,
    }))
}

/// A package URL (github.com/package-url/purl-spec).
fn purl(package: &Package) -> String {
    let version: String = package
        .version
        .chars()
        .map(|c| match c {
            '+' => "%2B".to_string(),
            ':' => "%3A".to_string(),
            '~' => "~".to_string(),
            c => c.to_string(),
        })
        .collect();
    match package.kind {
        "crate" => format!("pkg:cargo/{}@{version}", package.name),
        _ => format!("pkg:deb/debian/{}@{version}?arch=amd64", package.name),
    }
}

/// Writes `release.json`: version, verity root, and every file with its size
/// in bytes and SHA-256.
pub fn release(job: &Job, hash: &str) -> Result<()> {
    let mut files = BTreeMap::new();
    for name in super::OUTPUTS.iter().filter(|n| **n != "release.json") {
        let path = job.out.join(name);
        let size = fs::metadata(&path)
            .with_context(|| format!("reading {}", path.display()))?
            .len();
        files.insert(*name, json!({"size": size, "sha256": sha256_file(&path)?}));
    }
    write(
        &job.out.join("release.json"),
        &json!({
            "format": 1,
            "image": "ballast",
            "version": job.version,
            "architecture": "x86-64",
            "verity": {
                "root": hash,
                "salt": SALT,
                "block_size": BLOCK.parse::<u32>()?,
                "hash": "sha256",
            },
            "files": files,
        }),
    )
}

fn write(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_read_and_removed_ones_are_not() {
        let text = "Package: a\nStatus: install ok installed\nSource: src (1)\nVersion: 1:2+b~1\n\
                    Description: x\n more: y";
        let package = stanza(text).unwrap();
        assert_eq!(
            (package.name.as_str(), package.source.as_str()),
            ("a", "src")
        );
        assert_eq!(purl(&package), "pkg:deb/debian/a@1%3A2%2Bb~1?arch=amd64");
        let removed = text.replace("install ok installed", "deinstall ok config-files");
        assert_eq!(stanza(&removed), None);
    }
}
