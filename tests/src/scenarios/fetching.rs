//! First boot with configs and files from elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use qemu::Vm;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::data_url;
use crate::context::{BOOT, Context, STEP, booted, contains, same};
use crate::http::{HOST_AS_SEEN_BY_GUESTS, Server};
use crate::relay::{Identity, KNOWN_TO_THE_PROXY, Proxy};
use crate::scenario::{Scenario, scenario};
use crate::trial::VERSION;

pub const SCENARIOS: &[Scenario] = &[scenario!(
    configs_come_over_http_tls_and_tftp_once_their_proxy_is_there,
    4,
    "A config named by a kernel argument merges and replaces others, verified: over http and \
     over https with an authority of the config by a proxy, over TFTP, and from a server that \
     needs no proxy. A container that they bring runs as a service. While the proxy is not \
     there, the machine says so and tries again by a reboot. A server that nobody vouches for and a file that is not there are refused by name."
)];

/// The config that the kernel argument names.
const TOP: &str = "top.ign";

fn configs_come_over_http_tls_and_tftp_once_their_proxy_is_there(context: &Context) -> Result<()> {
    let (identity, mut proxy) = (Identity::new()?, Proxy::closed()?);
    let servers = Servers::start(context, &identity)?;
    let child = servers.behind("http", servers.inner.port(), "child.ign");
    let config = |patience: Value| servers.config(&identity, &proxy, &child, patience);
    let (hasty, patient) = (config(json!({ "httpTotal": 1 })), config(json!({})));
    servers.top.put(TOP, hasty.to_string());
    let argument = format!("ignition.config.url={}", servers.top.url(TOP));
    let setup = context.setup().tftp(&servers.tftp);
    context.boot(&setup.kernel_argument(argument), |vm| {
        let said = vm.expect_despite_failure("gave up fetching", BOOT)?;
        contains("what was given up", &said, &child)?;
        let by = format!("(through the proxy {})", proxy.url());
        contains("what was given up", &said, &by)?;
        servers.top.put(TOP, patient.to_string());
        proxy.open()?;
        vm.wait_reboot(STEP)?;
        let boot = vm.wait_boot_complete_despite_failure(BOOT)?;
        booted(&boot, VERSION, "a", "normal")?;
        let found = vm.exec("cd /etc; head -n99 e2e-* | cat; stat -c %a e2e-body")?;
        same("what the configs wrote", &found.stdout, WRITTEN)?;
        let app = "systemctl is-active rocket@e2e; cat /proc/$(pgrep -P $(systemctl show -P MainPID \
            rocket@e2e))/cmdline | tr '\\0' ' '; cat /proc/$(systemctl show -P MainPID rocket@e2e)/comm";
        let app = vm.exec(app)?;
        same("the service of the container", &app.stdout, "active\nsleep 10000 rocket")?;
        servers.are_refused(vm)
    })?;
    let tunnel = format!("CONNECT {KNOWN_TO_THE_PROXY}:{}", servers.secure);
    let asked = [format!("GET {child}"), tunnel.clone(), tunnel];
    same(
        "what the proxy was asked for",
        &proxy.asked().join("\n"),
        &asked.join("\n"),
    )?;
    let asked = [servers.inner.requests(), servers.outer.requests()].concat();
    let expected = "child.ign secure.ign secret new.ign body app.tar";
    same("what servers were asked for", &asked.join(" "), expected)
}

/// What the files of all configs are, as head(1) shows them, and the mode of one.
const WRITTEN: &str = "==> e2e-body <==\nfetched body\n\n==> e2e-child <==\nchild\n\n\
    ==> e2e-inline <==\ninline\n\n==> e2e-new <==\nnew\n\n==> e2e-secret <==\nsecret body\n\n\
    ==> e2e-secure <==\nsecure\n\n==> e2e-tftp <==\ntftp\n\n\
    ==> e2e-trivial <==\ntrivial body\n600";

/// What the service runs.
const RUN: &str = "RUN=--insecure-options=image --net=none docker-archive:/var/lib/e2e/app.tar -- \
    sleep 10000\n";

/// Where everything is.
struct Servers {
    /// Asked first, before there is a config that says how.
    top: Server,
    /// Behind the proxy; also with TLS, on the port `secure`.
    inner: Server,
    secure: u16,
    /// Asked directly.
    outer: Server,
    /// A directory.
    tftp: PathBuf,
    /// An image, which `outer` has.
    app: Vec<u8>,
}

