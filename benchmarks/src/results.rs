//! What was measured so far, kept in a file so that rows can be measured one at a time.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::measure::Sample;
use crate::settings::{PgRow, PgTool, Row, Tool};

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
    /// pgbench, by what ran beside it.
    #[serde(default)]
    pub(crate) beside: BTreeMap<String, Vec<Beside>>,
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

/// pgbench beside something, in one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Transactions each second alone, right before.
    pub(crate) alone: f64,
    /// And beside it.
    pub(crate) rate: f64,
    /// Length of the window.
    pub(crate) seconds: u64,
    /// Seconds that each of the backups took that began in it.
    pub(crate) backups: Vec<f64>,
}

impl Beside {
    /// What is left, in hundredths of what there is alone.
    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.rate / self.alone
    }
}

impl Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self { alone, rate, seconds, backups }, percent) = (self, self.percent());
        write!(f, "{rate:.0} transactions a second in {seconds} s, {alone:.0} alone before, {percent:.1} %")?;
        match backups.len() {
            0 => Ok(()),
            1 => write!(f, "; the backup took {:.1} s", backups[0]),
            many => write!(f, "; {many} backups"),
        }
    }
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
        let known: Vec<String> =
            Tool::ALL.iter().map(Tool::to_string).chain(PgTool::ALL[1..].iter().map(PgTool::to_string)).collect();
        for row in rows {
            let Some(tools) = self.samples.get(&row) else { continue };
            let our_wall = tools.get(&ours).map(|samples| median(samples, |s| s.wall));
            // The other ways of a tool come after it and all others.
            for tool in known.iter().chain(tools.keys().filter(|tool| !known.contains(tool))) {
                let Some(samples) = tools.get(tool) else { continue };
                let mut line = |name: &str, samples: &[Sample], wall: f64| {
                    let ratio = our_wall.filter(|_| *tool != ours).map(|ours| format!("{:.2}", wall / ours));
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
                line(tool, samples, median(samples, |sample| sample.wall));
                let synced: Vec<Sample> = samples.iter().filter(|sample| sample.synced.is_some()).copied().collect();
                if !synced.is_empty() {
                    let wall = median(&synced, |sample| sample.synced.unwrap_or_default());
                    line(&format!("{tool}, synced"), &synced, wall);
                }
            }
        }
        out.push_str(&self.table_of_beside());
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

impl Results {
    /// What is left of pgbench beside each tool.
    fn table_of_beside(&self) -> String {
        if self.beside.is_empty() {
            return String::new();
        }
        let mut out = "\n| pgbench -c4 beside | rounds | transactions a second (median) | alone right before | of alone | backups |\n\
                       |---|---|---|---|---|---|\n"
            .to_owned();
        for (name, measured) in &self.beside {
            let of = |value: fn(&Beside) -> f64| middle(measured.iter().map(value).collect());
            let took = middle(measured.iter().flat_map(|beside| beside.backups.iter().copied()).collect());
            let window = measured.first().map_or(0, |beside| beside.seconds);
            let backups = match of(|beside| beside.backups.len() as f64) {
                0.0 => String::new(),
                1.0 => format!("{took:.1} s of {window}"),
                many => format!("{many:.0} of {took:.1} s, in {window}"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "| {name} | {} | {:.0} | {:.0} | {:.1} % | {backups} |",
                measured.len(),
                of(|beside| beside.rate),
                of(|beside| beside.alone),
                of(Beside::percent)
            );
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
    fn the_table_says_what_is_left_and_how_much_of_the_window_a_backup_took() {
        let mut results = Results::default();
        let beside = |rate, backups| Beside { alone: 200.0, rate, seconds: 30, backups };
        results.beside.insert("one".to_owned(), vec![beside(180.0, vec![1.5]), beside(190.0, vec![2.5])]);
        results.beside.insert("many".to_owned(), vec![beside(100.0, vec![2.0; 9])]);
        results.beside.insert("none".to_owned(), vec![beside(199.0, Vec::new())]);
        let table = results.table();
        assert!(table.contains("| one | 2 | 185 | 200 | 92.5 % | 2.0 s of 30 |"), "{table}");
        assert!(table.contains("| many | 1 | 100 | 200 | 50.0 % | 9 of 2.0 s, in 30 |"), "{table}");
        assert!(table.contains("| none | 1 | 199 | 200 | 99.5 % |  |"), "{table}");
    }

    #[test]
    fn the_table_compares_with_ours() {
        let mut results = Results::default();
        results.add(Row::Check, Tool::Holdfast, Sample { wall: 2.0, ..Sample::default() });
        results.add(Row::Check, Tool::Restic, Sample { wall: 5.0, ..Sample::default() });
        assert!(results.table().contains("| check | restic | 1 | 5.00 | 2.50 |"), "{}", results.table());
        assert!(!results.table().contains("synced"), "{}", results.table());
        results.add(PgRow::Restore, "pg-basebackup, verified", Sample { wall: 4.0, ..Sample::default() });
        assert!(
            results.table().contains("| pg-restore | pg-basebackup, verified | 1 | 4.00 |  |"),
            "{}",
            results.table()
        );
        results.add(Row::TreeRestore, Tool::Holdfast, Sample { wall: 2.0, ..Sample::default() });
        results.add(Row::TreeRestore, Tool::Restic, Sample { wall: 3.0, synced: Some(7.0), ..Sample::default() });
        let table = results.table();
        assert!(table.contains("| tree-restore | restic | 1 | 3.00 | 1.50 |"), "{table}");
        assert!(table.contains("| tree-restore | restic, synced | 1 | 7.00 | 3.50 |"), "{table}");
    }
}
