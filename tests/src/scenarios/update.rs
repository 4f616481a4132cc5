//! Updates: taken, proven on trial, taken back, all by policy.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use image::publish::{self, PublishOptions};
use image::serve::Server;
use qemu::Vm;
use serde_json::{Value, json};

use crate::context::{BOOT, Context, booted, same};
use crate::scenario::{Scenario, scenario};
use crate::trial::{BROKEN_VERSION, LATER_VERSION, TRIAL_VERSION, VERSION};

pub const SCENARIOS: &[Scenario] = &[scenario!(
    a_host_takes_good_releases_and_comes_back_from_a_bad_one,
    20,
    "By policy alone: a release is taken, tried and kept; one whose sshd cannot start is taken \
     back and denied with the failing unit named; the next one is taken."
)];

/// How long a host may take to see, fetch and arm a release; scaled.
const TAKE: Duration = Duration::from_secs(240);

fn a_host_takes_good_releases_and_comes_back_from_a_bad_one(context: &Context) -> Result<()> {
    let repository = Repository::start(context)?;
    repository.publish(VERSION)?;
    let config = context.config(&repository.policy())?;
    context.boot(&context.setup().ignition(config), |vm| {
        booted(&vm.wait_boot_complete(BOOT)?, VERSION, "a", "normal")?;

        repository.publish(TRIAL_VERSION)?;
        goes_to(vm, TRIAL_VERSION, "b")?;
        let kept = blessed(vm, TRIAL_VERSION, "b")?;
        same("denied", &kept["denied"].to_string(), "[]")?;

        repository.publish(BROKEN_VERSION)?;
        vm.expect(&format!("booting {BROKEN_VERSION} from slot a"), TAKE)?;
        let back = vm.wait_boot_complete_despite_failure(BOOT * 3)?;
        ensure!(
            back.version == TRIAL_VERSION && back.slot == "b",
            "came back on {back:?}"
        );
        let denied = &status(vm)?["denied"][0];
        same("denied", text(&denied["version"]), BROKEN_VERSION)?;
        ensure!(
            text(&denied["reason"]).contains("sshd@.service"),
            "the reason does not name the unit that failed: {denied}"
        );

        repository.publish(LATER_VERSION)?;
        goes_to(vm, LATER_VERSION, "a")?;
        blessed(vm, LATER_VERSION, "a")?;
        Ok(())
    })
}

/// Waits until the host has armed the release and rebooted into it by itself.
fn goes_to(vm: &mut Vm, version: &str, slot: &str) -> Result<()> {
    vm.expect(&format!("booting {version} from slot {slot}"), TAKE)?;
    booted(&vm.wait_boot_complete(BOOT)?, version, slot, "normal")
}

/// Waits until the running release is kept, and returns the status.
fn blessed(vm: &mut Vm, version: &str, slot: &str) -> Result<Value> {
    // The job of ballast-bless.service has ended when nothing is queued any more.
    vm.exec("systemctl is-system-running --wait")?;
    let status = status(vm)?;
    let running = &status["running"];
    let found = json!([running["version"], running["slot"], running["blessed"]]);
    same(
        "what runs",
        &found.to_string(),
        &json!([version, slot, true]).to_string(),
    )?;
    Ok(status)
}

fn status(vm: &mut Vm) -> Result<Value> {
    let output = vm.exec_ok("updatectl status --json")?;
    serde_json::from_str(&output).with_context(|| format!("updatectl printed {output}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A repository that guests can reach.
struct Repository<'a> {
    context: &'a Context,
    dir: PathBuf,
    server: Server,
}

impl<'a> Repository<'a> {
    /// An empty repository, served.
    fn start(context: &'a Context) -> Result<Self> {
        let dir = context.file("repository");
        std::fs::create_dir(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let server = Server::start(&dir, ([127, 0, 0, 1], 0).into(), |_| {})?;
        Ok(Self {
            context,
            dir,
            server,
        })
    }

    /// Makes a release the one that hosts go to.
    fn publish(&self, version: &str) -> Result<()> {
        let mut options = PublishOptions::new(&self.dir, self.context.prepared().keys());
        options.channel = Some("stable".to_string());
        options.from = Some(self.context.prepared().release(version));
        // Bytes on the wire are not what is looked at here.
        options.level = 1;
        publish::publish(&options).with_context(|| format!("publishing {version}"))?;
        Ok(())
    }

    /// A config whose policy follows the repository, and reboots by itself.
    fn policy(&self) -> Value {
        let port = self.server.address().port();
        let policy = format!(
            "[update]\nserver = \"http://10.0.2.2:{port}\"\npoll = \"20s\"\n\
             reboot = \"immediately\"\n"
        );
        json!({
            "ignition": { "version": "3.6.0" },
            "storage": { "files": [{
                "path": "/etc/ballast/config.d/50-e2e.toml",
                "mode": 0o644,
                "contents": { "source": format!("data:,{}", percent(&policy)) },
            }] },
        })
    }
}

/// Text as the path of a `data:` URL.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02x}"),
        })
        .collect()
}
