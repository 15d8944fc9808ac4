//! Many texts in the lanes of vectors: each instruction works on the same word of sixteen texts (AVX-512) or eight (AVX2).

#[macro_use]
mod rounds;
mod avx2;
mod avx512;

use super::begun::{BLOCK, Begun, ROUNDS};

/// The states of all lanes: of each word, that of every lane.
type States<const LANES: usize> = [[u32; LANES]; 8];
/// Takes in blocks, which are as many for each lane.
type Compress<const LANES: usize> = fn(&mut States<LANES>, [&[[u8; BLOCK]]; LANES]);

/// The round constants, sixteen at a time.
const CONSTANTS: [[u32; 16]; 4] = {
    let (parts, _) = ROUNDS.as_chunks::<16>();
    [parts[0], parts[1], parts[2], parts[3]]
};

/// Vectors that a processor may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vectors {
    /// Of eight words.
    Avx2,
    /// Of sixteen.
    Avx512,
}

impl Vectors {
    /// The widest that this processor has.
    pub(super) fn of_this_processor() -> Option<Self> {
        [Self::Avx512, Self::Avx2].into_iter().find(|vectors| vectors.are_there())
    }

    fn are_there(self) -> bool {
        match self {
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
        }
    }

    /// Texts at a time.
    pub(super) fn lanes(self) -> usize {
        match self {
            Self::Avx2 => avx2::LANES,
            Self::Avx512 => avx512::LANES,
        }
    }

    /// Takes in blocks of all texts as long as there are so many that have some.
    pub(super) fn take_in(self, texts: &mut [Begun<'_>], fewest: usize) {
        assert!(self.are_there(), "asked for only where they are there");
        match self {
            // SAFETY: the processor has the instructions, by the assertion.
            Self::Avx2 => take_in(texts, fewest, |states, texts| unsafe { avx2::compress(states, texts) }),
            // SAFETY: the same.
            Self::Avx512 => take_in(texts, fewest, |states, texts| unsafe { avx512::compress(states, texts) }),
        }
    }
}

fn take_in<const LANES: usize>(texts: &mut [Begun<'_>], fewest: usize, compress: Compress<LANES>) {
    let mut states: States<LANES> = [[0; LANES]; 8];
    // The text that each lane works on.
    let mut lanes: [Option<usize>; LANES] = [None; LANES];
    let mut waiting = (0..texts.len()).filter(|text| !texts[*text].blocks().is_empty()).collect::<Vec<_>>().into_iter();
    loop {
        for (number, lane) in lanes.iter_mut().enumerate() {
            if lane.is_some_and(|text| !texts[text].blocks().is_empty()) {
                continue;
            }
            if let Some(text) = lane.take() {
                texts[text].state = states.map(|word| word[number]);
            }
            *lane = waiting.next();
            if let Some(text) = *lane {
                for (word, own) in states.iter_mut().zip(texts[text].state) {
                    word[number] = own;
                }
            }
        }
        let working: Vec<&[[u8; BLOCK]]> = lanes.iter().flatten().map(|text| texts[*text].blocks()).collect();
        let common = working.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        if working.len() < fewest.max(1) {
            break;
        }
        // A lane without a text works on what another one has; nobody looks at what comes of it.
        let filler = working[0];
        compress(&mut states, lanes.map(|lane| &lane.map_or(filler, |text| texts[text].blocks())[..common]));
        for text in lanes.iter().flatten() {
            texts[*text].done += common * BLOCK;
        }
    }
    for (number, text) in lanes.iter().enumerate() {
        if let Some(text) = text {
            texts[*text].state = states.map(|word| word[number]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Vectors {
        pub(in super::super) fn all_of_this_processor() -> Vec<Self> {
            [Self::Avx512, Self::Avx2].into_iter().filter(|vectors| vectors.are_there()).collect()
        }
    }
}
