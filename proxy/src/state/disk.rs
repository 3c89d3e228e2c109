//! The last good configuration on disk.
//!
//! It is kept as the entities that were made of it, judged and complete, together with the mark of the program that
//! judged them. The same program takes them as they are; another one judges them again.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

/// The first line of a file that holds entities, before the checksum; the second one is the mark of who judged them.
const ENTITIES: &str = "flotilla-proxy configuration 2 ";

/// The first line of a file that holds the text of a configuration, as older programs kept it.
const TEXT: &str = "flotilla-proxy configuration 1 ";

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

/// A whole configuration.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// As it was sent.
    Text(Vec<u8>),
    /// Its entities as JSON, and the mark of the program that judged them.
    Entities {
        /// All entities by kind and id.
        json: String,
        /// Who judged them.
        mark: String,
    },
}

/// What was kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// The whole configuration.
    pub content: Content,
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

    /// Keeps the entities of a configuration that goes by a hash, judged by the program of this mark; what was there
    /// stays until the new one is whole.
    pub fn save(&self, json: &str, hash: &str, mark: &str) -> Result<(), DiskError> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = self.path.with_extension("new");
        let digest = Sha256::new().chain_update(mark).chain_update("\n").chain_update(json);
        let digest = hex(&digest.finalize());
        let line = format!("{ENTITIES}{digest} {hash}\n{mark}\n");
        let written = write_synced(&beside, &[line.as_bytes(), json.as_bytes()])
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
        let changes = whole_changes(&fs::read(self.changes()).unwrap_or_default());
        let (content, hash) = read(content).ok_or(DiskError::Damaged)?;
        Ok(Some(Kept { content, hash, changes }))
    }
}

/// What a file holds and the hash that it goes by, where nothing of it changed since it was written.
fn read(file: Vec<u8>) -> Option<(Content, Option<String>)> {
    let end = file.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&file[..end]).ok()?;
    let (text, line) = match line.strip_prefix(ENTITIES) {
        Some(line) => (false, line),
        None => (true, line.strip_prefix(TEXT)?),
    };
    let (digest, hash) = line.split_once(' ').unwrap_or((line, ""));
    if digest != hex(&Sha256::digest(&file[end + 1..])) {
        return None;
    }
    let hash = Some(hash.to_owned()).filter(|hash| !hash.is_empty());
    let mut rest = file;
    rest.drain(..=end);
    if text {
        return Some((Content::Text(rest), hash));
    }
    let mut json = String::from_utf8(rest).ok()?;
    let mark = json.split_once('\n')?.0.to_owned();
    json.drain(..=mark.len());
    Some((Content::Entities { json, mark }, hash))
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
        disk.save(r#"{"services":{}}"#, "h", "program 1").unwrap();
        let kept = disk.load().unwrap().unwrap();
        let json = r#"{"services":{}}"#.to_owned();
        assert_eq!(kept.content, Content::Entities { json, mark: "program 1".to_owned() });
        assert_eq!((kept.hash.as_deref(), kept.changes.len()), (Some("h"), 0));
        let path = folder.path().join("configuration");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert!(matches!(disk.load(), Err(DiskError::Damaged)));
        let other = String::from_utf8(whole).unwrap().replace("program 1", "program 2");
        fs::write(&path, other).unwrap();
        assert!(matches!(disk.load(), Err(DiskError::Damaged)));
    }

    #[test]
    fn what_an_older_program_kept_is_text() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"_format_version: '3.0'";
        let line = format!("{TEXT}{} h\n", hex(&Sha256::digest(text)));
        fs::write(folder.path().join("configuration"), [line.as_bytes(), text].concat()).unwrap();
        let kept = Disk::new(folder.path()).load().unwrap().unwrap();
        assert_eq!(kept.content, Content::Text(text.to_vec()));
        assert_eq!(kept.hash.as_deref(), Some("h"));
    }

    #[test]
    fn changes_come_back_in_order_up_to_a_torn_one_and_go_with_the_next_whole() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        disk.save("{}", "h", "m").unwrap();
        for change in ["one\n", "two", "three"] {
            assert!(!disk.append(change.as_bytes()).unwrap());
        }
        let changes = || disk.load().unwrap().unwrap().changes;
        assert_eq!(changes(), [&b"one\n"[..], b"two", b"three"]);
        let path = folder.path().join("configuration.changes");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(changes(), [&b"one\n"[..], b"two"]);
        disk.save("{}", "i", "m").unwrap();
        assert!(changes().is_empty());
    }
}
