//! What a server is told so that it recovers to a target, and so that it never writes into another one's archive.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::window::{Plan, Target};

/// Settings for the time of the recovery, for the server's command line: nothing of them stays. `command` is the program
/// that runs [`super::fetch`] and its first arguments; the socket, `%f` and `%p` are added.
#[must_use]
pub fn recovery_settings(plan: &Plan, command: &[&str], socket: &Path) -> Vec<(String, String)> {
    let mut words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    words.push(quoted(&socket.display().to_string()));
    words.push("\"%f\" \"%p\"".to_owned());
    let mut settings = vec![
        ("restore_command".to_owned(), words.join(" ")),
        ("recovery_target_timeline".to_owned(), plan.timeline.to_string()),
        ("recovery_target_action".to_owned(), "promote".to_owned()),
        ("archive_mode".to_owned(), "off".to_owned()),
        ("hot_standby".to_owned(), "on".to_owned()),
    ];
    match &plan.target {
        Target::Latest => {}
        // With its zone, so that the server's own does not matter.
        Target::Time(time) => {
            let text = time.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string();
            settings.push(("recovery_target_time".to_owned(), text));
        }
        Target::Lsn(lsn) => settings.push(("recovery_target_lsn".to_owned(), lsn.to_string())),
        Target::Point(name) => settings.push(("recovery_target_name".to_owned(), name.clone())),
    }
    settings
}

/// For a shell, and for the server, which replaces `%`.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('%', "%%").replace('\'', "'\\''"))
}

/// Prepares a restored data directory: it recovers from an archive, is no standby of anybody, and archives nowhere, now
/// and after it was promoted, until its new owner says otherwise.
///
/// # Errors
/// What the operating system says.
pub fn settle_archive(data: &Path) -> io::Result<()> {
    match fs::remove_file(data.join("standby.signal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut settings = OpenOptions::new().append(true).create(true).open(data.join("postgresql.auto.conf"))?;
    // The last one counts.
    settings.write_all(
        b"\n# Written when this server was restored: its log is not the source's.\narchive_mode = 'off'\n\
          restore_command = ''\nprimary_conninfo = ''\nprimary_slot_name = ''\n",
    )?;
    settings.sync_all()?;
    fs::write(data.join("recovery.signal"), b"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Lsn;
    use crate::window::Base;

    #[test]
    fn times_carry_their_zone_and_words_survive_shell_and_server() {
        let base = Base {
            id: String::new(),
            timeline: 1,
            start: Lsn(0),
            stop: Lsn(0),
            stopped_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let target = Target::Time("2026-11-21T05:00:07.25Z".parse().unwrap());
        let plan = Plan { base, timeline: 3, from: Lsn(0), until: Lsn(0), target };
        let settings = recovery_settings(&plan, &["/opt/it's/100%", "wal-fetch"], Path::new("/run/s"));
        let value = |name: &str| settings.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("recovery_target_time"), Some("2026-11-21 05:00:07.250000+00"));
        assert_eq!(value("restore_command"), Some(r#"'/opt/it'\''s/100%%' 'wal-fetch' '/run/s' "%f" "%p""#));
        assert_eq!(value("recovery_target_timeline"), Some("3"));
    }
}
