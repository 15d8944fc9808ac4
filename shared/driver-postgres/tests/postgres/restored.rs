//! What most of these tests begin with: a shop that was captured, and what is restored of it in a place of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use driver_api::conformance::MemoryVault;
use driver_api::{Check, CheckRequest, Driver as _, DriverError, NoControl, RestoreRequest, Restored};
use driver_postgres::{PostgresDriver, PostgresSettings};
use job_model::{OverwritePolicy, Severity};

use super::captures::{Point, capture};
use super::cluster::{Cluster, Place, connect, program, run, settings};

/// The port of servers that a test starts on what it restored; each has a socket of its own.
const PORT: u16 = 5998;

/// A server with a shop in it, and a recovery point of it.
pub(crate) struct CapturedShop {
    pub(crate) cluster: Cluster,
    pub(crate) point: Point,
}

impl CapturedShop {
    /// Captures one by a method.
    pub(crate) fn by(method: &str) -> Self {
        let cluster = Cluster::with_shop();
        let point = capture(&MemoryVault::new(), &cluster.location(method));
        Self { cluster, point }
    }
}

/// A recovery point that was restored.
pub(crate) struct RestoredCopy<'a> {
    pub(crate) point: &'a Point,
    pub(crate) place: Place,
    pub(crate) target: PathBuf,
}

impl<'a> RestoredCopy<'a> {
    pub(crate) fn of(point: &'a Point) -> Self {
        let place = Place::new();
        let target = place.path("restored");
        restore_with(settings(), point, &target, OverwritePolicy::Refuse, &BTreeMap::new()).unwrap();
        Self { point, place, target }
    }

    /// Climbs the ladder.
    pub(crate) fn check(&self, options: &BTreeMap<String, String>) -> Check {
        check_with(self.point, &self.target, options)
    }

    /// What the ladder finds wrong.
    pub(crate) fn failures(&self) -> Vec<String> {
        failures(&self.check(&BTreeMap::new()))
    }

    /// Changes what is in it by a server that nobody knows of.
    pub(crate) fn forge(&self, change: &str) {
        let socket = self.place.path("").display().to_string();
        let mut start = program("pg_ctl");
        start.args(["start", "-w", "-s", "-D"]).arg(&self.target).arg("-l").arg(self.place.path("log"));
        run(start.arg("-o").arg(format!("-k {socket} -p {PORT} -h ''")));
        connect(Path::new(&socket), PORT, "shop").query(change).unwrap();
        let mut stop = program("pg_ctl");
        run(stop.args(["stop", "-w", "-s", "-m", "fast", "-D"]).arg(&self.target));
    }
}

/// Climbs the ladder with a data directory.
pub(crate) fn check_with(point: &Point, restored: &Path, options: &BTreeMap<String, String>) -> Check {
    let begin = Instant::now();
    let request = CheckRequest {
        reader: &point.snapshot,
        description: &point.description,
        restored,
        options,
        privileged: true,
        parallelism: 3,
        control: &NoControl,
        elapsed_ms: &|| u64::try_from(begin.elapsed().as_millis()).unwrap(),
    };
    PostgresDriver::new(settings()).check(request).unwrap()
}

pub(crate) fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn restore_with(
    settings: PostgresSettings,
    point: &Point,
    target: &Path,
    overwrite: OverwritePolicy,
    options: &BTreeMap<String, String>,
) -> Result<Restored, DriverError> {
    let begin = Instant::now();
    PostgresDriver::new(settings).restore(RestoreRequest {
        reader: &point.snapshot,
        description: &point.description,
        target,
        overwrite,
        include: &[],
        options,
        parallelism: 3,
        control: &NoControl,
        elapsed_ms: &|| u64::try_from(begin.elapsed().as_millis()).unwrap(),
    })
}

pub(crate) fn failures(check: &Check) -> Vec<String> {
    let failing = check.findings.iter().filter(|finding| finding.severity == Severity::Failure);
    failing.map(|finding| format!("{}: {}", finding.subject, finding.message)).collect()
}
