//! Files that somebody has changed, into every decoder: none panics, and none takes more memory than its file and what is
//! stated allow. The corpus is kept: files that we and restic have written, in the clear.

mod allocations;
mod mutations;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use driver_api::{NoControl, PieceSpan, StreamSource as _};
use job_model::RecoveryPointId;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use vault_format::{
    BlobOpener, BlobToOpen, Config, FormatError, Id, IndexFile, KeyFile, LockFile, MasterKey, Snapshot,
    UNPACKED_BYTES_MAX, decode_pack_header, decode_tree, decode_unpacked, encode_tree, encode_unpacked,
    pack_header_length,
};
use zeroize::Zeroizing;

use self::allocations::most_of;
use self::mutations::mutate;
use super::scene::Scene;
use crate::{PruneOptions, RecoveryPointDescription, Vault};

/// Bytes that decoding may take for each byte of a file: a decoded entry is larger than its shortest JSON.
const PER_BYTE: usize = 200;
/// And for the file as such.
const PER_FILE: usize = 2 << 20;

/// What the decoders of a vault need.
struct Bench {
    scene: Scene,
    vault: Vault,
    key: MasterKey,
}

impl Bench {
    fn new() -> Self {
        let scene = Scene::new(5);
        let vault = scene.open();
        Self { scene, vault, key: MasterKey::from_bytes(Zeroizing::new([9; 64])) }
    }

    /// Puts a sealed document into the vault.
    fn place(&self, path: &str, plain: &[u8]) {
        let sealed = encode_unpacked(self.vault.key(), [1; 16], plain).unwrap();
        self.scene.disk.place(path, sealed);
    }
}

const STREAM: &str = "0192f0c1-2345-7000-8000-00000000000a";
const SPAN: PieceSpan = PieceSpan { lane: 1, start: 0, end: 300 };

type Decoder = fn(&Bench, &[u8]) -> bool;

/// All decoders; each says whether it took the file.
fn decoders() -> BTreeMap<&'static str, Decoder> {
    let all: [(&str, Decoder); 12] = [
        ("config", |bench, bytes| {
            let _ = Config::decode(&bench.key, bytes.to_vec());
            Config::decode(&bench.key, bench.key.seal([1; 16], bytes)).is_ok()
        }),
        ("key", open_key),
        ("index", |_, bytes| IndexFile::decode(bytes).is_ok_and(|index| index.encode().is_ok())),
        ("pack-header", |_, bytes| {
            let trailer = bytes.first_chunk().copied().unwrap_or_default();
            let _ = pack_header_length(trailer, bytes.len() as u64);
            let blobs = |bytes: &[u8]| decode_pack_header(bytes, 0);
            // The length that the blobs make stands in the refusal; the right one is taken from there.
            let length = match blobs(bytes) {
                Err(FormatError::Invalid(problem)) => problem.split(' ').find_map(|word| word.parse().ok()),
                _ => None,
            };
            decode_pack_header(bytes, length.unwrap_or(0)).is_ok()
        }),
        ("tree", |_, bytes| match decode_tree(bytes) {
            Ok(mut tree) => {
                let again = decode_tree(&encode_tree(&mut tree).unwrap()).unwrap();
                assert!(again == tree, "a tree that was read is written as another one");
                true
            }
            Err(_) => false,
        }),
        ("snapshot", |_, bytes| match Snapshot::decode(bytes) {
            Ok(snapshot) => {
                assert!(Snapshot::decode(&snapshot.encode().unwrap()).unwrap() == snapshot);
                true
            }
            Err(_) => false,
        }),
        ("lock", |_, bytes| LockFile::decode(bytes).is_ok()),
        ("unpacked", |bench, bytes| {
            let _ = decode_unpacked(&bench.key, bytes.to_vec());
            decode_unpacked(&bench.key, bench.key.seal([1; 16], bytes)).is_ok()
        }),
        ("keep", |bench, bytes| {
            bench.place("holdfast/keep/00000000000000000001", bytes);
            bench.vault.keep().is_ok()
        }),
        ("mark", |bench, bytes| {
            bench.place("holdfast/marks/one", bytes);
            let taken = serde_json::from_slice::<serde_json::Value>(bytes).is_ok();
            bench.vault.prune_plan(&PruneOptions::new(&NoControl)).unwrap();
            taken
        }),
        ("scrub", |bench, bytes| {
            bench.place("holdfast/scrub/one", bytes);
            bench.vault.damaged_packs().unwrap();
            serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
        }),
        ("piece", |bench, bytes| {
            let path = format!("holdfast/streams/{STREAM}/00000001-{:016X}-{:016X}", SPAN.start, SPAN.end);
            bench.place(&path, bytes);
            bench.vault.stream(STREAM.parse::<RecoveryPointId>().unwrap()).piece(SPAN).is_ok()
        }),
    ];
    let mut all: BTreeMap<_, _> = all.into();
    all.insert("description", |_, bytes| serde_json::from_slice::<RecoveryPointDescription>(bytes).is_ok());
    all
}

/// Opens a key file where that costs little, or where it must be refused for costing too much.
fn open_key(_: &Bench, bytes: &[u8]) -> bool {
    let Ok(file) = KeyFile::decode(bytes) else { return false };
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else { return false };
    let number = |name: &str| u128::from(json[name].as_u64().unwrap_or(0));
    let cost = (number("N") + number("p")) * number("r") * 128;
    if !((1 << 16)..=(1 << 31)).contains(&cost) {
        let _ = file.open(b"correct horse");
    }
    true
}

