//! The ladder of proof: every file is what was captured, a server starts on them, replays its log and answers, indexes and
//! pages are sound, rows are those that were counted at the source, foreign keys hold, and what the user wants to be true is.

mod ladder;

pub(crate) use ladder::{Climbing, failure, read_census};

use std::path::{Path, PathBuf};

use driver_api::{Check, CheckRequest, Driver as _, DriverError};
use driver_filesystem::FilesystemDriver;
use job_model::{Finding, FindingKind, PhaseTiming, Severity};

use crate::facts::PhysicalFacts;
use crate::logical::LogicalFacts;
use crate::options::Options;
use crate::owner::OwnedBy;
use crate::settings::PostgresSettings;
use crate::tool::User;
use crate::{io_error, restore};

/// Proves a restored data directory.
pub(crate) fn run(settings: &PostgresSettings, request: &CheckRequest<'_>) -> Result<Check, DriverError> {
    if LogicalFacts::is_in(request.description) {
        return crate::logical::check::run(settings, request);
    }
    let facts = PhysicalFacts::read(request.description)?;
    let options = Options::parse(request.options)?;
    if options.start_server {
        return Err(crate::logical::restore::refused("StartServer", "a restore test starts a server of its own"));
    }
    let user = User::to_run_as(&settings.run_as)?;
    let bin_dir = restore::bin_dir(settings, &facts)?;
    let mut steps = Steps::begin(request.elapsed_ms);
    let started = started_mark(request.restored);
    let view = OwnedBy::new(request.reader, &user);
    let files = CheckRequest { reader: &view, ..*request };
    let rolled = restore::forward::rolled_to(request.restored);
    let mut facts = facts;
    let mut check = if rolled.is_some() {
        // A server replayed the log on them. Every file was verified against its digest when it was restored; rows were
        // counted at another instant.
        facts.census = None;
        sizes(request)?
    } else if started.exists() {
        let mut check = sizes(request)?;
        check.findings.push(Finding {
            kind: FindingKind::CheckFailed,
            severity: Severity::Note,
            subject: String::new(),
            message: "files were compared by an earlier attempt, before it started a server on them".to_owned(),
        });
        check
    } else {
        FilesystemDriver.check(files)?
    };
    explain_pages(&mut check.findings);
    steps.end("manifest");
    check.first_correct_read_ms = None;
    if check.findings.iter().any(|finding| finding.severity == Severity::Failure) {
        // What is not what was captured is not worth a start.
        check.steps = steps.done;
        return Ok(check);
    }
    mark(&started)?;
    let result = ladder::climb(settings, request, &facts, &options, &bin_dir, &user, &mut check, &mut steps);
    check.steps = steps.done;
    check.compared = rolled.map(|target| compared(&target, &check));
    result.map(|()| check)
}

/// What the check of a server that was rolled forward says: its files are no longer those of the capture, and its rows were
/// counted at another instant.
fn compared(target: &str, check: &Check) -> String {
    let found: Vec<&str> = check
        .steps
        .iter()
        .filter_map(|step| match step.phase.as_str() {
            "first-query" => Some("its catalogues answer"),
            "amcheck" => Some("its tables and indexes are sound"),
            "foreign-keys" => Some("its foreign keys hold"),
            "assertions" => Some("what was asserted is true"),
            "page-checksums" => Some("its pages have their checksums"),
            _ => None,
        })
        .collect();
    format!(
        "the server of {target}: {} entries with {} bytes were verified against the full capture as they were restored, the \
         log was replayed to there, and {}; rows were not compared, they were counted at another instant",
        check.items,
        check.bytes,
        found.join(", ")
    )
}

/// Beside the directory: it says that a server has been started on it.
fn started_mark(restored: &Path) -> PathBuf {
    let mut name = restored.file_name().unwrap_or_default().to_owned();
    name.push(".holdfast-started");
    restored.with_file_name(name)
}

fn mark(path: &Path) -> Result<(), DriverError> {
    let failed = |error| io_error("write", path.display().to_string(), error);
    let file = std::fs::File::create(path).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// What the recovery point has, without looking at the files.
fn sizes(request: &CheckRequest<'_>) -> Result<Check, DriverError> {
    let (mut bytes, mut items) = (0, 0);
    let root = request.reader.tree(&request.reader.root())?;
    let mut trees: Vec<_> = root.nodes.into_iter().filter(|node| node.name == b"data").map(|node| node.kind).collect();
    while let Some(kind) = trees.pop() {
        if let vault_format::NodeKind::Dir { subtree } = kind {
            for node in request.reader.tree(&subtree)?.nodes {
                items += 1;
                match node.kind {
                    vault_format::NodeKind::File { size, .. } => bytes += size,
                    other => trees.push(other),
                }
            }
        }
    }
    Ok(Check { bytes, items, ..Check::default() })
}

/// Says of a difference in a relation which block it is in.
fn explain_pages(findings: &mut [Finding]) {
    for finding in findings.iter_mut().filter(|finding| finding.kind == FindingKind::ContentDiffers) {
        let Some(segment) = crate::page::relation_segment(&finding.subject) else { continue };
        let offset =
            finding.message.strip_prefix("bytes ").and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        if let Some(offset) = offset {
            let page = u32::try_from(offset / crate::page::PAGE_BYTES as u64).unwrap_or(u32::MAX);
            finding.message = format!("{} (from block {})", finding.message, crate::page::block(segment, page));
        }
    }
}

/// Steps with their times.
pub(crate) struct Steps<'a> {
    elapsed_ms: &'a (dyn Fn() -> u64 + Sync),
    began: u64,
    done: Vec<PhaseTiming>,
}

impl<'a> Steps<'a> {
    pub(crate) fn begin(elapsed_ms: &'a (dyn Fn() -> u64 + Sync)) -> Self {
        Self { elapsed_ms, began: elapsed_ms(), done: Vec::new() }
    }

    pub(crate) fn into_phases(self) -> Vec<PhaseTiming> {
        self.done
    }

    pub(crate) fn end(&mut self, step: &str) -> u64 {
        let now = (self.elapsed_ms)();
        let duration_ms = now.saturating_sub(self.began);
        self.done.push(PhaseTiming { phase: step.to_owned(), duration_ms });
        self.began = now;
        duration_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_rolled_forward_is_not_said_to_be_as_it_was_captured() {
        let step = |phase: &str| PhaseTiming { phase: phase.to_owned(), duration_ms: 1 };
        let steps = ["manifest", "promoted", "first-query", "amcheck", "foreign-keys", "stop", "page-checksums"];
        let check = Check { items: 3, bytes: 42, steps: steps.map(step).into(), ..Check::default() };
        assert_eq!(
            compared("2026-11-21T10:00:07Z", &check),
            "the server of 2026-11-21T10:00:07Z: 3 entries with 42 bytes were verified against the full capture as they were \
             restored, the log was replayed to there, and its catalogues answer, its tables and indexes are sound, its \
             foreign keys hold, its pages have their checksums; rows were not compared, they were counted at another instant"
        );
        let unsound = Check { steps: vec![step("first-query")], ..check };
        assert!(!compared("x", &unsound).contains("checksums"));
    }
}
