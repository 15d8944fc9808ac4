//! Index files in the very form in which restic, rustic and this crate write them, read without a parser for all of JSON:
//! the index of a large vault is tens of millions of bytes, and whoever works with the vault reads it first.

use super::{IndexFile, IndexedPack, checked};
use crate::{BlobKind, Id, PackedBlob};

/// None for everything that is not exactly of that form; it may be an index file all the same.
pub(super) fn scan(json: &[u8]) -> Option<IndexFile> {
    let mut rest = Rest(json);
    rest.skip(b"{")?;
    let mut supersedes = Vec::new();
    if rest.skip(b"\"supersedes\":[").is_some() {
        rest.list(|rest| {
            supersedes.push(rest.id()?);
            Some(())
        })?;
        rest.skip(b",")?;
    }
    rest.skip(b"\"packs\":[")?;
    let mut packs = Vec::new();
    rest.list(|rest| {
        packs.push(rest.pack()?);
        Some(())
    })?;
    rest.skip(b"}")?;
    // Go ends a document with a line feed.
    let is_all = matches!(rest.0, b"" | b"\n");
    is_all.then_some(IndexFile { supersedes, packs, packs_to_delete: Vec::new() })
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Goes past this text if it comes next; stays where it is otherwise.
    fn skip(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// The items of a list and its end; its beginning was read.
    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.skip(b"]").is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            if self.skip(b",").is_none() {
                return self.skip(b"]");
            }
        }
    }

    fn id(&mut self) -> Option<Id> {
        self.skip(b"\"")?;
        let (digits, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        let id = Id::from_digits(digits)?;
        self.skip(b"\"")?;
        Some(id)
    }

    fn number(&mut self) -> Option<u32> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        // JSON has no zeros in front.
        if digits.is_empty() || (length > 1 && digits[0] == b'0') {
            return None;
        }
        self.0 = rest;
        digits.iter().try_fold(0_u32, |number, digit| number.checked_mul(10)?.checked_add(u32::from(digit - b'0')))
    }

    fn pack(&mut self) -> Option<IndexedPack> {
        self.skip(b"{\"id\":")?;
        let id = self.id()?;
        self.skip(b",\"blobs\":[")?;
        let mut blobs = Vec::new();
        self.list(|rest| {
            blobs.push(rest.blob()?);
            Some(())
        })?;
        self.skip(b"}")?;
        Some(IndexedPack { id, blobs })
    }

    fn blob(&mut self) -> Option<PackedBlob> {
        self.skip(b"{\"id\":")?;
        let id = self.id()?;
        let kind = match self.skip(b",\"type\":\"data\",\"offset\":") {
            Some(()) => BlobKind::Data,
            None => {
                self.skip(b",\"type\":\"tree\",\"offset\":")?;
                BlobKind::Tree
            }
        };
        let offset = self.number()?;
        self.skip(b",\"length\":")?;
        let length = self.number()?;
        let raw_length = match self.skip(b",\"uncompressed_length\":") {
            Some(()) => Some(self.number()?),
            None => None,
        };
        self.skip(b"}")?;
        checked(PackedBlob { kind, id, offset, length, raw_length }).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3fc9e8b1d2a4f5061728394a5b6c7d8e9f00112233445566778899aabbccddee";

    fn is_scanned(json: &str) -> bool {
        let scanned = scan(json.as_bytes());
        if let Some(scanned) = &scanned {
            assert_eq!(*scanned, IndexFile::parse(json.as_bytes()).unwrap(), "{json}");
        }
        scanned.is_some()
    }

    /// Of restic 0.14, with a pack of its own choice.
    fn of_restic() -> String {
        format!(
            "{{\"supersedes\":[\"{ID}\",\"{ID}\"],\"packs\":[{{\"id\":\"{ID}\",\"blobs\":[{{\"id\":\"{ID}\",\"type\":\"data\",\
             \"offset\":0,\"length\":38,\"uncompressed_length\":4294967295}},{{\"id\":\"{ID}\",\"type\":\"tree\",\"offset\":150,\
             \"length\":4096}}]}},{{\"id\":\"{ID}\",\"blobs\":[]}}]}}\n"
        )
    }

    #[test]
    fn what_restic_and_this_crate_write_is_scanned_and_says_what_the_parser_reads() {
        assert!(is_scanned(&of_restic()));
        assert!(is_scanned("{\"packs\":[]}"));
        let ours = IndexFile::parse(of_restic().as_bytes()).unwrap().encode().unwrap();
        assert!(is_scanned(std::str::from_utf8(&ours).unwrap()));
    }

    #[test]
    fn what_is_of_another_form_is_left_to_the_parser() {
        let json = of_restic();
        let others = [
            ("\"offset\":0", "\"offset\": 0"),
            ("\"offset\":0", "\"offset\":00"),
            ("\"offset\":0", "\"offset\":-0"),
            ("\"offset\":0", "\"offset\":4294967296"),
            ("\"offset\":0", "\"offset\":4294967295"),
            ("\"offset\":0", "\"offset\":0.5"),
            ("\"offset\":0", "\"offset\":"),
            ("\"type\":\"data\"", "\"type\":\"other\""),
            ("\"length\":38", "\"length\":31"),
            ("\"3fc9", "\"zfc9"),
            ("\"3fc9", "\"3f"),
            ("]}\n", "],\"packs_to_delete\":[]}"),
            ("]}\n", "]}\n\n"),
            ("]}\n", "]}x"),
            ("]}\n", ""),
            ("{\"supersedes\"", "{\"of_tomorrow\":1,\"supersedes\""),
        ];
        for (from, to) in others {
            let other = json.replacen(from, to, 1);
            assert_ne!(other, json);
            assert!(scan(other.as_bytes()).is_none(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_scanned_says_what_the_parser_reads(places in prop::collection::vec((0_usize..700, prop::sample::select(b"0aA\"{}[],: \n".to_vec())), 0..3)) {
            let mut json = of_restic().into_bytes();
            for (place, byte) in places {
                if let Some(place) = json.get_mut(place) {
                    *place = byte;
                }
            }
            is_scanned(std::str::from_utf8(&json).unwrap());
        }
    }
}
