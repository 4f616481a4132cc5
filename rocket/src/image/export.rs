//! Images as files, with the bytes that were fetched: digests and signatures stay what they
//! are.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::Error;
use super::digest::Digest;
use super::manifest::{Descriptor, Index};
use super::store::{Record, Store};

/// Where the name of an image is in a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What says that a directory is a layout.
const LAYOUT: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);

/// Writes an image as an archive of an OCI layout, which [`Source`](super::Source)'s
/// `oci-archive:` reads. Equal images give equal bytes.
pub fn oci_archive(store: &Store, id: &Digest, name: &str, to: impl Write) -> Result<(), Error> {
    let _in_use = store.in_use()?;
    let record = store.record(id)?.ok_or_else(|| Error::absent(&id.hex()))?;
    let index = index(&record, name)?;
    let failed = Error::io("writing the archive of", Path::new(name));
    write(store, &record, &index, to).map_err(failed)
}

fn index(record: &Record, name: &str) -> Result<Vec<u8>, Error> {
    let annotation = (REF_NAME.to_owned(), name.to_owned());
    let index = Index {
        schema_version: 2,
        media_type: Some(super::manifest::INDEX.to_owned()),
        manifests: vec![Descriptor {
            annotations: Some([annotation].into()),
            ..record.manifest.clone()
        }],
    };
    serde_json::to_vec(&index).map_err(|source| Error::Record {
        path: "index.json".into(),
        source,
    })
}

fn write(store: &Store, record: &Record, index: &[u8], to: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    let (name, content) = LAYOUT;
    add(&mut archive, name, content.len() as u64, content.as_bytes())?;
    add(&mut archive, "index.json", index.len() as u64, index)?;
    let layers = record.layers.iter().map(|layer| layer.blob.digest);
    let mut blobs = vec![record.manifest.digest, record.config.digest];
    for layer in layers {
        // An image may have a layer twice.
        if !blobs.contains(&layer) {
            blobs.push(layer);
        }
    }
    for digest in blobs {
        let file = File::open(store.blob_path(&digest))?;
        let size = file.metadata()?.len();
        let name = format!("blobs/sha256/{}", digest.hex());
        add(&mut archive, &name, size, file)?;
    }
    archive.into_inner()?.flush()
}

fn add(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    content: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content)
}
