//! Pages: their checksums and positions. The algorithm is that of PostgreSQL's `src/include/storage/checksum_impl.h`
//! (a parallel FNV-1a), which is part of the on-disk format.

/// Bytes of a page. Servers built with another size are refused.
pub const PAGE_BYTES: usize = 8192;

/// Pages of a segment of a relation: one file has at most 1 GiB.
const SEGMENT_PAGES: u32 = 131_072;

const SUMS: usize = 32;
const PRIME: u32 = 16_777_619;
const OFFSETS: [u32; SUMS] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

const fn mix(sum: u32, value: u32) -> u32 {
    let mixed = sum ^ value;
    mixed.wrapping_mul(PRIME) ^ (mixed >> 17)
}

/// The checksum a page should have at this block of its relation.
#[must_use]
pub fn checksum(page: &[u8; PAGE_BYTES], block: u32) -> u16 {
    let mut sums = OFFSETS;
    for (row, bytes) in page.chunks_exact(SUMS * 4).enumerate() {
        for (column, (sum, word)) in sums.iter_mut().zip(bytes.chunks_exact(4)).enumerate() {
            let mut value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            if row == 0 && column == 2 {
                // The checksum itself counts as zero.
                value &= 0xFFFF_0000;
            }
            *sum = mix(*sum, value);
        }
    }
    for _ in 0..2 {
        for sum in &mut sums {
            *sum = mix(*sum, 0);
        }
    }
    let folded = sums.iter().fold(0, |all, sum| all ^ sum) ^ block;
    // The remainder is below 65535.
    let short = (folded % 65_535) as u16;
    short + 1
}

/// What a page says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Right, or new and empty.
    Right,
    /// Changed since the backup began: its image is in the log, which is replayed over it.
    Newer,
    /// Its checksum is not what it should be.
    Wrong {
        /// What stands in the page.
        found: u16,
        /// What should.
        expected: u16,
    },
}

/// Judges a page at a block of its relation; pages changed at or after `since` are not looked at.
#[must_use]
pub fn judge(page: &[u8; PAGE_BYTES], block: u32, since: u64) -> Verdict {
    let word = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
    // `pd_upper` is zero in a page that was never initialised; then all of it must be zeros.
    if word(14) == 0 && page.iter().all(|byte| *byte == 0) {
        return Verdict::Right;
    }
    let half = |at: usize| u64::from(u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]));
    if (half(0) << 32 | half(4)) >= since {
        return Verdict::Newer;
    }
    let (found, expected) = (word(8), checksum(page, block));
    if found == expected { Verdict::Right } else { Verdict::Wrong { found, expected } }
}

/// The number of the segment when the file at this path (below the data directory) has pages with checksums; none for
/// all others.
#[must_use]
pub fn relation_segment(path: &str) -> Option<u32> {
    let (directory, name) = path.rsplit_once('/')?;
    let holds_relations = directory == "global"
        || directory.strip_prefix("base/").is_some_and(is_number)
        || directory.strip_prefix("pg_tblspc/").is_some_and(|rest| rest.split('/').count() == 3);
    if !holds_relations {
        return None;
    }
    let (stem, segment) = match name.split_once('.') {
        Some((stem, segment)) if is_number(segment) => (stem, segment.parse().ok()?),
        Some(_) => return None,
        None => (name, 0),
    };
    let (number, fork) = stem.split_once('_').unwrap_or((stem, ""));
    let known = matches!(fork, "" | "fsm" | "vm" | "init") && is_number(number);
    known.then_some(segment)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The block number of a page of a relation's segment.
#[must_use]
pub fn block(segment: u32, page_of_segment: u32) -> u32 {
    segment.wrapping_mul(SEGMENT_PAGES).wrapping_add(page_of_segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_told_from_other_files() {
        for (path, segment) in [
            ("base/5/1259", Some(0)),
            ("base/5/1259_fsm", Some(0)),
            ("base/16384/24576.3", Some(3)),
            ("base/16384/24576_vm.12", Some(12)),
            ("global/1262", Some(0)),
            ("pg_tblspc/16400/PG_15_202209061/5/16401", Some(0)),
            ("global/pg_control", None),
            ("global/pg_filenode.map", None),
            ("base/5/PG_VERSION", None),
            ("base/5/pg_internal.init", None),
            ("base/pgsql_tmp/pgsql_tmp12.0", None),
            ("pg_xact/0000", None),
            ("postgresql.conf", None),
        ] {
            assert_eq!(relation_segment(path), segment, "{path}");
        }
    }

    #[test]
    fn a_flipped_bit_and_a_wrong_place_are_noticed_and_newer_pages_are_left_alone() {
        let mut page = [7; PAGE_BYTES];
        page[0..8].copy_from_slice(&[0, 0, 0, 0, 100, 0, 0, 0]);
        let right = checksum(&page, 9);
        page[8..10].copy_from_slice(&right.to_le_bytes());
        assert_eq!(judge(&page, 9, 101), Verdict::Right);
        assert_eq!(judge(&page, 9, u64::MAX), Verdict::Right);
        assert_eq!(judge(&page, 10, 100), Verdict::Newer);
        assert!(matches!(judge(&page, 10, 101), Verdict::Wrong { .. }));
        page[5000] ^= 1;
        assert!(matches!(judge(&page, 9, 101), Verdict::Wrong { .. }));
        assert_eq!(judge(&[0; PAGE_BYTES], 3, u64::MAX), Verdict::Right);
    }
}
