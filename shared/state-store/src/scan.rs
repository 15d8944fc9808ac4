//! How damage is noticed: a count and a digest per tree, a number per commit, and a full scan at the start.
//!
//! The digest of a tree is the sum, modulo 2^128, of the truncated SHA-256 of its rows, so that a commit updates it from the
//! rows it changes. Meta tree: `format`, `instance`, `number` (of the newest commit) and `digest/<tree>`, each with a
//! CRC-32C.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use crate::backend::{ALL_KEYS, Backend, Direction, Writes};
use crate::error::BackendError;
use crate::row::{self, Stored};

/// The store's own tree.
pub(crate) const META: &str = "~meta";

/// Format of the trees as a whole; raised when an older version must not touch them.
pub(crate) const FORMAT: u64 = 1;

const FORMAT_KEY: &[u8] = b"format";
const INSTANCE_KEY: &[u8] = b"instance";
const NUMBER_KEY: &[u8] = b"number";
const DIGEST_PREFIX: &str = "digest/";

/// How many rows a tree has, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) rows: u64,
    sum: u128,
}

impl Digest {
    fn of(key: &[u8], value: &[u8]) -> u128 {
        let mut hash = Sha256::new();
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update(value);
        let mut head = [0; 16];
        head.copy_from_slice(&hash.finalize()[..16]);
        u128::from_be_bytes(head)
    }

    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(Self::of(key, value));
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(Self::of(key, value));
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = self.rows.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.sum.to_be_bytes());
        row::seal(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (rows, sum) = row::unseal(bytes)?.split_first_chunk::<8>()?;
        Some(Self { rows: u64::from_be_bytes(*rows), sum: u128::from_be_bytes(sum.try_into().ok()?) })
    }
}

/// What a scan found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) instance: String,
    pub(crate) number: u64,
    pub(crate) digests: BTreeMap<String, Digest>,
}

/// What a scan found to be wrong.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The database or a row.
    Damage(String),
    /// Written by a newer version.
    Format(u64),
    /// Reading failed; whether that is damage is for the caller to say.
    Backend(BackendError),
}

impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

/// Drops writes that change nothing, and returns the new digests of the trees that the others change.
pub(crate) fn account(
    backend: &dyn Backend,
    digests: &BTreeMap<String, Digest>,
    writes: &mut Writes,
) -> Result<BTreeMap<String, Digest>, BackendError> {
    let mut changed = BTreeMap::new();
    for (tree, rows) in writes.iter_mut() {
        let mut digest = digests.get(tree).copied().unwrap_or_default();
        let mut same = Vec::new();
        for (key, value) in rows.iter() {
            let old = backend.get(tree, key)?;
            if old == *value {
                same.push(key.clone());
                continue;
            }
            if let Some(old) = old {
                digest.remove(key, &old);
            }
            if let Some(value) = value {
                digest.add(key, value);
            }
        }
        for key in same {
            rows.remove(&key);
        }
        if !rows.is_empty() {
            changed.insert(tree.clone(), digest);
        }
    }
    writes.retain(|_, rows| !rows.is_empty());
    Ok(changed)
}

/// Adds the number of the commit and the digests to its writes.
pub(crate) fn write_meta(writes: &mut Writes, number: u64, changed: &BTreeMap<String, Digest>) {
    let meta = writes.entry(META.to_owned()).or_default();
    meta.insert(NUMBER_KEY.to_vec(), Some(row::seal(number.to_be_bytes().to_vec())));
    for (tree, digest) in changed {
        meta.insert(format!("{DIGEST_PREFIX}{tree}").into_bytes(), Some(digest.encode()));
    }
}

/// The writes that make an empty database a store.
pub(crate) fn founding(verified: &Verified) -> Writes {
    let mut writes = Writes::new();
    write_meta(&mut writes, verified.number, &verified.digests);
    let meta = writes.entry(META.to_owned()).or_default();
    meta.insert(FORMAT_KEY.to_vec(), Some(row::seal(FORMAT.to_be_bytes().to_vec())));
    meta.insert(INSTANCE_KEY.to_vec(), Some(row::seal(verified.instance.clone().into_bytes())));
    writes
}

