//! Arrays and encrypted volumes: made on first boot, there on later ones.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use qemu::Vm;
use serde_json::{Value, json};

use crate::context::{BOOT, Context, STEP, same};
use crate::scenario::{Scenario, scenario};

pub const SCENARIOS: &[Scenario] = &[scenario!(
    an_array_keeps_its_files_over_reboots,
    6,
    "Two disks become a raid1 with xfs and a file on it. After a reboot the host has assembled \
     it, the file is there, and nothing was made again."
)];

/// A blank disk.
fn blank(context: &Context, name: &str, mib: u64) -> Result<PathBuf> {
    let path = context.file(name);
    let file = File::create(&path).context("creating a disk")?;
    file.set_len(mib << 20).context("sizing a disk")?;
    Ok(path)
}

/// A unit that mounts `what` at `at`, as Butane writes it.
fn mount(name: &str, what: &str, at: &str, format: &str) -> Value {
    let contents = format!(
        "[Mount]\nWhere={at}\nWhat={what}\nType={format}\n\n[Install]\n\
         RequiredBy=local-fs.target\n"
    );
    json!({ "name": name, "enabled": true, "contents": contents })
}

/// Reboots the machine. What `show` prints must stay the same.
fn same_after_reboot(vm: &mut Vm, show: &str) -> Result<()> {
    let before = vm.exec_ok(show)?;
    vm.start("systemctl reboot")?;
    vm.wait_reboot(STEP)?;
    vm.wait_boot_complete(BOOT)?;
    let after = vm.exec_ok(show)?;
    same("what must not change with a second boot", &after, &before)?;
    let running = vm.exec("systemctl is-system-running --wait")?;
    same("the state of the system", &running.stdout, "running")
}

fn an_array_keeps_its_files_over_reboots(context: &Context) -> Result<()> {
    let disks = [
        blank(context, "one.img", 400)?,
        blank(context, "two.img", 400)?,
    ];
    let config = json!({
        "ignition": { "version": "3.6.0" },
        "storage": {
            "raid": [{ "name": "data", "level": "raid1", "devices": ["/dev/vdb", "/dev/vdc"] }],
            "filesystems": [{ "device": "/dev/md/data", "format": "xfs", "label": "data",
                "path": "/var/lib/data" }],
            "files": [{ "path": "/var/lib/data/hello", "contents": { "source": "data:,hello" } }]
        },
        "systemd": { "units": [
            mount("var-lib-data.mount", "/dev/md/data", "/var/lib/data", "xfs")] }
    });
    let setup = context.setup().ignition(context.config(&config)?);
    let setup = disks.iter().fold(setup, qemu::Setup::extra_disk);
    context.boot(&setup, |vm| {
        vm.wait_boot_complete(BOOT)?;
        let found = vm.exec_ok(
            "findmnt -no FSTYPE,LABEL /var/lib/data | tr -s ' '; cat /var/lib/data/hello; echo; \
             mdadm --detail /dev/md/data | grep -cE 'active sync +/dev/vd[bc]'; \
             mdadm --detail --export /dev/md/data | grep -E '^MD_(LEVEL|DEVICES|NAME)='; \
             systemctl is-active mdmonitor",
        )?;
        let expected = "xfs data\nhello\n2\nMD_LEVEL=raid1\nMD_DEVICES=2\nMD_NAME=any:data\nactive";
        same("the array", &found, expected)?;
        same_after_reboot(vm, ARRAY)
    })
}

/// The identity of the array, of its file system, and of the file.
const ARRAY: &str = "mdadm --detail --export /dev/md/data | grep -E 'UUID|LEVEL|NAME'; \
    findmnt -no UUID /var/lib/data; find /var/lib/data -printf '%p %i %m %T@\\n' | sort";
