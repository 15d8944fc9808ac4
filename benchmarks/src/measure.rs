//! Runs a program and tells what it cost.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::BenchError;

/// How often the peak memory of a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Clock ticks of `/proc/self/stat` in a second: the same on every Linux since 2.6.
const TICKS: f64 = 100.0;

/// What one run cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// From start to end, in seconds.
    pub(crate) wall: f64,
    /// User and system time of the process, in seconds.
    pub(crate) cpu: f64,
    /// Most memory that was resident (`VmHWM`), in bytes, of the process and those it started that lived at the same time.
    pub(crate) peak: u64,
    /// Bytes in the repository afterwards.
    pub(crate) stored: u64,
    /// From start until all of it was on the disk, in seconds, where the program does not see to that itself.
    #[serde(default)]
    pub(crate) synced: Option<f64>,
}

/// Runs to the end. Output goes to a file beside the data, named when the program fails.
pub(crate) fn measure(command: &mut Command, log: &Path) -> Result<Sample, BenchError> {
    let program = format!("{command:?}");
    let output = File::create(log).map_err(BenchError::io("create", log))?;
    let errors = output.try_clone().map_err(BenchError::io("open", log))?;
    let before = children_seconds()?;
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(BenchError::io("run", command.get_program()))?;
    let mut peak = 0;
    let status = loop {
        peak = peak.max(memory_of_tree(child.id()));
        if let Some(status) = child.try_wait().map_err(BenchError::io("wait for", command.get_program()))? {
            break status;
        }
        thread::sleep(LOOK_EVERY);
    };
    let wall = began.elapsed().as_secs_f64();
    if !status.success() {
        return Err(BenchError::Failed { program, status, log: log.to_owned() });
    }
    Ok(Sample { wall, cpu: children_seconds()? - before, peak, ..Sample::default() })
}

/// What is or was resident of a process and all below it, in bytes. Servers of PostgreSQL that it started do not count.
fn memory_of_tree(root: u32) -> u64 {
    let mut bytes = 0;
    let mut open = vec![root];
    while let Some(process) = open.pop() {
        // Of a process that has ended there is nothing to read any more.
        let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { continue };
        if status.starts_with("Name:\tpostgres\n") {
            continue;
        }
        bytes += high_water(&status).unwrap_or(0);
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
        open.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    bytes
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Processor time of all children that have been waited for.
fn children_seconds() -> Result<f64, BenchError> {
    let path = "/proc/self/stat";
    let text = fs::read_to_string(path).map_err(BenchError::io("read", path))?;
    let ticks: Option<f64> = text.rsplit_once(") ").map(|(_, fields)| {
        // The state is the third field; `cutime` and `cstime` are the 16th and 17th.
        fields.split_ascii_whitespace().skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
    });
    ticks.map(|ticks| ticks / TICKS).ok_or_else(|| BenchError::Wrong(format!("`{path}` has an unknown form")))
}

/// Bytes of all files below a directory.
pub(crate) fn bytes_below(directory: &Path) -> Result<u64, BenchError> {
    let mut bytes = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).map_err(BenchError::io("list", &path))? {
            let entry = entry.map_err(BenchError::io("list", &path))?;
            let metadata = entry.metadata().map_err(BenchError::io("look at", entry.path()))?;
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_program_is_its_own() {
        let log = std::env::temp_dir().join(format!("holdfast-measure-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]);
        let sample = measure(&mut command, &log).unwrap();
        assert!(sample.cpu > 0.02 && sample.cpu < sample.wall + 0.05, "{sample:?}");
        assert!(sample.peak > 100 << 10, "{sample:?}");
        let mut nested = Command::new("sh");
        nested.args(["-c", "sh -c 'x=$(head -c 40000000 /dev/zero | tr \"\\0\" x); sleep 0.2'; true"]);
        let sample = measure(&mut nested, &log).unwrap();
        assert!(sample.peak > 40 << 20, "{sample:?}");
        let failed = measure(Command::new("sh").args(["-c", "echo why; exit 3"]), &log);
        assert!(failed.unwrap_err().to_string().contains("holdfast-measure"));
        assert_eq!(fs::read_to_string(&log).unwrap(), "why\n");
        fs::remove_file(&log).unwrap();
    }
}
