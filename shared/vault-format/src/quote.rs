//! Names as restic stores them: raw bytes, quoted as Go's `strconv.Quote` does, without the quotes around them.

use std::fmt::Write as _;

use crate::FormatError;

/// Quotes a name.
pub(crate) fn quote(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_character(&mut out, character);
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn push_character(out: &mut String, character: char) {
    let short = match character {
        '"' => '"',
        '\\' => '\\',
        '\x07' => 'a',
        '\x08' => 'b',
        '\x0c' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\x0b' => 'v',
        ' '..='~' => return out.push(character),
        '\0'..'\u{80}' => {
            let _ = write!(out, "\\x{:02x}", character as u32);
            return;
        }
        _ if is_printable(character) => return out.push(character),
        '\u{80}'..'\u{10000}' => {
            let _ = write!(out, "\\u{:04x}", character as u32);
            return;
        }
        _ => {
            let _ = write!(out, "\\U{:08x}", character as u32);
            return;
        }
    };
    out.push('\\');
    out.push(short);
}

/// The standard library's table, reached through its escaping: what is printable is not escaped. It escapes combining
/// characters only at the start of a string, hence the letter before.
fn is_printable(character: char) -> bool {
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = character.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..=length]).is_ok_and(|text| text.escape_debug().count() == 2)
}

/// Undoes [`quote`], and reads everything else Go would.
pub(crate) fn unquote(quoted: &str) -> Result<Vec<u8>, FormatError> {
    if !quoted.contains('\\') {
        return Ok(quoted.as_bytes().to_vec());
    }
    let bad = || FormatError::Invalid(format!("the name `{}` is not quoted as it should be", quoted.escape_debug()));
    let mut out = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let mut after = rest[at + 1..].chars();
        let kind = after.next().ok_or_else(bad)?;
        rest = after.as_str();
        let mut digits = |count: usize, radix: u32| {
            let (text, left) = rest.split_at_checked(count).ok_or_else(bad)?;
            rest = left;
            if !text.chars().all(|digit| digit.is_digit(radix)) {
                return Err(bad());
            }
            u32::from_str_radix(text, radix).map_err(|_| bad())
        };
        let character = match kind {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' | '"' => kind,
            'x' => {
                out.push(u8::try_from(digits(2, 16)?).map_err(|_| bad())?);
                continue;
            }
            'u' => char::from_u32(digits(4, 16)?).ok_or_else(bad)?,
            'U' => char::from_u32(digits(8, 16)?).ok_or_else(bad)?,
            '0'..='7' => {
                let low = digits(2, 8)?;
                let high = kind.to_digit(8).ok_or_else(bad)?;
                out.push(u8::try_from(high << 6 | low).map_err(|_| bad())?);
                continue;
            }
            _ => return Err(bad()),
        };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_quoted_as_go_does() {
        // By the documentation of Go's `strconv.Quote`.
        let cases: [(&[u8], &str); 9] = [
            (b"plain name.txt", "plain name.txt"),
            (b"a\"b\\c", "a\\\"b\\\\c"),
            (b"tab\tnl\n\x07\x08\x0b\x0c\r", "tab\\tnl\\n\\a\\b\\v\\f\\r"),
            (b"\x01\x7f", "\\x01\\x7f"),
            (b"bad\xff\xfe", "bad\\xff\\xfe"),
            ("日本語é".as_bytes(), "日本語é"),
            ("\u{a0}\u{200b}\u{feff}".as_bytes(), "\\u00a0\\u200b\\ufeff"),
            ("e\u{301}".as_bytes(), "e\u{301}"),
            ("\u{e0001}😀".as_bytes(), "\\U000e0001😀"),
        ];
        for (name, quoted) in cases {
            assert_eq!(quote(name), quoted);
            assert_eq!(unquote(quoted).unwrap(), name);
        }
    }

    #[test]
    fn broken_quoting_is_an_error() {
        for broken in ["\\", "\\x1", "\\xzz", "\\u12", "\\ud800", "\\q", "\\9", "\\400", "\\x+1"] {
            assert!(unquote(broken).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn every_name_survives(name: Vec<u8>) {
            prop_assert_eq!(unquote(&quote(&name)).unwrap(), name);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = unquote(&text);
        }
    }
}
