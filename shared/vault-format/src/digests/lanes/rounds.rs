//! The rounds of SHA-256 (FIPS 180-4, 6.2.2) on one word of each lane, the same for all kinds of vectors.

/// Rounds with these words of the ring. The letters move by one place from round to round; eight rounds bring them back
/// to where they were, so that nothing has to be moved.
macro_rules! rounds {
    ($ring:ident, $constants:ident, [$a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident]) => {};
    ($ring:ident, $constants:ident, [$a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident]
     $at:literal $($later:literal)*) => {
        let [first, both] = sums([$a, $b, $c, $e, $f, $g, $h], $ring[$at], $constants[$at]);
        $d = add($d, first);
        $h = both;
        rounds!($ring, $constants, [$h $a $b $c $d $e $f $g] $($later)*);
    };
}

/// The next sixteen words, each in the place of the one sixteen before it.
macro_rules! extend {
    ($ring:ident, $($at:literal)*) => { $( $ring[$at] = next(&$ring, $at); )* };
}

/// `compress`, for vectors with `Words`, `LANES`, `CONSTANTS`, `load`, `store`, `ring`, `add`, `same`, `rotate`, `shift`,
/// `xor`, `choice` and `majority`.
macro_rules! compress {
    ($features:literal) => {
        /// The word sixteen further on, of a ring of sixteen.
        #[inline]
        #[target_feature(enable = $features)]
        fn next(ring: &[Words; 16], at: usize) -> Words {
            let (one, fourteen) = (ring[(at + 1) % 16], ring[(at + 14) % 16]);
            let small0 = xor(rotate::<7, 25>(one), rotate::<18, 14>(one), shift::<3>(one));
            let small1 = xor(rotate::<17, 15>(fourteen), rotate::<19, 13>(fourteen), shift::<10>(fourteen));
            add(add(ring[at], ring[(at + 9) % 16]), add(small0, small1))
        }

        /// What a round adds to `d` and, with the second, makes of `h`.
        #[inline]
        #[target_feature(enable = $features)]
        fn sums([a, b, c, e, f, g, h]: [Words; 7], word: Words, constant: u32) -> [Words; 2] {
            let big1 = xor(rotate::<6, 26>(e), rotate::<11, 21>(e), rotate::<25, 7>(e));
            let first = add(add(h, add(word, same(constant))), add(big1, choice(e, f, g)));
            let big0 = xor(rotate::<2, 30>(a), rotate::<13, 19>(a), rotate::<22, 10>(a));
            [first, add(first, add(big0, majority(a, b, c)))]
        }

        /// Takes in blocks, which are as many for each lane.
        #[target_feature(enable = $features)]
        pub(super) fn compress(states: &mut States<LANES>, texts: [&[[u8; BLOCK]]; LANES]) {
            let blocks = texts.iter().map(|text| text.len()).min().unwrap_or(0);
            let texts = texts.map(|text| &text[..blocks]);
            let [a, b, c, d, e, f, g, h] = *states;
            let (mut a, mut b, mut c, mut d) = (load(a), load(b), load(c), load(d));
            let (mut e, mut f, mut g, mut h) = (load(e), load(f), load(g), load(h));
            for at in 0..blocks {
                let before = [a, b, c, d, e, f, g, h];
                let mut ring = ring(std::array::from_fn(|lane| &texts[lane][at]));
                let [constants, later @ ..] = &CONSTANTS;
                rounds!(ring, constants, [a b c d e f g h] 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                for constants in later {
                    extend!(ring, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                    rounds!(ring, constants, [a b c d e f g h] 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                }
                (a, b) = (add(a, before[0]), add(b, before[1]));
                (c, d) = (add(c, before[2]), add(d, before[3]));
                (e, f) = (add(e, before[4]), add(f, before[5]));
                (g, h) = (add(g, before[6]), add(h, before[7]));
            }
            *states = [store(a), store(b), store(c), store(d), store(e), store(f), store(g), store(h)];
        }
    };
}