/// Files of a decoder.
fn corpus(decoder: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sweeps/decoders/corpus").join(decoder);
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn every_file_of_the_corpus_is_read_by_its_decoder() {
    for (name, decode) in decoders() {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        for (number, file) in files.iter().enumerate() {
            assert!(decode(&Bench::new(), file), "{name}: file {number} of the corpus is not read");
        }
    }
}

#[test]
fn no_changed_file_brings_a_decoder_down_or_takes_memory_without_bound() {
    let (seed, rounds) = (number("HOLDFAST_FUZZ_SEED", 1), number("HOLDFAST_FUZZ_ROUNDS", 2000));
    println!("HOLDFAST_FUZZ_SEED={seed}");
    let mut hungriest: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, (name, decode)) in decoders().into_iter().enumerate() {
        let (bench, files) = (Bench::new(), corpus(name));
        let mut taken = 0;
        for round in 0..rounds {
            // A round can be repeated without those before it.
            let mut random = StdRng::seed_from_u64(seed ^ ((place as u64) << 56) ^ (round << 20));
            let bytes = mutate(&mut random, &files);
            let mut result = Ok(false);
            let most = most_of(|| result = catch_unwind(AssertUnwindSafe(|| decode(&bench, &bytes))));
            let context = || {
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
                format!("{name}, seed {seed}, round {round}, {} bytes: {shown}", bytes.len())
            };
            match result {
                Ok(read) => taken += u64::from(read),
                Err(_) => panic!("a decoder panicked: {}", context()),
            }
            assert!(most <= PER_BYTE * bytes.len() + PER_FILE, "{most} bytes of memory: {}", context());
            let hunger = hungriest.entry(name).or_default();
            *hunger = most.saturating_sub(PER_FILE).div_ceil(bytes.len().max(1)).max(*hunger);
        }
        println!("{name}: {rounds} files, {taken} of them taken");
    }
    println!("bytes of memory for each byte of a file, beyond {PER_FILE}: {hungriest:?}");
}

#[test]
fn what_decompresses_without_end_is_refused_within_the_stated_limits() {
    let key = MasterKey::from_bytes(Zeroizing::new([9; 64]));
    let zeros = vec![0; UNPACKED_BYTES_MAX as usize + 1];
    let sealed = encode_unpacked(&key, [1; 16], &zeros).unwrap();
    drop(zeros);
    assert!(sealed.len() < 1 << 20);
    let most = most_of(|| {
        assert!(matches!(decode_unpacked(&key, sealed), Err(FormatError::TooLarge { .. })));
    });
    // A buffer that grows by doubling is there twice while it does.
    assert!(most <= 3 * UNPACKED_BYTES_MAX as usize + (1 << 20), "{most}");

    let mut blob = vec![0; 64 << 20];
    let compressed = vault_format::BlobCompressor::new(1).unwrap().compress(&blob).unwrap().unwrap();
    blob.truncate(5);
    for lie in [5, 1 << 20, 63 << 20, u32::MAX] {
        let mut sealed = key.seal([2; 16], &compressed);
        let mut opener = BlobOpener::new().unwrap();
        let most = most_of(|| {
            let lied = BlobToOpen { sealed: &mut sealed, raw_length: Some(lie), id: Id::of(&blob) };
            assert!(opener.open(&key, lied).is_err());
        });
        let limit = (lie as usize).min(vault_format::BLOB_BYTES_MAX as usize);
        assert!(most <= 3 * limit + PER_FILE, "{lie}: {most}");
    }
}

#[test]
fn a_key_file_that_asks_for_too_much_memory_is_refused_whatever_it_asks_it_for() {
    let file = String::from_utf8(corpus("key").remove(0)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&file).unwrap();
    for (n, r, p) in [(1_u64 << 30, 8, 1), (2, 4 << 20, 64), (2, 1 << 24, 1), (16, 8, 1 << 28), (1 << 40, 1, 1)] {
        let mut forged = json.clone();
        for (name, value) in [("N", n), ("r", r), ("p", p)] {
            forged[name] = value.into();
        }
        let forged = KeyFile::decode(forged.to_string().as_bytes()).unwrap();
        let mut refused = false;
        let most = most_of(|| refused = matches!(forged.open(b"x"), Err(FormatError::Invalid(_))));
        assert!(refused && most < PER_FILE, "N {n}, r {r}, p {p}: {most} bytes");
    }
}

#[test]
fn what_is_nested_without_end_is_refused() {
    let nested = ["[".repeat(200_000), "{\"a\":".repeat(100_000), format!("{{\"nodes\":{}", "[".repeat(200_000))];
    for (name, decode) in decoders() {
        let bench = Bench::new();
        for bytes in &nested {
            assert!(name == "unpacked" || !decode(&bench, bytes.as_bytes()), "{name}");
        }
    }
}

#[test]
fn no_random_bytes_are_taken_for_a_file() {
    let mut random = StdRng::seed_from_u64(3);
    for (name, decode) in decoders() {
        let bench = Bench::new();
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..random.random_range(100..300)).map(|_| random.random()).collect();
            // An opening bracket is all that tells plain JSON from nonsense before it is decoded.
            assert!(!decode(&bench, &bytes) || name == "unpacked", "{name}: {bytes:?}");
        }
    }
}
