//! Tokens of lists: where the last page ended, sealed so that nobody can make one up, look elsewhere with one, or use one
//! for another list than its own.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::fault::Fault;

/// Bytes of the seal that go into a token; 128 bits cannot be guessed.
const SEAL_BYTES: usize = 16;

/// The key of this gateway's tokens. Kept with its state, so that tokens live over a restart.
#[derive(Clone)]
pub(crate) struct PageTokens {
    key: hmac::Key,
}

impl std::fmt::Debug for PageTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PageTokens")
    }
}

impl PageTokens {
    /// With a secret of 32 bytes.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    fn seal(&self, list: &str, place: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(list.len() as u64).to_be_bytes());
        context.update(list.as_bytes());
        context.update(place);
        context.sign().as_ref()[..SEAL_BYTES].to_vec()
    }

    /// A token for the place after which the next page of a list begins. `list` names the list with its filters and the
    /// account that asks.
    pub(crate) fn make(&self, list: &str, place: &[u8]) -> String {
        let mut token = self.seal(list, place);
        token.extend_from_slice(place);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The place in a token of this very list.
    pub(crate) fn open(&self, list: &str, token: &str) -> Result<Vec<u8>, Fault> {
        let refused = || Fault::invalid("NextToken", "not a token of this list; begin at its first page");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
        let (seal, place) = bytes.split_at_checked(SEAL_BYTES).ok_or_else(refused)?;
        let good = aws_lc_rs::constant_time::verify_slices_are_equal(&self.seal(list, place), seal);
        good.map_err(|_| refused())?;
        Ok(place.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_for_its_own_list_only_and_not_when_changed() {
        let tokens = PageTokens::new(&[7; 32]);
        let token = tokens.make("points/a", b"place");
        assert_eq!(tokens.open("points/a", &token).unwrap(), b"place");
        for bad in ["", "x", &token[1..], &format!("{token}A"), &token.replace('A', "B"), "%%%"] {
            if bad != token {
                assert_eq!(tokens.open("points/a", bad).unwrap_err().code, "InvalidParameterValueException", "{bad}");
            }
        }
        tokens.open("points/b", &token).unwrap_err();
        PageTokens::new(&[8; 32]).open("points/a", &token).unwrap_err();
    }
}
