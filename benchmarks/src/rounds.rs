//! The rows: what every tool does in turn, round by round.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::data;
use crate::error::BenchError;
use crate::measure::{Sample, bytes_below, measure};
use crate::reflink::{self, Reflink};
use crate::results::{Moved, Results};
use crate::settings::{Row, Run, Tool};
use crate::step::Kind;
use crate::tools::{Bench, OTHER, remove, step, version};

/// Chunks of the large index: a volume of 4 TB.
const INDEX_CHUNKS: u64 = 4_000_000;

pub(crate) fn run(run: &Run) -> Result<Results, BenchError> {
    let dir = &run.dir;
    std::fs::create_dir_all(dir).map_err(BenchError::io("create", dir))?;
    let mut results = Results::load(dir)?;
    let tools: Vec<Tool> = run.tools.iter().copied().filter(|tool| version(*tool).is_some()).collect();
    for tool in &tools {
        results.versions.insert(tool.to_string(), version(*tool).unwrap_or_default());
    }
    for &row in &run.rows {
        if run.fresh {
            results.forget(row);
        }
        let rounds = Rounds { run, dir, tools: &tools, row, moved: Cell::new(None) };
        rounds.run(&mut results)?;
    }
    remove(&dir.join(crate::tree_floor::TARGET))?;
    Ok(results)
}

struct Rounds<'a> {
    run: &'a Run,
    dir: &'a Path,
    tools: &'a [Tool],
    row: Row,
    /// What the last copy of ours moved.
    moved: Cell<Option<Moved>>,
}

