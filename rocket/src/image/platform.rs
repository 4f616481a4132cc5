//! Machines that images are for, and which of several fits this one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::manifest::Descriptor;

/// Operating system and processor, by Go's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v3` of `amd64`, `v8` of `arm64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// What this machine can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Go's name of the processor.
    pub architecture: &'static str,
    /// The highest variant that it can run; what says none is variant 1, on ARM 8.
    pub level: u8,
}

impl Machine {
    /// The machine that this runs on.
    pub fn this() -> Self {
        match std::env::consts::ARCH {
            "x86_64" => Self {
                architecture: "amd64",
                level: x86_level(),
            },
            "aarch64" => Self {
                architecture: "arm64",
                level: 8,
            },
            other => Self {
                architecture: other,
                level: 1,
            },
        }
    }

    /// How well something for this platform fits: not at all, or the higher the better.
    pub fn fit(&self, platform: &Platform) -> Option<u8> {
        if platform.os != "linux" || platform.architecture != self.architecture {
            return None;
        }
        let lowest = if self.architecture == "arm64" { 8 } else { 1 };
        let variant = match platform.variant.as_deref() {
            None | Some("") => lowest,
            Some(variant) => variant.strip_prefix('v')?.parse().ok()?,
        };
        (lowest..=self.level).contains(&variant).then_some(variant)
    }

    /// The manifest of an index that fits best. One that says nothing about platforms is
    /// taken if it is the only one.
    pub fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
        if let [only] = manifests
            && only.platform.is_none()
        {
            return Some(only);
        }
        // The first of those that fit equally well, as elsewhere.
        let mut best: Option<(u8, &Descriptor)> = None;
        for manifest in manifests {
            let fit = manifest.platform.as_ref().and_then(|p| self.fit(p));
            if let Some(fit) = fit
                && best.is_none_or(|(than, _)| fit > than)
            {
                best = Some((fit, manifest));
            }
        }
        best.map(|(_, manifest)| manifest)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)
    }
}

/// Level of the x86-64 psABI: what compilers may use of the processor.
#[cfg(target_arch = "x86_64")]
fn x86_level() -> u8 {
    use std::arch::is_x86_feature_detected as has;
    let two = has!("sse4.2") && has!("ssse3") && has!("popcnt") && has!("cmpxchg16b");
    let three = two
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let four = three
        && has!("avx512f")
        && has!("avx512bw")
        && has!("avx512cd")
        && has!("avx512dq")
        && has!("avx512vl");
    1 + u8::from(two) + u8::from(three) + u8::from(four)
}

#[cfg(not(target_arch = "x86_64"))]
fn x86_level() -> u8 {
    1
}

#[cfg(test)]
mod tests {
    use super::super::digest::Digest;
    use super::*;

    fn entry(text: &str) -> Descriptor {
        let mut parts = text.split('/').map(str::to_owned);
        Descriptor {
            media_type: String::new(),
            digest: Digest::of(text.as_bytes()),
            size: 0,
            artifact_type: None,
            platform: Some(Platform {
                os: parts.next().unwrap(),
                architecture: parts.next().unwrap(),
                variant: parts.next(),
            }),
            annotations: None,
        }
    }

    fn choose(machine: Machine, platforms: &[&str]) -> Option<String> {
        let entries: Vec<_> = platforms.iter().map(|text| entry(text)).collect();
        let chosen = machine.choose(&entries)?;
        chosen.platform.as_ref().map(Platform::to_string)
    }

    const PC: Machine = Machine {
        architecture: "amd64",
        level: 3,
    };

    #[test]
    fn the_best_variant_that_runs_is_taken() {
        let all = [
            "unknown/unknown",
            "linux/amd64",
            "linux/amd64/v2",
            "linux/amd64/v4",
            "linux/arm64/v8",
            "windows/amd64",
        ];
        assert_eq!(choose(PC, &all).as_deref(), Some("linux/amd64/v2"));
        let old = Machine { level: 1, ..PC };
        assert_eq!(choose(old, &all).as_deref(), Some("linux/amd64"));
        let arm = Machine {
            architecture: "arm64",
            level: 8,
        };
        assert_eq!(choose(arm, &all).as_deref(), Some("linux/arm64/v8"));
    }

    #[test]
    fn what_fits_no_machine_is_not_taken() {
        assert_eq!(choose(PC, &["linux/s390x", "windows/amd64"]), None);
        assert_eq!(choose(PC, &["linux/amd64/v4"]), None);
    }
}
