//! Where in a sorted list of ids those begin that begin alike. Ids are digests, spread evenly: whoever looks one up has a few
//! to compare with, where half of half of the whole list would be read from all over the memory.

use std::ops::Range;

use vault_format::Id;

/// Ids of a bucket on average, at least: a bucket takes eight bytes.
const IDS_OF_BUCKET: usize = 8;

/// The first 64 bits of an id: ids are in the order of these, and where they are the same, of the rest.
pub(super) fn head(id: &Id) -> u64 {
    let (heads, _) = id.as_bytes().as_chunks();
    heads.first().map_or(0, |head| u64::from_be_bytes(*head))
}

/// See the module. The default is that of no ids.
pub(super) struct Buckets {
    /// How many bits of the head tell the bucket.
    bits: u32,
    /// Where each begins, and the end of the last.
    starts: Vec<usize>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { bits: 0, starts: vec![0, 0] }
    }
}

impl Buckets {
    /// Of ids in order.
    pub(super) fn of<'a>(ids: impl ExactSizeIterator<Item = &'a Id>) -> Self {
        let count = ids.len();
        let bits = (count / IDS_OF_BUCKET).checked_ilog2().unwrap_or(0);
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (at, id) in ids.enumerate() {
            let bucket = bucket(id, bits);
            while starts.len() <= bucket {
                starts.push(at);
            }
        }
        starts.resize((1 << bits) + 1, count);
        Self { bits, starts }
    }

    /// Where an id is, if it is anywhere.
    pub(super) fn range(&self, id: &Id) -> Range<usize> {
        let bucket = bucket(id, self.bits);
        self.starts[bucket]..self.starts[bucket + 1]
    }
}

fn bucket(id: &Id, bits: u32) -> usize {
    // At most as many buckets as there are ids in memory.
    head(id).checked_shr(u64::BITS - bits).unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<Id> {
        let mut ids: Vec<Id> = (0..count).map(|number| Id::of(&number.to_le_bytes())).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn every_id_is_where_its_bucket_says_and_buckets_are_small() {
        for count in [0, 1, 7, 8, 15, 16, 1000, 5000] {
            let ids = ids(count);
            let buckets = Buckets::of(ids.iter());
            for (at, id) in ids.iter().enumerate() {
                let range = buckets.range(id);
                assert!(range.contains(&at), "{at} of {count} is not in {range:?}");
                assert!(range.len() <= 64, "{range:?} of {count}");
            }
            for other in [Id::new([0; 32]), Id::new([0xff; 32]), Id::of(b"another")] {
                let range = buckets.range(&other);
                assert!(ids[..range.start].iter().all(|id| *id < other));
                assert!(ids[range.end..].iter().all(|id| *id > other));
            }
        }
    }

    #[test]
    fn ids_that_begin_alike_are_found_all_the_same() {
        let mut ids: Vec<Id> =
            (0..100_u8).map(|number| Id::new(std::array::from_fn(|at| u8::from(at > 20) * number))).collect();
        ids.sort_unstable();
        let buckets = Buckets::of(ids.iter());
        assert_eq!(buckets.range(&ids[0]), 0..100);
        assert_eq!(buckets.range(&Id::new([0xff; 32])), 100..100);
    }

    #[test]
    fn heads_are_in_the_order_of_ids() {
        let ids = ids(300);
        assert!(ids.windows(2).all(|pair| head(&pair[0]) <= head(&pair[1])));
    }
}
