//! `holdfast job`.

use job_events::{Answer, Envelope, Fact, Query, StopJob, subjects};
use job_model::{Job, JobId};
use serde::Serialize;

use super::accepted;
use crate::args::{JobCommand, JobList};
use crate::client::{Client, bus, unexpected};
use crate::error::CliError;
use crate::follow;
use crate::names::{pick_resource, short_name};
use crate::render::{self, Output, bytes, job_detail, job_state, moment};

pub(super) async fn run(command: JobCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    match command {
        JobCommand::List(args) => {
            let jobs = list(&args, client).await?;
            output.result(&jobs, || render::jobs(&jobs))
        }
        JobCommand::Show { job } => {
            let job = follow::show(client, job).await?;
            output.result(&job, || job_detail(&job))
        }
        JobCommand::Watch { job } => watch(job, client, output).await,
        JobCommand::Stop { job } => {
            let fact = client.request(&StopJob { job_id: job }.into()).await?;
            accepted(output, &fact, "the job was told to stop; `holdfast job watch` shows when it did")
        }
    }
}

async fn list(args: &JobList, client: &Client<'_>) -> Result<Vec<Job>, CliError> {
    let resource = match &args.resource {
        Some(text) => Some(pick_resource(&client.resources().await?, text)?.arn.clone()),
        None => None,
    };
    let query = Query::ListJobs {
        kind: args.kind.map(Into::into),
        state: args.state_is.map(Into::into),
        resource,
        limit: Some(args.limit),
    };
    match client.query(&query).await? {
        Answer::Jobs(jobs) => Ok(jobs),
        other => Err(unexpected("planner", &other)),
    }
}

/// One line of `job watch`.
#[derive(Serialize)]
struct Seen<'a> {
    /// The CloudEvents type.
    #[serde(rename = "type")]
    event_type: &'a str,
    time: jiff::Timestamp,
    data: &'a serde_json::Value,
}

async fn watch(job: Option<JobId>, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let (region, subject) = match job {
        Some(id) => {
            let region = follow::show(client, id).await?.region;
            let subject = subjects::facts_of_job(&region, id);
            (region, subject)
        }
        None => (client.region().clone(), subjects::facts(client.region())),
    };
    let mut facts = client.watch(&subjects::fact_stream(&region), &subject).await?;
    if let Some(id) = job {
        // What the job is now; its facts follow. Asked after listening, so that nothing falls between.
        let now = follow::show(client, id).await?;
        output.line(&now, || line_of_job(&now))?;
        if now.state.is_terminal() {
            return follow::require_completed(&now);
        }
    }
    loop {
        let watched = tokio::select! {
            watched = facts.next() => watched,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(watched) = watched else {
            return Err(CliError::NoAnswer { service: "bus", seconds: client.destination().timeout.as_secs() });
        };
        let watched = watched.map_err(bus("follow the facts"))?;
        let Ok(envelope) = Envelope::from_bytes(&watched.payload) else { continue };
        let Ok(fact) = envelope.fact() else { continue };
        let seen = Seen { event_type: &envelope.event_type, time: envelope.time, data: &envelope.data };
        output.line(&seen, || line_of_fact(&envelope, &fact))?;
        if let Fact::JobChanged(changed) = &fact
            && Some(changed.job.id) == job
            && changed.job.state.is_terminal()
        {
            return follow::require_completed(&changed.job);
        }
    }
}

fn line_of_job(job: &Job) -> String {
    let mut line = format!(
        "{} job {} {} {}",
        moment(job.ended_at.or(job.started_at).unwrap_or(job.created_at)),
        job.id,
        short_name(&job.resource),
        job_state(job.state)
    );
    if let Some(message) = &job.status_message {
        line.push_str(": ");
        line.push_str(message);
    }
    line
}

fn line_of_fact(envelope: &Envelope, fact: &Fact) -> String {
    match fact {
        Fact::JobChanged(changed) => line_of_job(&Job { ended_at: Some(envelope.time), ..changed.job.clone() }),
        Fact::AttemptProgressed(p) => format!(
            "{} job {}{} {} of {} done, {} new, {} stored",
            moment(envelope.time),
            p.attempt.job_id,
            p.progress.waits_for.map_or_else(String::new, |waits_for| format!(" waits for {waits_for},")),
            bytes(p.progress.bytes_done),
            p.progress.bytes_total.map_or_else(|| "?".to_owned(), bytes),
            bytes(p.progress.bytes_new),
            bytes(p.progress.bytes_stored)
        ),
        other => {
            format!("{} {} {}", moment(envelope.time), other.name(), envelope.subject.as_deref().unwrap_or_default())
        }
    }
}
