//! The port through which a guest asks VMware's hypervisor.

use std::io;

use super::Guestinfo;

/// The hypervisor below this machine.
#[derive(Debug)]
pub struct Backdoor;

#[cfg(target_arch = "x86_64")]
impl Guestinfo for Backdoor {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        // Elsewhere the port belongs to nobody, and reading it ends the
        // program.
        if !vmw_backdoor::is_vmware_cpu() {
            let message = "this machine does not run on VMware; is ignition.platform.id right?";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        // The hypervisor answers before the processor looks for the right to
        // use ports, which a kernel that is locked down does not give.
        let mut guard = vmw_backdoor::probe_backdoor().map_err(io::Error::other)?;
        let mut channel = guard.open_enhanced_chan().map_err(io::Error::other)?;
        let value = channel.get_guestinfo(name.as_bytes());
        value.map_err(io::Error::other)
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Guestinfo for Backdoor {
    fn get(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        let message = "VMware's port is only known for x86-64";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}
