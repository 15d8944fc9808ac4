//! Scans: everything of a kind, page by page, in the order of stable keys.

use std::str::FromStr;

use job_events::{Answer, ScanKind, ScanPage, ScanRow};
use job_model::{AccountId, Arn, JobId, LegalHoldId, PlanId, Region, ReportJobId, SelectionId};
use serde::Serialize as _;

use crate::answer::refused;
use crate::state::State;

/// Rows of a page at most, and unless the query says less.
const ROWS_MAX: u32 = 1000;
/// Bytes of the rows of a page: an answer has to fit into one message of NATS.
const BYTES_MAX: usize = 900 * 1024;

/// A page of a scan.
pub(super) fn scan(
    state: &State,
    installation: &str,
    kind: ScanKind,
    after: Option<&str>,
    limit: Option<u32>,
) -> Answer {
    let limit = limit.unwrap_or(ROWS_MAX);
    if !(1..=ROWS_MAX).contains(&limit) {
        return refused("InvalidParameterValueException", "limit", format!("`{limit}` is not 1 to {ROWS_MAX}"));
    }
    let Some(rows) = rows(state, kind, after) else {
        let text = format!("`{}` is not the `next` of a page before", after.unwrap_or_default());
        return refused("InvalidParameterValueException", "after", text);
    };
    let mut page = ScanPage {
        rows: Vec::new(),
        next: None,
        facts_told: state.meta().facts,
        installation: installation.to_owned(),
    };
    let mut bytes = 0;
    let mut last = None;
    for (key, row) in rows {
        let full = page.rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let size = size_of(&row);
        // One row always fits, so that no page is empty before the end.
        if full || (bytes + size > BYTES_MAX && !page.rows.is_empty()) {
            page.next = last;
            break;
        }
        bytes += size;
        last = Some(key);
        page.rows.push(row);
    }
    Answer::Scan(page)
}

/// Counts the bytes of a row's JSON without keeping them.
fn size_of(row: &ScanRow) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    let written = row.serialize(&mut serde_json::Serializer::new(&mut counter));
    // The comma; a row that cannot be written fails when the answer is.
    if written.is_ok() { counter.0 + 1 } else { 0 }
}

type Rows<'a> = Box<dyn Iterator<Item = (String, ScanRow)> + 'a>;

/// The rows of a kind after a key; none where the key cannot be one of that kind.
fn rows<'a>(state: &'a State, kind: ScanKind, after: Option<&str>) -> Option<Rows<'a>> {
    Some(match kind {
        ScanKind::Resources => {
            let after = key::<Arn>(after)?;
            Box::new(state.resources.after(after).map(|(key, row)| {
                let row = ScanRow::Resource(Box::new(row.clone()));
                (key.to_string(), row)
            }))
        }
        ScanKind::Vaults => {
            let after = key::<Arn>(after)?;
            Box::new(state.vaults.after(after).map(|(key, row)| {
                let row = ScanRow::Vault(Box::new(row.clone()));
                (key.to_string(), row)
            }))
        }
        ScanKind::Plans => {
            let after = match after {
                None => None,
                Some(text) => {
                    let (plan, version) = text.split_once('/')?;
                    Some((PlanId::from_str(plan).ok()?, version.parse().ok()?))
                }
            };
            Box::new(state.plans.after(after).map(|((plan, version), row)| {
                let row = ScanRow::Plan(Box::new(row.shown()));
                (format!("{plan}/{version}"), row)
            }))
        }
        ScanKind::Selections => {
            let after = key::<SelectionId>(after)?;
            Box::new(state.selections.after(after).map(|(key, row)| {
                let row = ScanRow::Selection(Box::new(row.clone()));
                (key.to_string(), row)
            }))
        }
        ScanKind::Jobs => {
            let after = key::<JobId>(after)?;
            Box::new(state.jobs_after(after).map(|(key, row)| {
                let row = ScanRow::Job(Box::new(row.job.clone()));
                (key.to_string(), row)
            }))
        }
        ScanKind::RecoveryPoints => {
            let after = key::<Arn>(after)?;
            Box::new(state.points.after(after).map(|(key, row)| {
                let row = ScanRow::RecoveryPoint(Box::new(row.point.clone()));
                (key.to_string(), row)
            }))
        }
        ScanKind::LegalHolds => {
            let after = key::<LegalHoldId>(after)?;
            Box::new(state.holds.after(after).map(|(key, row)| {
                let row = ScanRow::LegalHold(Box::new(row.clone()));
                (key.to_string(), row)
            }))
        }
        ScanKind::Settings => settings(state, after)?,
        ScanKind::ReportPlans => {
            let after = match after {
                None => None,
                Some(text) => {
                    let mut parts = text.splitn(3, '/');
                    let account: AccountId = parts.next()?.parse().ok()?;
                    let region: Region = parts.next()?.parse().ok()?;
                    Some((account, region, parts.next()?.to_owned()))
                }
            };
            Box::new(state.report_plans.after(after).map(|((account, region, name), row)| {
                let row = ScanRow::ReportPlan(Box::new(row.clone()));
                (format!("{account}/{region}/{name}"), row)
            }))
        }
        ScanKind::ReportJobs => {
            let after = key::<ReportJobId>(after)?;
            Box::new(state.report_jobs.after(after).map(|(key, row)| {
                let row = ScanRow::ReportJob(Box::new(row.clone()));
                (key.to_string(), row)
            }))
        }
    })
}

/// Settings by region, keyed `<account>/<region>`, then the global ones, keyed `~<account>`, which sorts behind.
fn settings<'a>(state: &'a State, after: Option<&str>) -> Option<Rows<'a>> {
    let global_after = match after.and_then(|text| text.strip_prefix('~')) {
        Some(account) => Some(account.parse::<AccountId>().ok()?),
        None => None,
    };
    let only_global = global_after.is_some();
    let global = state.global_settings.after(global_after).map(|(account, row)| {
        let row = ScanRow::GlobalSettings(Box::new(row.clone()));
        (format!("~{account}"), row)
    });
    if only_global {
        return Some(Box::new(global));
    }
    let after = match after {
        None => None,
        Some(text) => {
            let (account, region) = text.split_once('/')?;
            Some((account.parse::<AccountId>().ok()?, region.parse::<Region>().ok()?))
        }
    };
    let of_regions = state.region_settings.after(after).map(|((account, region), row)| {
        let row = ScanRow::RegionSettings(Box::new(row.clone()));
        (format!("{account}/{region}"), row)
    });
    Some(Box::new(of_regions.chain(global)))
}

/// A key as it stands in `after`: none where there is none, nothing at all where it is no key.
fn key<K: FromStr>(after: Option<&str>) -> Option<Option<K>> {
    match after {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}
