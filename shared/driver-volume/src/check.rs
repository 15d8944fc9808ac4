//! Compares a restored volume with the recovery point, byte for byte.

use driver_api::compare::has_span;
use driver_api::{Check, CheckRequest, DriverError, queue};
use job_model::{Finding, FindingKind, Progress, Severity};
use parking_lot::Mutex;

use crate::layout::{self, EXTENT_BYTES, Extent, Facts, Layout, Window};
use crate::volume::{Kind, Volume};

pub(crate) fn run(request: &CheckRequest<'_>) -> Result<Check, DriverError> {
    let facts = Facts::read(request.description)?;
    compare(request, &Layout::read(request.reader, &facts)?, false)
}

/// Whether the volume is what was captured; looks no further than the first difference.
pub(crate) fn is_equal(request: &CheckRequest<'_>, layout: &Layout<'_>) -> Result<bool, DriverError> {
    let check = compare(request, layout, true)?;
    Ok(check.findings.iter().all(|finding| finding.severity < Severity::Failure))
}

fn compare(request: &CheckRequest<'_>, layout: &Layout<'_>, until_first: bool) -> Result<Check, DriverError> {
    let shown = request.restored.display().to_string();
    let missing = |message: String| {
        let finding =
            Finding { kind: FindingKind::EntryMissing, severity: Severity::Failure, subject: String::new(), message };
        Ok(Check { findings: vec![finding], ..Check::default() })
    };
    let volume = match Volume::open(request.restored, &shown) {
        Ok(volume) => volume,
        Err(DriverError::NotFound { .. }) => return missing(format!("there is nothing at `{shown}`")),
        Err(DriverError::BadLocation { problem, .. }) => return missing(format!("`{shown}`: {problem}")),
        Err(error) => return Err(error),
    };
    let comparison = Comparison {
        request,
        volume: &volume,
        until_first,
        findings: Mutex::default(),
        first_correct_read_ms: Mutex::default(),
    };
    comparison.size_and_attributes(layout.facts())?;
    let mut items = 0;
    for window in layout.windows() {
        let window = window?;
        if until_first && !comparison.findings.lock().is_empty() {
            break;
        }
        items += window.extents.len() as u64;
        queue::for_each(request.parallelism, request.control, &parts(&window), |part| comparison.part(part))?;
    }
    let mut findings = comparison.findings.into_inner();
    findings.sort_by(|a, b| a.subject.cmp(&b.subject));
    Ok(Check {
        findings,
        first_correct_read_ms: comparison.first_correct_read_ms.into_inner(),
        bytes: layout.facts().size,
        items,
        ..Check::default()
    })
}

/// A part of the volume.
enum Part<'a> {
    Stored(&'a Extent),
    Zeros { from: u64, to: u64 },
}

/// Extents and what lies between them.
fn parts(window: &Window) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut position = window.part.start;
    for extent in &window.extents {
        if position < extent.offset {
            parts.push(Part::Zeros { from: position, to: extent.offset });
        }
        parts.push(Part::Stored(extent));
        position = extent.offset + extent.length;
    }
    if position < window.part.end {
        parts.push(Part::Zeros { from: position, to: window.part.end });
    }
    parts
}

struct Comparison<'a> {
    request: &'a CheckRequest<'a>,
    volume: &'a Volume,
    until_first: bool,
    findings: Mutex<Vec<Finding>>,
    first_correct_read_ms: Mutex<Option<u64>>,
}

impl Comparison<'_> {
    fn find(&self, kind: FindingKind, subject: String, message: String) {
        self.findings.lock().push(Finding { kind, severity: Severity::Failure, subject, message });
    }

    fn read_right(&self) {
        self.first_correct_read_ms.lock().get_or_insert_with(|| (self.request.elapsed_ms)());
    }

    fn size_and_attributes(&self, facts: &Facts) -> Result<(), DriverError> {
        let size = self.volume.size;
        // A device may be larger than what was restored to it.
        if size < facts.size || (self.volume.kind == Kind::Image && size != facts.size) {
            let message = format!("it has {size} bytes instead of {}", facts.size);
            self.find(FindingKind::ContentDiffers, String::new(), message);
        }
        let is = self.volume.image_file().map_err(|e| crate::io_error("look at", "", e))?;
        if let (Some(is), Some(was)) = (is, facts.image_file) {
            if is.mode != was.mode {
                let message = format!("mode is {:04o} instead of {:04o}", is.mode, was.mode);
                self.find(FindingKind::MetadataDiffers, String::new(), message);
            }
            if self.request.privileged && (is.uid, is.gid) != (was.uid, was.gid) {
                let message = format!("owner is {}:{} instead of {}:{}", is.uid, is.gid, was.uid, was.gid);
                self.find(FindingKind::MetadataDiffers, String::new(), message);
            }
            if is.mtime != was.mtime {
                let message = format!("time of change is {} instead of {}", is.mtime, was.mtime);
                self.find(FindingKind::MetadataDiffers, String::new(), message);
            }
        }
        Ok(())
    }

    fn part(&self, part: &Part<'_>) -> Result<(), DriverError> {
        if self.until_first && !self.findings.lock().is_empty() {
            return Ok(());
        }
        match part {
            Part::Stored(extent) => self.stored(extent),
            Part::Zeros { from, to } => self.zeros(*from, *to),
        }
    }

    fn stored(&self, extent: &Extent) -> Result<(), DriverError> {
        let subject = || String::from_utf8_lossy(&layout::name(extent.offset)).into_owned();
        let mut buffer = Vec::new();
        for span in &extent.spans {
            if self.request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            match has_span(&self.volume.file, span, &mut buffer) {
                Ok(true) => self.read_right(),
                Ok(false) => {
                    let end = span.offset + u64::from(span.length);
                    let message = format!("bytes {} to {end} are not what was captured", span.offset);
                    self.find(FindingKind::ContentDiffers, subject(), message);
                    if self.until_first {
                        return Ok(());
                    }
                }
                Err(error) => {
                    let message = format!("byte {} and later cannot be read: {error}", span.offset);
                    self.find(FindingKind::CheckFailed, subject(), message);
                    return Ok(());
                }
            }
            let bytes = u64::from(span.length);
            self.request.control.advance(Progress { bytes_done: bytes, bytes_read: bytes, ..Progress::default() });
        }
        self.request.control.advance(Progress { items_done: 1, ..Progress::default() });
        Ok(())
    }

    fn zeros(&self, from: u64, to: u64) -> Result<(), DriverError> {
        let to = to.min(self.volume.size);
        let subject = || String::from_utf8_lossy(&layout::name(from / EXTENT_BYTES * EXTENT_BYTES)).into_owned();
        match self.volume.first_not_zero(from, to, || !self.request.control.is_stopped()) {
            Ok(None) if self.request.control.is_stopped() => return Err(DriverError::Stopped),
            Ok(None) => self.read_right(),
            Ok(Some(offset)) => {
                let message = format!("byte {offset} or one soon after is not zero, where all was zeros");
                self.find(FindingKind::ContentDiffers, subject(), message);
            }
            Err(error) => {
                let message = format!("zeros from byte {from} cannot be read: {error}");
                self.find(FindingKind::CheckFailed, subject(), message);
            }
        }
        self.request.control.advance(Progress { bytes_done: to.saturating_sub(from), ..Progress::default() });
        Ok(())
    }
}
