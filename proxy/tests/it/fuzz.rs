//! Inputs that nobody would write: what is kept under `testdata/fuzz` is cut, joined and spoiled at random.
//!
//! Each target says what must hold for any input at all. A short run is part of every test run; `FUZZ_CASES=100000`
//! makes it a long one (`make fuzz`). An input that fails is printed, shrunk, and belongs into the corpus then.

mod configuration;
mod routing;
mod wire;

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

/// How many inputs a target gets.
fn config() -> ProptestConfig {
    let cases = std::env::var("FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(128),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// One step of spoiling.
#[derive(Debug, Clone)]
enum Spoil {
    Put(Index, u8),
    Flip(Index, u8),
    Cut(Index, Index),
    Repeat(Index, Index),
    Word(Index, Index),
    Splice(Index, Index, Index),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Spoil::Put(at, byte)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Spoil::Flip(at, bit)),
        (at(), at()).prop_map(|(from, to)| Spoil::Cut(from, to)),
        (at(), at()).prop_map(|(from, to)| Spoil::Repeat(from, to)),
        (at(), at()).prop_map(|(at, word)| Spoil::Word(at, word)),
        (at(), at(), at()).prop_map(|(at, other, from)| Spoil::Splice(at, other, from)),
    ]
}

/// Words that mean something somewhere.
const WORDS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"%2f",
    b"%00",
    b"/../",
    b"//",
    b"\xff",
    b"null",
    b"[]",
    b"{}",
    b"-1",
    b"9223372036854775808",
    b"\"",
    b"'",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"(?=a)",
    b"*",
    b"{vault://env/x}",
];

/// The corpus of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Inputs of a target: one of the corpus, spoiled a few times or not at all.
fn input(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    (any::<Index>(), prop::collection::vec(spoil(), 0..6)).prop_map(move |(first, spoils)| {
        let mut bytes = first.get(&corpus).clone();
        spoils.iter().for_each(|spoil| apply(spoil, &mut bytes, &corpus));
        bytes
    })
}

fn apply(spoil: &Spoil, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
    let range = |from: &Index, to: &Index, bytes: &[u8]| {
        let (from, to) = (place(from, bytes), place(to, bytes));
        from.min(to)..from.max(to).min(from.min(to) + 64)
    };
    match spoil {
        Spoil::Put(at, byte) => bytes.insert(place(at, bytes), *byte),
        Spoil::Flip(at, bit) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Spoil::Flip(..) => {}
        Spoil::Cut(from, to) => drop(bytes.drain(range(from, to, bytes))),
        Spoil::Repeat(from, to) => {
            let range = range(from, to, bytes);
            let part = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, part);
        }
        Spoil::Word(at, word) => {
            let at = place(at, bytes);
            bytes.splice(at..at, word.get(&WORDS).iter().copied());
        }
        Spoil::Splice(at, other, from) => {
            let other = other.get(corpus);
            let tail = other[from.index(other.len() + 1)..].to_vec();
            bytes.truncate(place(at, bytes));
            bytes.extend(tail);
        }
    }
}

/// The input as a failure shows it.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
