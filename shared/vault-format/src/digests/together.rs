//! Which texts are done side by side, and how.

use std::sync::OnceLock;

use super::begun::Begun;
use super::lanes::Vectors;
use super::pair;

/// How a processor does several texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ways {
    /// Vectors, and the fewest texts that are worth them.
    lanes: Option<(Vectors, usize)>,
    /// Two at a time by the SHA instructions.
    pairs: bool,
}

impl Ways {
    fn of_this_processor() -> Self {
        // Asking for the maker takes long in a virtual machine.
        static FOUND: OnceLock<Ways> = OnceLock::new();
        *FOUND.get_or_init(|| Self::best(pair::is_there(), Vectors::of_this_processor(), is_of_intel()))
    }

    /// The fastest of what there is. Measured on Emerald Rapids in million bytes a second of one thread: sixteen lanes 2,620,
    /// eight 1,850, pairs 1,555; so ten texts are as fast in sixteen lanes as in pairs. On Cascade Lake, which has no SHA
    /// instructions: eight lanes 1,950, one text 348. AMD's processors keep their pairs: on Zen 4 they make 2,860, sixteen lanes
    /// 2,780 and one text 1,760.
    fn best(pairs: bool, vectors: Option<Vectors>, is_of_intel: bool) -> Self {
        let lanes = match vectors {
            Some(vectors) if !pairs => Some((vectors, 3)),
            Some(Vectors::Avx512) if is_of_intel => Some((Vectors::Avx512, 10)),
            _ => None,
        };
        Self { lanes, pairs }
    }

    fn at_once(self) -> usize {
        match self.lanes {
            Some((vectors, _)) => vectors.lanes(),
            None if self.pairs => 2,
            None => 1,
        }
    }

    /// The digests of all texts, in their order.
    pub(super) fn sha256_of_each(self, texts: &[&[u8]]) -> Vec<[u8; 32]> {
        let mut begun: Vec<Begun<'_>> = texts.iter().map(|text| Begun::new(text)).collect();
        if let Some((vectors, fewest)) = self.lanes {
            vectors.take_in(&mut begun, fewest);
        }
        if self.pairs {
            pair::take_in(&mut begun);
        }
        begun.into_iter().map(Begun::finish).collect()
    }
}

/// How many texts are worth giving to [`sha256_of_each`] at a time.
pub(crate) fn at_once() -> usize {
    Ways::of_this_processor().at_once()
}

/// The digests of all texts, in their order.
pub(crate) fn sha256_of_each(texts: &[&[u8]]) -> Vec<[u8; 32]> {
    Ways::of_this_processor().sha256_of_each(texts)
}

fn is_of_intel() -> bool {
    let maker = std::arch::x86_64::__cpuid(0);
    [maker.ebx, maker.edx, maker.ecx] == [*b"Genu", *b"ineI", *b"ntel"].map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Ways {
        /// Everything that this processor can do, worth it or not.
        pub(in super::super) fn all_of_this_processor() -> Vec<Self> {
            let vectors = Vectors::all_of_this_processor();
            let lanes = vectors.iter().flat_map(|vectors| [1, 3, 10].map(|fewest| Some((*vectors, fewest))));
            let pairs = [false, true].into_iter().filter(|pairs| !pairs || pair::is_there());
            lanes.chain([None]).flat_map(|lanes| pairs.clone().map(move |pairs| Self { lanes, pairs })).collect()
        }
    }

    #[test]
    fn vectors_take_the_place_of_sha_instructions_only_where_they_were_measured_to_be_faster() {
        let best = |pairs, vectors, is_of_intel| Ways::best(pairs, vectors, is_of_intel).at_once();
        assert_eq!(best(true, Some(Vectors::Avx512), true), 16);
        assert_eq!(best(true, Some(Vectors::Avx512), false), 2);
        assert_eq!(best(true, Some(Vectors::Avx2), true), 2);
        assert_eq!(best(false, Some(Vectors::Avx512), true), 16);
        assert_eq!(best(false, Some(Vectors::Avx2), false), 8);
        assert_eq!(best(true, None, true), 2);
        assert_eq!(best(false, None, true), 1);
    }
}
