//! Which instant of a continuous recovery point is restored: the keys of restore metadata that say so.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::Invalid;

/// ISO 8601 with a zone, to the second or finer; AWS's name.
pub const RESTORE_TIME: &str = "RestoreTime";
/// `true` for the newest instant; AWS's name for RDS.
pub const USE_LATEST_RESTORABLE_TIME: &str = "UseLatestRestorableTime";
/// A position of the resource's own log, for PostgreSQL `0/3000148`.
pub const RESTORE_LSN: &str = "RestoreLsn";
/// A point that was named at the resource, for PostgreSQL with `pg_create_restore_point`.
pub const RESTORE_POINT: &str = "RestorePoint";

/// An instant of a continuous recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreInstant {
    /// The newest that can be restored.
    Latest,
    /// Everything up to and including this one.
    Time(Timestamp),
    /// Up to and including this position.
    Position(String),
    /// A named point.
    Point(String),
}

/// The instant that a map of restore metadata asks for; none when it does not say.
///
/// # Errors
/// Names the key whose value cannot be read, or that speaks against another one.
pub fn restore_instant(metadata: &BTreeMap<String, String>) -> Result<Option<RestoreInstant>, Invalid> {
    let mut found: Option<(&String, RestoreInstant)> = None;
    for (key, value) in metadata {
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        let bad = |mend: &str| Invalid::parameter(format!("metadata.{key}"), value, mend);
        let instant = if is(RESTORE_TIME) {
            let at = value.trim().parse().map_err(|_| bad("is no instant; write it as `2026-11-20T05:00:07Z`"))?;
            RestoreInstant::Time(at)
        } else if is(USE_LATEST_RESTORABLE_TIME) {
            match value.to_ascii_lowercase().as_str() {
                "true" => RestoreInstant::Latest,
                "false" => continue,
                _ => return Err(bad("is neither `true` nor `false`")),
            }
        } else if is(RESTORE_LSN) || is(RESTORE_POINT) {
            if value.trim().is_empty() {
                return Err(bad("says nothing; leave the key out for the newest instant"));
            }
            if is(RESTORE_LSN) { RestoreInstant::Position(value.clone()) } else { RestoreInstant::Point(value.clone()) }
        } else {
            continue;
        };
        if let Some((other, _)) = &found {
            return Err(bad(&format!("stands beside `{other}`; only one of them can be restored to")));
        }
        found = Some((key, instant));
    }
    Ok(found.map(|(_, instant)| instant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<RestoreInstant>, Invalid> {
        restore_instant(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn aws_keys_and_ours_say_an_instant() {
        let at: Timestamp = "2021-11-27T03:30:27Z".parse().unwrap();
        let both = read(&[("restoreTime", "2021-11-27T03:30:27.000Z"), ("UseLatestRestorableTime", "false")]);
        assert_eq!(both.unwrap(), Some(RestoreInstant::Time(at)));
        assert_eq!(read(&[("useLatestRestorableTime", "TRUE")]).unwrap(), Some(RestoreInstant::Latest));
        let position = RestoreInstant::Position("0/3000148".to_owned());
        assert_eq!(read(&[("RestoreLsn", "0/3000148")]).unwrap(), Some(position));
        assert_eq!(read(&[("Port", "5440")]).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_read_or_contradicts_is_refused_with_its_key() {
        for (pairs, key) in [
            (&[("RestoreTime", "yesterday")][..], "RestoreTime"),
            (&[("RestoreTime", "2021-11-27T03:30:27")], "RestoreTime"),
            (&[("UseLatestRestorableTime", "yes")], "UseLatestRestorableTime"),
            (&[("RestorePoint", " ")], "RestorePoint"),
            (&[("RestoreLsn", "0/1"), ("RestoreTime", "2021-11-27T03:30:27Z")], "RestoreTime"),
            (&[("RestoreTime", "2021-11-27T03:30:27Z"), ("UseLatestRestorableTime", "true")], "UseLatest"),
        ] {
            let error = read(pairs).unwrap_err().to_string();
            assert!(error.contains(key), "{pairs:?}: {error}");
        }
    }
}
