//! The description of a virtual machine and the QEMU arguments it stands for.
//!
//! Nothing here touches a file or starts a program.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::accel::Engine;

/// UEFI firmware without Secure Boot, a path of the tools tree.
pub const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// The empty variable store that belongs to [`FIRMWARE`].
pub const FIRMWARE_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// fw_cfg name under which Ignition looks for its config (Ignition, "qemu").
pub const IGNITION_FW_CFG: &str = "opt/com.coreos/config";

/// A virtual machine, complete: every file it uses is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Virtual CPUs, at least 1.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Where the memory lives.
    pub memory: Memory,
    /// Hardware or translation.
    pub engine: Engine,
    /// Firmware code, read-only.
    pub firmware: PathBuf,
    /// Firmware variables, qcow2, written.
    pub vars: PathBuf,
    /// Disks; the first is booted.
    pub disks: Vec<DiskFile>,
    /// Socket on which this process listens for QEMU's control connection.
    pub qmp: PathBuf,
    /// Ignition config handed over as fw_cfg.
    pub ignition: Option<PathBuf>,
    /// systemd credentials (`systemd.system-credentials(7)`), name and value.
    pub credentials: Vec<(String, Vec<u8>)>,
    /// Words that systemd's stub adds to the kernel command line
    /// (`systemd-stub(7)`); it does so only without Secure Boot.
    pub kernel_arguments: Vec<String>,
    /// Loopback ports of the host that lead into the guest.
    pub forwards: Vec<Forward>,
    /// A second network card on a network shared with other guests.
    pub group: Option<Group>,
    /// Control socket of the emulator of a TPM that the machine has (swtpm(8)).
    pub tpm: Option<PathBuf>,
    /// Directory that the guest's gateway serves by TFTP.
    pub tftp: Option<PathBuf>,
    /// What happens at power on.
    pub start: Start,
}

/// Backing of the guest's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// Anonymous.
    Private,
    /// A file that receives what the guest writes: how a snapshot is made.
    Recorded(PathBuf),
    /// A file that is read; what the guest writes stays private: how a
    /// snapshot is used, by many guests at once.
    Template(PathBuf),
}

/// How the machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Runs the firmware.
    Firmware,
    /// Waits for a saved state.
    Incoming,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFile {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// What a flush of the guest does.
    pub flush: Flush,
}

/// Disk image format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Plain bytes.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

/// What a guest's flush does on the host. Neither loses anything when QEMU is
/// killed: what the guest wrote is then in the host's page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// It reaches the host's disk: for disks that are kept.
    Host,
    /// Nothing: for disks that are thrown away.
    Ignored,
}

/// A TCP port of the host's 127.0.0.1 that leads to one of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Port on the host; 0 lets QEMU choose a free one.
    pub host: u16,
    /// Port in the guest.
    pub guest: u16,
}

/// Membership in a network between guests of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// UDP port that all members of the group share, on loopback multicast.
    pub port: u16,
    /// Hardware address of this member.
    pub mac: String,
}

/// `HOST:GUEST` was not two ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not HOST:GUEST, two TCP ports such as 8080:80")]
pub struct BadForward(String);

impl FromStr for Forward {
    type Err = BadForward;

    fn from_str(text: &str) -> Result<Self, BadForward> {
        let bad = || BadForward(text.to_string());
        let (host, guest) = text.split_once(':').ok_or_else(bad)?;
        let host = host.parse().map_err(|_| bad())?;
        let guest = guest.parse().map_err(|_| bad())?;
        if guest == 0 {
            return Err(bad());
        }
        Ok(Self { host, guest })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.guest)
    }
}

impl Machine {
    /// QEMU's arguments, the program's name not included.
    pub fn args(&self) -> Vec<String> {
        let mut args = Args::default();
        self.base(&mut args);
        self.firmware(&mut args);
        self.storage(&mut args);
        self.network(&mut args);
        self.consoles(&mut args);
        self.tpm(&mut args);
        self.handed_over(&mut args);
        if self.start == Start::Incoming {
            args.push("-incoming", "defer");
        }
        args.0
    }