impl Servers {
    fn start(context: &Context, identity: &Identity) -> Result<Self> {
        let contents = |all: &[(&str, Vec<u8>)]| -> BTreeMap<String, Vec<u8>> {
            let all = all.iter();
            all.map(|(path, bytes)| (path.to_string(), bytes.clone()))
                .collect()
        };
        let app = context.busybox(&json!({}))?.archive()?;
        let inner = Server::start(contents(&[
            ("child.ign", writing("child")),
            ("secure.ign", writing("secure")),
            ("secret", b"secret body\n".to_vec()),
        ]))?;
        let outer = Server::start(contents(&[
            ("new.ign", writing("new")),
            ("body", b"fetched body\n".to_vec()),
            ("app.tar", app.clone()),
        ]))?;
        let tftp = context.file("tftp");
        fs::create_dir_all(tftp.join("configs")).context("making a directory for TFTP")?;
        for (path, bytes) in [
            ("configs/tftp.ign", writing("tftp")),
            ("body", b"trivial body\n".to_vec()),
        ] {
            fs::write(tftp.join(path), bytes).context("writing a file for TFTP")?;
        }
        Ok(Self {
            top: Server::start(BTreeMap::new())?,
            secure: identity.protect(inner.port())?,
            inner,
            outer,
            tftp,
            app,
        })
    }

    /// An address that only the proxy can reach.
    fn behind(&self, scheme: &str, port: u16, path: &str) -> String {
        format!("{scheme}://{KNOWN_TO_THE_PROXY}:{port}/{path}")
    }

    /// A config that needs all of them.
    fn config(&self, identity: &Identity, proxy: &Proxy, child: &str, patience: Value) -> Value {
        let secure = |path| self.behind("https", self.secure, path);
        let exempt = format!("{HOST_AS_SEEN_BY_GUESTS}:{}", self.outer.port());
        let old = json!({
            "ignition": { "version": "3.6.0", "config": {
                "replace": verified(&self.outer.url("new.ign"), &writing("new")) } },
            "storage": { "files": [{ "path": "/etc/e2e-old" }] }
        });
        let file = |path: &str, url: &str, body: &str| json!({ "path": path, "mode": 0o600, "contents": verified(url, body.as_bytes()) });
        json!({
            "ignition": {
                "version": "3.6.0",
                "timeouts": patience,
                "proxy": { "httpProxy": proxy.url(), "httpsProxy": proxy.url(),
                           "noProxy": [exempt] },
                "security": { "tls": { "certificateAuthorities": [
                    { "source": data_url(identity.authority()) }] } },
                "config": { "merge": [
                    verified(child, &writing("child")),
                    verified(&secure("secure.ign"), &writing("secure")),
                    verified(&tftp("configs/tftp.ign"), &writing("tftp")),
                    { "source": data_url(writing("inline")) },
                    { "source": data_url(old.to_string()) }] }
            },
            "storage": { "files": [
                file("/etc/e2e-body", &self.outer.url("body"), "fetched body\n"),
                file("/etc/e2e-secret", &secure("secret"), "secret body\n"),
                file("/etc/e2e-trivial", &tftp("body"), "trivial body\n"),
                { "path": "/var/lib/e2e/app.tar",
                  "contents": verified(&self.outer.url("app.tar"), &self.app) },
                { "path": "/etc/rocket/services.d/e2e.env",
                  "contents": { "source": data_url(RUN) } }] },
            "systemd": { "units": [{ "name": "rocket@e2e.service", "enabled": true }] }
        })
    }

    /// Fails unless the program, asked once more on the host, refuses what only a change of
    /// the config can mend.
    fn are_refused(&self, vm: &mut Vm) -> Result<()> {
        let secure = format!(
            "https://{HOST_AS_SEEN_BY_GUESTS}:{}/secure.ign",
            self.secure
        );
        let absent = tftp("configs/absent.ign");
        let refusals = [
            [
                secure.as_str(),
                "no authority that this host trusts has signed it; add the authority's \
                 certificate",
            ],
            [absent.as_str(), "not found"],
        ];
        for [url, advice] in refusals {
            let config = json!({ "ignition": { "version": "3.6.0", "config": {
                "merge": [{ "source": url }] } } });
            self.top.put(TOP, config.to_string());
            let output = vm.exec(FETCH)?;
            ensure!(output.status == 1, "{url}: status {}", output.status);
            contains("the refusal", &output.stderr, url)?;
            contains("the refusal", &output.stderr.to_lowercase(), advice)?;
            contains("what is left", &output.stdout, "no config")?;
        }
        Ok(())
    }
}

/// What the initrd runs, elsewhere.
const FETCH: &str = "mkdir -p /run/e2e && cd /run/e2e && ignition --stage=fetch \
    --root=/run/e2e/root --config-cache=/run/e2e/config.json --neednet=/run/e2e/neednet \
    --state-file=/run/e2e/state; status=$?; test -e config.json || echo no config; exit $status";

/// A config that writes `/etc/e2e-NAME`.
fn writing(name: &str) -> Vec<u8> {
    let config = json!({ "ignition": { "version": "3.6.0" }, "storage": { "files": [
        { "path": format!("/etc/e2e-{name}"), "mode": 0o644,
          "contents": { "source": format!("data:,{name}%0A") } }] } });
    config.to_string().into_bytes()
}

/// A resource with its hash.
fn verified(url: &str, content: &[u8]) -> Value {
    let hash: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({ "source": url, "verification": { "hash": format!("sha256-{hash}") } })
}

/// Where the gateway has `path`.
fn tftp(path: &str) -> String {
    format!("tftp://{HOST_AS_SEEN_BY_GUESTS}/{path}")
}
