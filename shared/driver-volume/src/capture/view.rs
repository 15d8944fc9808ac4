//! What a capture reads from: the volume itself, or a clone of it and what changed since the parent's.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use driver_api::{CaptureRequest, DriverError, Tracking};
use file_clones::{Changes, CloneError, Identity};
use job_model::SourceView;
use serde::{Deserialize, Serialize};

use crate::io_error;
use crate::layout::CHUNK_BYTES;
use crate::volume::{Kind, Volume};

/// What a capture leaves beside an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Remains {
    /// A clone of the image.
    Clone {
        /// Where it lies.
        path: PathBuf,
        /// Where the image lies.
        of: PathBuf,
        /// The clone as it was made; absent while it is only intended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clone: Option<Identity>,
        /// The image that it is of.
        image: Identity,
    },
}

impl Remains {
    pub(crate) fn read(value: &serde_json::Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(value)
    }

    fn to_json(&self) -> serde_json::Value {
        // Strings, numbers and maps of them always have a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// What a capture reads from.
#[derive(Debug)]
pub(crate) struct View {
    /// The volume or its clone.
    pub(crate) volume: Volume,
    pub(crate) kind: SourceView,
    /// What is left for the next capture.
    pub(crate) remains: Option<serde_json::Value>,
    /// What may have changed since the parent; none when that is not known.
    pub(crate) changed: Option<Vec<Range<u64>>>,
    /// Bytes that only the parent's clone kept from being freed.
    pub(crate) held_bytes: Option<u64>,
    /// Why it is not known although it should be.
    pub(crate) fallback: Option<String>,
}

impl View {
    fn live(volume: Volume, fallback: Option<String>) -> Self {
        Self { volume, kind: SourceView::Live, remains: None, changed: None, held_bytes: None, fallback }
    }
}

/// Takes the view. Whatever goes wrong with clones makes the capture slower, not impossible.
pub(crate) fn take(request: &CaptureRequest<'_>, path: &Path, volume: Volume) -> Result<View, DriverError> {
    let Some(tracking) = request.tracking.filter(|_| volume.kind == Kind::Image) else {
        return Ok(View::live(volume, None));
    };
    match clone(tracking, path, &volume) {
        Ok(taken) => {
            tracking.view_taken()?;
            let (changes, fallback) = match changes(request, tracking, path, &taken) {
                Ok(changes) => (changes, None),
                Err(why) => (None, Some(why)),
            };
            let held_bytes = changes.as_ref().map(|changes| changes.held_bytes);
            let changed = changes.map(|changes| changes.ranges);
            let remains = Some(taken.remains.to_json());
            let cloned = Volume::of_clone(taken.file, request.location)?;
            Ok(View { volume: cloned, kind: SourceView::ReflinkClone, remains, changed, held_bytes, fallback })
        }
        Err(NoClone::Unsupported) => Ok(View::live(volume, None)),
        Err(NoClone::Because(why)) => Ok(View::live(volume, Some(why))),
        Err(NoClone::Failed(error)) => Err(error),
    }
}

/// Why there is no clone.
enum NoClone {
    /// The file system has none.
    Unsupported,
    /// It should have been possible.
    Because(String),
    /// The capture cannot go on.
    Failed(DriverError),
}

struct Taken {
    file: File,
    remains: Remains,
    image: Identity,
}

fn clone(tracking: &dyn Tracking, path: &Path, volume: &Volume) -> Result<Taken, NoClone> {
    let because = |action: &str, error: &dyn std::error::Error| NoClone::Because(format!("{action}: {}", chain(error)));
    let settings = tracking.settings();
    let directory = file_clones::place(&volume.file, path, &settings.directories)
        .map_err(|error| because("there is no place for a clone", &error))?;
    let at = directory.join(tracking.name());
    let image = Identity::of(&volume.file).map_err(|error| because("the image cannot be looked at", &error))?;
    let free = file_clones::free_percent(&volume.file).unwrap_or(100);
    if free < settings.min_free_percent {
        return Err(NoClone::Because(format!(
            "only {free} % of the image's file system is free, and a clone is kept from {} % on",
            settings.min_free_percent
        )));
    }
    let remains = |clone| Remains::Clone { path: at.clone(), of: path.to_owned(), clone, image };
    let intended = remains(None);
    tracking.intend(&intended.to_json()).map_err(NoClone::Failed)?;
    match file_clones::clone_file(&volume.file, &at) {
        Ok(file) => {
            let clone = Identity::of(&file).map_err(|error| because("the clone cannot be looked at", &error))?;
            Ok(Taken { file, remains: remains(Some(clone)), image })
        }
        Err(CloneError::Unsupported { .. }) => Err(NoClone::Unsupported),
        Err(error) => Err(because("no clone could be made", &error)),
    }
}

/// What changed since the parent; none when there is no parent, an error in words when it cannot be told.
fn changes(
    request: &CaptureRequest<'_>,
    tracking: &dyn Tracking,
    path: &Path,
    taken: &Taken,
) -> Result<Option<Changes>, String> {
    if request.parent.is_none() {
        return Ok(None);
    }
    let base = tracking.base().ok_or("this worker keeps no clone of the parent recovery point")?;
    let base = Remains::read(base).map_err(|error| format!("what is kept of the parent cannot be read: {error}"))?;
    let Remains::Clone { path: at, clone: Some(clone), image, .. } = base else {
        return Err("no clone of the parent was completed".to_owned());
    };
    if !image.is_same_file(&taken.image) {
        return Err("the image is another file than the one the parent was captured from".to_owned());
    }
    let shown = at.display();
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
    let opened = File::options().read(true).custom_flags(i32::try_from(nofollow).unwrap_or(0)).open(&at);
    let base = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("the parent's clone `{shown}` is gone"),
        _ => format!("the parent's clone `{shown}` cannot be opened: {error}"),
    })?;
    let now = Identity::of(&base).map_err(|error| format!("the parent's clone `{shown}`: {error}"))?;
    if now != clone {
        return Err(format!("the parent's clone `{shown}` is not as it was left; somebody changed or replaced it"));
    }
    let device = |file: &File| file.metadata().map(|metadata| metadata.dev()).map_err(|error| error.to_string());
    if device(&base)? != device(&taken.file)? {
        return Err(format!("the parent's clone `{shown}` is on another file system than the new one"));
    }
    file_clones::changed(&base, &taken.file, CHUNK_BYTES, path).map(Some).map_err(|error| chain(&error))
}

/// Removes what a capture left.
pub(crate) fn discard(remains: &serde_json::Value) -> Result<(), DriverError> {
    match Remains::read(remains) {
        Ok(Remains::Clone { path, of, .. }) => {
            let shown = || path.display().to_string();
            // A file system that is not mounted has no clones either, until it is mounted again.
            if !path.parent().is_some_and(Path::exists) && !of.exists() {
                return Err(io_error(
                    "find the directory of the clone",
                    shown(),
                    io::Error::from(io::ErrorKind::NotFound),
                ));
            }
            file_clones::remove(&path).map_err(|error| io_error("remove the clone", shown(), io::Error::other(error)))
        }
        Err(error) => Err(DriverError::NotOurs { problem: format!("what is kept for it: {error}") }),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
