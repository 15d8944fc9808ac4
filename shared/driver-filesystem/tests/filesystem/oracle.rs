//! Judges that have nothing to do with the driver.

use std::path::Path;
use std::process::Command;

/// Runs a command that must succeed and returns what it printed.
pub(crate) fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).env("LC_ALL", "C").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} in {}: {stderr}", directory.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How two trees differ: in anything that rsync can tell, in the space they take, in flags, in special entries.
pub(crate) fn difference(left: &Path, right: &Path) -> Option<String> {
    let slashed = |path: &Path| format!("{}/", path.display());
    let rsync = run(
        "rsync",
        &[
            "-naHAXSi",
            "--specials",
            "--devices",
            "--checksum",
            "--delete",
            "--numeric-ids",
            &slashed(left),
            &slashed(right),
        ],
        Path::new("/"),
    );
    if !rsync.is_empty() {
        return Some(format!("rsync: {rsync}"));
    }
    let listings: [(&str, &[&str]); 3] = [
        // Size of a directory file depends on its history; the space of each file does not.
        ("find", &[".", "!", "-type", "d", "-printf", "%b %y %n %P\n"]),
        ("find", &[".", "-printf", "%y %m %U:%G %T@ %P %l\n"]),
        ("lsattr", &["-aR", "."]),
    ];
    listings.into_iter().find_map(|(program, arguments)| {
        let left = sorted(&run_leniently(program, arguments, left));
        let right = sorted(&run_leniently(program, arguments, right));
        let only = |a: &[String], b: &[String]| {
            let lines: Vec<_> = a.iter().filter(|line| !b.contains(line)).cloned().collect();
            lines.join("; ")
        };
        (left != right).then(|| format!("{program} {arguments:?}: {} <> {}", only(&left, &right), only(&right, &left)))
    })
}

/// `lsattr` fails on sockets and devices and goes on.
fn run_leniently(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).env("LC_ALL", "C").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
