//! Key files: the master key, sealed under a password.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{FormatError, MasterKey, NONCE_BYTES};

/// Most memory the derivation of a key may take, in bytes: a forged key file must not exhaust the worker.
const KDF_BYTES_MAX: u64 = 1 << 30;
/// Most passes over that memory.
const KDF_PASSES_MAX: u32 = 64;
/// Most passes that are chosen, so that a machine half as fast opens a vault in reasonable time.
const KDF_PASSES_CHOSEN_MAX: u32 = 8;
/// Length of the salt, fixed by restic.
const SALT_BYTES: usize = 64;

/// Cost of guessing a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfParams {
    /// Logarithm to base 2 of scrypt's `N`.
    pub log_n: u8,
    /// Block size.
    pub r: u32,
    /// Passes.
    pub p: u32,
}

impl KdfParams {
    /// 32 MiB and a tenth of a second: what restic uses where it does not measure.
    pub const RECOMMENDED: Self = Self { log_n: 15, r: 8, p: 1 };

    /// At most 64 MiB and never less work than [`KdfParams::RECOMMENDED`]: as much as fits into `time` on a machine that
    /// took `measured` for those.
    #[must_use]
    pub fn calibrated(measured: Duration, time: Duration) -> Self {
        let factor = time.as_nanos() / measured.as_nanos().max(1);
        // Memory first: it costs who guesses with special hardware most.
        let (log_n, p) = if factor >= 2 { (16, factor / 2) } else { (15, 1) };
        Self { log_n, p: u32::try_from(p).unwrap_or(u32::MAX).clamp(1, KDF_PASSES_CHOSEN_MAX), ..Self::RECOMMENDED }
    }

    /// Does the work once, to measure how long it takes.
    ///
    /// # Errors
    /// When the parameters are out of bounds.
    pub fn derive_once(self) -> Result<(), FormatError> {
        derive(b"measured", &[0; SALT_BYTES], self).map(drop)
    }
}

/// `keys/<id>`: plain JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFile {
    /// rustic does not always say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

impl KeyFile {
    /// Seals the master key under a password.
    ///
    /// # Errors
    /// When the parameters are out of bounds.
    #[expect(clippy::too_many_arguments, reason = "all of them stand in the file")]
    pub fn seal(
        master: &MasterKey,
        password: &[u8],
        params: KdfParams,
        salt: [u8; SALT_BYTES],
        nonce: [u8; NONCE_BYTES],
        created: Timestamp,
        username: String,
        hostname: String,
    ) -> Result<Self, FormatError> {
        let user = derive(password, &salt, params)?;
        let data = user.seal(nonce, &master.to_json()?);
        Ok(Self {
            created: Some(created),
            username,
            hostname,
            kdf: "scrypt".to_owned(),
            n: 1 << params.log_n,
            r: params.r,
            p: params.p,
            salt: STANDARD.encode(salt),
            data: STANDARD.encode(data),
        })
    }

    /// When it was made, if the file says so.
    #[must_use]
    pub const fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// By whom.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// On which machine.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// [`FormatError::Json`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// From the file's bytes.
    ///
    /// # Errors
    /// [`FormatError::Json`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The master key.
    ///
    /// # Errors
    /// [`FormatError::Unauthentic`] when the password is another one.
    pub fn open(&self, password: &[u8]) -> Result<MasterKey, FormatError> {
        if self.kdf != "scrypt" {
            return Err(FormatError::Invalid(format!("its key derivation `{}` is not known", self.kdf)));
        }
        if !self.n.is_power_of_two() {
            return Err(FormatError::Invalid(format!("its N {} is no power of two", self.n)));
        }
        let params = KdfParams { log_n: self.n.trailing_zeros() as u8, r: self.r, p: self.p };
        let base64 =
            |text: &str| STANDARD.decode(text).map_err(|_| FormatError::Invalid("it is not base64".to_owned()));
        let salt = base64(&self.salt)?;
        let mut data = Zeroizing::new(base64(&self.data)?);
        let user = derive(password, &salt, params)?;
        MasterKey::from_json(user.open_in_place(&mut data)?)
    }
}

fn derive(password: &[u8], salt: &[u8], params: KdfParams) -> Result<MasterKey, FormatError> {
    // Besides N blocks there is one for each pass.
    let blocks = 1_u64.checked_shl(params.log_n.into()).and_then(|n| n.checked_add(params.p.into()));
    let memory = blocks.and_then(|blocks| blocks.checked_mul(u64::from(params.r) * 128));
    if memory.is_none_or(|bytes| bytes > KDF_BYTES_MAX) || params.p > KDF_PASSES_MAX {
        return Err(FormatError::Invalid("its scrypt parameters would take too much memory or time".to_owned()));
    }
    let invalid = |_| FormatError::Invalid("its scrypt parameters are not valid".to_owned());
    let scrypt_params = scrypt::Params::new(params.log_n, params.r, params.p).map_err(invalid)?;
    let mut derived = Zeroizing::new([0; 64]);
    scrypt::scrypt(password, salt, &scrypt_params, &mut *derived)
        .map_err(|_| FormatError::Invalid("its scrypt parameters are not valid".to_owned()))?;
    Ok(MasterKey::from_bytes(derived))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_says_only_what_it_must_is_read() {
        // As rustic 0.11.4 writes it, with other bytes.
        let text = r#"{"kdf":"scrypt","N":131072,"r":8,"p":1,"data":"AAAA","salt":"AAAA"}"#;
        let file = KeyFile::decode(text.as_bytes()).unwrap();
        assert_eq!((file.created(), file.username(), file.hostname()), (None, "", ""));
    }

    #[test]
    fn the_work_to_guess_grows_with_the_time_and_has_a_floor_and_a_ceiling() {
        let calibrated = |measured, time| {
            let KdfParams { log_n, r, p } =
                KdfParams::calibrated(Duration::from_millis(measured), Duration::from_millis(time));
            (log_n, r, p)
        };
        assert_eq!(calibrated(100, 0), (15, 8, 1));
        assert_eq!(calibrated(1000, 500), (15, 8, 1), "a slow machine gets no less");
        assert_eq!(calibrated(100, 250), (16, 8, 1));
        assert_eq!(calibrated(50, 500), (16, 8, 5));
        assert_eq!(calibrated(1, 5000), (16, 8, 8));
        assert_eq!(calibrated(0, 500), (16, 8, 8));
    }
}
