//! The host without a config, and its disk.

use anyhow::{Context as _, Result, ensure};
use qemu::Vm;

use crate::context::{BOOT, Context, STEP, booted, contains, same};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};
use crate::trial::VERSION;

pub const SCENARIOS: &[Scenario] = &[scenario!(
    a_host_without_config_is_closed_powers_off_and_grows,
    5,
    "Without a config the host runs with defaults, takes no passwords, powers off by its button and uses a larger disk."
)];

/// Size that the disk grows to, in GiB; two more than it has.
const LARGER_GIB: u64 = 10;

/// What must not be on board.
const ABSENT: &str = "apt apt-get dpkg rpm dnf pip perl python python3 gcc cc c++ clang ld as \
    make go rustc cargo node ruby man gdb";

fn a_host_without_config_is_closed_powers_off_and_grows(context: &Context) -> Result<()> {
    let disk = Disk::at(context.file("disk.img"));
    context.warm(&context.setup_lived(&disk), |vm| {
        check_defaults(vm)?;
        let before = root_size(vm)?;
        vm.exec_ok("echo kept > /var/lib/e2e-kept")?;
        vm.exec_ok("echo e2e: of the boot before > /dev/kmsg")?;
        vm.qmp()?
            .execute("system_powerdown", serde_json::Value::Null)?;
        vm.wait_off(STEP)?;
        contains("the console", &vm.console().text(), "reboot: Power down")?;
        disk.enlarge(LARGER_GIB)?;
        vm.power_on()?;
        let boot = vm.wait_boot_complete(BOOT)?;
        booted(&boot, VERSION, "a", "normal")?;
        same(
            "a file on root",
            &vm.exec_ok("cat /var/lib/e2e-kept")?,
            "kept",
        )?;
        let said = vm.exec("journalctl -b -1 -t e2e -o cat")?;
        contains("the journal", &said.stdout, "of the boot before")?;
        // The file system grows once the host is up.
        vm.exec("systemctl is-system-running --wait")?;
        let after = root_size(vm)?;
        // File system metadata takes a part of the two GiB.
        ensure!(
            after > before + (19 << 30) / 10,
            "root grew from {before} to {after} bytes"
        );
        let clean = vm.exec("journalctl -b -g 'recovery complete|recovering journal' -q")?;
        same(
            "recovery of root after a clean power off",
            &clean.stdout,
            "",
        )
    })
}

fn check_defaults(vm: &mut Vm) -> Result<()> {
    let running = vm.exec("systemctl is-system-running --wait")?;
    same("the state of the system", &running.stdout, "running")?;
    let record = vm.exec_ok("cat /etc/.ignition-result.json")?;
    contains("the record", &record, "\"userConfigProvided\": false")?;
    let sshd = vm.exec_ok("/usr/sbin/sshd -T")?;
    for line in [
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "permitrootlogin without-password",
    ] {
        contains("sshd -T", &sshd, line)?;
    }
    let hashes = vm.exec_ok("cut -d: -f2 /etc/shadow | sort -u")?;
    ensure!(
        hashes.lines().all(|h| h.starts_with(['!', '*'])),
        "an account has a password: {hashes}"
    );
    let found = vm.exec(&format!("for n in {ABSENT}; do command -v $n; done"))?;
    same("programs that must not be on board", &found.stdout, "")?;
    let memory = vm.exec_ok("free -m | sed -n 's/^Mem: *[0-9]* *\\([0-9]*\\).*/\\1/p'")?;
    println!("     memory in use after boot: {} MiB", memory.trim());
    Ok(())
}

/// Size of root's file system in bytes.
fn root_size(vm: &mut Vm) -> Result<u64> {
    let text = vm.exec_ok("df -B1 --output=size / | tail -n1")?;
    let size = text.trim().parse();
    size.with_context(|| format!("df says {text:?}"))
}
