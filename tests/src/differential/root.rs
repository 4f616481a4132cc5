//! The root directory that both programs provision: a small host with some things that
//! configs may meet.
//!
//! It has no programs of its own; the tools tree's `/usr` is mounted there.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Directories: path, mode.
const DIRECTORIES: [(&str, u32); 21] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/default", 0o755),
    ("etc/selinux", 0o755),
    ("etc/skel", 0o755),
    ("etc/systemd/system", 0o755),
    ("home", 0o755),
    ("home/old", 0o700),
    ("home/old/.ssh", 0o700),
    ("opt", 0o755),
    ("present/directory/below", 0o755),
    ("present/private", 0o750),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var/lib", 0o755),
    ("var/mail", 0o2775),
];

/// Files: path, mode, contents.
const FILES: [(&str, u32, &str); 21] = [
    ("etc/passwd", 0o644, PASSWD),
    ("etc/group", 0o644, GROUP),
    ("etc/shadow", 0o640, SHADOW),
    ("etc/gshadow", 0o640, GSHADOW),
    ("etc/subuid", 0o644, ""),
    ("etc/subgid", 0o644, ""),
    ("etc/login.defs", 0o644, LOGIN_DEFS),
    ("etc/default/useradd", 0o644, "SHELL=/bin/sh\n"),
    // Theirs wants to label what it wrote, and first to know the policy; see run.sh.
    ("etc/selinux/config", 0o644, "SELINUXTYPE=none\n"),
    ("etc/skel/.profile", 0o644, "# profile\n"),
    ("etc/hostname", 0o644, "before\n"),
    ("etc/no-newline", 0o640, "before"),
    ("etc/systemd/system/present.service", 0o644, PRESENT_UNIT),
    (
        "home/old/.ssh/authorized_keys",
        0o600,
        "ssh-ed25519 AAAA old\n",
    ),
    ("home/old/note", 0o600, "old\n"),
    ("present/directory/file", 0o644, "below\n"),
    ("present/directory/below/file", 0o644, "below\n"),
    ("present/file", 0o644, "present\n"),
    ("present/owned", 0o604, "owned\n"),
    ("present/program", 0o755, "#!/bin/sh\n"),
    ("var/mail/old", 0o660, "mail\n"),
];

/// Links: path, target.
const LINKS: [(&str, &str); 11] = [
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("sbin", "usr/sbin"),
    ("etc/systemd/system/masked.service", "/dev/null"),
    ("present/link", "file"),
    ("present/absolute", "/present/file"),
    ("present/dangling", "nowhere"),
    ("present/to-directory", "directory"),
    ("to-below", "present/directory/below"),
    ("var/home", "../home"),
];

/// Owners other than root: path, user, group.
const OWNERS: [(&str, u32, u32); 8] = [
    ("etc/shadow", 0, 42),
    ("etc/gshadow", 0, 42),
    ("home/old", 1000, 1000),
    ("home/old/.ssh", 1000, 1000),
    ("home/old/.ssh/authorized_keys", 1000, 1000),
    ("home/old/note", 1000, 1000),
    ("present/owned", 1000, 50),
    ("var/mail/old", 1000, 50),
];

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
old:x:1000:1000:Old User:/home/old:/bin/bash
service:x:999:999::/:/usr/sbin/nologin
games:x:5:60:games:/usr/games:/usr/sbin/nologin
news:x:9:9:news:/var/spool/news:/usr/sbin/nologin
systemd-network:x:998:998:systemd Network Management:/:/usr/sbin/nologin
";

const GROUP: &str = "\
root:x:0:
daemon:x:1:
sudo:x:27:old
news:x:9:
shadow:x:42:
plugdev:x:46:
staff:x:50:
games:x:60:
wheel:x:990:
systemd-journal:x:997:
systemd-network:x:998:
nogroup:x:65534:
old:x:1000:
service:x:999:
spare:x:1500:
";

const SHADOW: &str = "\
root:*:20000:0:99999:7:::
daemon:*:20000:0:99999:7:::
nobody:*:20000:0:99999:7:::
games:*:20000:0:99999:7:::
news:*:20000:0:99999:7:::
systemd-network:!*:20000::::::
old:$6$salt$hash:20000:0:99999:7:::
service:!:20000::::::
";

const GSHADOW: &str = "\
root:*::
daemon:*::
sudo:*::old
news:*::
shadow:*::
plugdev:*::
games:*::
wheel:!*::
systemd-journal:!*::
systemd-network:!*::
staff:*::
nogroup:*::
old:!::
service:!::
spare:!::
";

const LOGIN_DEFS: &str = "\
HOME_MODE 0700
UMASK 022
PASS_MAX_DAYS 99999
PASS_MIN_DAYS 0
PASS_WARN_AGE 7
UID_MIN 1000
UID_MAX 60000
SYS_UID_MIN 100
SYS_UID_MAX 999
GID_MIN 1000
GID_MAX 60000
SYS_GID_MIN 100
SYS_GID_MAX 999
SUB_UID_MIN 100000
SUB_UID_MAX 600100000
SUB_UID_COUNT 65536
SUB_GID_MIN 100000
SUB_GID_MAX 600100000
SUB_GID_COUNT 65536
USERGROUPS_ENAB yes
ENCRYPT_METHOD SHA512
";

const PRESENT_UNIT: &str = "\
[Unit]
Description=Present
[Service]
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
";

/// Makes the root directory `root`, which must not be there.
pub fn make(root: &Path) -> Result<()> {
    for (path, mode) in DIRECTORIES {
        let path = root.join(path);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    for (path, mode, text) in FILES {
        let path = root.join(path);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    for (path, target) in LINKS {
        let path = root.join(path);
        symlink(target, &path).with_context(|| format!("linking {}", path.display()))?;
    }
    for (path, uid, gid) in OWNERS {
        let path = root.join(path);
        chown(&path, Some(uid), Some(gid))
            .with_context(|| format!("giving {} to {uid}", path.display()))?;
    }
    Ok(())
}
