use super::*;
use crate::testing::{ESP, TestHost};

#[test]
fn a_host_is_what_selector_kernel_and_disk_agree_on() {
    let test = TestHost::new();
    let host = test.look();
    assert_eq!(host.slot, Slot::A);
    assert_eq!(host.version, Version::new(0, 1, 0));
    assert_eq!(host.disk.canonicalize().unwrap(), test.disk());
    assert_eq!(host.boot_id, "1");
    assert_eq!(host.reason.as_deref(), Some("normal"));
}

#[test]
fn the_disk_is_found_without_udev_too() {
    let test = TestHost::new();
    fs::remove_dir_all(test.path("dev/disk")).unwrap();
    assert_eq!(test.look().disk, test.disk());
}

#[test]
fn a_slot_that_the_kernel_does_not_confirm_is_refused() {
    let test = TestHost::new();
    test.boot(Slot::B, "0.2.0");
    assert_eq!(test.look().slot, Slot::B);
    // The selector's word for slot a, the kernel's for the /usr of slot b.
    test.variable("BallastSlot-c78ca85e-8e04-4fdc-aace-bdbd51cff996", "a");
    let error = Host::look(test.root()).unwrap_err();
    assert!(matches!(error, HostError::Contradiction { .. }), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    type Break<'a> = &'a dyn Fn(&TestHost);
    let break_it: [(Break<'_>, &str); 5] = [
        (
            &|t| t.write("usr/lib/os-release", "ID=ballast\n"),
            "holds no IMAGE_VERSION",
        ),
        (&|t| t.write("proc/cmdline", "quiet\n"), "usrhash="),
        (&|t| t.write("etc/machine-id", "\n"), "etc/machine-id"),
        (
            &|t| t.variable("BallastSlot-c78ca85e-8e04-4fdc-aace-bdbd51cff996", "c"),
            "BallastSlot is missing",
        ),
        (
            &|t| {
                t.variable(
                    "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
                    "../../../etc/passwd-0123456789abcdef",
                );
            },
            "LoaderDevicePartUUID is missing",
        ),
    ];
    for (change, expected) in break_it {
        let test = TestHost::new();
        change(&test);
        let error = Host::look(test.root()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(ESP.to_string().len(), 36);
}
