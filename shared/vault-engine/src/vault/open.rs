//! Opening a vault: store, secret, key files, configuration.

use std::sync::Arc;

use job_model::VaultAccess;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use vault_format::{Config, FormatError, Id, KeyFile, MasterKey};

use super::Vault;
use crate::error::chain;
use crate::store::{Store, StoreError, open_store};
use crate::{Profiles, Surroundings, VaultError};

/// Longest key file or configuration that is read, in bytes.
const SMALL_FILE_BYTES_MAX: u64 = 64 << 10;
/// How many key files are tried; each costs a tenth of a second or more.
const KEY_FILES_MAX: usize = 64;

impl Vault {
    /// Opens a vault.
    ///
    /// # Errors
    /// [`VaultError::KeyProfileUnknown`], [`VaultError::KeyUnreadable`], [`VaultError::NotFound`],
    /// [`VaultError::WrongKey`], [`VaultError::NotTheSame`] where `access` names a repository id and another one is
    /// there, [`VaultError::Damaged`], or when the store fails.
    pub fn open(access: &VaultAccess, profiles: &Profiles, surroundings: &Surroundings) -> Result<Self, VaultError> {
        let password = profiles.password(&access.key_profile)?;
        let store = open_store(&access.location, &access.key_profile, profiles)?;
        Self::open_on(store, access, &password, surroundings)
    }

    /// Opens a vault on a store that is there already.
    pub(crate) fn open_on(
        store: Arc<dyn Store>,
        access: &VaultAccess,
        password: &SecretString,
        surroundings: &Surroundings,
    ) -> Result<Self, VaultError> {
        let sealed = match store.get("config", SMALL_FILE_BYTES_MAX) {
            Ok(sealed) => sealed,
            Err(StoreError::NotFound { .. }) => {
                return Err(VaultError::NotFound { location: access.location.clone() });
            }
            Err(error) => return Err(error.when("read the vault's configuration")),
        };
        let (key, key_name) = find_key(store.as_ref(), access, password)?;
        let config = Config::decode(&key, sealed)
            .map_err(|error| VaultError::Damaged { what: "the vault's `config`".to_owned(), problem: chain(&error) })?;
        let repository_id = config.id.to_hex();
        if let Some(expected) = &access.repository_id
            && *expected != repository_id
        {
            return Err(VaultError::NotTheSame {
                location: access.location.clone(),
                expected: expected.clone(),
                found: repository_id,
            });
        }
        Ok(Self {
            store,
            key,
            key_name,
            config,
            repository_id,
            location: access.location.clone(),
            surroundings: surroundings.clone(),
            index: Mutex::new(None),
        })
    }
}

/// Tries all key files until the password opens one; returns its name too.
pub(super) fn find_key(
    store: &dyn Store,
    access: &VaultAccess,
    password: &SecretString,
) -> Result<(MasterKey, String), VaultError> {
    let mut damaged = None;
    let mut tried = 0_usize;
    for file in store.list("keys").map_err(|error| error.when("list the vault's keys"))?.into_iter().take(KEY_FILES_MAX)
    {
        let path = format!("keys/{}", file.name);
        let read = match store.get(&path, SMALL_FILE_BYTES_MAX) {
            // Revoked since it was listed.
            Err(StoreError::NotFound { .. }) => continue,
            Err(error @ StoreError::TooLarge { .. }) => Err(error.to_string()),
            Err(error) => return Err(error.when("read a key of the vault")),
            Ok(bytes) => KeyFile::decode(&bytes).map(|key| (key, Id::of(&bytes))).map_err(|error| chain(&error)),
        };
        match read.and_then(|(key, digest)| match key.open(password.expose_secret().as_bytes()) {
            // What does not belong to the secret may be wrong and keeps nobody out; a check tells.
            Ok(master) => Ok(Some(master)),
            Err(FormatError::Unauthentic) if digest.to_hex() == file.name => Ok(None),
            Err(FormatError::Unauthentic) => Err(format!("its SHA-256 is {digest}")),
            Err(error) => Err(chain(&error)),
        }) {
            Ok(Some(master)) => return Ok((master, file.name)),
            Ok(None) => tried += 1,
            Err(problem) => damaged = Some(VaultError::Damaged { what: format!("key file `{path}`"), problem }),
        }
    }
    match damaged {
        // It may be the one that the secret is for.
        Some(damaged) => Err(damaged),
        None if tried == 0 => Err(VaultError::Damaged {
            what: "the vault".to_owned(),
            problem: "it has no key files; bring back the directory `keys`".to_owned(),
        }),
        None => Err(VaultError::WrongKey { location: access.location.clone(), profile: access.key_profile.clone() }),
    }
}
