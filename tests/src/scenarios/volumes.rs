//! Arrays and encrypted volumes: made on first boot, there on later ones.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use qemu::Vm;
use serde_json::{Value, json};

use crate::config::data_url;
use crate::context::{BOOT, Context, STEP, same};
use crate::http::HOST_AS_SEEN_BY_GUESTS;
use crate::peers::{self, Tang, Tpm};
use crate::relay::Identity;
use crate::scenario::{Scenario, scenario};

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        disks_arrays_and_volumes_are_made_once,
        6,
        "A disk gets partitions with ext4, xfs and two LUKS volumes, one with the config's key \
         and one with a key that the machine makes up; two disks become a raid1. Files go into \
         all of them, no key is in the journal, and a second boot finds all open and changes \
         nothing."
    ),
    scenario!(
        volumes_bound_by_clevis_open_by_themselves_after_a_reboot,
        8,
        "A volume bound to the machine's TPM and one bound to a tang server, over https with an \
         authority of the config, have no key on the host, and are open after a reboot; the \
         server was asked for it."
    ),
];

/// How the key of a volume is derived: cheaply. How long it takes is cryptsetup's affair,
/// and with its defaults each opening takes a translated processor a quarter of a minute.
const CHEAP: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

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

fn disks_arrays_and_volumes_are_made_once(context: &Context) -> Result<()> {
    let disks = [
        blank(context, "parted.img", 1400)?,
        blank(context, "one.img", 400)?,
        blank(context, "two.img", 400)?,
    ];
    let config = json!({
        "ignition": { "version": "3.6.0" },
        "storage": {
            "disks": [{ "device": "/dev/vdb", "partitions": [
                { "label": "data", "number": 1, "sizeMiB": 300 },
                { "label": "safe", "number": 2, "sizeMiB": 200 },
                { "label": "box", "number": 3, "sizeMiB": 200 },
                { "label": "logs" }] }],
            "raid": [{ "name": "pair", "level": "raid1", "devices": ["/dev/vdc", "/dev/vdd"] }],
            "luks": [
                { "name": "safe", "device": "/dev/disk/by-partlabel/safe", "label": "strong",
                  "discard": true, "options": CHEAP,
                  "keyFile": { "source": format!("data:,{SECRET}%00%0A") } },
                { "name": "box", "device": "/dev/disk/by-partlabel/box", "options": CHEAP }],
            "filesystems": [
                { "device": "/dev/disk/by-partlabel/data", "format": "ext4", "label": "my data",
                  "path": "/var/lib/data", "mountOptions": ["noatime"] },
                { "device": "/dev/disk/by-partlabel/logs", "format": "xfs",
                  "path": "/var/lib/data/logs" },
                { "device": "/dev/md/pair", "format": "xfs", "label": "pair",
                  "path": "/var/lib/pair" },
                { "device": "/dev/mapper/safe", "format": "ext4", "path": "/var/lib/safe" },
                { "device": "/dev/mapper/box", "format": "ext4", "path": "/var/lib/box" }],
            "files": [
                { "path": "/var/lib/data/hello", "contents": { "source": "data:,hello" } },
                { "path": "/var/lib/data/logs/a/b", "contents": { "source": "data:,deep" } },
                { "path": "/var/lib/pair/twice", "contents": { "source": "data:,twice" } },
                { "path": "/var/lib/safe/secret", "contents": { "source": "data:,secret" } }]
        },
        "systemd": { "units": [
            mount("var-lib-data.mount", "/dev/disk/by-partlabel/data", "/var/lib/data", "ext4"),
            mount("var-lib-data-logs.mount", "/dev/disk/by-partlabel/logs",
                  "/var/lib/data/logs", "xfs"),
            mount("var-lib-pair.mount", "/dev/md/pair", "/var/lib/pair", "xfs"),
            mount("var-lib-safe.mount", "/dev/mapper/safe", "/var/lib/safe", "ext4"),
            mount("var-lib-box.mount", "/dev/mapper/box", "/var/lib/box", "ext4")] }
    });
    let setup = context.setup().ignition(context.config(&config)?);
    let setup = disks.iter().fold(setup, qemu::Setup::extra_disk);
    context.boot(&setup, |vm| {
        vm.wait_boot_complete(BOOT)?;
        partitions_are_as_wanted(vm)?;
        the_array_is_as_wanted(vm)?;
        the_volumes_are_as_wanted(vm)?;
        same_after_reboot(vm, IDENTITIES)
    })
}

fn partitions_are_as_wanted(vm: &mut Vm) -> Result<()> {
    let found = vm.exec_ok(
        "findmnt -no FSTYPE /var/lib/data; findmnt -no LABEL /var/lib/data; \
         findmnt -no FSTYPE /var/lib/data/logs; \
         cat /var/lib/data/hello /var/lib/data/logs/a/b; echo; \
         cat /sys/class/block/vdb1/start /sys/class/block/vdb1/size",
    )?;
    let expected = "ext4\nmy data\nxfs\nhellodeep\n2048\n614400\n";
    same("the file systems", &found, expected)
}

fn the_array_is_as_wanted(vm: &mut Vm) -> Result<()> {
    let found = vm.exec_ok(
        "findmnt -no FSTYPE,LABEL /var/lib/pair | tr -s ' '; cat /var/lib/pair/twice; echo; \
         mdadm --detail /dev/md/pair | grep -cE 'active sync +/dev/vd[cd]'; \
         mdadm --detail --export /dev/md/pair | grep -E '^MD_(LEVEL|DEVICES|NAME)='; \
         systemctl is-active mdmonitor",
    )?;
    let expected = "xfs pair\ntwice\n2\nMD_LEVEL=raid1\nMD_DEVICES=2\nMD_NAME=any:pair\nactive";
    same("the array", &found, expected)
}

