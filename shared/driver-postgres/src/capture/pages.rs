//! Pages judged while they are read, and read once more where they do not add up.

use job_model::{ExceptionKind, ReadException};
use parking_lot::Mutex;

use crate::page::{self, PAGE_BYTES, Verdict};

/// Damaged pages that are listed one by one.
const LISTED_MAX: usize = 1000;

/// Reads a page once more: path below the data directory and page within the file; none when it is not there any more.
pub(crate) type ReadAgain<'a> = &'a (dyn Fn(&str, u32) -> Option<Vec<u8>> + Sync);

/// What was damaged.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    listed: Mutex<(u64, Vec<ReadException>)>,
}

impl Damage {
    /// How many pages, and the first of them.
    pub(crate) fn into_parts(self) -> (u64, Vec<ReadException>) {
        self.listed.into_inner()
    }
}

/// Judges the pages of one piece of a file; `first_page` is where the piece begins.
pub(crate) fn inspect(
    path: &str,
    segment: u32,
    first_page: u32,
    piece: &[u8],
    since: u64,
    read_again: ReadAgain<'_>,
    damage: &Damage,
) {
    for (page_of_segment, bytes) in (first_page..).zip(piece.chunks_exact(PAGE_BYTES)) {
        let Ok(bytes) = <&[u8; PAGE_BYTES]>::try_from(bytes) else { continue };
        let block = page::block(segment, page_of_segment);
        let Verdict::Wrong { .. } = page::judge(bytes, block, since) else { continue };
        // Torn by a write at the same time: the log has an image of it, and a second look shows another page.
        let Some(again) = read_again(path, page_of_segment) else { continue };
        let Ok(again) = <&[u8; PAGE_BYTES]>::try_from(&again[..]) else { continue };
        if again != bytes {
            continue;
        }
        if let Verdict::Wrong { found, expected } = page::judge(again, block, since) {
            let mut listed = damage.listed.lock();
            listed.0 += 1;
            if listed.1.len() < LISTED_MAX {
                listed.1.push(ReadException {
                    path: path.to_owned(),
                    kind: ExceptionKind::Damaged,
                    message: format!(
                        "block {block} is damaged at the source: its checksum is {found:04x} instead of {expected:04x}"
                    ),
                });
            }
        }
    }
}
