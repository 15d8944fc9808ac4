//! The secrets of a vault. Each opens the same master key, so that adding, taking away and exchanging secrets rewrites no
//! data. Who has had the master key keeps it: after a secret became known to others, copy into a new vault.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use vault_format::{Id, KdfParams, KeyFile, MasterKey};

use crate::store::{Store, StoreError};
use crate::{DamagedFile, Profiles, Surroundings, Vault, VaultError};

/// Longest key file that is read, in bytes.
pub(crate) const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

/// A secret of a vault, as far as its file tells without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// The name of its file.
    pub id: Id,
    /// When it was added; rustic does not always say.
    pub created: Option<Timestamp>,
    /// By whom.
    pub username: String,
    /// On which machine.
    pub hostname: String,
    /// Whether this vault was opened by it.
    pub current: bool,
}

impl Vault {
    /// All secrets, oldest first (those before them that do not say when they were added), and key files that cannot be read.
    ///
    /// # Errors
    /// When the store fails.
    pub fn keys(&self) -> Result<(Vec<KeyInfo>, Vec<DamagedFile>), VaultError> {
        let (mut keys, mut damaged) = (Vec::new(), Vec::new());
        for file in self.store().list("keys").map_err(|error| error.when("list the vault's keys"))? {
            let path = path(&file.name);
            let bytes = match self.store().get(&path, KEY_FILE_BYTES_MAX) {
                Ok(bytes) => bytes,
                // Revoked since it was listed.
                Err(StoreError::NotFound { .. }) => continue,
                Err(error @ StoreError::TooLarge { .. }) => {
                    damaged.push(DamagedFile { path, problem: error.to_string() });
                    continue;
                }
                Err(error) => return Err(error.when("read a key of the vault")),
            };
            let id = Id::of(&bytes);
            match KeyFile::decode(&bytes) {
                Ok(_) if id.to_hex() != file.name => {
                    damaged.push(DamagedFile { path, problem: format!("its SHA-256 is {id}") });
                }
                Ok(key) => keys.push(KeyInfo {
                    id,
                    created: key.created(),
                    username: key.username().to_owned(),
                    hostname: key.hostname().to_owned(),
                    current: file.name == self.key_name(),
                }),
                Err(error) => damaged.push(DamagedFile { path, problem: crate::error::chain(&error) }),
            }
        }
        keys.sort_by_key(|key| (key.created, key.id));
        Ok((keys, damaged))
    }

    /// Adds the secret of a profile. It is proven to open the vault before this returns.
    ///
    /// # Errors
    /// [`VaultError::KeyProfileUnknown`] and [`VaultError::KeyUnreadable`]; otherwise when the store fails.
    pub fn add_key(&self, profile: &str, profiles: &Profiles) -> Result<Id, VaultError> {
        let password = profiles.password(profile)?;
        let (id, _) = write_key(self.store(), self.key(), &password, self.surroundings())?;
        let unproven = |problem: String| VaultError::Damaged {
            what: format!("the new key file `{}`", path(&id.to_hex())),
            problem,
        };
        let bytes = self
            .store()
            .get(&path(&id.to_hex()), KEY_FILE_BYTES_MAX)
            .map_err(|error| error.when("read the new key of the vault"))?;
        let opened = KeyFile::decode(&bytes).and_then(|file| file.open(password.expose_secret().as_bytes()));
        match opened {
            Ok(key) if key.is_same(self.key()) => Ok(id),
            Ok(_) => Err(unproven("it opens another vault".to_owned())),
            Err(error) => Err(unproven(crate::error::chain(&error))),
        }
    }

    /// Takes a secret away; false when it was not there. The one that this vault was opened by stays, so that there is
    /// always one that is known to open it.
    ///
    /// # Errors
    /// [`VaultError::KeyInUse`]; otherwise when the store fails.
    pub fn revoke_key(&self, id: Id) -> Result<bool, VaultError> {
        if id.to_hex() == self.key_name() {
            return Err(VaultError::KeyInUse { id });
        }
        let removed =
            self.store().delete(&path(&id.to_hex())).map_err(|error| error.when("remove a key of the vault"))?;
        self.store().barrier().map_err(|error| error.when("remove a key of the vault"))?;
        Ok(removed)
    }
}

/// Seals the master key under a secret, with as much work to guess it as the surroundings' time allows.
pub(crate) fn write_key(
    store: &dyn Store,
    key: &MasterKey,
    password: &SecretString,
    surroundings: &Surroundings,
) -> Result<(Id, KdfParams), VaultError> {
    let encode = |source| VaultError::Encode { what: "a key", source };
    let password = password.expose_secret().as_bytes();
    let params = params(surroundings.kdf_time).map_err(encode)?;
    let file = KeyFile::seal(
        key,
        password,
        params,
        surroundings.random(),
        surroundings.random(),
        surroundings.now(),
        surroundings.username.clone(),
        surroundings.hostname.clone(),
    );
    let bytes = file.and_then(|file| file.encode()).map_err(encode)?;
    let id = Id::of(&bytes);
    let failed = |error: StoreError| error.when("write the vault's key");
    store.put(&path(&id.to_hex()), bytes.into()).map_err(failed)?;
    store.barrier().map_err(failed)?;
    Ok((id, params))
}

/// Measures this machine once; no time means the floor.
fn params(time: Duration) -> Result<KdfParams, vault_format::FormatError> {
    if time.is_zero() {
        return Ok(KdfParams::RECOMMENDED);
    }
    let begun = Instant::now();
    KdfParams::RECOMMENDED.derive_once()?;
    Ok(KdfParams::calibrated(begun.elapsed(), time))
}

fn path(name: &str) -> String {
    format!("keys/{name}")
}
