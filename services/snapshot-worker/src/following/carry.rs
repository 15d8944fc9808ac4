//! Carries one assignment out, outside of the async runtime.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use driver_api::{Control as _, DriverError};
use driver_postgres::error::PgError;
use driver_postgres::follow::{self, FollowError, FollowSettings, Follower, LogSource, slot_name};
use driver_postgres::server::{Credentials, Location, LogFrom};
use job_bus::uptime;
use job_events::{FollowEnded, FollowResource, FollowTask, LogFollowed};
use job_model::{Continuous, FollowState};
use service_host::error_chain;
use vault_engine::{StreamSubject, Vault, VaultError};

use super::control::FollowControl;
use super::keeper::Keeper;
use super::{Following, Voice};

/// First wait after a follower failed; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// Longest wait for what may go away by itself.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Wait for what somebody must mend.
const WAIT_FOR_SOMEBODY: Duration = Duration::from_secs(60);
/// A follower that lived for so long begins with the first wait again.
const LIVED: Duration = Duration::from_secs(60);
/// How often a slot, or a directory, is tried to be given back before that is left to a person.
const DROPS_MAX: u32 = 10;
/// Wait between two of them.
const DROP_EVERY: Duration = Duration::from_secs(2);

/// How the carrying out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is nothing left to do.
    Done,
    /// The vault knows a higher epoch.
    Superseded(u64),
    /// It was told to stop, or lost its lease.
    Stopped,
}

