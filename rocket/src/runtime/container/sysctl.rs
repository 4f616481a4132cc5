//! Settings of the kernel that belong to a namespace of the container. Any other would be
//! the host's.

use std::collections::HashMap;
use std::path::PathBuf;

use nix::libc;

use super::Namespaces;
use crate::runtime::error::{Error, Result};

const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Paths below `/proc/sys` in the order of their names, and values.
pub fn checked(
    wanted: Option<&HashMap<String, String>>,
    namespaces: &Namespaces,
) -> Result<Vec<(PathBuf, String)>> {
    let mut all = Vec::new();
    for (key, value) in wanted.into_iter().flatten() {
        let field = format!("linux.sysctl.{key}");
        super::bounded("linux.sysctl", all.len())?;
        let name = dotted(key);
        let (flag, kind) = owner(&name).ok_or_else(|| {
            Error::spec(
                field.as_str(),
                "belongs to the host, not to a namespace of the container",
            )
        })?;
        if !namespaces.has(flag) {
            return Err(Error::spec(
                field,
                format!("without a {kind} namespace this would be the host's setting"),
            ));
        }
        if value.len() > 4096 {
            return Err(Error::spec(field, "longer than 4096 bytes"));
        }
        all.push((path(&field, &name)?, value.clone()));
    }
    all.sort();
    Ok(all)
}

/// The spelling with dots. In the one with slashes dots are part of names, and become
/// slashes here.
fn dotted(key: &str) -> String {
    match key.find(['.', '/']).map(|at| &key[at..=at]) {
        Some("/") => key
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

fn path(field: &str, name: &str) -> Result<PathBuf> {
    let parts: Vec<String> = name.split('.').map(|part| part.replace('/', ".")).collect();
    let wrong = |part: &String| part.is_empty() || part == "." || part == "..";
    if parts.iter().any(wrong) {
        return Err(Error::spec(field, "not a name of a setting"));
    }
    Ok(parts.iter().collect())
}

fn owner(name: &str) -> Option<(libc::c_int, &'static str)> {
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        return Some((libc::CLONE_NEWIPC, "ipc"));
    }
    if name.starts_with("net.") {
        return Some((libc::CLONE_NEWNET, "network"));
    }
    let uts = name == "kernel.domainname" || name == "kernel.hostname";
    uts.then_some((libc::CLONE_NEWUTS, "uts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, new: libc::c_int) -> Result<Vec<(PathBuf, String)>> {
        let namespaces = Namespaces {
            new: new as u64,
            ..Namespaces::default()
        };
        let wanted = HashMap::from([(key.to_owned(), "1".to_owned())]);
        checked(Some(&wanted), &namespaces)
    }

    #[test]
    fn both_spellings_name_one_file() {
        for key in [
            "net.ipv4.conf.eth0/1.forwarding",
            "net/ipv4/conf/eth0.1/forwarding",
        ] {
            let found = check(key, libc::CLONE_NEWNET).unwrap();
            let expected = PathBuf::from("net/ipv4/conf/eth0.1/forwarding");
            assert_eq!(found, [(expected, "1".to_owned())], "{key}");
        }
    }

    #[test]
    fn what_is_the_hosts_stays_the_hosts() {
        assert!(check("kernel.panic", libc::CLONE_NEWIPC).is_err());
        assert!(check("kernel.shmmax", libc::CLONE_NEWNET).is_err());
        assert!(check("kernel.shmmax", libc::CLONE_NEWIPC).is_ok());
        for key in [
            "net...kernel.panic",
            "net//../kernel/panic",
            "net.",
            "net/./x",
        ] {
            assert!(check(key, libc::CLONE_NEWNET).is_err(), "{key}");
        }
    }
}
