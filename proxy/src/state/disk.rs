//! The last good configuration on disk.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

/// The first line of the file, before the checksum.
const MAGIC: &str = "flotilla-proxy configuration 1 ";

/// Why the kept configuration cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file system refuses.
    #[error("failed to access the kept configuration")]
    Io(#[from] io::Error),
    /// The file is torn or changed.
    #[error("kept configuration is damaged")]
    Damaged,
}

/// Where configurations are kept.
#[derive(Debug, Clone)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// The place inside a folder.
    #[must_use]
    pub fn new(prefix: &Path) -> Self {
        Self { path: prefix.join("configuration") }
    }

    /// Keeps a configuration; what was there stays until the new one is whole.
    pub fn save(&self, text: &[u8]) -> Result<(), DiskError> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = self.path.with_extension("new");
        let digest = hex(&Sha256::digest(text));
        let mut content = format!("{MAGIC}{digest}\n").into_bytes();
        content.extend_from_slice(text);
        let written =
            write_synced(&beside, &content).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            // Half a file is of no use to anyone, and may be what filled the disk.
            let _ = fs::remove_file(&beside);
        }
        Ok(written?)
    }

    /// The kept configuration, when there is one.
    pub fn load(&self) -> Result<Option<Vec<u8>>, DiskError> {
        let content = match fs::read(&self.path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = content.iter().position(|byte| *byte == b'\n').ok_or(DiskError::Damaged)?;
        let (line, text) = (&content[..end], &content[end + 1..]);
        let digest = line.strip_prefix(MAGIC.as_bytes()).ok_or(DiskError::Damaged)?;
        if digest != hex(&Sha256::digest(text)).as_bytes() {
            return Err(DiskError::Damaged);
        }
        Ok(Some(text.to_vec()))
    }
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    use io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_configuration_comes_back_and_a_torn_one_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        assert!(disk.load().unwrap().is_none());
        disk.save(b"_format_version: '3.0'").unwrap();
        assert_eq!(disk.load().unwrap().unwrap(), b"_format_version: '3.0'");
        let path = folder.path().join("configuration");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert!(matches!(disk.load(), Err(DiskError::Damaged)));
    }
}