    fn base(&self, args: &mut Args) {
        args.flag("-nodefaults").flag("-no-user-config");
        args.push("-display", "none");
        // The firmware needs SMM only for Secure Boot.
        args.push("-machine", "q35,smm=off,vmport=off,memory-backend=ram");
        match self.engine {
            Engine::Kvm => args.push("-accel", "kvm").push("-cpu", "host"),
            // Five-level page tables make every walk of the translator longer. Without fast
            // byte moves the kernel clears and copies memory by eight bytes at a time; the
            // translator goes through either one element after the other.
            Engine::Tcg => args
                .push("-accel", "tcg,thread=multi,tb-size=512")
                .push("-cpu", "max,la57=off,erms=off,fsrm=off"),
        };
        args.push("-smp", self.cpus).push("-m", self.memory_mib);
        let size = format!("size={}M", self.memory_mib);
        let object = match &self.memory {
            Memory::Private => format!("memory-backend-ram,id=ram,{size}"),
            Memory::Recorded(file) => {
                let file = escape(file);
                format!("memory-backend-file,id=ram,{size},mem-path={file},share=on")
            }
            Memory::Template(file) => {
                let file = escape(file);
                format!("memory-backend-file,id=ram,{size},mem-path={file},share=off")
            }
        };
        args.push("-object", object);
        args.push("-object", "rng-random,id=rng,filename=/dev/urandom");
        args.push("-device", "virtio-rng-pci,rng=rng");
        // A new value at every start: a restored guest reseeds its RNG.
        args.push("-device", "vmgenid,guid=auto");
        args.push("-device", "i6300esb");
        args.push("-action", "watchdog=reset");
    }

    fn firmware(&self, args: &mut Args) {
        let code = escape(&self.firmware);
        let vars = escape(&self.vars);
        args.push(
            "-drive",
            format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"),
        );
        args.push(
            "-drive",
            format!("if=pflash,unit=1,format=qcow2,file={vars}"),
        );
        args.push("-boot", "menu=off,splash-time=0");
    }

    fn storage(&self, args: &mut Args) {
        for (n, disk) in self.disks.iter().enumerate() {
            let path = escape(&disk.path);
            let format = disk.format;
            let cache = match disk.flush {
                Flush::Host => "writeback",
                Flush::Ignored => "unsafe",
            };
            args.push(
                "-drive",
                format!(
                    "if=none,id=disk{n},format={format},cache={cache},discard=unmap,file={path}"
                ),
            );
            let boot = if n == 0 { ",bootindex=0" } else { "" };
            args.push(
                "-device",
                format!("virtio-blk-pci,drive=disk{n},serial=disk{n}{boot}"),
            );
        }
    }

    fn network(&self, args: &mut Args) {
        let mut user = "user,id=net0".to_string();
        for Forward { host, guest } in &self.forwards {
            user += &format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}");
        }
        if let Some(directory) = &self.tftp {
            user += &format!(",tftp={}", escape(directory));
        }
        args.push("-netdev", user);
        // Without an option ROM the firmware does not try to boot from it.
        args.push("-device", "virtio-net-pci,netdev=net0,romfile=");
        if let Some(Group { port, mac }) = &self.group {
            args.push(
                "-netdev",
                format!("socket,id=net1,mcast=230.0.0.1:{port},localaddr=127.0.0.1"),
            );
            args.push(
                "-device",
                format!("virtio-net-pci,netdev=net1,romfile=,mac={mac}"),
            );
        }
    }

    fn consoles(&self, args: &mut Args) {
        args.push("-chardev", "stdio,id=console,signal=off");
        args.push("-serial", "chardev:console");
        let qmp = escape(&self.qmp);
        args.push("-chardev", format!("socket,id=qmp,path={qmp}"));
        args.push("-mon", "chardev=qmp,mode=control");
    }

    fn tpm(&self, args: &mut Args) {
        if let Some(socket) = &self.tpm {
            let socket = escape(socket);
            args.push("-chardev", format!("socket,id=tpm,path={socket}"));
            args.push("-tpmdev", "emulator,id=tpm0,chardev=tpm");
            args.push("-device", "tpm-tis,tpmdev=tpm0");
        }
    }

    fn handed_over(&self, args: &mut Args) {
        if let Some(config) = &self.ignition {
            let config = escape(config);
            args.push("-fw_cfg", format!("name={IGNITION_FW_CFG},file={config}"));
        }
        for (name, value) in &self.credentials {
            let value = BASE64.encode(value);
            args.push(
                "-smbios",
                format!("type=11,value=io.systemd.credential.binary:{name}={value}"),
            );
        }
        if !self.kernel_arguments.is_empty() {
            let words = self.kernel_arguments.join(" ").replace(',', ",,");
            args.push(
                "-smbios",
                format!("type=11,value=io.systemd.stub.kernel-cmdline-extra={words}"),
            );
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        })
    }
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.to_string());
        self
    }

    fn push(&mut self, flag: &str, value: impl fmt::Display) -> &mut Self {
        self.0.push(flag.to_string());
        self.0.push(value.to_string());
        self
    }
}