/// Why a resource cannot be followed at the moment.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Location(#[from] DriverError),
    #[error(transparent)]
    Server(#[from] PgError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("remove the spool")]
    Spool(#[source] io::Error),
}

impl Trouble {
    fn is_passing(&self) -> bool {
        match self {
            Self::Location(_) => false,
            Self::Follow(error) => error.is_passing(),
            Self::Server(_) | Self::Vault(_) | Self::Spool(_) => true,
        }
    }
}

pub(super) fn out(following: &Following, follow: &FollowResource, epoch: u64, control: &FollowControl) -> End {
    let voice = Voice::new(following, follow, epoch);
    match follow.task {
        FollowTask::Follow => go_on(&voice, control),
        FollowTask::Release => release(&voice, control),
        FollowTask::Nothing => End::Done,
    }
}

/// Follows, and begins again after whatever went wrong.
fn go_on(voice: &Voice<'_>, control: &FollowControl) -> End {
    let mut wait = WAIT_FIRST;
    let mut told = None;
    while !control.is_stopped() {
        let began = uptime();
        let trouble = match live(voice, control) {
            Ok(()) => continue,
            Err(Trouble::Vault(VaultError::Superseded { found, .. })) => return End::Superseded(found),
            Err(trouble) => trouble,
        };
        if control.is_stopped() {
            break;
        }
        let message = error_chain(&trouble);
        tracing::warn!(resource = %voice.follow.resource, message, "the resource is not followed");
        if told.as_ref() != Some(&message) {
            interrupted(voice, &message);
            told = Some(message);
        }
        wait = if uptime().saturating_sub(began) > LIVED { WAIT_FIRST } else { wait };
        control.wait(if trouble.is_passing() { wait } else { WAIT_FOR_SOMEBODY });
        wait = (wait * 2).min(WAIT_MAX);
    }
    End::Stopped
}

fn live(voice: &Voice<'_>, control: &FollowControl) -> Result<(), Trouble> {
    let Voice { following, follow, epoch, .. } = voice;
    let tools = &following.tools;
    let (location, credentials) = server(voice)?;
    let vault = Vault::open(&follow.vault, &tools.profiles, &tools.surroundings)?;
    let subject = StreamSubject {
        recovery_point_id: follow.recovery_point_id,
        recovery_point: follow.recovery_point.clone(),
        resource: follow.resource.clone(),
        resource_type: follow.resource_type,
        location: follow.location.clone(),
    };
    let store = vault.follow(subject, *epoch, control)?;
    let mut settings = FollowSettings::new(
        location.server.clone(),
        credentials,
        location.first_database().to_owned(),
        slot_name(&follow.recovery_point_id.to_string()),
        spool(voice),
    );
    settings.beside_server = tools.config.postgres.beside_server;
    if location.log == LogFrom::Archive {
        settings.log = LogSource::Archive(tools.config.postgres.archive_dir(&location.profile)?);
    }
    let keeper = Keeper::new(voice, &vault, control);
    let followed = thread::scope(|scope| {
        let kept = scope.spawn(|| keeper.run());
        let followed = Follower {
            settings: &settings,
            store: &store,
            control,
            now: &|| tools.clock.now(),
            keep_from: &|| keeper.keep_from(),
            watch: &|status| keeper.hear(status),
        }
        .run();
        keeper.end();
        if kept.join().is_err() {
            tracing::error!("the keeper of a follower ended with a panic; report it with the log");
        }
        following.gauges.forget(&following.region, &follow.resource);
        followed
    });
    Ok(followed?)
}

fn server(voice: &Voice<'_>) -> Result<(Location, Credentials), Trouble> {
    let location = Location::parse(&voice.follow.location)?;
    let credentials = voice.following.tools.config.postgres.credentials(&location.profile)?;
    Ok((location, credentials))
}

fn spool(voice: &Voice<'_>) -> std::path::PathBuf {
    voice.following.spool.join(voice.follow.recovery_point_id.to_string())
}

fn interrupted(voice: &Voice<'_>, message: &str) {
    let continuous =
        Continuous { state: FollowState::Interrupted, message: Some(message.to_owned()), ..Continuous::default() };
    let Voice { following, follow, epoch, .. } = voice;
    let fact = LogFollowed {
        recovery_point: follow.recovery_point.clone(),
        resource: follow.resource.clone(),
        epoch: *epoch,
        worker: following.worker.clone(),
        at: following.tools.clock.now(),
        continuous,
        bases_retired: Vec::new(),
    };
    voice.tell(&fact.into());
}

/// Gives slot or directory back, so that the server keeps no log for us any more.
fn release(voice: &Voice<'_>, control: &FollowControl) -> End {
    let slot = slot_name(&voice.follow.recovery_point_id.to_string());
    let mut left_behind = None;
    for _ in 0..DROPS_MAX {
        if control.is_stopped() {
            return End::Stopped;
        }
        match give_back(voice, &slot) {
            Ok(told) => {
                left_behind = told;
                break;
            }
            Err(trouble) => {
                let message = error_chain(&trouble);
                tracing::warn!(resource = %voice.follow.resource, slot, message, "the log was not given back yet");
                left_behind = Some(not_given_back(voice, &slot, &message));
                control.wait(DROP_EVERY);
            }
        }
    }
    if let Err(trouble) = clear(voice) {
        tracing::warn!(message = error_chain(&trouble), "what was followed without a full capture was not removed");
    }
    if control.is_stopped() {
        return End::Stopped;
    }
    let Voice { following, follow, epoch, .. } = voice;
    let fact = FollowEnded {
        recovery_point: follow.recovery_point.clone(),
        resource: follow.resource.clone(),
        epoch: *epoch,
        worker: following.worker.clone(),
        at: following.tools.clock.now(),
        left_behind,
    };
    voice.tell(&fact.into());
    End::Done
}

/// Drops the slot, or lets the archive directory go. Gives back what somebody has to do.
fn give_back(voice: &Voice<'_>, slot: &str) -> Result<Option<String>, Trouble> {
    let (location, credentials) = server(voice)?;
    if location.log == LogFrom::Archive {
        let directory = voice.following.tools.config.postgres.archive_dir(&location.profile)?;
        follow::give_back_archive(&directory, slot)?;
        return Ok(Some(format!(
            "the server goes on archiving to `{}`, which nobody empties any more; give it another `archive_command`, or set \
             `archive_mode = off`, and remove what is left there",
            directory.display()
        )));
    }
    follow::give_back(&location.server, &credentials, location.first_database(), slot)?;
    Ok(None)
}

/// What somebody has to do when that did not work.
fn not_given_back(voice: &Voice<'_>, slot: &str, message: &str) -> String {
    match Location::parse(&voice.follow.location) {
        Ok(location) if location.log == LogFrom::Archive => format!(
            "the server goes on archiving, and nobody takes its log any more; give it another `archive_command`, or set \
             `archive_mode = off`. The directory was not given back: {message}"
        ),
        _ => format!(
            "slot `{slot}` could not be dropped and makes the server keep its log; drop it by hand with `SELECT \
             pg_drop_replication_slot('{slot}')`: {message}"
        ),
    }
}

/// Removes the spool, and a log that has no full capture to begin from: nobody could ever restore anything of it.
fn clear(voice: &Voice<'_>) -> Result<(), Trouble> {
    let tools = &voice.following.tools;
    match fs::remove_dir_all(spool(voice)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Trouble::Spool(error)),
        _ => {}
    }
    let id = voice.follow.recovery_point_id;
    let vault = Vault::open(&voice.follow.vault, &tools.profiles, &tools.surroundings)?;
    let parts = vault.stream_parts(id)?;
    if parts.bases.is_empty() {
        for snapshot in parts.state.iter().map(|state| state.id).chain(parts.replaced) {
            vault.forget(snapshot)?;
        }
        vault.remove_stream(id)?;
    }
    Ok(())
}
