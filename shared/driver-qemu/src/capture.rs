//! Captures a served disk.

use std::ops::Range;

use driver_api::{Capture, CaptureRequest, DriverError, Probe};
use driver_volume::{CHUNK_BYTES, EXTENT_BYTES, Served, capture_served};

use crate::error::{QemuError, chain};
use crate::instant::{Instant, Remains, base_of};
use crate::location::Location;
use crate::qmp::{Monitor, Node};
use crate::served::Export;
use crate::settings::{QemuProfile, QemuSettings};

pub(crate) fn probe(settings: &QemuSettings, location: &str) -> Result<Probe, DriverError> {
    let parsed = Location::parse(location)?;
    let profile = profile(settings, &parsed, location)?;
    let (_, node) = open(profile, &parsed, location)?;
    let mut warnings = Vec::new();
    if !is_persistent(&node) {
        warnings.push(format!(
            "`{}` is no qcow2 image: its bitmap ends with the process, and the capture after that reads everything",
            node.name
        ));
    }
    if !profile.scratch_directory.is_dir() {
        return Err(DriverError::BadLocation {
            location: location.to_owned(),
            problem: format!(
                "the profile's scratch directory `{}` is not there; make it",
                profile.scratch_directory.display()
            ),
        });
    }
    Ok(Probe { size_bytes: Some(node.image.size), warnings })
}

pub(crate) fn run(settings: &QemuSettings, request: &CaptureRequest<'_>) -> Result<Capture, DriverError> {
    let location = Location::parse(request.location)?;
    let profile = profile(settings, &location, request.location)?;
    let failed = |error: QemuError| failure(request.location, error);
    let Some(tracking) = request.tracking else {
        return Err(DriverError::BadLocation {
            location: request.location.to_owned(),
            problem: "a served volume is captured with change tracking or not at all; set `tracking.enabled = true`"
                .to_owned(),
        });
    };
    let (monitor, node) = open(profile, &location, request.location)?;
    room(profile, node.image.size, request.location)?;
    let remains = Remains::new(&location, profile, tracking.name(), is_persistent(&node));
    let base = request.parent.as_ref().map(|_| base_of(tracking.base(), &location, &node.bitmaps));
    let (base, fallback) = match base {
        None => (None, None),
        Some(Ok(base)) => (Some(base), None),
        Some(Err(why)) => (None, Some(why)),
    };
    tracking.intend(&remains.to_json())?;
    let instant = Instant::take(monitor, profile, remains, &node, base.as_deref()).map_err(failed)?;
    tracking.view_taken()?;
    let written = instant.changed(profile).map_err(failed)?;
    let was = request.parent.as_ref().and_then(|parent| parent.description.pointer("/driver/size")?.as_u64());
    let changed = written.map(|written| chunks(&written, was.unwrap_or(0), node.image.size));
    let export = instant.export();
    let source = Export::open(profile, &export, |size| looked_at(changed.as_deref(), size)).map_err(failed)?;
    let served = Served { source: &source, changed: changed.as_deref(), fallback, remains: None };
    let captured = capture_served(request, served)?;
    drop(source);
    let remains = instant.finish().map_err(failed)?;
    Ok(Capture { remains: Some(remains.to_json()), ..captured })
}

/// What was written, widened to whole chunks and cut at the end; with everything beyond the parent's size, and its last byte.
fn chunks(written: &[(u64, u64)], was: u64, size: u64) -> Vec<Range<u64>> {
    let common = was.min(size);
    let resized = (was != size).then_some((common.saturating_sub(1), size.max(was)));
    let mut all: Vec<(u64, u64)> = written.iter().copied().chain(resized).collect();
    all.sort_unstable();
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (start, end) in all {
        let start = start / CHUNK_BYTES * CHUNK_BYTES;
        let end = end.div_ceil(CHUNK_BYTES).saturating_mul(CHUNK_BYTES).min(size);
        match ranges.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ if start < end => ranges.push(start..end),
            _ => {}
        }
    }
    ranges
}

