//! Goal: what one side encodes the other decodes, and nothing that lies in a store can bring a decoder down.
//! Method: round trips over generated values, and arbitrary and damaged bytes into every decoder.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use jiff::Timestamp;
use proptest::prelude::*;
use vault_format::{
    BlobCompressor, BlobKind, BlobOpener, BlobSealer, BlobToOpen, ChunkerPolynomial, Config, Id, IndexFile,
    IndexedPack, KdfParams, KeyFile, LockFile, LockPurpose, MasterKey, PackedBlob, ShortLivedSealer, Snapshot,
    decode_pack_header, decode_unpacked, encode_pack_header, encode_unpacked, open_blob, pack_file_length,
    pack_header_length, unpack_blob,
};
use zeroize::Zeroizing;

const CHEAP: KdfParams = KdfParams { log_n: 4, r: 8, p: 1 };

fn key(seed: u8) -> MasterKey {
    MasterKey::from_bytes(Zeroizing::new([seed; 64]))
}

fn at() -> Timestamp {
    "2026-11-21T01:00:00.25Z".parse().unwrap()
}

fn key_file(password: &[u8]) -> KeyFile {
    KeyFile::seal(&key(3), password, CHEAP, [7; 64], [8; 16], at(), "u".to_owned(), "h".to_owned()).unwrap()
}

#[test]
fn a_key_file_opens_with_its_password_and_with_no_other() {
    let bytes = key_file(b"right").encode().unwrap();
    let read = KeyFile::decode(&bytes).unwrap();
    let master = read.open(b"right").unwrap();
    let mut sealed = key(3).seal([1; 16], b"proof");
    assert_eq!(master.open_in_place(&mut sealed).unwrap(), b"proof");
    assert!(matches!(read.open(b"wrong"), Err(vault_format::FormatError::Unauthentic)));
}

#[test]
fn a_key_file_that_asks_for_too_much_memory_is_refused() {
    let json = String::from_utf8(key_file(b"x").encode().unwrap()).unwrap();
    for (from, to) in
        [("\"N\":16", "\"N\":17"), ("\"N\":16", "\"N\":9223372036854775808"), ("\"p\":1", "\"p\":1000000")]
    {
        let forged = json.replace(from, to);
        assert_ne!(forged, json);
        assert!(KeyFile::decode(forged.as_bytes()).unwrap().open(b"x").is_err(), "{to}");
    }
    // Little for N, and 32 GiB for the passes.
    let forged = json.replace("\"N\":16,\"r\":8,\"p\":1,", "\"N\":2,\"r\":4194304,\"p\":64,");
    assert_ne!(forged, json);
    let refused = KeyFile::decode(forged.as_bytes()).unwrap().open(b"x").unwrap_err();
    assert!(matches!(&refused, vault_format::FormatError::Invalid(problem) if problem.contains("memory")), "{refused}");
}

#[test]
fn a_config_of_another_version_says_what_to_do() {
    let polynomial = serde_json::from_str::<ChunkerPolynomial>("\"25b468838dcb75\"").unwrap();
    let mut config = Config { version: 2, id: Id::of(b"repository"), chunker_polynomial: polynomial };
    let sealed = config.encode(&key(1), [1; 16]).unwrap();
    assert_eq!(Config::decode(&key(1), sealed.clone()).unwrap(), config);
    assert!(Config::decode(&key(2), sealed).is_err());
    config.version = 1;
    let refused = Config::decode(&key(1), config.encode(&key(1), [1; 16]).unwrap()).unwrap_err().to_string();
    assert!(refused.contains("restic migrate"), "{refused}");
}

#[test]
fn plain_json_of_older_clients_is_read() {
    let sealed = key(1).seal([4; 16], b"{\"a\":1}");
    assert_eq!(decode_unpacked(&key(1), sealed).unwrap(), b"{\"a\":1}");
    assert!(decode_unpacked(&key(1), key(1).seal([4; 16], b"\x03abc")).is_err());
    assert!(decode_unpacked(&key(1), key(1).seal([4; 16], b"")).is_err());
}

