//! What was measured so far, kept in a file so that rows can be measured one at a time.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::measure::Sample;
use crate::settings::{PgRow, PgTool, Row, Tool};

/// In [`Results::rates`]: pgbench with nothing beside it.
pub(crate) const ALONE: &str = "alone";

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    #[serde(skip)]
    path: PathBuf,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) primitives: BTreeMap<String, f64>,
    /// Changes made to the volume since it was built: each with a seed of its own.
    #[serde(default)]
    pub(crate) changes: u64,
    /// Chunks of the index that was loaded.
    #[serde(default)]
    pub(crate) index_chunks: u64,
    /// Transactions each second of pgbench, by what ran beside it.
    #[serde(default)]
    pub(crate) rates: BTreeMap<String, Vec<f64>>,
    /// What the last copy of ours moved.
    #[serde(default)]
    pub(crate) moved: Option<Moved>,
    /// By row with change tracking: seconds that the system takes for a clone and the lists of extents.
    #[serde(default)]
    pub(crate) system: BTreeMap<String, Vec<f64>>,
    /// By row and tool.
    samples: BTreeMap<String, BTreeMap<String, Vec<Sample>>>,
}

/// Bytes that a copy moved. Everything that its process read and wrote counts, packs or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// What the other repository lacked, compressed and encrypted.
    pub(crate) missing: u64,
}

impl Results {
    pub(crate) fn load(dir: &Path) -> Result<Self, BenchError> {
        let path = dir.join("results.json");
        let mut results: Self = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(BenchError::io("read", path)(error)),
        };
        results.path = path;
        Ok(results)
    }

    pub(crate) fn save(&self) -> Result<(), BenchError> {
        fs::write(&self.path, serde_json::to_vec_pretty(self)?).map_err(BenchError::io("write", &self.path))
    }

    pub(crate) fn forget(&mut self, row: impl Display) {
        self.samples.remove(&row.to_string());
        self.system.remove(&row.to_string());
    }

    pub(crate) fn add(&mut self, row: impl Display, tool: impl Display, sample: Sample) {
        self.samples.entry(row.to_string()).or_default().entry(tool.to_string()).or_default().push(sample);
    }

    /// The table, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for (tool, version) in &self.versions {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "* {tool}: `{version}`");
        }
        out.push_str("\n| row | tool | rounds | seconds (median) | ratio | CPU seconds | peak MB | stored MB |\n");
        out.push_str("|---|---|---|---|---|---|---|---|\n");
        let ours = Tool::Holdfast.to_string();
        let rows = Row::ALL.iter().map(Row::to_string).chain(PgRow::ALL.iter().map(PgRow::to_string));
        let tools_in_order =
            || Tool::ALL.iter().map(Tool::to_string).chain(PgTool::ALL[1..].iter().map(PgTool::to_string));
        for row in rows {
            let Some(tools) = self.samples.get(&row) else { continue };
            let our_wall = tools.get(&ours).map(|samples| median(samples, |s| s.wall));
            for tool in tools_in_order() {
                let Some(samples) = tools.get(&tool) else { continue };
                let mut line = |name: &str, samples: &[Sample], wall: f64| {
                    let ratio = our_wall.filter(|_| tool != ours).map(|ours| format!("{:.2}", wall / ours));
                    let _ = writeln!(
                        out,
                        "| {row} | {name} | {} | {wall:.2} | {} | {:.2} | {:.0} | {:.1} |",
                        samples.len(),
                        ratio.unwrap_or_default(),
                        median(samples, |sample| sample.cpu),
                        median(samples, |sample| sample.peak as f64) / 1e6,
                        median(samples, |sample| sample.stored as f64) / 1e6,
                    );
                };
                line(&tool, samples, median(samples, |sample| sample.wall));
                let synced: Vec<Sample> = samples.iter().filter(|sample| sample.synced.is_some()).copied().collect();
                if !synced.is_empty() {
                    let wall = median(&synced, |sample| sample.synced.unwrap_or_default());
                    line(&format!("{tool}, synced"), &synced, wall);
                }
            }
        }
        if let Some(alone) = self.rates.get(ALONE).map(|rates| middle(rates.clone())) {
            out.push_str(
                "\n| pgbench -c4 beside | rounds | transactions a second (median) | of alone |\n|---|---|---|---|\n",
            );
            for (beside, rates) in &self.rates {
                let rate = middle(rates.clone());
                let _ = writeln!(out, "| {beside} | {} | {rate:.0} | {:.1} % |", rates.len(), 100.0 * rate / alone);
            }
        }
        let index = self.samples.get(&Row::Index.to_string()).and_then(|tools| tools.get(&Tool::Holdfast.to_string()));
        if let Some(samples) = index.filter(|_| self.index_chunks > 0) {
            let bytes = median(samples, |sample| sample.stored as f64) / self.index_chunks as f64;
            let _ = writeln!(out, "\nIndex of {} chunks: {bytes:.1} bytes each.", self.index_chunks);
        }
        if let Some(Moved { read, written, missing }) = self.moved.filter(|moved| moved.missing > 0) {
            let [read, written] = [read, written].map(|bytes| bytes as f64 / missing as f64);
            let _ = writeln!(out, "\nFor each byte that was missing, a copy read {read:.4} and wrote {written:.4}.");
        }
        for (row, seconds) in &self.system {
            let middle = middle(seconds.clone());
            let _ = writeln!(out, "\nOf {row}, a clone and both lists of extents alone took {middle:.2} s (median).");
        }
        if !self.primitives.is_empty() {
            out.push_str("\n| primitive, one thread | million bytes a second, unless it says otherwise |\n|---|---|\n");
            for (name, value) in &self.primitives {
                let _ = writeln!(out, "| {name} | {value:.1} |");
            }
        }
        out
    }
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    middle(samples.iter().map(of).collect())
}

/// The median.
pub(crate) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        let samples = |walls: &[f64]| walls.iter().map(|wall| Sample { wall: *wall, ..Sample::default() }).collect();
        let middle = |walls: &[f64]| {
            let samples: Vec<Sample> = samples(walls);
            median(&samples, |sample| sample.wall)
        };
        assert_eq!([middle(&[3.0, 1.0, 2.0]), middle(&[4.0, 1.0, 2.0, 3.0]), middle(&[])], [2.0, 2.5, 0.0]);
    }

    #[test]
    fn the_table_compares_with_ours() {
        let mut results = Results::default();
        results.add(Row::Check, Tool::Holdfast, Sample { wall: 2.0, ..Sample::default() });
        results.add(Row::Check, Tool::Restic, Sample { wall: 5.0, ..Sample::default() });
        assert!(results.table().contains("| check | restic | 1 | 5.00 | 2.50 |"), "{}", results.table());
        assert!(!results.table().contains("synced"), "{}", results.table());
        results.add(Row::TreeRestore, Tool::Holdfast, Sample { wall: 2.0, ..Sample::default() });
        results.add(Row::TreeRestore, Tool::Restic, Sample { wall: 3.0, synced: Some(7.0), ..Sample::default() });
        let table = results.table();
        assert!(table.contains("| tree-restore | restic | 1 | 3.00 | 1.50 |"), "{table}");
        assert!(table.contains("| tree-restore | restic, synced | 1 | 7.00 | 3.50 |"), "{table}");
    }
}
