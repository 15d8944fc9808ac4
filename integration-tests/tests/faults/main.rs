//! Causes outside of Holdfast: what is gone, full, locked, replaced or changed under it. Each ends in the right state with
//! a message that names the thing and the mend, leaves nothing half-made, and when the cause goes, the service goes on by
//! itself: nothing is ever restarted here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod captures;
mod streams;
mod targets;
mod vaults;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use integration_tests::installation::{Failure, Talk};
use job_model::{FailureCode, Job, JobId, JobState};

/// Fails with the whole job unless its message starts with the code and has the words.
#[track_caller]
fn assert_says(job: &Job, code: FailureCode, words: &[&str]) {
    let message = job.status_message.as_deref().unwrap_or_default();
    assert!(message.starts_with(&format!("{code}: ")), "{code} is not the code of {job:?}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not said: {message}");
    }
}

/// A job fails for a cause, the cause goes while the planner tries again, the job completes by itself.
async fn recovers(
    talk: &Talk,
    region: usize,
    job: JobId,
    code: FailureCode,
    words: &[&str],
    end_the_cause: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Job {
    let failed = talk.job_says(job, code.as_str()).await.unwrap();
    assert_says(&failed, code, words);
    assert!(!failed.state.is_terminal(), "{code} may go away by itself, so another attempt follows: {failed:?}");
    end_the_cause().await.unwrap();
    let ended = talk.job_ended(job).await.unwrap();
    let story = talk.story(region, job).await.unwrap();
    assert_eq!(ended.state, JobState::Completed, "{story:#?}");
    assert_eq!(ended.status_message, None, "a job that completed has nothing more to say");
    assert!(ended.attempt > 1, "{ended:?}");
    ended
}

/// Every path below a directory.
fn listing(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut content).unwrap();
    content
}