/// QEMU splits option values at commas; a doubled comma is one of the value.
pub(crate) fn escape(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Machine {
        Machine {
            cpus: 2,
            memory_mib: 2048,
            memory: Memory::Private,
            engine: Engine::Tcg,
            firmware: FIRMWARE.into(),
            vars: "/run/vm/vars.qcow2".into(),
            disks: vec![DiskFile {
                path: "/run/vm/disk.qcow2".into(),
                format: Format::Qcow2,
                flush: Flush::Ignored,
            }],
            qmp: "/run/vm/qmp".into(),
            ignition: None,
            credentials: Vec::new(),
            kernel_arguments: Vec::new(),
            forwards: vec![Forward { host: 0, guest: 22 }],
            group: None,
            tpm: None,
            tftp: None,
            start: Start::Firmware,
        }
    }

    /// Compares with a file of `tests/golden`: one option and its value a line.
    fn check(machine: &Machine, golden: &str) {
        let mut lines = String::new();
        for arg in machine.args() {
            match arg.starts_with('-') {
                true if lines.is_empty() => {}
                true => lines.push('\n'),
                false => lines.push(' '),
            }
            lines += &arg;
        }
        assert_eq!(lines.trim(), golden.trim());
    }

    #[test]
    fn golden_plain_machine_under_tcg() {
        check(&plain(), include_str!("../tests/golden/plain.txt"));
    }

    #[test]
    fn golden_everything_under_kvm() {
        let machine = Machine {
            cpus: 4,
            memory_mib: 4096,
            engine: Engine::Kvm,
            disks: vec![
                DiskFile {
                    path: "/home/me/a,b.img".into(),
                    format: Format::Raw,
                    flush: Flush::Host,
                },
                DiskFile {
                    path: "/run/vm/data.qcow2".into(),
                    format: Format::Qcow2,
                    flush: Flush::Ignored,
                },
            ],
            ignition: Some("/home/me/host.ign".into()),
            credentials: vec![("ssh.ephemeral-authorized_keys-all".into(), b"ssh\n".into())],
            kernel_arguments: vec!["quiet".to_string(), "a=b,c".to_string()],
            forwards: vec![
                Forward { host: 0, guest: 22 },
                Forward {
                    host: 8080,
                    guest: 80,
                },
            ],
            group: Some(Group {
                port: 23456,
                mac: "52:54:00:aa:bb:cc".to_string(),
            }),
            tpm: Some("/run/vm/tpm,0".into()),
            tftp: Some("/srv/boot,files".into()),
            ..plain()
        };
        check(&machine, include_str!("../tests/golden/everything.txt"));
    }

    #[test]
    fn golden_snapshot_made_and_used() {
        let made = Machine {
            memory: Memory::Recorded("/cache/memory".into()),
            ..plain()
        };
        check(&made, include_str!("../tests/golden/recorded.txt"));
        let used = Machine {
            memory: Memory::Template("/cache/memory".into()),
            start: Start::Incoming,
            ..plain()
        };
        check(&used, include_str!("../tests/golden/template.txt"));
    }

    #[test]
    fn a_forward_is_two_ports() {
        let forward = Forward {
            host: 8080,
            guest: 80,
        };
        assert_eq!("8080:80".parse(), Ok(forward));
        assert_eq!(forward.to_string(), "8080:80");
        for bad in ["", "80", "80:", ":80", "80:0", "65536:1", "1:2:3", "a:b"] {
            assert!(bad.parse::<Forward>().is_err(), "{bad}");
        }
    }
}
