//! Restores a volume to an image file or a block device.

mod device;
mod image;
mod sink;
#[cfg(test)]
mod tests;

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;

use driver_api::{
    BlobSpan, CheckRequest, ContentRequest, ContentSink, DriverError, ReadError, RestoreRequest, Restored, Uncached,
};
use job_model::{Finding, OverwritePolicy, PhaseTiming, Progress};
use sha2::{Digest, Sha256};

use self::sink::Sink;
use crate::layout::{Facts, Layout};
use crate::volume::Volume;
use crate::{check, io_error};

pub(crate) fn run(request: &RestoreRequest<'_>) -> Result<Restored, DriverError> {
    let mut phases = Phases { request, began: (request.elapsed_ms)(), done: Vec::new() };
    if request.control.is_stopped() {
        return Err(DriverError::Stopped);
    }
    let shown = request.target.display().to_string();
    if let Some(path) = request.include.first() {
        let problem = "a volume has no paths; restore all of it".to_owned();
        return Err(DriverError::BadLocation { location: path.clone(), problem });
    }
    let facts = Facts::read(request.description)?;
    let work = Work::new(request, Layout::read(request.reader, &facts)?)?;
    let mut findings = Vec::new();
    match work.place(&shown)? {
        Place::Done => phases.end("plan"),
        Place::NewImage { replaces } => {
            phases.end("plan");
            findings = image::build(&work, replaces, &mut phases)?;
        }
        Place::Device => device::write(&work, &mut phases)?,
    }
    Ok(Restored { location: request.target.to_owned(), findings, phases: phases.done })
}

/// Where an image file is built.
pub(crate) fn staging(request: &RestoreRequest<'_>) -> PathBuf {
    request.target.with_file_name(image::part(&key(request)))
}

/// Where to write, after the policy was heard.
enum Place {
    /// Nothing is to be done.
    Done,
    NewImage {
        replaces: bool,
    },
    Device,
}

struct Work<'a> {
    request: &'a RestoreRequest<'a>,
    layout: Layout<'a>,
    /// Bytes of the volume outside all extents.
    zeros: u64,
}

impl<'a> Work<'a> {
    /// Looks at everything that will be fetched: what is lost is known before anything is touched.
    fn new(request: &'a RestoreRequest<'a>, layout: Layout<'a>) -> Result<Self, DriverError> {
        let (mut extents, mut stored) = (0, 0);
        for window in layout.windows() {
            let window = window?;
            extents += window.extents.len() as u64;
            stored += window.extents.iter().map(|extent| extent.length).sum::<u64>();
        }
        let size = layout.facts().size;
        request.control.advance(Progress {
            bytes_total: Some(size),
            items_total: Some(extents),
            ..Progress::default()
        });
        Ok(Self { request, layout, zeros: size - stored })
    }

    const fn facts(&self) -> &Facts {
        self.layout.facts()
    }

    fn place(&self, shown: &str) -> Result<Place, DriverError> {
        let target = self.request.target;
        let metadata = match std::fs::metadata(target) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !target.is_symlink() => {
                return Ok(Place::NewImage { replaces: false });
            }
            // A link that leads nowhere.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(exists(shown)),
            Err(error) => return Err(io_error("look at", shown, error)),
        };
        let is_device = metadata.file_type().is_block_device();
        if !is_device && !metadata.is_file() {
            return Err(exists(shown));
        }
        match self.request.overwrite {
            OverwritePolicy::Refuse if self.is_restored()? => return Ok(Place::Done),
            OverwritePolicy::Refuse => return Err(exists(shown)),
            OverwritePolicy::Never => return Ok(Place::Done),
            OverwritePolicy::IfNewer => match (self.facts().image_file, Volume::open(target, shown)?.image_file()) {
                (Some(was), Ok(Some(is))) if was.mtime > is.mtime => {}
                (Some(_), Ok(Some(_))) => return Ok(Place::Done),
                _ => {
                    return Err(DriverError::BadLocation {
                        location: shown.to_owned(),
                        problem: "a device does not tell how old its content is; choose `if-changed`".to_owned(),
                    });
                }
            },
            OverwritePolicy::IfChanged | OverwritePolicy::Exact if !is_device && self.is_restored()? => {
                return Ok(Place::Done);
            }
            OverwritePolicy::IfChanged | OverwritePolicy::Exact => {}
        }
        if !is_device && target.is_symlink() {
            return Err(exists(shown));
        }
        Ok(if is_device { Place::Device } else { Place::NewImage { replaces: true } })
    }

    /// Whether the target is what would be restored.
    fn is_restored(&self) -> Result<bool, DriverError> {
        let check = CheckRequest {
            reader: self.request.reader,
            description: self.request.description,
            restored: self.request.target,
            options: self.request.options,
            privileged: rustix::process::geteuid().is_root(),
            parallelism: self.request.parallelism,
            control: self.request.control,
            elapsed_ms: self.request.elapsed_ms,
        };
        check::is_equal(&check, &self.layout)
    }

    fn stop_if_told(&self) -> Result<(), DriverError> {
        if self.request.control.is_stopped() { Err(DriverError::Stopped) } else { Ok(()) }
    }

    /// Fetches spans of a window and writes them. What the threads of one fetch gathered is written, and its memory free,
    /// before the next, whose threads are others.
    fn fetch_into(&self, spans: Vec<BlobSpan>, file: &Arc<Uncached>) -> Result<(), DriverError> {
        let sink = Sink::new(Arc::clone(file), self.request.control);
        self.fetch(spans, &sink)?;
        sink.finish().map_err(|error| DriverError::Read(ReadError::Sink(error)))
    }

    fn fetch(&self, spans: Vec<BlobSpan>, sink: &dyn ContentSink) -> Result<(), DriverError> {
        self.stop_if_told()?;
        if spans.is_empty() {
            return Ok(());
        }
        let request = ContentRequest { file: 0, spans };
        self.request.reader.fetch(&[request], sink, self.request.control).map_err(|error| match error {
            ReadError::Stopped => DriverError::Stopped,
            other => DriverError::Read(other),
        })
    }
}

/// 16 digits that stand for this recovery point and target.
fn key(request: &RestoreRequest<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update(request.reader.root().as_bytes());
    hash.update(request.target.as_os_str().as_encoded_bytes());
    hex::encode(&hash.finalize()[..8])
}

fn exists(shown: &str) -> DriverError {
    DriverError::TargetExists { path: shown.to_owned() }
}

fn warning(message: String) -> Finding {
    Finding {
        kind: job_model::FindingKind::MetadataDiffers,
        severity: job_model::Severity::Warning,
        subject: String::new(),
        message,
    }
}

struct Phases<'a> {
    request: &'a RestoreRequest<'a>,
    began: u64,
    done: Vec<PhaseTiming>,
}

impl Phases<'_> {
    fn end(&mut self, phase: &str) {
        let now = (self.request.elapsed_ms)();
        let duration_ms = now.saturating_sub(self.began);
        self.done.push(PhaseTiming { phase: phase.to_owned(), duration_ms });
        self.began = now;
    }
}
