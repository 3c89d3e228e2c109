//! The OCI image layout, as a tar archive: one layer with a few files, one configuration, one manifest.
//!
//! The archive depends on its content alone (no times, no owners' names), so equal programs make equal images.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The user and group that programs in our images run as.
pub const USER: u32 = 65532;

/// A file of an image.
pub struct File {
    name: String,
    mode: u32,
    content: Vec<u8>,
}

impl File {
    /// An executable in the root folder.
    #[must_use]
    pub fn program(name: &str, content: Vec<u8>) -> Self {
        Self { name: name.to_owned(), mode: 0o755, content }
    }
}

/// An image: its name, its files and the program that it runs.
pub struct Image {
    /// The reference under which it is known, with a tag.
    pub name: String,
    /// What its one layer holds.
    pub files: Vec<File>,
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// The user and group that it runs as where a pod does not say: [`USER`], but for what binds low ports.
    pub user: u32,
}

impl Image {
    /// The last part of the name, without its tag.
    #[must_use]
    pub fn short_name(&self) -> &str {
        let name = self.name.rsplit_once('/').map_or(self.name.as_str(), |(_, name)| name);
        name.split_once(':').map_or(name, |(name, _)| name)
    }

    /// The first characters of a hash of all that it holds.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(&Sha256::digest(self.archive())[..6])
    }

    /// Writes the image as an OCI archive.
    pub fn write(&self, archive: &Path) -> Result<()> {
        fs::write(archive, self.archive())
            .with_context(|| format!("failed to write {}", archive.display()))
    }

    fn archive(&self) -> Vec<u8> {
        let mut layer = Tar::default();
        for file in &self.files {
            layer.file(&file.name, file.mode, &file.content);
        }
        let layer = layer.finish();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"User": format!("{0}:{0}", self.user), "Entrypoint": self.entrypoint, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        })
        .to_string()
        .into_bytes();
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();

        let mut archive = Tar::default();
        archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        for blob in [&layer, &config, &manifest] {
            archive.file(
                &format!("blobs/sha256/{}", hex::encode(Sha256::digest(blob))),
                0o644,
                blob,
            );
        }
        archive.file("index.json", 0o644, &index);
        archive.finish()
    }
}

fn digest(blob: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(blob)))
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

const BLOCK: usize = 512;

/// A POSIX ustar archive.
#[derive(Default)]
struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        let mut header = [0_u8; BLOCK];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        // The checksum counts its own field as blanks.
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\0");
        put(263, "00");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn archive_is_read_by_tar() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("image.tar");
        let image = Image {
            name: "example.test/one:2".into(),
            files: vec![File::program("one", b"#!".to_vec())],
            entrypoint: vec!["/one".into()],
            user: USER,
        };
        image.write(&archive).unwrap();
        let listed = Command::new("tar").arg("tf").arg(&archive).output().unwrap();
        assert!(listed.status.success());
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.lines().count(), 5, "{listed}");
    }
}
