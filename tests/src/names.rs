//! The DNS server of a cluster: dnsmasq on this machine's loopback interface.

use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::etcd::free_port;
use crate::http::HOST_AS_SEEN_BY_GUESTS;

const PACKAGES: [&str; 1] = ["dnsmasq-base"];

/// It knows one name, which is this machine's, and asks nobody.
pub struct Names {
    child: Child,
    port: u16,
}

impl Names {
    /// Starts one that knows `name`.
    pub fn start(context: &Context, name: &str) -> Result<Self> {
        let tools = context.prepared().tools.with_packages(&PACKAGES);
        let tools = tools.context("making a tree with dnsmasq")?;
        let port = free_port()?;
        let mut dnsmasq = tools.command("/usr/sbin/dnsmasq");
        dnsmasq
            .args(["--keep-in-foreground", "--conf-file=/dev/null"])
            .args(["--no-resolv", "--no-hosts", "--user=root", "--pid-file="])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces"])
            .arg(format!("--port={port}"))
            .arg(format!("--address=/{name}/{HOST_AS_SEEN_BY_GUESTS}"))
            .stdin(Stdio::null());
        let child = dnsmasq.spawn().context("starting dnsmasq")?;
        Ok(Self { child, port })
    }

    /// Its address for a guest.
    pub fn address(&self) -> String {
        format!("{HOST_AS_SEEN_BY_GUESTS}:{}", self.port)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
