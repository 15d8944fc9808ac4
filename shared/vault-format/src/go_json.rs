//! JSON as Go's `encoding/json` writes it, byte for byte, so that trees written by either program have the same ids.

use std::fmt::Write as _;

use jiff::Timestamp;

/// Appends a string with its quotes. Go escapes `<`, `>`, `&` and the two Unicode line separators as well.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut clean = 0;
    for (at, character) in text.char_indices() {
        let escape: Option<&str> = match character {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '\n' => Some("\\n"),
            '\r' => Some("\\r"),
            '\t' => Some("\\t"),
            '\u{2028}' => Some("\\u2028"),
            '\u{2029}' => Some("\\u2029"),
            '<' | '>' | '&' | '\0'..'\u{20}' => None,
            _ => continue,
        };
        out.push_str(&text[clean..at]);
        match escape {
            Some(escape) => out.push_str(escape),
            None => push_hex4(out, character as u32),
        }
        clean = at + character.len_utf8();
    }
    out.push_str(&text[clean..]);
    out.push('"');
}

/// Appends bytes that are not all UTF-8 as Go does: a replacement character for each byte that does not belong.
pub(crate) fn push_lossy_string(out: &mut String, bytes: &[u8]) {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    let start = out.len();
    push_string(out, &text);
    let replaced = out[start..].replace('\u{fffd}', "\\ufffd");
    out.truncate(start);
    out.push_str(&replaced);
}

fn push_hex4(out: &mut String, value: u32) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\u{value:04x}");
}

/// Appends an instant in UTC with its quotes. Years before 0 cannot be written; they become 0.
pub(crate) fn push_time(out: &mut String, time: Timestamp) {
    let _ = write!(out, "\"{}\"", writable(time));
}

fn writable(time: Timestamp) -> Timestamp {
    /// 0000-01-01T00:00:00Z.
    const YEAR_ZERO: Timestamp = Timestamp::constant(-62_167_219_200, 0);
    time.max(YEAR_ZERO)
}

/// Reads an instant with any offset. Go knows two days more than jiff does at the end of the year 9999.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, jiff::Error> {
    match text.parse() {
        Err(_) if text.starts_with("9999-12-3") => Ok(Timestamp::MAX),
        parsed => parsed,
    }
}

/// For `#[serde(with = …)]`.
pub(crate) mod go_time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&super::writable(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_time(&text).map_err(de::Error::custom)
    }
}
