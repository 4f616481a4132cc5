//! The kernel command line: `ignition.config.url=`, `ignition.platform.id=`.

use std::path::PathBuf;

use crate::config::Resource;
use crate::fetch::Fetcher;

use super::{Provider, ProviderError, Raw};

/// The config named by `ignition.config.url=`.
#[derive(Debug, Clone)]
pub struct Cmdline {
    path: PathBuf,
}

impl Default for Cmdline {
    fn default() -> Self {
        Self::new(PathBuf::from("/proc/cmdline"))
    }
}

impl Cmdline {
    /// Reads the arguments from `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn text(&self) -> Result<String, ProviderError> {
        std::fs::read_to_string(&self.path).map_err(|source| ProviderError::Read {
            path: self.path.clone(),
            source,
        })
    }
}

impl Provider for Cmdline {
    fn name(&self) -> &'static str {
        "cmdline"
    }

    fn config(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let text = self.text()?;
        let Some(url) = argument(&text, "ignition.config.url").filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let resource = Resource {
            source: Some(url.to_owned()),
            ..Resource::default()
        };
        let bytes = fetcher
            .read(&resource)
            .map_err(|source| ProviderError::Fetch {
                name: "the kernel argument ignition.config.url",
                source,
            })?;
        Ok(Some(Raw {
            source: format!(
                "kernel argument ignition.config.url ({})",
                crate::fetch::public_name(url)
            ),
            bytes,
        }))
    }
}

/// The value of `ignition.platform.id=`.
pub fn platform_id(cmdline: &Cmdline) -> Result<Option<String>, ProviderError> {
    let text = cmdline.text()?;
    Ok(argument(&text, "ignition.platform.id").map(str::to_owned))
}

/// The value of `ignition.report_url=`: whom to tell when first boot fails.
pub fn report_url(cmdline: &Cmdline) -> Result<Option<String>, ProviderError> {
    let text = cmdline.text()?;
    Ok(argument(&text, "ignition.report_url").map(str::to_owned))
}

/// Whether `ignition.experimental=1` accepts the spec that changes.
pub fn experimental(cmdline: &Cmdline) -> Result<bool, ProviderError> {
    let text = cmdline.text()?;
    Ok(argument(&text, "ignition.experimental") == Some("1"))
}

/// The last value of `name=` on a kernel command line.
fn argument<'a>(cmdline: &'a str, name: &str) -> Option<&'a str> {
    cmdline
        .split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches('"'))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{FetchError, Network};
    use std::time::Duration;

    fn with(text: &str) -> (tempfile::NamedTempFile, Cmdline) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let cmdline = Cmdline::new(file.path().to_owned());
        (file, cmdline)
    }

    #[test]
    fn arguments_are_found() {
        let text = "quiet ignition.config.url=data:,x xignition.platform.id=no ignition.platform.id=qemu\n";
        let (_file, cmdline) = with(text);
        assert_eq!(platform_id(&cmdline).unwrap().as_deref(), Some("qemu"));
        let fetcher = Fetcher::new(Network::Absent, Duration::from_secs(1));
        let raw = cmdline.config(&fetcher).unwrap().unwrap();
        assert_eq!(raw.bytes, b"x");
    }

    #[test]
    fn other_arguments_are_ours() {
        let (_file, cmdline) = with("ignition.experimental=1 ignition.report_url=http://h/r\n");
        assert!(experimental(&cmdline).unwrap());
        let url = report_url(&cmdline).unwrap();
        assert_eq!(url.as_deref(), Some("http://h/r"));
        let (_file, cmdline) = with("ignition.experimental=0 quiet\n");
        assert!(!experimental(&cmdline).unwrap());
        assert_eq!(report_url(&cmdline).unwrap(), None);
    }

    #[test]
    fn urls_need_the_network() {
        let (_file, cmdline) = with("ignition.config.url=http://h/x");
        let fetcher = Fetcher::new(Network::Absent, Duration::from_secs(1));
        assert!(matches!(
            cmdline.config(&fetcher),
            Err(ProviderError::Fetch {
                source: FetchError::NeedsNetwork { .. },
                ..
            })
        ));
    }

    #[test]
    fn nothing_is_asked_for() {
        let (_file, cmdline) = with("ro quiet ignition.config.url=\n");
        let fetcher = Fetcher::new(Network::Absent, Duration::from_secs(1));
        assert_eq!(cmdline.config(&fetcher).unwrap(), None);
    }
}
