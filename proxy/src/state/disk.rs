//! The last good configuration on disk.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

/// The first line of the file, before the checksum.
const MAGIC: &str = "flotilla-proxy configuration 1 ";

/// How many bytes of changes are kept before the whole is saved again.
const ENOUGH: u64 = 4 << 20;

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

/// Where configurations are kept: one whole, and behind it the changes that were made to it since.
#[derive(Debug, Clone)]
pub struct Disk {
    path: PathBuf,
}

/// What was kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// The text of the whole configuration.
    pub text: Vec<u8>,
    /// The hash that it goes by, where that is not the hash of the text.
    pub hash: Option<String>,
    /// The changes, the oldest first. One whose base is not there belongs to an older configuration.
    pub changes: Vec<Vec<u8>>,
}

impl Disk {
    /// The place inside a folder.
    #[must_use]
    pub fn new(prefix: &Path) -> Self {
        Self { path: prefix.join("configuration") }
    }

    /// Keeps a configuration that goes by a hash; what was there stays until the new one is whole.
    pub fn save(&self, text: &[u8], hash: &str) -> Result<(), DiskError> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = self.path.with_extension("new");
        let digest = hex(&Sha256::digest(text));
        let line = format!("{MAGIC}{digest} {hash}\n");
        let written = write_synced(&beside, &[line.as_bytes(), text])
            .and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            // Half a file is of no use to anyone, and may be what filled the disk.
            let _ = fs::remove_file(&beside);
        }
        written?;
        // A change that is left over names another base and is not made again.
        let _ = fs::remove_file(self.changes());
        Ok(())
    }

    /// Keeps a change behind the configuration that it was made to; says whether so many are kept by now that the whole
    /// should be saved again.
    pub fn append(&self, change: &[u8]) -> Result<bool, DiskError> {
        use io::Write;
        let digest = hex(&Sha256::digest(change));
        let line = format!("{digest} {}\n", change.len());
        let mut file = private().append(true).open(self.changes())?;
        file.write_all(&[line.as_bytes(), change].concat())?;
        Ok(file.metadata()?.len() > ENOUGH)
    }

    /// The newest leadership that was seen, so that an older one is known after a restart too.
    #[must_use]
    pub fn term(&self) -> u64 {
        let text = fs::read_to_string(self.path.with_extension("term")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Keeps the newest leadership.
    pub fn save_term(&self, term: u64) -> Result<(), DiskError> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = self.path.with_extension("term-new");
        write_synced(&beside, &[term.to_string().as_bytes()])?;
        Ok(fs::rename(&beside, self.path.with_extension("term"))?)
    }

    fn changes(&self) -> PathBuf {
        self.path.with_extension("changes")
    }

    /// The kept configuration, when there is one.
    pub fn load(&self) -> Result<Option<Kept>, DiskError> {
        let content = match fs::read(&self.path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = content.iter().position(|byte| *byte == b'\n').ok_or(DiskError::Damaged)?;
        let (line, text) = (&content[..end], &content[end + 1..]);
        let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(MAGIC));
        let line = line.ok_or(DiskError::Damaged)?;
        let (digest, hash) = line.split_once(' ').unwrap_or((line, ""));
        if digest != hex(&Sha256::digest(text)) {
            return Err(DiskError::Damaged);
        }
        let hash = Some(hash.to_owned()).filter(|hash| !hash.is_empty());
        let changes = whole_changes(&fs::read(self.changes()).unwrap_or_default());
        Ok(Some(Kept { text: text.to_vec(), hash, changes }))
    }
}

/// The changes up to the first that is torn.
fn whole_changes(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut changes = Vec::new();
    let next = |bytes: &[u8]| -> Option<(Vec<u8>, usize)> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (digest, length) = std::str::from_utf8(&bytes[..end]).ok()?.split_once(' ')?;
        let after = end + 1 + length.parse::<usize>().ok()?;
        let change = bytes.get(end + 1..after)?;
        (digest == hex(&Sha256::digest(change))).then(|| (change.to_vec(), after))
    };
    while let Some((change, size)) = next(bytes) {
        changes.push(change);
        bytes = &bytes[size..];
    }
    changes
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn write_synced(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    use io::Write;
    let mut file = private().truncate(true).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_leadership_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Disk::new(folder.path()).term(), 0);
        Disk::new(folder.path()).save_term(7).unwrap();
        assert_eq!(Disk::new(folder.path()).term(), 7);
    }

    #[test]
    fn a_kept_configuration_comes_back_and_a_torn_one_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        assert!(disk.load().unwrap().is_none());
        disk.save(b"_format_version: '3.0'", "h").unwrap();
        let kept = disk.load().unwrap().unwrap();
        assert_eq!(kept.text, b"_format_version: '3.0'");
        assert_eq!((kept.hash.as_deref(), kept.changes.len()), (Some("h"), 0));
        let path = folder.path().join("configuration");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert!(matches!(disk.load(), Err(DiskError::Damaged)));
    }

    #[test]
    fn changes_come_back_in_order_up_to_a_torn_one_and_go_with_the_next_whole() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        disk.save(b"{}", "h").unwrap();
        for change in ["one\n", "two", "three"] {
            assert!(!disk.append(change.as_bytes()).unwrap());
        }
        let changes = || disk.load().unwrap().unwrap().changes;
        assert_eq!(changes(), [&b"one\n"[..], b"two", b"three"]);
        let path = folder.path().join("configuration.changes");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(changes(), [&b"one\n"[..], b"two"]);
        disk.save(b"{}", "i").unwrap();
        assert!(changes().is_empty());
    }
}
