//! The last good configuration on disk.
//!
//! It is kept as the text that was sent, with the time and the chance that it was judged with: judged again, it becomes the
//! same entities. What did not come as one text, or holds passwords that are to be forgotten, is kept as the entities that
//! were made of it, with the mark of the program that judged them: that one takes them as they are, another judges again.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use sha2::{Digest, Sha256};

/// The first line of a file that holds entities, before the checksum; the second one is the mark of who judged them.
const ENTITIES: &str = "flotilla-proxy configuration 2 ";

/// The first line of a file that holds a text, before the checksum; the second one is what it was judged with.
const JUDGED: &str = "flotilla-proxy configuration 3 ";

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

/// What a text was judged with besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The time, since 1970.
    pub now: Duration,
    /// Where the ids come from that have to be random.
    pub seed: u128,
}

/// A whole configuration.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// As it was sent, and what it was judged with where that is known.
    Text(Vec<u8>, Option<Origin>),
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

    /// Keeps a configuration that goes by a hash; what was there stays until the new one is whole.
    pub fn save(&self, content: &Content, hash: &str) -> Result<(), DiskError> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = self.path.with_extension("new");
        let (kind, second, rest) = match content {
            Content::Text(text, Some(Origin { now, seed })) => {
                (JUDGED, format!("{} {seed:x}\n", now.as_nanos()), text.as_slice())
            }
            Content::Text(text, None) => (TEXT, String::new(), text.as_slice()),
            Content::Entities { json, mark } => (ENTITIES, format!("{mark}\n"), json.as_bytes()),
        };
        let digest = Sha256::new().chain_update(&second).chain_update(rest);
        let line = format!("{kind}{} {hash}\n{second}", hex(&digest.finalize()));
        let written = write_synced(&beside, &[line.as_bytes(), rest])
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
    let kind = [ENTITIES, JUDGED, TEXT].into_iter().find(|kind| line.starts_with(kind))?;
    let line = &line[kind.len()..];
    let (digest, hash) = line.split_once(' ').unwrap_or((line, ""));
    if digest != hex(&Sha256::digest(&file[end + 1..])) {
        return None;
    }
    let hash = Some(hash.to_owned()).filter(|hash| !hash.is_empty());
    let mut rest = file;
    rest.drain(..=end);
    let mut second = || -> Option<String> {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8(rest.drain(..=end).collect()).ok()?;
        Some(line.trim_end().to_owned())
    };
    let content = match kind {
        TEXT => Content::Text(rest, None),
        JUDGED => {
            let line = second()?;
            let (now, seed) = line.split_once(' ')?;
            let now = Duration::from_nanos(now.parse().ok()?);
            let seed = u128::from_str_radix(seed, 16).ok()?;
            Content::Text(rest, Some(Origin { now, seed }))
        }
        _ => {
            let mark = second()?;
            Content::Entities { json: String::from_utf8(rest).ok()?, mark }
        }
    };
    Some((content, hash))
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
        let json = r#"{"services":{}}"#.to_owned();
        let content = Content::Entities { json, mark: "program 1".to_owned() };
        disk.save(&content, "h").unwrap();
        let kept = disk.load().unwrap().unwrap();
        assert_eq!(kept.content, content);
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
        assert_eq!(kept.content, Content::Text(text.to_vec(), None));
        assert_eq!(kept.hash.as_deref(), Some("h"));
    }

    #[test]
    fn a_text_comes_back_with_what_it_was_judged_with() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        let origin = Origin { now: Duration::new(7, 9), seed: u128::MAX };
        let content = Content::Text(b"one\ntwo\n".to_vec(), Some(origin));
        disk.save(&content, "h").unwrap();
        let kept = disk.load().unwrap().unwrap();
        assert_eq!((kept.content, kept.hash.as_deref()), (content, Some("h")));
    }

    #[test]
    fn changes_come_back_in_order_up_to_a_torn_one_and_go_with_the_next_whole() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        let content = Content::Entities { json: "{}".to_owned(), mark: "m".to_owned() };
        disk.save(&content, "h").unwrap();
        for change in ["one\n", "two", "three"] {
            assert!(!disk.append(change.as_bytes()).unwrap());
        }
        let changes = || disk.load().unwrap().unwrap().changes;
        assert_eq!(changes(), [&b"one\n"[..], b"two", b"three"]);
        let path = folder.path().join("configuration.changes");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(changes(), [&b"one\n"[..], b"two"]);
        disk.save(&content, "i").unwrap();
        assert!(changes().is_empty());
    }
}
