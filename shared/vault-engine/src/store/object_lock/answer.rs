//! What a store's answer to a request about object lock means: pure.

use std::fmt;

use jiff::Timestamp;

use crate::keep::{Retention, RetentionMode};

/// Longest part of an answer that is told, in characters.
const TOLD_MAX: usize = 200;

/// An answer as it came.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Whether a bucket locks objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Locks,
    LocksNothing,
    /// The caller may not know.
    Refused,
    Failed,
}

/// What came of a request about one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// There is no such object now: never written, or behind a delete marker.
    Gone,
    /// It is there and has no lock.
    NoLock,
    /// The caller may not; or the lock that is there forbids it.
    Refused,
    Failed,
}

/// The body that asks for a lock.
pub(super) fn retention_document(wanted: &Retention) -> String {
    let Retention { mode, until } = wanted;
    format!(
        "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode><RetainUntilDate>{until}\
         </RetainUntilDate></Retention>",
        mode.as_str()
    )
}

impl Answer {
    /// The store's own code of an error.
    fn code(&self) -> &str {
        element(&self.body, "Code").unwrap_or_default()
    }

    /// Whether the same request may do better in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self.status {
            // It does not know the request at all.
            501 => false,
            408 | 429 | 500.. => true,
            // Two that lock the same object at once.
            409 => self.code() == "OperationAborted",
            400 => matches!(self.code(), "RequestTimeout" | "SlowDown"),
            _ => false,
        }
    }

    /// Servers without object lock say so in many ways; some answer with a listing of the bucket.
    pub(super) fn about_the_bucket(&self) -> Asked {
        match (self.status, self.code()) {
            (200, _) if element(&self.body, "ObjectLockEnabled") == Some("Enabled") => Asked::Locks,
            (401 | 403, _) => Asked::Refused,
            (404, "NoSuchBucket") => Asked::Failed,
            (200 | 404 | 405 | 501, _) => Asked::LocksNothing,
            (
                400,
                "NotImplemented" | "MethodNotAllowed" | "NotSupported" | "UnsupportedOperation" | "InvalidRequest",
            ) => Asked::LocksNothing,
            _ => Asked::Failed,
        }
    }

    pub(super) fn about_an_object(&self) -> Outcome {
        match (self.status, self.code()) {
            (200 | 204, _) => Outcome::Done,
            (404, "NoSuchObjectLockConfiguration" | "ObjectLockConfigurationNotFoundError") => Outcome::NoLock,
            (404, "NoSuchBucket") => Outcome::Failed,
            // The current version is a delete marker, which has no lock.
            (404 | 405, _) => Outcome::Gone,
            (401 | 403, _) | (400, "ObjectLocked") => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }

    /// The lock that an answer tells of; an error is a sentence.
    pub(super) fn retention(&self) -> Result<Retention, String> {
        let part = |name| element(&self.body, name).ok_or_else(|| format!("the answer has no `{name}`: {self}"));
        let mode = match part("Mode")? {
            "COMPLIANCE" => RetentionMode::Compliance,
            "GOVERNANCE" => RetentionMode::Governance,
            other => return Err(format!("the answer has the mode `{other}`, which nobody knows")),
        };
        let until = part("RetainUntilDate")?;
        let until: Timestamp = until.parse().map_err(|error| format!("the answer has the date `{until}`: {error}"))?;
        Ok(Retention { mode, until })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        match (element(&self.body, "Code"), element(&self.body, "Message")) {
            (Some(code), Some(message)) => write!(f, ", {code}: {}", cut(message)),
            (Some(code), None) => write!(f, ", {code}"),
            // What comes instead may be anything, content of an object as well.
            (None, _) => Ok(()),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TOLD_MAX).collect()
}

/// The text of the first element of this name. These answers are flat: no name means two things in one of them.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = body;
    loop {
        let (_, after) = rest.split_once('<')?;
        rest = after;
        let Some(tail) = after.strip_prefix(name) else { continue };
        if !tail.starts_with(|next: char| next == '>' || next.is_ascii_whitespace()) {
            continue;
        }
        let (_, content) = tail.split_once('>')?;
        return content.split_once("</").map(|(text, _)| text.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.to_owned() }
    }

    fn error(status: u16, code: &str) -> Answer {
        answer(
            status,
            &format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>so it is</Message></Error>"),
        )
    }

    #[test]
    fn a_bucket_locks_only_where_it_says_so() {
        let enabled = "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                       <ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
        for (answer, asked) in [
            (answer(200, enabled), Asked::Locks),
            (answer(200, "<ListBucketResult><Name>b</Name></ListBucketResult>"), Asked::LocksNothing),
            (answer(200, ""), Asked::LocksNothing),
            (error(404, "ObjectLockConfigurationNotFoundError"), Asked::LocksNothing),
            (error(501, "NotImplemented"), Asked::LocksNothing),
            (error(405, "MethodNotAllowed"), Asked::LocksNothing),
            (error(400, "NotImplemented"), Asked::LocksNothing),
            (error(403, "AccessDenied"), Asked::Refused),
            (error(404, "NoSuchBucket"), Asked::Failed),
            (error(400, "AuthorizationHeaderMalformed"), Asked::Failed),
            (answer(301, ""), Asked::Failed),
        ] {
            assert_eq!(answer.about_the_bucket(), asked, "{answer}");
        }
    }

    #[test]
    fn an_object_is_locked_gone_refused_or_something_is_wrong() {
        for (answer, outcome) in [
            (answer(200, ""), Outcome::Done),
            (error(404, "NoSuchKey"), Outcome::Gone),
            (error(405, "MethodNotAllowed"), Outcome::Gone),
            (error(404, "NoSuchObjectLockConfiguration"), Outcome::NoLock),
            (error(403, "AccessDenied"), Outcome::Refused),
            (error(400, "InvalidRequest"), Outcome::Failed),
            (error(404, "NoSuchBucket"), Outcome::Failed),
        ] {
            assert_eq!(answer.about_an_object(), outcome, "{answer}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(answer(status, "").is_passing(), "{status}");
        }
        assert!(error(409, "OperationAborted").is_passing());
        for status in [200, 301, 400, 403, 404, 405, 501] {
            assert!(!answer(status, "").is_passing(), "{status}");
        }
        assert!(!error(409, "InvalidBucketState").is_passing());
    }

    #[test]
    fn what_is_asked_for_is_read_as_it_was_written() {
        let until = "2027-01-07T00:00:00Z".parse().unwrap();
        for mode in [RetentionMode::Governance, RetentionMode::Compliance] {
            let wanted = Retention { mode, until };
            assert_eq!(answer(200, &retention_document(&wanted)).retention(), Ok(wanted));
        }
        let other =
            "<Retention>\n <Mode>GOVERNANCE</Mode>\n <RetainUntilDate>2027-01-07T00:00:00.000Z</RetainUntilDate>";
        assert_eq!(answer(200, other).retention(), Ok(Retention { mode: RetentionMode::Governance, until }));
        for wrong in ["", "<Mode>GOVERNANCE</Mode>", "<Mode>OTHER</Mode><RetainUntilDate>2027-01-07T00:00:00Z</R>"] {
            assert!(answer(200, wrong).retention().is_err(), "{wrong}");
        }
    }

    #[test]
    fn elements_are_found_whole_and_by_their_whole_name() {
        assert_eq!(element("<a><CodeX>1</CodeX><Code a=\"b\"> 2 </Code></a>", "Code"), Some("2"));
        for broken in ["", "<", "<Code", "<Code>", "<Code>x", "Code>x</Code>"] {
            assert_eq!(element(broken, "Code"), None, "{broken}");
        }
    }
}