fn the_volumes_are_as_wanted(vm: &mut Vm) -> Result<()> {
    let found = vm.exec_ok(
        "cat /var/lib/safe/secret; echo; findmnt -no SOURCE /var/lib/box; \
         blkid -p -o value -s TYPE -s LABEL /dev/vdb2; \
         stat -c '%a %s' /etc/luks /etc/luks/* /etc/crypttab | cut -d ' ' -f 1 | tr '\\n' ' '; \
         echo; cut -d ' ' -f 1,3- /etc/crypttab; dmsetup table safe | grep -c allow_discards",
    )?;
    let expected = "secret\n/dev/mapper/box\nstrong\ncrypto_LUKS\n700 600 600 600 \n\
        safe /etc/luks/safe luks\nbox /etc/luks/box luks\n1";
    same("the volumes", &found, expected)?;
    // The config itself is handed over by the firmware, and not in the journal.
    let search = format!("journalctl -b --no-pager | grep -c {SECRET} || true");
    same(
        "lines of the journal with the key",
        &vm.exec_ok(&search)?,
        "0",
    )?;
    let kept = vm.exec_ok("head -c 12 /etc/luks/safe")?;
    same("the key on the host", &kept, SECRET)
}

fn volumes_bound_by_clevis_open_by_themselves_after_a_reboot(context: &Context) -> Result<()> {
    let peers = peers::tools(context)?;
    let (tpm, tang) = (Tpm::start(context, &peers)?, Tang::start(context, &peers)?);
    let disk = blank(context, "bound.img", 600)?;
    let identity = Identity::new()?;
    let url = format!(
        "https://{HOST_AS_SEEN_BY_GUESTS}:{}",
        identity.protect(tang.port())?
    );
    let server = json!([{ "url": url, "thumbprint": tang.thumbprint() }]);
    let authority = json!({ "source": data_url(identity.authority()) });
    let config = json!({
        "ignition": { "version": "3.6.0",
                      "security": { "tls": { "certificateAuthorities": [authority] } } },
        "storage": {
            "disks": [{ "device": "/dev/vdb", "partitions": [
                { "label": "chip", "number": 1, "sizeMiB": 200 },
                { "label": "net", "number": 2, "sizeMiB": 200 }] }],
            "luks": [
                { "name": "chip", "device": "/dev/disk/by-partlabel/chip",
                  "options": CHEAP, "clevis": { "tpm2": true } },
                { "name": "net", "device": "/dev/disk/by-partlabel/net",
                  "options": CHEAP, "clevis": { "tang": server } }],
            "filesystems": [
                { "device": "/dev/mapper/chip", "format": "ext4", "path": "/var/lib/chip" },
                { "device": "/dev/mapper/net", "format": "ext4", "path": "/var/lib/net" }],
            "files": [
                { "path": "/etc/ssl/certs/ca-certificates.crt", "append": [authority] },
                { "path": "/var/lib/chip/hello", "contents": { "source": "data:,hello" } },
                { "path": "/var/lib/net/hello", "contents": { "source": "data:,there" } }]
        },
        "systemd": { "units": [
            mount("var-lib-chip.mount", "/dev/mapper/chip", "/var/lib/chip", "ext4"),
            { "name": "var-lib-net.mount", "enabled": true, "contents": NET_MOUNT }] }
    });
    let setup = context.setup().ignition(context.config(&config)?);
    let setup = setup.extra_disk(&disk).tpm(tpm.socket());
    context.boot(&setup, |vm| {
        vm.wait_boot_complete(BOOT)?;
        let found = vm.exec_ok(
            "cat /var/lib/chip/hello /var/lib/net/hello; echo; \
             ls /etc/luks 2>/dev/null; cut -d ' ' -f 1,3- /etc/crypttab; \
             for part in /dev/vdb1 /dev/vdb2; do cryptsetup luksDump $part | \
             grep -cE '^ +[0-9]+: (luks2|clevis)$'; done",
        )?;
        // One key and one token each: the key that made the volume is gone.
        let expected = "hellothere\nchip none luks\nnet none luks,_netdev\n2\n2";
        same("the volumes", &found, expected)?;
        let asked = tang.connections();
        same_after_reboot(vm, BOUND)?;
        ensure!(
            tang.connections() > asked,
            "the server was not asked on the second boot"
        );
        Ok(())
    })
}

/// As Butane writes it for what needs the network.
const NET_MOUNT: &str = "[Mount]\nWhere=/var/lib/net\nWhat=/dev/mapper/net\nType=ext4\n\
    Options=_netdev\n\n[Install]\nRequiredBy=remote-fs.target\n";

/// The identities of the volumes, of the file systems in them, and of the files.
const BOUND: &str = "blkid -p -o value -s UUID /dev/vdb1 /dev/vdb2; \
    findmnt -no SOURCE,UUID /var/lib/chip; findmnt -no SOURCE,UUID /var/lib/net; \
    cat /etc/crypttab; find /var/lib/chip /var/lib/net -printf '%p %i %m %T@\\n' | sort";

/// The key, as text.
const SECRET: &str = "opensesame42";

/// The table, what is on it, the array, the volumes, and the files.
const IDENTITIES: &str = "sfdisk --dump /dev/vdb && blkid -p /dev/vdb[1-4]; \
    mdadm --detail --export /dev/md/pair | grep -E 'UUID|LEVEL|NAME'; \
    findmnt -no UUID /var/lib/pair; cat /etc/crypttab; \
    findmnt -no SOURCE,UUID /var/lib/safe; findmnt -no SOURCE,UUID /var/lib/box; \
    find /var/lib/data /var/lib/pair /var/lib/safe -printf '%p %i %m %T@\\n' | sort";
