//! Whether the kernel is told to make the data durable before anybody hears that it is.

use std::process::Command;

use crate::child::Writer;

/// One event of the trace that matters here.
#[derive(Debug, PartialEq)]
enum Event {
    /// Bytes of the log reached the data file.
    Written,
    /// `fdatasync` of the data file returned 0.
    Synced,
    /// A row was acknowledged.
    Acknowledged,
}

/// Reads the events out of a line of `strace -f -y`. A call that was interrupted by another thread's stands in two lines;
/// the second one does not name the file, so `pending` remembers the thread.
fn event(line: &str, data: &str, pending: &mut Vec<String>) -> Option<Event> {
    let (thread, call) = line.split_once(' ')?;
    let call = call.trim_start();
    let on_data = call.contains(data);
    // The kill came while it was under way: it never returned, and nobody was told.
    let was_killed = call.ends_with("= ?");
    if call.starts_with("fdatasync(") && on_data {
        if call.ends_with("= 0") {
            return Some(Event::Synced);
        }
        assert!(was_killed || call.ends_with("<unfinished ...>"), "{line}");
        pending.push(thread.to_owned());
        return None;
    }
    if call.starts_with("<... fdatasync resumed>") {
        let position = pending.iter().position(|waiting| waiting == thread)?;
        pending.remove(position);
        assert!(was_killed || call.ends_with("= 0"), "{line}");
        return (!was_killed).then_some(Event::Synced);
    }
    if call.starts_with("pwrite64(") && on_data {
        return Some(Event::Written);
    }
    (call.starts_with("write(1") && call.contains("\"acknowledged ")).then_some(Event::Acknowledged)
}

#[test]
fn the_data_file_is_synced_between_the_write_and_the_answer() {
    let base = tempfile::tempdir().unwrap();
    let trace = base.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-e", "trace=write,pwrite64,fdatasync", "-o"]).arg(&trace);
    let probe = Command::new("strace").arg("-V").output();
    assert!(probe.is_ok_and(|probe| probe.status.success()), "this test needs `strace`: install it");
    let mut writer = Writer::start_under(base.path(), &mut strace);
    assert!(writer.read(30), "the writer ended by itself");
    writer.kill();

    let text = std::fs::read_to_string(&trace).unwrap();
    let data = format!("<{}>", rows_data_file(base.path()));
    let mut pending = Vec::new();
    let events: Vec<_> = text.lines().filter_map(|line| event(line, &data, &mut pending)).collect();
    let mut acknowledged = 0;
    let mut since = Vec::new();
    for event in events {
        if event != Event::Acknowledged {
            since.push(event);
            continue;
        }
        acknowledged += 1;
        let written = since.iter().position(|event| *event == Event::Written);
        let synced = since.iter().rposition(|event| *event == Event::Synced);
        assert!(written.is_some() && written < synced, "answer {acknowledged} came after {since:?}");
        since.clear();
    }
    assert!(acknowledged >= 30, "only {acknowledged} answers in the trace");
}

/// The path of the data file as the kernel names it.
fn rows_data_file(base: &std::path::Path) -> String {
    base.canonicalize().unwrap().join("state/db").display().to_string()
}