impl Rounds<'_> {
    fn run(&self, results: &mut Results) -> Result<(), BenchError> {
        match self.row {
            Row::Primitives => {
                let (image, tree, log) = (self.image()?, self.tree()?, self.log("primitives"));
                results.primitives.clear();
                for (name, source) in [("primitives", &image), ("volume-floor", &image), ("tree-floor", &tree)] {
                    measure(&mut step(&[name], &[source, self.dir])?, &log)?;
                    let text = std::fs::read_to_string(&log).map_err(BenchError::io("read", &log))?;
                    results.primitives.extend(serde_json::from_str::<BTreeMap<String, f64>>(&text)?);
                }
                results.save()
            }
            Row::Index => self.index(results),
            Row::SparseFull | Row::SparseRestore => self.each(results, &[Tool::Holdfast], Self::sparse),
            Row::VolumeTracked | Row::VolumeTrackedLarge => self.tracked(results),
            _ => {
                for _ in 0..self.run.rounds {
                    if self.row == Row::VolumeChanged {
                        self.prepare()?;
                        results.changes += 1;
                        results.save()?;
                        data::change(&self.image()?, results.changes)?;
                    }
                    self.round(results, self.tools, Self::one)?;
                }
                // Not between the rounds: where ext4 has just deleted many files it is slow to make new ones.
                self.tools.iter().try_for_each(|&tool| Bench { tool, dir: self.dir }.remove_targets())
            }
        }
    }

    fn each(
        &self,
        results: &mut Results,
        tools: &[Tool],
        work: impl Fn(&Self, Bench<'_>) -> Result<Option<Sample>, BenchError>,
    ) -> Result<(), BenchError> {
        let tools: Vec<Tool> = tools.iter().copied().filter(|tool| self.tools.contains(tool)).collect();
        (0..self.run.rounds).try_for_each(|_| self.round(results, &tools, &work))
    }

    fn round(
        &self,
        results: &mut Results,
        tools: &[Tool],
        work: impl Fn(&Self, Bench<'_>) -> Result<Option<Sample>, BenchError>,
    ) -> Result<(), BenchError> {
        for &tool in tools {
            if let Some(sample) = work(self, Bench { tool, dir: self.dir })? {
                let Sample { wall, cpu, peak, .. } = sample;
                crate::print(&format!("{} {tool}: {wall:.2} s, CPU {cpu:.2} s, {} MB", self.row, peak / 1_000_000))?;
                results.add(self.row, tool, sample);
                results.moved = self.moved.take().or(results.moved);
                results.save()?;
            }
        }
        Ok(())
    }

    /// On a file system that shares extents; of the large volume ours alone.
    fn tracked(&self, results: &mut Results) -> Result<(), BenchError> {
        let Some(reflink) = Reflink::mount(self.dir, self.run.image_mib)? else { return Ok(()) };
        let image = data::image(self.dir, self.run.image_mib)?;
        let (name, source, tools) = match self.row {
            Row::VolumeTrackedLarge => ("tracked-large", reflink.large(&image)?, &[Tool::Holdfast][..]),
            _ => ("tracked", reflink.image(&image)?, self.tools),
        };
        for &tool in tools {
            let bench = Bench { tool, dir: self.dir };
            if !bench.repository(name).exists() {
                self.quietly(bench, bench.init(name)?)?;
                self.quietly(bench, bench.backup_tracked(name, Kind::Volume, &source)?)?;
            }
        }
        for _ in 0..self.run.rounds {
            results.changes += 1;
            results.save()?;
            data::change(&source, results.changes)?;
            if self.row == Row::VolumeTracked {
                data::warm(&source)?;
            }
            self.round(results, tools, |this, bench| {
                let repository = bench.repository(name);
                // All of a large one would push out everything else.
                let is_large = self.row == Row::VolumeTrackedLarge;
                data::warm(&if is_large { repository.join("index") } else { repository })?;
                let before = bytes_below(&bench.repository(name))?;
                let mut sample = this.measured(bench, bench.backup_tracked(name, Kind::Volume, &source)?)?;
                sample.stored = bytes_below(&bench.repository(name))?.saturating_sub(before);
                Ok(Some(sample))
            })?;
            let seconds = reflink::system_seconds(&source)?;
            results.system.entry(self.row.to_string()).or_default().push(seconds);
            results.save()?;
        }
        Ok(())
    }

    /// Every tool's repository with the volume as it is before a change.
    fn prepare(&self) -> Result<(), BenchError> {
        let image = self.image()?;
        for &tool in self.tools {
            self.ensure(Bench { tool, dir: self.dir }, "volume", Kind::Volume, &image)?;
        }
        Ok(())
    }

    fn one(&self, bench: Bench<'_>) -> Result<Option<Sample>, BenchError> {
        match self.row {
            Row::VolumeFull => self.full(bench, "volume", Kind::Volume, &self.image()?).map(Some),
            Row::TreeFull => self.full(bench, "tree", Kind::Tree, &self.tree()?).map(Some),
            Row::VolumeChanged => self.again(bench, "volume", Kind::Volume, &self.image()?).map(Some),
            Row::TreeUnchanged => self.again(bench, "tree", Kind::Tree, &self.tree()?).map(Some),
            Row::VolumeRestore => self.restore(bench, "volume", Kind::Volume, &self.image()?),
            Row::TreeRestore => self.restore(bench, "tree", Kind::Tree, &self.tree()?),
            Row::Check => {
                self.ensure(bench, "volume", Kind::Volume, &self.image()?)?;
                self.measured(bench, bench.check("volume")?).map(Some)
            }
            Row::Copy => {
                self.ensure(bench, "volume", Kind::Volume, &self.image()?)?;
                bench.remove(OTHER)?;
                let Some(copy) = bench.copy("volume")? else { return Ok(None) };
                self.quietly(bench, bench.init(OTHER)?)?;
                let mut sample = self.measured(bench, copy)?;
                sample.stored = bytes_below(&bench.repository(OTHER))?;
                if bench.tool == Tool::Holdfast {
                    let log = self.measured_log(bench);
                    let told = std::fs::read_to_string(&log).map_err(BenchError::io("read", &log))?;
                    self.moved.set(Some(serde_json::from_str(&told)?));
                }
                bench.remove(OTHER)?;
                Ok(Some(sample))
            }
            Row::Primitives
            | Row::SparseFull
            | Row::SparseRestore
            | Row::VolumeTracked
            | Row::VolumeTrackedLarge
            | Row::Index => Ok(None),
        }
    }

    fn full(&self, bench: Bench<'_>, name: &str, kind: Kind, source: &Path) -> Result<Sample, BenchError> {
        bench.remove(name)?;
        self.quietly(bench, bench.init(name)?)?;
        let mut sample = self.measured(bench, bench.backup(name, kind, source)?)?;
        sample.stored = bytes_below(&bench.repository(name))?;
        Ok(sample)
    }

    fn again(&self, bench: Bench<'_>, name: &str, kind: Kind, source: &Path) -> Result<Sample, BenchError> {
        self.ensure(bench, name, kind, source)?;
        let before = bytes_below(&bench.repository(name))?;
        let mut sample = self.measured(bench, bench.backup(name, kind, source)?)?;
        sample.stored = bytes_below(&bench.repository(name))?.saturating_sub(before);
        Ok(sample)
    }

    fn restore(&self, bench: Bench<'_>, name: &str, kind: Kind, source: &Path) -> Result<Option<Sample>, BenchError> {
        self.ensure(bench, name, kind, source)?;
        let target = bench.target()?;
        let Some(command) = bench.restore(name, kind, source)? else { return Ok(None) };
        let mut sample = self.measured(bench, command)?;
        if bench.tool != Tool::Holdfast {
            // What the others leave to the system, and ours does not.
            let began = Instant::now();
            let restored = File::open(&target).map_err(BenchError::io("open", &target))?;
            rustix::fs::syncfs(restored).map_err(|error| BenchError::io("sync", &target)(error.into()))?;
            sample.synced = Some(sample.wall + began.elapsed().as_secs_f64());
        }
        if kind == Kind::Volume {
            bench.remove_targets()?;
        }
        Ok(Some(sample))
    }

    fn sparse(&self, bench: Bench<'_>) -> Result<Option<Sample>, BenchError> {
        let source = data::sparse(self.dir)?;
        if self.row == Row::SparseFull {
            return self.full(bench, "sparse", Kind::Volume, &source).map(Some);
        }
        self.ensure(bench, "sparse", Kind::Volume, &source)?;
        let target = bench.target()?;
        let Some(command) = bench.restore("sparse", Kind::Volume, &source)? else { return Ok(None) };
        let mut sample = self.measured(bench, command)?;
        sample.stored = allocated(&target)?;
        bench.remove_targets()?;
        Ok(Some(sample))
    }

    fn index(&self, results: &mut Results) -> Result<(), BenchError> {
        let bench = Bench { tool: Tool::Holdfast, dir: self.dir };
        let vault = bench.repository("index");
        if !vault.exists() {
            self.quietly(bench, bench.init("index")?)?;
            let mut fill = step(&["fill-index"], &[&vault])?;
            fill.arg(INDEX_CHUNKS.to_string());
            self.quietly(bench, fill)?;
        }
        let log = self.log("index");
        let sample = measure(&mut step(&["load-index"], &[&vault])?, &log)?;
        let text = std::fs::read_to_string(&log).map_err(BenchError::io("read", &log))?;
        let told: serde_json::Value = serde_json::from_str(&text)?;
        let bytes = told.get("bytes").and_then(serde_json::Value::as_u64).unwrap_or_default();
        results.add(self.row, Tool::Holdfast, Sample { stored: bytes, ..sample });
        results.index_chunks = INDEX_CHUNKS;
        results.save()
    }

    /// A repository with this in it, made without measuring where it is missing, and read once as sources are: not every tool
    /// leaves what it writes in the page cache.
    fn ensure(&self, bench: Bench<'_>, name: &str, kind: Kind, source: &Path) -> Result<(), BenchError> {
        if !bench.repository(name).exists() {
            self.quietly(bench, bench.init(name)?)?;
            self.quietly(bench, bench.backup(name, kind, source)?)?;
        }
        data::warm(&bench.repository(name))
    }

    fn image(&self) -> Result<PathBuf, BenchError> {
        let image = data::image(self.dir, self.run.image_mib)?;
        data::warm(&image)?;
        Ok(image)
    }

    fn tree(&self) -> Result<PathBuf, BenchError> {
        let tree = data::tree(self.dir, self.run.tree_files)?;
        data::warm(&tree)?;
        Ok(tree)
    }

    fn quietly(&self, bench: Bench<'_>, mut command: Command) -> Result<(), BenchError> {
        measure(&mut command, &self.log(&format!("{}-unmeasured", bench.tool))).map(drop)
    }

    /// What others wrote is on the disk before the clock starts.
    fn measured(&self, bench: Bench<'_>, mut command: Command) -> Result<Sample, BenchError> {
        rustix::fs::sync();
        measure(&mut command, &self.measured_log(bench))
    }

    fn measured_log(&self, bench: Bench<'_>) -> PathBuf {
        self.log(&format!("{}-{}", bench.tool, self.row))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }
}

/// Bytes a file takes on its disk.
fn allocated(path: &Path) -> Result<u64, BenchError> {
    use std::os::unix::fs::MetadataExt as _;

    /// What `st_blocks` counts.
    const BLOCK: u64 = 512;
    Ok(std::fs::metadata(path).map_err(BenchError::io("look at", path))?.blocks() * BLOCK)
}
