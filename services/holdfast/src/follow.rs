//! Waiting for a job: its changes as facts, a query now and then, a progress bar for people.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use job_bus::{Watch, WatchError, Watched};
use job_events::{Answer, Envelope, Fact, Query, subjects};
use job_model::{Job, JobId, JobState, Progress};

use crate::client::{Client, unexpected};
use crate::error::CliError;
use crate::render::{Output, bytes, job_state};

/// How often the planner is asked although facts are listened to: a fact may be missed while the connection is down.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Waits until the job ended and returns it as it is then.
///
/// # Errors
/// When the bus fails or somebody presses Ctrl-C; the job goes on then.
pub(crate) async fn until_ended(client: &Client<'_>, id: JobId, output: Output) -> Result<Job, CliError> {
    let mut bar = Bar::new(output);
    let mut job = show(client, id).await?;
    let region = job.region.clone();
    let mut facts = match client.hears_facts() {
        true => Some(client.watch(&subjects::fact_stream(&region), &subjects::facts_of_job(&region, id)).await?),
        false => None,
    };
    let mut ask = tokio::time::interval(ASK_EVERY);
    loop {
        bar.show(&job, job.progress);
        if job.state.is_terminal() {
            bar.end();
            return Ok(job);
        }
        tokio::select! {
            _ = ask.tick() => job = show(client, id).await?,
            watched = next(facts.as_mut()), if facts.is_some() => match watched {
                Some(Ok(watched)) => match Envelope::from_bytes(&watched.payload).ok().and_then(|e| e.fact().ok()) {
                    Some(Fact::JobChanged(changed)) => job = changed.job,
                    Some(Fact::AttemptProgressed(progressed)) => job.progress = progressed.progress,
                    _ => {}
                },
                // Queries go on telling how the job is.
                Some(Err(_)) | None => facts = None,
            },
            _ = tokio::signal::ctrl_c() => {
                bar.end();
                return Err(CliError::Interrupted);
            }
        }
    }
}

/// The next fact; never one where none can be heard.
async fn next(facts: Option<&mut Watch>) -> Option<Result<Watched, WatchError>> {
    match facts {
        Some(facts) => facts.next().await,
        None => std::future::pending().await,
    }
}

/// The job as the planner knows it.
///
/// # Errors
/// When there is none or the planner does not answer.
pub(crate) async fn show(client: &Client<'_>, id: JobId) -> Result<Job, CliError> {
    match client.query(&Query::ShowJob { job_id: id }).await? {
        Answer::Job(job) => Ok(job),
        other => Err(unexpected("planner", &other)),
    }
}

/// Whether an ended job is what was wanted.
///
/// # Errors
/// [`CliError::JobFailed`] unless it is `COMPLETED`.
pub(crate) fn require_completed(job: &Job) -> Result<(), CliError> {
    if job.state == JobState::Completed {
        return Ok(());
    }
    Err(CliError::JobFailed {
        job: job.id,
        state: job_state(job.state).to_owned(),
        message: job.status_message.clone().unwrap_or_else(|| "no reason was given".to_owned()),
    })
}

/// A progress bar on standard error; nothing unless a person watches.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(output: Output) -> Self {
        let bar = if output.is_interactive() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    fn show(&mut self, job: &Job, progress: Progress) {
        let template = if progress.bytes_total.is_some() {
            "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} eta {eta}"
        } else {
            "{spinner} {msg} {elapsed}"
        };
        // A template that indicatif cannot read leaves its own default style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_length(progress.bytes_total.unwrap_or_default());
        self.bar.set_position(progress.bytes_done);
        let state = job_state(job.state);
        self.bar.set_message(match progress.waits_for {
            Some(waits_for) => format!("{state} waits for {waits_for}"),
            None => format!("{state} new {}", bytes(progress.bytes_new)),
        });
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