/// Where it is worth asking what reads as zeros: everywhere, or in the extents of which something is read.
fn looked_at(changed: Option<&[Range<u64>]>, size: u64) -> Vec<(u64, u64)> {
    let Some(changed) = changed else { return vec![(0, size)] };
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for range in changed {
        let start = range.start / EXTENT_BYTES * EXTENT_BYTES;
        let end = range.end.div_ceil(EXTENT_BYTES).saturating_mul(EXTENT_BYTES).min(size);
        match parts.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => parts.push((start, end)),
        }
    }
    parts
}

/// Whether there is room for what may be overwritten.
fn room(profile: &QemuProfile, size: u64, shown: &str) -> Result<(), DriverError> {
    let directory = &profile.scratch_directory;
    let failed = |error: rustix::io::Errno| DriverError::Io {
        action: "look at the scratch directory",
        path: directory.display().to_string(),
        source: error.into(),
    };
    let found = rustix::fs::statvfs(directory.as_path()).map_err(failed)?;
    let free = u128::from(found.f_bavail) * u128::from(found.f_frsize);
    let wanted = u128::from(size) * u128::from(profile.scratch_min_free_percent) / 100;
    if free >= wanted {
        return Ok(());
    }
    Err(DriverError::BadLocation {
        location: shown.to_owned(),
        problem: format!(
            "the scratch directory `{}` has {free} bytes free and a capture begins with {wanted}; make room, or lower \
             `scratch_min_free_percent`",
            directory.display()
        ),
    })
}

fn open(profile: &QemuProfile, location: &Location, shown: &str) -> Result<(Monitor, Node), DriverError> {
    let mut monitor = Monitor::connect(profile).map_err(|error| failure(shown, error))?;
    match monitor.node(&location.node).map_err(|error| failure(shown, error))? {
        Some(node) => Ok((monitor, node)),
        None => Err(DriverError::NotFound { location: shown.to_owned() }),
    }
}

/// Only a qcow2 image has room for bitmaps.
fn is_persistent(node: &Node) -> bool {
    node.drv == "qcow2"
}

fn profile<'a>(settings: &'a QemuSettings, location: &Location, shown: &str) -> Result<&'a QemuProfile, DriverError> {
    settings.profiles.get(&location.profile).ok_or_else(|| DriverError::BadLocation {
        location: shown.to_owned(),
        problem: format!(
            "no profile `{0}` in this worker's configuration; add `[qemu.profiles.{0}]`",
            location.profile
        ),
    })
}

fn failure(location: &str, error: QemuError) -> DriverError {
    tracing::debug!(location, error = chain(&error), "QEMU");
    DriverError::Io { action: "capture over QEMU", path: location.to_owned(), source: error.into_io() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: u64 = CHUNK_BYTES;

    fn only(range: Range<u64>) -> Vec<Range<u64>> {
        vec![range]
    }

    #[test]
    fn what_was_written_is_widened_to_chunks_and_a_change_of_the_size_is_one() {
        assert_eq!(chunks(&[(5, 6), (C - 1, C + 1), (7 * C, 7 * C + 9)], 10 * C, 10 * C), [0..2 * C, 7 * C..8 * C]);
        assert_eq!(chunks(&[], 10 * C, 10 * C), []);
        // Grown, shrunk, and with a last chunk that is not whole.
        assert_eq!(chunks(&[], 2 * C, 4 * C + 5), only(C..4 * C + 5));
        assert_eq!(chunks(&[(6 * C, 7 * C)], 8 * C, 3 * C), only(2 * C..3 * C));
        assert_eq!(chunks(&[(3 * C, 3 * C + 1)], 3 * C + 5, 3 * C + 5), only(3 * C..3 * C + 5));
    }

    #[test]
    fn zeros_are_asked_for_in_whole_extents() {
        let e = EXTENT_BYTES;
        assert_eq!(looked_at(None, 5), [(0, 5)]);
        assert_eq!(looked_at(Some(&[0..C, e - C..e, 3 * e..3 * e + C]), 4 * e), [(0, e), (3 * e, 4 * e)]);
        assert_eq!(looked_at(Some(&[]), 4 * e), []);
    }
}
