//! First boot with a config that is carried out, also when it is cut off.

use image::host::capture;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use qemu::Vm;

use crate::config;
use crate::context::{BOOT, Context, STEP, booted, contains, same};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};
use crate::scenarios::kargs;
use crate::trial::{DISK_GIB, VERSION};

pub const SCENARIOS: &[Scenario] = &[scenario!(
    a_config_comes_out_exactly_and_only_once_after_five_power_cuts,
    12,
    "The power cut when the kernel starts, while root is made, when it was made, in the \
         middle of writing files and right after the switch to the host: each boot gets further \
         than the last one. 200 files, users, groups, units and links come out exactly, kernel \
         arguments hold after one reboot more, and another boot provisions nothing."
)];

/// Moments of a first boot in their order, before it reboots into its kernel arguments. A
/// boot that reaches one has made good what the cut before it left behind.
const BEFORE: [&str; 3] = [
    "Linux version ",
    "Starting systemd-repart.service",
    "Finished systemd-repart.service",
];

/// The same after that.
const AFTER: [&str; 2] = [
    "ignition: wrote path=/etc/e2e/deep/er/file-101",
    "Welcome to ",
];

/// One after each cut, the first one, and the one into the kernel arguments.
const BOOTS: usize = BEFORE.len() + AFTER.len() + 2;

fn a_config_comes_out_exactly_and_only_once_after_five_power_cuts(context: &Context) -> Result<()> {
    let key = make_key(context)?;
    let public = std::fs::read_to_string(key.with_extension("pub"))?;
    let mut config = config::large(public.trim());
    config["kernelArguments"] = kargs::wanted();
    let config = context.config(&config)?;
    let disk = context.file("disk.img");
    let disk = Disk::copy(&context.prepared().disk_image(), disk, DISK_GIB)?;
    context.boot(&context.setup_on(&disk).ignition(config), |vm| {
        cut_power(vm, &BEFORE)?;
        vm.wait_reboot(BOOT)?;
        vm.expect("kernel arguments of this host: +e2e.text=", STEP)?;
        cut_power(vm, &AFTER)?;
        let boot = vm.wait_boot_complete(BOOT)?;
        booted(&boot, VERSION, "a", "normal")?;
        check_banner(vm)?;
        kargs::started(vm, BOOTS)?;
        kargs::hold(vm)?;
        config::check_large(vm)?;
        check_host(vm)?;
        log_in_as_a_user(vm, &key)?;
        check_report(vm)?;
        usr_cannot_be_written(vm)?;
        vm.exec_ok("echo changed by hand > /etc/e2e/file-000")?;
        let before = vm.exec_ok(IDENTITY)?;
        vm.start("systemctl reboot")?;
        vm.wait_reboot(STEP)?;
        let boot = vm.wait_boot_complete(BOOT)?;
        booted(&boot, VERSION, "a", "normal")?;
        kargs::started(vm, BOOTS + 1)?;
        kargs::hold(vm)?;
        let after = vm.exec_ok(IDENTITY)?;
        same("what must not change with a second boot", &after, &before)?;
        let file = vm.exec_ok("cat /etc/e2e/file-000")?;
        same("a file changed by hand", &file, "changed by hand")?;
        let running = vm.exec("systemctl is-system-running --wait")?;
        same("the state of the system", &running.stdout, "running")
    })
}

/// Cuts the power at each of these moments, and switches the machine on again.
fn cut_power(vm: &mut Vm, moments: &[&str]) -> Result<()> {
    for moment in moments {
        vm.cut_power_when(moment, BOOT)
            .with_context(|| format!("waiting to cut the power at {moment:?}"))?;
        vm.power_on()?;
    }
    Ok(())
}

/// All that first boot makes and later boots leave alone. Inode numbers where
/// there is no overlay.
const IDENTITY: &str = "cat /etc/.ignition-result.json /etc/machine-id \
    /var/lib/ballast/ignition/report.json \
    /etc/ssh/ssh_host_ed25519_key.pub /etc/passwd /etc/group; \
    find /etc/e2e -printf '%p %m %U:%G %T@\\n' | sort; \
    find /var/lib/e2e /opt/e2e /srv/shared -printf '%p %i %m %U:%G %T@\\n' | sort; \
    find /home/ada/.ssh /var/lib/ben/.ssh -printf '%p %i %m %U:%G %T@\\n' | sort";

/// What was done by which stage, for whoever asks on the host.
fn check_report(vm: &mut Vm) -> Result<()> {
    let report = vm.exec_ok("ignition report")?;
    for part in [
        ": provisioned, ",
        "  fetch-offline ",
        "  kargs ",
        "  files ",
        "wrote path=/etc/e2e/file-000",
        "provisioned path=/etc/.ignition-result.json",
    ] {
        contains("the report", &report, part)?;
    }
    Ok(())
}

fn make_key(context: &Context) -> Result<std::path::PathBuf> {
    let key = context.file("ada");
    let mut keygen = context.tool("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f"]);
    capture(keygen.arg(&key))?;
    Ok(key)
}

