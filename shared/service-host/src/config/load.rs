//! Defaults, then the file, then the environment; unknown keys are refused.

use std::path::Path;

use figment::error::Kind;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::{Figment, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ConfigError;

/// Prefix of environment variables; `__` stands between the levels of a key: `HOLDFAST__COMMON__STATE_DIR`. The command
/// line has variables of its own, with a single `_`, which mean nothing to a service.
const ENV_PREFIX: &str = "HOLDFAST__";

/// Reads a configuration: the type's defaults, then the file, then variables named `HOLDFAST__<KEY>__<SUB>`.
///
/// # Errors
/// When the file is not there, or a key or value is not one of the type's; the message names the key, where it came from,
/// what is wrong and what to do.
pub fn load_config<C>(file: Option<&Path>) -> Result<C, ConfigError>
where
    C: Serialize + DeserializeOwned + Default,
{
    let mut figment = Figment::from(Serialized::defaults(C::default()));
    if let Some(path) = file {
        // Figment takes a missing file for an empty one.
        std::fs::File::open(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        figment = figment.merge(Toml::file_exact(path));
    }
    figment.merge(Env::prefixed(ENV_PREFIX).split("__")).extract().map_err(|e| explain(&e))
}

/// The first error in words.
fn explain(error: &figment::Error) -> ConfigError {
    let mut path = error.path.clone();
    let mend = match &error.kind {
        Kind::UnknownField(field, known) => {
            if path.last() != Some(field) {
                path.push(field.clone());
            }
            format!("remove it or correct its spelling; known here: {}", quoted(known))
        }
        Kind::MissingField(field) => {
            path.push(field.clone().into_owned());
            "add it".to_owned()
        }
        Kind::UnknownVariant(_, known) => format!("write one of {}", quoted(known)),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("write {expected}"),
        _ => "see the sample of this service in deploy/config".to_owned(),
    };
    let key = if path.is_empty() { ".".to_owned() } else { path.join(".") };
    ConfigError::Key { provider: provider(error, &path), problem: error.kind.to_string(), key, mend }
}

fn quoted(known: &[&str]) -> String {
    known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn provider(error: &figment::Error, path: &[String]) -> String {
    let Some(metadata) = &error.metadata else { return "the configuration".to_owned() };
    match &metadata.source {
        Some(Source::File(file)) => format!("file `{}`", file.display()),
        _ if metadata.name.contains("environment") => {
            format!("environment variable `{ENV_PREFIX}{}`", path.join("__").to_uppercase())
        }
        _ => metadata.name.clone().into_owned(),
    }
}
