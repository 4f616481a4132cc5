//! Manifests: which bytes an image is made of, for which machines.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::platform::Platform;

/// Longest manifest or index that is read, in bytes; registries take no longer ones.
pub const MAX_MANIFEST: u64 = 4 << 20;

/// Longest configuration that is read, in bytes.
pub const MAX_CONFIG: u64 = 8 << 20;

/// Most layers: overlayfs stacks 500.
pub const MAX_LAYERS: usize = 490;

/// Most manifests in an index.
const MAX_INDEX: usize = 4096;

/// OCI's and Docker's names of the two kinds.
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const IMAGES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// What a manifest says that its configuration is.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An index.
pub const INDEX: &str = INDEXES[0];

/// An image.
pub const IMAGE: &str = IMAGES[0];

/// A layer that is not compressed.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Kinds of manifests that are asked for, separated by commas.
pub fn accepted() -> String {
    let all: Vec<_> = IMAGES.into_iter().chain(INDEXES).collect();
    all.join(", ")
}

/// What names some content, and says how long it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of content it is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What artifact a manifest is for, in lists of referrers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The machine that it is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Anything else that is said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// What is said about it under this key.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        let annotations = self.annotations.as_ref()?;
        annotations.get(key).map(String::as_str)
    }
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What kind of document it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// One per machine, or per name.
    pub manifests: Vec<Descriptor>,
}

/// One image, or another artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// What kind of document it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What artifact it is, if it is none to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// How the image is to be run.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// Anything else that is said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What a manifest's bytes are.
// There is one at a time, and it is taken apart at once.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// A list, of which one is for this machine.
    Index(Index),
    /// One image.
    Image(ImageManifest),
}

/// Why bytes are no manifest, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No JSON, or without the fields that it must have.
    #[error("it is not a manifest")]
    Json(#[source] serde_json::Error),
    /// The kind that came before digests.
    #[error("it has schema version {0}; only 2 is supported: push it again with a current tool")]
    Schema(u64),
    /// Two readers would take it for two different things.
    #[error("it has both layers and manifests")]
    Ambiguous,
    /// A kind that is neither.
    #[error("it is of the kind {0:?}, which is no image")]
    Kind(String),
    /// More than overlayfs can stack, or than anybody needs.
    #[error("it has {count} {what}, more than {most}")]
    Many {
        /// Layers or manifests.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many may be.
        most: usize,
    },
    /// An artifact that is no image: a signature, a chart.
    #[error("it is an artifact of the kind {0:?}, not an image")]
    Artifact(String),
    /// A layer of a kind that cannot be unpacked.
    #[error("its layer {digest} is of the kind {kind:?}, which cannot be unpacked")]
    Layer {
        /// Which.
        digest: Digest,
        /// As the manifest says.
        kind: String,
    },
}

/// Reads what has the form of a manifest. The bytes must have been compared with their
/// digest, unless a tag was asked for.
pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Looks {
        schema_version: Option<u64>,
        media_type: Option<String>,
        layers: Option<serde::de::IgnoredAny>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let looks: Looks = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    if let Some(version) = looks.schema_version.filter(|version| *version != 2) {
        return Err(ManifestError::Schema(version));
    }
    if looks.layers.is_some() && looks.manifests.is_some() {
        return Err(ManifestError::Ambiguous);
    }
    let is_index = looks.manifests.is_some();
    let kinds = if is_index { INDEXES } else { IMAGES };
    if let Some(kind) = looks.media_type.filter(|kind| !kinds.contains(&&**kind)) {
        return Err(ManifestError::Kind(kind));
    }
    let manifest = if is_index {
        Manifest::Index(serde_json::from_slice(bytes).map_err(ManifestError::Json)?)
    } else {
        Manifest::Image(serde_json::from_slice(bytes).map_err(ManifestError::Json)?)
    };
    within_bounds(manifest)
}

fn within_bounds(manifest: Manifest) -> Result<Manifest, ManifestError> {
    let (what, count, most) = match &manifest {
        Manifest::Index(index) => ("manifests", index.manifests.len(), MAX_INDEX),
        Manifest::Image(image) => ("layers", image.layers.len(), MAX_LAYERS),
    };
    if count > most {
        return Err(ManifestError::Many { what, count, most });
    }
    Ok(manifest)
}

impl ImageManifest {
    /// Fails if this is something else than an image whose layers can be unpacked.
    pub fn check_is_image(&self) -> Result<(), ManifestError> {
        let config = self.config.media_type.as_str();
        const DOCKERS: &str = "application/vnd.docker.container.image.v1+json";
        if !config.is_empty() && config != CONFIG && config != DOCKERS {
            return Err(ManifestError::Artifact(config.to_owned()));
        }
        match self
            .layers
            .iter()
            .find(|layer| !is_layer(&layer.media_type))
        {
            None => Ok(()),
            Some(layer) => Err(ManifestError::Layer {
                digest: layer.digest,
                kind: layer.media_type.clone(),
            }),
        }
    }
}