#[test]
fn a_blob_whose_length_is_a_lie_is_refused() {
    let content = vec![0; 100_000];
    let compressed = BlobCompressor::new(1).unwrap().compress(&content).unwrap().unwrap();
    let id = Id::of(&content);
    assert_eq!(unpack_blob(&compressed, Some(100_000), &id).unwrap(), content);
    for lie in [99_999, 100_001, 400 << 20, u32::MAX] {
        assert!(unpack_blob(&compressed, Some(lie), &id).is_err(), "{lie}");
    }
    assert!(unpack_blob(&compressed, Some(100_000), &Id::of(b"other")).is_err());
}

#[test]
fn what_cannot_be_compressed_is_stored_as_it_is() {
    let noise: Vec<u8> = (0..64_u8).flat_map(|i| *Id::of(&[i]).as_bytes()).collect();
    assert_eq!(BlobCompressor::new(3).unwrap().compress(&noise).unwrap(), None);
    let mut sealed = key(1).seal([1; 16], &noise);
    assert_eq!(open_blob(&key(1), &mut sealed, None, &Id::of(&noise)).unwrap(), noise);
}

#[test]
fn buffers_that_are_used_again_leave_nothing_of_the_blob_before() {
    let noise: Vec<u8> = (0..64_u8).flat_map(|i| *Id::of(&[i]).as_bytes()).collect();
    let long = vec![7; 20 << 20];
    let contents: [&[u8]; 6] = [&[1; 300_000], b"short", &noise, &long, b"", &[2; 70_000]];
    let (mut sealer, mut opener) = (BlobSealer::new(1).unwrap(), BlobOpener::new().unwrap());
    for content in contents {
        let id = Id::of(content);
        let sealed = sealer.seal(&key(1), [9; 16], content).unwrap();
        assert_eq!(sealed.raw_length.is_some(), content.len() > 5 && content != noise);
        let (mut bytes, raw_length) = (sealed.bytes.to_vec(), sealed.raw_length);
        assert_eq!(open_blob(&key(1), &mut bytes.clone(), raw_length, &id).unwrap(), content);
        let mut copy = bytes.clone();
        if let Some(length) = raw_length {
            let lied = BlobToOpen { sealed: &mut copy, raw_length: Some(length + 1), id };
            assert!(opener.open(&key(1), lied).is_err());
        }
        // The wrong one and the one that is not authentic change nothing of those around them.
        let mut copies: Vec<Vec<u8>> = vec![bytes.clone(); 10];
        copies[6][0] ^= 1;
        let ids = (0..10).map(|at| if at == 3 { Id::of(b"other") } else { id });
        let blobs = copies.iter_mut().zip(ids).map(|(sealed, id)| BlobToOpen { sealed, raw_length, id });
        for (at, opened) in opener.open_each(&key(1), blobs.collect()).into_iter().enumerate() {
            match opened {
                Ok(opened) => assert_eq!(opened.plaintext, content, "{at}"),
                Err(_) => assert!(at == 3 || at == 6, "{at}"),
            }
        }
        assert!(opener.open(&key(2), BlobToOpen { sealed: &mut bytes.clone(), raw_length, id }).is_err());
        let stored = {
            let opened = opener.open(&key(1), BlobToOpen { sealed: &mut bytes, raw_length, id }).unwrap();
            assert_eq!(opened.plaintext, content);
            opened.stored.to_vec()
        };
        let mut again = sealer.seal_stored(&key(2), [8; 16], &stored).to_vec();
        let again = BlobToOpen { sealed: &mut again, raw_length, id };
        assert_eq!(opener.open(&key(2), again).unwrap().plaintext, content);
    }
}

#[test]
fn a_snapshot_of_restic_is_read() {
    let json = br#"{"time":"2015-01-02T18:10:50.895208559+01:00","tree":"2da81727b6585232894cfbb8f8bdab8d1eccd3d8f7c92bc934d62e62e618ffdf","paths":["/tmp/testdata"],"hostname":"kasimir","username":"fd0","uid":1000,"gid":100,"tags":["NL"],"summary":{"files_new":1}}"#;
    let snapshot = Snapshot::decode(json).unwrap();
    assert_eq!(snapshot.time.to_string(), "2015-01-02T17:10:50.895208559Z");
    assert_eq!((snapshot.tags.as_slice(), snapshot.parent), (&["NL".to_owned()][..], None));
    assert_eq!(Snapshot::decode(&snapshot.encode().unwrap()).unwrap(), snapshot);
}

