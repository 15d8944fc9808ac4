//! Judges that have nothing to do with the driver.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::SeekFrom;

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
    let (from, to) = (slashed(left), slashed(right));
    // In these tests, files above a GiB are nothing but holes. rsync would read them: it compares everything else of
    // them, and what they have between their holes is compared here.
    let huge = run("find", &[".", "-type", "f", "-size", "+1G", "-printf", "%P\n"], left);
    let exclude: Vec<String> = huge.lines().map(|name| format!("--exclude=/{name}")).collect();
    let contents: Vec<&str> = ["--checksum"].into_iter().chain(exclude.iter().map(String::as_str)).collect();
    for more in [&contents[..], &[]] {
        let arguments = ["-naHAXSi", "--specials", "--devices", "--delete", "--numeric-ids"];
        let rsync = run("rsync", &[&arguments, more, &[&from, &to]].concat(), Path::new("/"));
        if !rsync.is_empty() {
            return Some(format!("rsync {more:?}: {rsync}"));
        }
    }
    for name in huge.lines() {
        if data(&left.join(name)) != data(&right.join(name)) {
            return Some(format!("data between the holes of {name}"));
        }
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

/// All that a sparse file has between its holes: offsets and bytes.
fn data(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let file = File::open(path).unwrap();
    let mut pieces = Vec::new();
    let mut position = 0;
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(position)) {
        position = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        let mut bytes = vec![0; (position - start) as usize];
        file.read_exact_at(&mut bytes, start).unwrap();
        pieces.push((start, bytes));
    }
    pieces
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