/// Version, slot, address and fingerprint, where someone at the console looks.
/// The banner is printed again when there is an address.
fn check_banner(vm: &mut Vm) -> Result<()> {
    vm.expect(&format!("Ballast {VERSION} slot a"), STEP)?;
    vm.expect("Addresses: 10.0.2.15", STEP)?;
    let shown = vm.expect("SSH host key", STEP)?;
    let fingerprint = vm.exec_ok("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")?;
    let fingerprint = fingerprint.split_whitespace().nth(1).unwrap_or_default();
    ensure!(
        fingerprint.starts_with("SHA256:"),
        "no fingerprint: {fingerprint}"
    );
    contains("the console", &shown, fingerprint)
}

fn check_host(vm: &mut Vm) -> Result<()> {
    let running = vm.exec("systemctl is-system-running --wait")?;
    if running.stdout.trim() != "running" {
        let failed = vm.exec_ok("systemctl --failed --no-legend; systemctl list-jobs")?;
        same(
            "the state of the system",
            &(running.stdout + &failed),
            "running",
        )?;
    }
    let etc = vm.exec_ok("findmnt -no FSTYPE,OPTIONS /etc")?;
    contains("/etc", &etc, "overlay")?;
    contains(
        "/etc",
        &etc,
        "lowerdir=/sysroot/usr/share/ballast/etc,upperdir=/sysroot/etc",
    )?;
    let upper = vm.exec_ok(
        "mkdir /run/bare && mount --bind / /run/bare && test -f /run/bare/etc/e2e/file-000 \
         && test ! -e /run/bare/etc/os-release && umount /run/bare && echo upper",
    )?;
    same("the upper layer of /etc", &upper, "upper")?;
    let root = vm.exec_ok(
        "findmnt -no SOURCE,FSTYPE /; cat /sys/class/block/vda8/start /sys/class/block/vda8/size \
         /sys/class/block/vda/size",
    )?;
    let words: Vec<&str> = root.split_whitespace().collect();
    let [source, kind, start, size, disk] = words.as_slice() else {
        anyhow::bail!("unexpected description of root: {root}");
    };
    same("root", &format!("{source} {kind}"), "/dev/vda8 ext4")?;
    let numbers = [start, size, disk].map(|text| text.parse::<u64>().unwrap_or_default());
    let left = numbers[2].saturating_sub(numbers[0] + numbers[1]);
    // The backup of the table, and alignment to 1 MiB.
    ensure!(left < 4096, "{left} blocks after root are not used");
    let id = vm.exec_ok("cat /etc/machine-id")?;
    let valid = id.trim().len() == 32 && id.trim().bytes().all(|b| b.is_ascii_hexdigit());
    ensure!(valid, "machine-id {id:?}");
    let address = vm.exec_ok("ip -4 -o addr show scope global")?;
    contains("the wired interface", &address, "10.0.2.15/24")?;
    contains("the wired interface", &address, "dynamic")?;
    let record = vm.exec_ok("cat /etc/.ignition-result.json")?;
    let record: serde_json::Value = serde_json::from_str(&record).context("reading the record")?;
    ensure!(
        record["userConfigProvided"] == true,
        "the record says {record}"
    );
    Ok(())
}

/// With the key that the config has for `ada`, as a person would.
fn log_in_as_a_user(vm: &Vm, key: &Path) -> Result<()> {
    let words = vm.login_command()?;
    let port = words.iter().skip_while(|word| *word != "-p").nth(1);
    let port = port.and_then(|p| p.parse().ok()).context("no SSH port")?;
    let mut ssh: Command = vm.tools().command("ssh");
    ssh.args(["-F", "none", "-T", "-o", "BatchMode=yes"])
        .args(qemu::ssh::options(key, port))
        .args(["ada@127.0.0.1", "id -un; sudo -n id -un"]);
    same("who logged in", &capture(&mut ssh)?, "ada\nroot")
}

fn usr_cannot_be_written(vm: &mut Vm) -> Result<()> {
    let attempts = [
        "touch /usr/x",
        "mount -o remount,rw /usr",
        "dd if=/dev/zero of=\"$(readlink -f /dev/mapper/usr)\" bs=4096 count=1 seek=10 conv=fsync",
        "blockdev --setrw /dev/mapper/usr && dd if=/dev/zero of=/dev/mapper/usr bs=4096 count=1 \
         seek=10 conv=fsync",
        "for part in /sys/block/dm-*/slaves/*; do dd if=/dev/zero of=/dev/${part##*/} bs=4096 \
         count=1 seek=10 conv=fsync && exit 0; done; exit 1",
    ];
    for attempt in attempts {
        let output = vm.exec(attempt)?;
        ensure!(output.status != 0, "root could `{attempt}`");
    }
    let table = vm.exec_ok("findmnt -no FSTYPE,OPTIONS /usr")?;
    ensure!(
        table.starts_with("erofs") && table.contains("ro,"),
        "/usr is {table}"
    );
    Ok(())
}
