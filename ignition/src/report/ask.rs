//! Who wants to hear of a failure: the address that a config or the kernel
//! command line names.

use std::fs;
use std::path::PathBuf;

use ignition_config::v3_6::Ignition;
use serde::{Deserialize, Serialize};

use crate::config::{self, Config, list};
use crate::fetch::{Network, Source};
use crate::provider::{Cmdline, ProviderError, report_url};
use crate::stage::Settings;
use crate::state::{self, StateError};

/// A config asks for reports by this file: an address (`http` or `https`) as
/// embedded contents. The spec has no key for it, and a file passes unchanged
/// through every tool that writes configs.
pub const ADDRESS: &str = "/etc/ballast/provisioning-report-url";

/// Longest address, in bytes.
const LIMIT: usize = 2048;

/// Where reports go, and the config whose proxies and authorities are used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The address; it may hold a secret.
    pub url: String,
    /// What the config says about fetching, and nothing else.
    pub config: Config,
}

impl Asked {
    /// What `config` asks for, if it does.
    pub fn by(config: &Config) -> Option<Self> {
        let mut fetching = config::empty();
        fetching.ignition = Ignition {
            config: None,
            // Telling has limits of its own.
            timeouts: None,
            ..config.ignition.clone()
        };
        Some(Self {
            url: address(config)?,
            config: fetching,
        })
    }

    /// Keeps it for later stages, readable by root only.
    pub fn save(&self, settings: &Settings) -> Result<(), StateError> {
        state::save(&place(settings), self)
    }

    /// Who asks on this boot: the kernel command line before configs.
    pub fn on_this_boot(settings: &Settings) -> Result<Option<Self>, ProviderError> {
        let kept = fs::read(place(settings)).ok();
        let kept: Option<Self> = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let named = report_url(&Cmdline::new(settings.cmdline.clone()))?;
        let Some(url) = named.filter(|url| is_address(url)) else {
            return Ok(kept);
        };
        let config = kept.map_or_else(config::empty, |asked| asked.config);
        Ok(Some(Self { url, config }))
    }

    /// Whether somebody wants to be told, and there is no network to do so yet.
    pub fn waits(settings: &Settings, network: Network) -> Result<bool, ProviderError> {
        Ok(network == Network::Absent && Self::on_this_boot(settings)?.is_some())
    }
}

fn place(settings: &Settings) -> PathBuf {
    settings.state_file.with_file_name("report-asked.json")
}

/// The contents of the file [`ADDRESS`] in `config`.
fn address(config: &Config) -> Option<String> {
    let files = list(config.storage.as_ref()?.files.as_ref());
    let file = files.iter().rev().find(|file| file.path == ADDRESS)?;
    let contents = file.contents.as_ref()?;
    if contents.compression.as_deref() == Some("gzip") {
        return None;
    }
    let Ok(Source::Data(bytes)) = Source::parse(contents.source.as_deref()?) else {
        return None;
    };
    let url = String::from_utf8(bytes).ok()?;
    let url = url.trim();
    is_address(url).then(|| url.to_owned())
}

fn is_address(url: &str) -> bool {
    let known = url.starts_with("http://") || url.starts_with("https://");
    known && url.len() <= LIMIT && !url.contains(|c: char| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn address_of(files: &str) -> Option<String> {
        let text =
            format!(r#"{{"ignition": {{"version": "3.6.0"}}, "storage": {{"files": [{files}]}}}}"#);
        address(&parse("t", text.as_bytes()).unwrap().unwrap().config)
    }

    fn file(path: &str, source: &str) -> String {
        format!(r#"{{"path": "{path}", "contents": {{"source": "{source}"}}}}"#)
    }

    #[test]
    fn a_config_asks_by_a_file() {
        let found = address_of(&file(ADDRESS, "data:,https://h.example/report%0A"));
        assert_eq!(found.as_deref(), Some("https://h.example/report"));
    }

    #[test]
    fn other_files_and_other_contents_ask_for_nothing() {
        for files in [
            String::new(),
            file("/etc/other", "data:,https://h.example/"),
            file(ADDRESS, "https://h.example/elsewhere"),
            file(ADDRESS, "data:,ftp://h.example/"),
            file(ADDRESS, "data:,https://h.example/%20two"),
            file(ADDRESS, "data:,%ff"),
            file(ADDRESS, &format!("data:,http://{}", "x".repeat(LIMIT))),
        ] {
            assert_eq!(address_of(&files), None, "{files}");
        }
    }
}
