//! Making a new repository. May be repeated after a crash at any point.

use std::sync::Arc;

use job_model::VaultAccess;
use secrecy::SecretString;
use vault_format::{ChunkerPolynomial, Config, Id, MasterKey};
use zeroize::Zeroizing;

use super::Vault;
use super::open::find_key;
use crate::keys::write_key;
use crate::store::{Store, open_store};
use crate::{Profiles, Surroundings, VaultError};

/// Top-level names of a repository without a configuration: an earlier attempt that was cut short.
const BEGUN: [&str; 6] = ["data", "index", "keys", "locks", "snapshots", "tmp"];

impl Vault {
    /// Makes a new vault. When there is one already that this key opens and that has no snapshots, it is taken: an
    /// earlier attempt made it.
    ///
    /// # Errors
    /// [`VaultError::LocationTaken`] when anything else is there; otherwise as [`Vault::open`].
    pub fn create(access: &VaultAccess, profiles: &Profiles, surroundings: &Surroundings) -> Result<Self, VaultError> {
        let password = profiles.password(&access.key_profile)?;
        let store = open_store(&access.location, &access.key_profile, profiles)?;
        let names = store.top_level().map_err(|error| error.when("look at the new vault's location"))?;
        if !names.iter().any(|name| name == "config") {
            begin(&store, access, &password, surroundings, &names)?;
        }
        take_over(store, access, &password, surroundings)
    }
}

/// Opens what is there now, if it is new.
fn take_over(
    store: Arc<dyn Store>,
    access: &VaultAccess,
    password: &SecretString,
    surroundings: &Surroundings,
) -> Result<Vault, VaultError> {
    let taken = |found: &str| VaultError::LocationTaken { location: access.location.clone(), found: found.to_owned() };
    let vault = match Vault::open_on(store, access, password, surroundings) {
        Err(VaultError::WrongKey { .. }) => return Err(taken("a repository that this key does not open")),
        opened => opened?,
    };
    match vault.store.list("snapshots").map_err(|error| error.when("list the snapshots"))?.len() {
        0 => Ok(vault),
        count => Err(taken(&format!("a repository with {count} snapshots"))),
    }
}

/// Writes key and configuration into an empty location, in that order: without the configuration it is no repository.
fn begin(
    store: &Arc<dyn Store>,
    access: &VaultAccess,
    password: &SecretString,
    surroundings: &Surroundings,
    names: &[String],
) -> Result<(), VaultError> {
    let taken = |found: String| VaultError::LocationTaken { location: access.location.clone(), found };
    if let Some(foreign) = names.iter().find(|name| !BEGUN.contains(&name.as_str())) {
        return Err(taken(format!("it has `{foreign}`")));
    }
    for directory in ["data", "index", "snapshots"] {
        if !store.list(directory).map_err(|error| error.when("look at the new vault's location"))?.is_empty() {
            return Err(taken(format!("it has files in `{directory}` but no configuration")));
        }
    }
    let failed = |error: crate::StoreError| error.when("make a new vault");
    store.prepare().map_err(failed)?;
    let has_keys = !store.list("keys").map_err(failed)?.is_empty();
    let key = if has_keys {
        match find_key(store.as_ref(), access, password) {
            Err(VaultError::WrongKey { .. } | VaultError::Damaged { .. }) => {
                return Err(taken("it has keys of another repository".to_owned()));
            }
            found => found?.0,
        }
    } else {
        let key = MasterKey::from_bytes(Zeroizing::new(surroundings.random()));
        write_key(store.as_ref(), &key, password, surroundings)?;
        key
    };
    let config = Config {
        version: 2,
        id: Id::new(surroundings.random()),
        chunker_polynomial: ChunkerPolynomial::draw(|| u64::from_le_bytes(surroundings.random())),
    };
    let sealed = config
        .encode(&key, surroundings.random())
        .map_err(|source| VaultError::Encode { what: "the configuration", source })?;
    // Whoever comes second takes what the first one wrote.
    store.put_new("config", sealed.into()).map_err(failed)?;
    store.barrier().map_err(failed)
}