/// Reads every row of every tree. `progress` is called for each, `acknowledged` is the number that the store must have.
pub(crate) fn verify(
    backend: &dyn Backend,
    acknowledged: Option<u64>,
    progress: &dyn Fn(),
) -> Result<Verified, Problem> {
    let verified = read_meta(backend)?;
    if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > verified.number) {
        let found = verified.number;
        return Err(Problem::Damage(format!(
            "commit {acknowledged} was acknowledged, but the newest one found is {found}: the end of the data is missing"
        )));
    }
    let mut trees: Vec<_> = backend.trees()?.into_iter().filter(|tree| tree != META).collect();
    trees.extend(verified.digests.keys().filter(|tree| !trees.contains(tree)).cloned().collect::<Vec<_>>());
    for tree in trees {
        let found = verify_tree(backend, &tree, progress)?;
        let expected = verified.digests.get(&tree).copied().unwrap_or_default();
        if found != expected {
            return Err(Problem::Damage(format!(
                "table `{tree}` has {} rows that do not add up to the {} rows written",
                found.rows, expected.rows
            )));
        }
    }
    Ok(verified)
}

fn read_meta(backend: &dyn Backend) -> Result<Verified, Problem> {
    let damage = |what: &str| Problem::Damage(format!("the store's own row `{what}` is missing or damaged"));
    let meta = |key: &[u8], what: &str| -> Result<Vec<u8>, Problem> {
        let value = backend.get(META, key)?;
        value.as_deref().and_then(row::unseal).map(<[u8]>::to_vec).ok_or_else(|| damage(what))
    };
    let number = |key: &[u8], what: &str| -> Result<u64, Problem> {
        meta(key, what)?.try_into().map(u64::from_be_bytes).map_err(|_| damage(what))
    };
    let format = number(FORMAT_KEY, "format")?;
    if format != FORMAT {
        return Err(Problem::Format(format));
    }
    let instance = String::from_utf8(meta(INSTANCE_KEY, "instance")?).map_err(|_| damage("instance"))?;
    let number = number(NUMBER_KEY, "number")?;
    let mut digests = BTreeMap::new();
    let mut broken = None;
    backend.visit(META, ALL_KEYS, Direction::Forward, &mut |key, value| {
        let name = std::str::from_utf8(key).ok();
        if let Some(tree) = name.and_then(|name| name.strip_prefix(DIGEST_PREFIX)) {
            match Digest::decode(value) {
                Some(digest) => {
                    digests.insert(tree.to_owned(), digest);
                }
                None => broken = Some(tree.to_owned()),
            }
        }
        if broken.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    match broken {
        Some(tree) => Err(damage(&format!("{DIGEST_PREFIX}{tree}"))),
        None => Ok(Verified { instance, number, digests }),
    }
}

fn verify_tree(backend: &dyn Backend, tree: &str, progress: &dyn Fn()) -> Result<Digest, Problem> {
    let mut digest = Digest::default();
    let mut problem = None;
    // Pieces carry no checksum of their own; the digest covers them, and the row's when it is read.
    let checked = !tree.contains("~pieces");
    backend.visit(tree, ALL_KEYS, Direction::Forward, &mut |key, value| {
        progress();
        digest.add(key, value);
        if checked && let Err(why) = row::inspect(value) {
            problem = Some(format!("row `{}` of table `{tree}` is damaged: {why}", key.escape_ascii()));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    match problem {
        Some(problem) => Err(Problem::Damage(problem)),
        None => verify_pieces(backend, tree, digest),
    }
}

/// Puts every row in pieces together once.
fn verify_pieces(backend: &dyn Backend, tree: &str, digest: Digest) -> Result<Digest, Problem> {
    let pieces = row::pieces_tree(tree);
    let mut cut = Vec::new();
    backend.visit(tree, ALL_KEYS, Direction::Forward, &mut |key, value| {
        if !tree.contains('~')
            && let Ok(Stored::Pieces { count, .. }) = row::inspect(value)
        {
            cut.push((key.to_vec(), count));
        }
        ControlFlow::Continue(())
    })?;
    for (key, count) in cut {
        let mut whole = Vec::new();
        for index in 0..count {
            whole.extend(backend.get(&pieces, &row::piece_key(&key, index))?.unwrap_or_default());
        }
        if let Err(why) = row::open(&whole) {
            return Err(Problem::Damage(format!(
                "row `{}` of table `{tree}` does not come together: {why}",
                key.escape_ascii()
            )));
        }
    }
    Ok(digest)
}
