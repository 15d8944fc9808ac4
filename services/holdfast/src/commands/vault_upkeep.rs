//! `holdfast vault key`, `keep` and `scrub`: opens the vault with the keys of this machine.

use std::path::PathBuf;

use driver_api::NoControl;
use serde::Serialize;
use service_host::{Clock, SystemClock};
use vault_engine::{
    Keep, KeepEntry, KeyInfo, Profiles, ScrubOptions, ScrubReport, Surroundings, Vault, VaultLockEntry,
};

use super::browse::read_profiles;
use super::{class, repository};
use crate::args::{KeepCommand, KeyCommand, OwnVault, Scrub};
use crate::client::Client;
use crate::error::CliError;
use crate::names::pick_vault;
use crate::render::{Output, Table, bytes, moment};

/// How long it may take on this machine to open a vault with a secret that is added.
const KDF_TIME: std::time::Duration = std::time::Duration::from_millis(500);

/// Opens the vault and does something with it, outside of the runtime's own threads.
async fn with_vault<T: Send + 'static>(
    on: &OwnVault,
    client: &Client<'_>,
    work: impl FnOnce(&Vault, &Profiles) -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    let vaults = client.vaults().await?;
    let access = repository(pick_vault(&vaults, &on.vault, client.chosen_region())?, class(on.cold))?;
    let from_up: Option<PathBuf> = client.destination().endpoint.as_ref().map(|e| e.profiles_file.clone());
    let profiles = read_profiles(on.profiles.clone().or(from_up))?;
    let arn = access.arn.to_string();
    let opened = move || {
        let clock = SystemClock::new();
        let surroundings = Surroundings::new(move || clock.now()).with_kdf_time(KDF_TIME);
        let vault = Vault::open(&access, &profiles, &surroundings)
            .map_err(|e| CliError::Vault { vault: access.arn.to_string(), source: Box::new(e) })?;
        work(&vault, &profiles)
    };
    tokio::task::spawn_blocking(opened).await.map_err(|e| CliError::Vault { vault: arn, source: Box::new(e) })?
}

fn failed(vault: &Vault) -> impl Fn(vault_engine::VaultError) -> CliError {
    let vault = vault.location().to_owned();
    move |error| CliError::Vault { vault: vault.clone(), source: Box::new(error) }
}

pub(super) async fn key(command: &KeyCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let keys = match command {
        KeyCommand::List(on) => with_vault(on, client, |vault, _| vault.keys().map_err(failed(vault))).await?,
        KeyCommand::Add { on, new_key_profile } => {
            let name = new_key_profile.clone();
            let added = move |vault: &Vault, profiles: &Profiles| {
                vault.add_key(&name, profiles).map_err(failed(vault))?;
                vault.keys().map_err(failed(vault))
            };
            with_vault(on, client, added).await?
        }
        KeyCommand::Revoke { on, key } => {
            let id = key.parse().map_err(|e| CliError::usage(format!("`{key}` is no id of a key: {e}")))?;
            let name = key.clone();
            let revoked = move |vault: &Vault, _: &Profiles| {
                if !vault.revoke_key(id).map_err(failed(vault))? {
                    return Err(CliError::NotFound { what: "key", name, look: "holdfast vault key list VAULT" });
                }
                vault.keys().map_err(failed(vault))
            };
            with_vault(on, client, revoked).await?
        }
    };
    let (keys, damaged) = keys;
    for file in damaged {
        crate::render::note(&format!("key file `{}` is damaged: {}", file.path, file.problem));
    }
    output.result(&keys, || table(&keys))
}

fn table(keys: &[KeyInfo]) -> String {
    let mut table = Table::new(&["key", "added", "by", "opened this vault"], "no keys");
    for key in keys {
        let unknown = || "unknown".to_owned();
        let is_named = !key.username.is_empty() || !key.hostname.is_empty();
        let by = if is_named { format!("{}@{}", key.username, key.hostname) } else { unknown() };
        let current = if key.current { "yes" } else { "" };
        table.row(vec![key.id.to_hex(), key.created.map_or_else(unknown, moment), by, current.to_owned()]);
    }
    table.render()
}

pub(super) async fn keep(command: KeepCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let (on, entry) = match command {
        KeepCommand::Show(on) => (on, None),
        KeepCommand::Retain { on, recovery_point, until } => (on, Some(KeepEntry::Retain { recovery_point, until })),
        KeepCommand::Hold { on, hold, recovery_points } => {
            (on, Some(KeepEntry::Hold { hold, recovery_points: recovery_points.into_iter().collect() }))
        }
        KeepCommand::Release { on, hold } => (on, Some(KeepEntry::Release { hold })),
        KeepCommand::Lock { on, min_retention_days, fixed_from } => {
            let min_retention_days = Some(min_retention_days);
            (on, Some(KeepEntry::Lock(VaultLockEntry { min_retention_days, max_retention_days: None, fixed_from })))
        }
        KeepCommand::Unlock(on) => (on, Some(KeepEntry::Unlock)),
    };
    let protected = with_vault(&on, client, move |vault, _| {
        match entry {
            Some(entry) => vault.protect(&entry),
            None => vault.keep(),
        }
        .map_err(failed(vault))
    });
    let shown = Protection::of(&protected.await?);
    output.result(&shown, || shown.text())
}