/// How it is compressed is seen in the bytes, whatever the kind says.
fn is_layer(kind: &str) -> bool {
    const TARS: [&str; 4] = [
        LAYER,
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    let plain = ["+gzip", "+zstd", ".gzip", ".zstd"]
        .iter()
        .find_map(|suffix| kind.strip_suffix(suffix))
        .unwrap_or(kind);
    TARS.contains(&plain)
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No JSON, or without the fields that it must have.
    #[error("it is not an image's configuration")]
    Json(#[source] serde_json::Error),
    /// A name of a layer's content that is no digest.
    #[error("the name of its layer {0} is no digest")]
    DiffId(usize, #[source] super::digest::DigestError),
    /// Configuration and manifest do not belong together.
    #[error("it names {named} layers, the manifest {listed}")]
    Count {
        /// In the configuration.
        named: usize,
        /// In the manifest.
        listed: usize,
    },
    /// For another kind of machine.
    #[error("it is for {theirs}, this machine is {ours}")]
    Platform {
        /// The image's.
        theirs: String,
        /// The machine's.
        ours: String,
    },
}

/// Reads an image's configuration, and the digests of its layers' content.
pub fn parse_config(
    bytes: &[u8],
    layers: usize,
) -> Result<(ImageConfiguration, Vec<Digest>), ConfigError> {
    let config: ImageConfiguration = serde_json::from_slice(bytes).map_err(ConfigError::Json)?;
    let ids = config.rootfs().diff_ids().iter().enumerate();
    let ids: Vec<Digest> = ids
        .map(|(place, id)| id.parse().map_err(|why| ConfigError::DiffId(place, why)))
        .collect::<Result<_, _>>()?;
    if ids.len() != layers {
        return Err(ConfigError::Count {
            named: ids.len(),
            listed: layers,
        });
    }
    Ok((config, ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(kind: &str) -> String {
        let digest = Digest::of(b"");
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":0}}"#)
    }

    fn image(layers: &str) -> String {
        let config = descriptor(CONFIG);
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#)
    }

    #[test]
    fn images_and_indexes_of_both_families_are_read() {
        let gzip = descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip");
        let Manifest::Image(read) = parse(image(&gzip).as_bytes()).unwrap() else {
            panic!("not an image")
        };
        read.check_is_image().unwrap();
        for kind in INDEXES {
            let text = format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[]}}"#);
            assert!(matches!(parse(text.as_bytes()), Ok(Manifest::Index(_))));
        }
    }

    #[test]
    fn a_document_that_is_two_things_is_refused() {
        let text = image("").replace("\"config\"", "\"manifests\":[],\"config\"");
        let refused = parse(text.as_bytes());
        assert!(matches!(refused, Err(ManifestError::Ambiguous)));
        let kind = INDEXES[0];
        let text = image("").replace(
            "\"config\"",
            &format!("\"mediaType\":\"{kind}\",\"config\""),
        );
        assert!(matches!(
            parse(text.as_bytes()),
            Err(ManifestError::Kind(_))
        ));
    }

    #[test]
    fn old_schemas_artifacts_and_too_many_layers_are_refused() {
        let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert!(matches!(parse(old), Err(ManifestError::Schema(1))));

        let layers = vec![descriptor(LAYER); MAX_LAYERS + 1].join(",");
        let many = parse(image(&layers).as_bytes());
        assert!(matches!(many, Err(ManifestError::Many { .. })));

        let chart = image("").replace(CONFIG, "application/vnd.cncf.helm.config.v1+json");
        let Manifest::Image(chart) = parse(chart.as_bytes()).unwrap() else {
            panic!("not an image")
        };
        let refused = chart.check_is_image();
        assert!(matches!(refused, Err(ManifestError::Artifact(_))));

        let text = image(&descriptor("application/octet-stream"));
        let Manifest::Image(odd) = parse(text.as_bytes()).unwrap() else {
            panic!("not an image")
        };
        assert!(matches!(
            odd.check_is_image(),
            Err(ManifestError::Layer { .. })
        ));
    }

    #[test]
    fn a_configuration_must_name_as_many_layers_as_the_manifest() {
        let id = Digest::of(b"");
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Entrypoint":null,"Env":null}},
            "rootfs":{{"type":"layers","diff_ids":["{id}"]}}}}"#
        );
        let (_, ids) = parse_config(text.as_bytes(), 1).unwrap();
        assert_eq!(ids, [id]);
        let refused = parse_config(text.as_bytes(), 2);
        assert!(matches!(refused, Err(ConfigError::Count { .. })));
    }
}
