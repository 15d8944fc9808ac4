//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::step::Step;

/// Measures Holdfast's vault engine beside restic, rustic and borg.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Settings {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Builds what is missing of the data, measures, and prints the table of all results so far.
    Run(Run),
    /// The same for PostgreSQL, beside pgBackRest and `pg_basebackup`. Needs root, which becomes the user `postgres`.
    Postgres(PostgresRun),
    /// Prints the table of the results so far.
    Table {
        /// Where data and results lie.
        #[arg(long, env = "HOLDFAST_BENCH_DIR", default_value = "/tmp/holdfast-bench")]
        dir: PathBuf,
    },
    /// One operation of ours, in a process of its own.
    #[command(subcommand, hide = true)]
    Step(Step),
}

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Where data and results lie; needs about 40 GB with the default sizes. What is there already is used again.
    #[arg(long, env = "HOLDFAST_BENCH_DIR", default_value = "/tmp/holdfast-bench")]
    pub(crate) dir: PathBuf,
    /// Size of the ext4 image of `/usr/lib`, in MiB.
    #[arg(long, env = "HOLDFAST_BENCH_IMAGE_MIB", default_value_t = 6144)]
    pub(crate) image_mib: u64,
    /// Fewest files of the tree.
    #[arg(long, env = "HOLDFAST_BENCH_TREE_FILES", default_value_t = 80_000)]
    pub(crate) tree_files: usize,
    /// Rounds; every round runs every tool in turn. Results of earlier runs are kept and count.
    #[arg(long, env = "HOLDFAST_BENCH_ROUNDS", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Rows to measure.
    #[arg(long, value_delimiter = ',', default_values_t = Row::ALL)]
    pub(crate) rows: Vec<Row>,
    /// Tools to measure; those that are not installed are passed over.
    #[arg(long, value_delimiter = ',', default_values_t = Tool::ALL)]
    pub(crate) tools: Vec<Tool>,
    /// Drops earlier results of these rows.
    #[arg(long)]
    pub(crate) fresh: bool,
}

/// What to measure of PostgreSQL.
#[derive(Debug, Args)]
pub(crate) struct PostgresRun {
    /// Where the server, the backups and the results lie; needs about ten times the server's size. The user `postgres` must
    /// be able to walk through it. All but the results is made anew.
    #[arg(long, env = "HOLDFAST_BENCH_POSTGRES_DIR", default_value = "/tmp/holdfast-bench-postgres")]
    pub(crate) dir: PathBuf,
    /// Scale of pgbench: 16 MB each.
    #[arg(long, env = "HOLDFAST_BENCH_SCALE", default_value_t = 64)]
    pub(crate) scale: u32,
    /// Log to replay in the row `pg-instant`, in MiB.
    #[arg(long, env = "HOLDFAST_BENCH_WAL_MIB", default_value_t = 1024)]
    pub(crate) wal_mib: u64,
    /// Seconds of each measurement of pgbench.
    #[arg(long, env = "HOLDFAST_BENCH_SECONDS", default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Rounds; every round runs every tool in turn.
    #[arg(long, env = "HOLDFAST_BENCH_ROUNDS", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Rows to measure. `pg-days` is measured with `pg-incremental`.
    #[arg(long, value_delimiter = ',', default_values_t = PgRow::ALL)]
    pub(crate) rows: Vec<PgRow>,
    /// Tools to measure; those that are not installed are passed over.
    #[arg(long, value_delimiter = ',', default_values_t = PgTool::ALL)]
    pub(crate) tools: Vec<PgTool>,
    /// Fails where pgbench with a followed server and one capture in each window reaches less than so many hundredths of what
    /// it reaches alone right before. 0 asks for nothing.
    #[arg(long, env = "HOLDFAST_BENCH_LEAST_PERCENT", default_value_t = 0)]
    pub(crate) least_percent: u32,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Row {
    /// Speeds of the primitives alone.
    Primitives,
    /// First backup of the volume.
    VolumeFull,
    /// Backup after 300 random changes of 64 KiB.
    VolumeChanged,
    /// The same with change tracking, on a file system that shares extents. Needs root.
    VolumeTracked,
    /// The same changes in a volume ten times as large. Needs root, and room for ten times the data.
    VolumeTrackedLarge,
    /// Restore of the volume.
    VolumeRestore,
    /// Every byte of the repository read and verified.
    Check,
    /// Copy to another repository with another key.
    Copy,
    /// First backup of the file tree.
    TreeFull,
    /// Backup of the unchanged file tree.
    TreeUnchanged,
    /// Restore of the file tree.
    TreeRestore,
    /// Backup of 200 GB with 1 GB of data in it.
    SparseFull,
    /// Restore of the same.
    SparseRestore,
    /// Loading the index of a vault with 4 million chunks.
    Index,
}

impl Row {
    pub(crate) const ALL: [Self; 14] = [
        Self::Primitives,
        Self::VolumeFull,
        Self::VolumeChanged,
        Self::VolumeTracked,
        Self::VolumeTrackedLarge,
        Self::VolumeRestore,
        Self::Check,
        Self::Copy,
        Self::TreeFull,
        Self::TreeUnchanged,
        Self::TreeRestore,
        Self::SparseFull,
        Self::SparseRestore,
        Self::Index,
    ];
}

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Tool {
    /// This workspace's engine and drivers.
    Holdfast,
    /// `restic` of the path.
    Restic,
    /// `rustic` of the path.
    Rustic,
    /// `borg` of the path.
    Borg,
}

impl Tool {
    pub(crate) const ALL: [Self; 4] = [Self::Holdfast, Self::Restic, Self::Rustic, Self::Borg];
}

/// A line of the table of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PgRow {
    /// First base backup of a PostgreSQL server.
    #[value(name = "pg-full")]
    Full,
    /// Backup after one of a hundred pages changed.
    #[value(name = "pg-incremental")]
    Incremental,
    /// A full backup and ten incremental ones: the ten together, and bytes stored.
    #[value(name = "pg-days")]
    Days,
    /// Restore, up to a server that was promoted.
    #[value(name = "pg-restore")]
    Restore,
    /// Restore to an instant, with log to replay, up to a server that was promoted.
    #[value(name = "pg-instant")]
    Instant,
    /// Throughput of pgbench beside what each tool does.
    #[value(name = "pg-throughput")]
    Throughput,
}

impl PgRow {
    pub(crate) const ALL: [Self; 6] =
        [Self::Full, Self::Incremental, Self::Days, Self::Restore, Self::Instant, Self::Throughput];
}

/// A program that backs up PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PgTool {
    /// This workspace's engine and driver.
    Holdfast,
    /// `pgbackrest` of the path.
    Pgbackrest,
    /// `pg_basebackup` of PostgreSQL 15, with `pg_receivewal`.
    PgBasebackup,
}

impl PgTool {
    pub(crate) const ALL: [Self; 3] = [Self::Holdfast, Self::Pgbackrest, Self::PgBasebackup];
}

/// The name on the command line.
pub(crate) fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&name(*self))
    }
}

impl std::fmt::Display for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&name(*self))
    }
}

impl std::fmt::Display for PgRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&name(*self))
    }
}

impl std::fmt::Display for PgTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&name(*self))
    }
}