/// What protects a vault's recovery points, to be shown.
#[derive(Serialize)]
struct Protection {
    entries: u64,
    lock: Option<VaultLockEntry>,
    retained: Vec<(String, jiff::Timestamp)>,
    holds: Vec<(String, Vec<String>)>,
}

impl Protection {
    fn of(keep: &Keep) -> Self {
        let names = |hold: &vault_engine::Hold| hold.recovery_points.iter().map(ToString::to_string).collect();
        Self {
            entries: keep.entries,
            lock: keep.lock,
            retained: keep.retained.iter().map(|(id, until)| (id.to_string(), *until)).collect(),
            holds: keep.holds.iter().map(|(name, hold)| (name.clone(), names(hold))).collect(),
        }
    }

    fn text(&self) -> String {
        let mut table = Table::new(&["what", "keeps", "until"], "nothing protects the recovery points of this vault");
        if let Some(VaultLockEntry { min_retention_days: Some(days), fixed_from, .. }) = self.lock {
            let fixed = fixed_from.map_or("can be taken away".to_owned(), |at| format!("fixed from {}", moment(at)));
            table.row(vec![format!("lock ({fixed})"), "all".to_owned(), format!("{days} days old")]);
        }
        for (id, until) in &self.retained {
            table.row(vec!["minimum retention".to_owned(), id.clone(), moment(*until)]);
        }
        for (name, points) in &self.holds {
            let keeps = if points.is_empty() { "all".to_owned() } else { points.join(", ") };
            table.row(vec![format!("hold `{name}`"), keeps, "released".to_owned()]);
        }
        table.render()
    }
}

pub(super) async fn scrub(args: &Scrub, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let read_bytes = args.read_mib.saturating_mul(1 << 20);
    let scrubbed = with_vault(&args.on, client, move |vault, _| {
        vault.scrub(&ScrubOptions { read_bytes, control: &NoControl }).map_err(failed(vault))
    });
    let report = scrubbed.await?;
    let shown = Scrubbed::of(&report);
    output.result(&shown, || shown.text())?;
    if report.check.is_sound() {
        return Ok(());
    }
    let message = format!("the vault `{}` is damaged; restore from a copy meanwhile", args.on.vault);
    Err(CliError::NotProven { message })
}

/// What a scrub found, to be shown.
#[derive(Serialize)]
struct Scrubbed {
    packs_read: u64,
    bytes_read: u64,
    packs: u64,
    bytes: u64,
    packs_covered: u64,
    bytes_covered: u64,
    oldest_read: Option<jiff::Timestamp>,
    findings: Vec<String>,
    snapshots_affected: Vec<String>,
    recovery_points_affected: Vec<String>,
}

impl Scrubbed {
    fn of(report: &ScrubReport) -> Self {
        let check = &report.check;
        Self {
            packs_read: check.packs_read,
            bytes_read: check.bytes_read,
            packs: report.packs,
            bytes: report.bytes,
            packs_covered: report.packs_covered,
            bytes_covered: report.bytes_covered,
            oldest_read: report.oldest_read,
            findings: check.findings.iter().map(|found| format!("{}: {}", found.subject, found.message)).collect(),
            snapshots_affected: check.snapshots_affected.iter().map(ToString::to_string).collect(),
            recovery_points_affected: check.recovery_points_affected.iter().map(ToString::to_string).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} packs with {} read now; {} of {} packs ({} of {}) were read so far",
            self.packs_read,
            bytes(self.bytes_read),
            self.packs_covered,
            self.packs,
            bytes(self.bytes_covered),
            bytes(self.bytes)
        );
        if let Some(oldest) = self.oldest_read {
            text.push_str(&format!(", none of them longer ago than {}", moment(oldest)));
        }
        for finding in &self.findings {
            text.push_str(&format!("\n{finding}"));
        }
        if !self.snapshots_affected.is_empty() {
            text.push_str(&format!(
                "\nsnapshots that cannot be restored whole: {}",
                self.snapshots_affected.join(", ")
            ));
        }
        if !self.recovery_points_affected.is_empty() {
            text.push_str(&format!("\nthese are recovery points {}", self.recovery_points_affected.join(", ")));
        }
        text.push('\n');
        text
    }
}
