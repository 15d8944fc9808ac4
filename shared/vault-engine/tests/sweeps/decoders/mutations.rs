//! Makes wrong files of right ones: bytes that change, come, go, repeat and change places, and what a JSON reader may
//! stumble over.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// Longest file that is made.
const BYTES_MAX: usize = 256 << 10;
/// What is written into a file as it is.
const TOKENS: [&[u8]; 28] = [
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"[[",
    b"]]",
    b"{\"",
    b"\":",
    b",",
    b"\"\"",
    b"0",
    b"-1",
    b"1e999",
    b"-0.0",
    b"4294967295",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854775808",
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b"\"..\"",
    b"\"a/b\"",
    b"\xff\xfe",
    b"\x00",
    b"9999-12-31T23:59:60Z",
    b"-9999-01-01T00:00:00Z",
];

/// A wrong file.
pub(super) fn mutate(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..=6) {
        change(random, &mut bytes, corpus);
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn part(random: &mut StdRng, length: usize) -> std::ops::Range<usize> {
    let from = random.random_range(0..=length);
    // Short parts more often than long ones.
    let most = if random.random_bool(0.7) { 16 } else { length };
    from..(from + random.random_range(0..=most)).min(length)
}

fn change(random: &mut StdRng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let here = part(random, bytes.len());
    match random.random_range(0..10) {
        0 => {
            if let Some(byte) = bytes.get_mut(here.start) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(here.start) {
                *byte = *[0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'9'].choose(random).unwrap();
            }
        }
        2 => drop(bytes.drain(here)),
        3 => bytes.truncate(here.start),
        4 => {
            let copy = bytes[here.clone()].to_vec();
            // Many times, as far as there is room: what repeats is where memory goes.
            let times = if random.random_bool(0.1) { 2000 } else { random.random_range(1..4) };
            let times = times.min(BYTES_MAX / copy.len().max(1));
            bytes.splice(here.start..here.start, copy.repeat(times));
        }
        5 => {
            let token = *TOKENS.choose(random).unwrap();
            bytes.splice(here.start..here.start, token.iter().copied());
        }
        6 => {
            let token = *TOKENS.choose(random).unwrap();
            bytes.splice(here, token.iter().copied());
        }
        7 => {
            let other = corpus.choose(random).unwrap();
            let there = part(random, other.len());
            bytes.splice(here, other[there].iter().copied());
        }
        8 => replace_number(random, bytes, here.start),
        _ => {
            let there = part(random, bytes.len());
            let copy = bytes[there].to_vec();
            bytes.splice(here, copy);
        }
    }
}

/// The next number after a place becomes another one.
fn replace_number(random: &mut StdRng, bytes: &mut Vec<u8>, from: usize) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = bytes[from..].iter().position(is_digit).map(|at| at + from) else { return };
    let length = bytes[start..].iter().take_while(|byte| is_digit(byte)).count();
    let bits = random.random_range(0..=66_u32);
    let number = (1_u128 << bits) - u128::from(random.random_range(0..=1_u8));
    bytes.splice(start..start + length, number.to_string().into_bytes());
}