fn any_blobs() -> impl Strategy<Value = Vec<PackedBlob>> {
    let one = (any::<bool>(), any::<[u8; 32]>(), 32_u32..100_000, proptest::option::of(1..=u32::MAX));
    proptest::collection::vec(one, 0..20).prop_map(|raw| {
        let mut offset = 0;
        raw.into_iter()
            .map(|(tree, id, length, raw_length)| {
                let kind = if tree { BlobKind::Tree } else { BlobKind::Data };
                let blob = PackedBlob { kind, id: Id::new(id), offset, length, raw_length };
                offset += length;
                blob
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn every_pack_header_survives(blobs in any_blobs()) {
        let header = encode_pack_header(&blobs);
        let length = pack_file_length(&blobs);
        prop_assert_eq!(decode_pack_header(&header, length).unwrap(), blobs);
        prop_assert!(decode_pack_header(&header, length + 1).is_err());
    }

    #[test]
    fn every_index_survives(blobs in any_blobs(), supersedes: Vec<[u8; 32]>) {
        let packs = vec![IndexedPack { id: Id::of(b"pack"), blobs }];
        let index = IndexFile { supersedes: supersedes.into_iter().map(Id::new).collect(), packs, packs_to_delete: Vec::new() };
        prop_assert_eq!(IndexFile::decode(&index.encode().unwrap()).unwrap(), index);
    }

    #[test]
    fn every_document_survives_sealing(json: Vec<u8>) {
        let sealed = encode_unpacked(&key(1), [5; 16], &json).unwrap();
        prop_assert_eq!(decode_unpacked(&key(1), sealed).unwrap(), json);
    }

    #[test]
    fn every_file_that_one_sealer_seals_after_another_survives(files: Vec<Vec<u8>>) {
        let mut sealer = ShortLivedSealer::new().unwrap();
        for plain in &files {
            let sealed = sealer.seal(&key(1), [5; 16], plain).unwrap().to_vec();
            prop_assert_eq!(&decode_unpacked(&key(1), sealed).unwrap(), plain);
        }
    }

    #[test]
    fn no_bytes_bring_a_decoder_down(bytes: Vec<u8>, length: u64, trailer: [u8; 4]) {
        let _ = decode_pack_header(&bytes, length);
        let _ = pack_header_length(trailer, length);
        let _ = IndexFile::decode(&bytes);
        let _ = Snapshot::decode(&bytes);
        let _ = LockFile::decode(&bytes);
        let _ = KeyFile::decode(&bytes);
        let _ = Config::decode(&key(1), bytes.clone());
        let _ = decode_unpacked(&key(1), bytes.clone());
        // The same behind a right authentication code: what a holder of the key could forge.
        let _ = decode_unpacked(&key(1), key(1).seal([1; 16], &bytes));
        let _ = Config::decode(&key(1), key(1).seal([1; 16], &bytes));
        let _ = unpack_blob(&bytes, Some(trailer.len() as u32), &Id::of(&bytes));
    }

    #[test]
    fn no_damaged_document_brings_a_decoder_down(at in 0_usize..200, to: u8) {
        let purpose = LockPurpose { holder: "x".to_owned(), operation: "work".to_owned() };
        let lock = LockFile {
            time: self::at(),
            exclusive: false,
            hostname: "h".to_owned(),
            username: "u".to_owned(),
            pid: 7,
            holdfast: Some(purpose),
        };
        let mut json = lock.encode().unwrap();
        let place = at % json.len();
        json[place] = to;
        let _ = LockFile::decode(&json);
        let mut sealed = encode_unpacked(&key(1), [5; 16], &json).unwrap();
        let place = at % sealed.len();
        sealed[place] ^= to;
        prop_assert_eq!(decode_unpacked(&key(1), sealed).is_err(), to != 0);
    }
}
