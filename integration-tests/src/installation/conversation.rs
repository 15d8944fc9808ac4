//! What tests say to an installation, and what they wait for.

use std::future::Future;
use std::time::{Duration, Instant};

use job_bus::{Bus, Publish, StartAt};
use job_events::{Answer, Envelope, Fact, Query, Request, RequestAccepted, subjects};
use job_model::{Job, JobId, Region};
use uuid::Uuid;

use super::Failure;

/// How long anything may take before a test gives up; far more than it needs, and that may be a minute until a schedule
/// comes and another until the lease of somebody who died is over.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long a service may take for an answer: what it writes at that moment may wait for a disk that others keep busy. One
/// that is away is told of at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A refusal: AWS's error name, the field, the message.
#[derive(Debug, thiserror::Error)]
#[error("{code} ({field}): {message}")]
pub struct Rejected {
    /// AWS's error name.
    pub code: String,
    /// The field that is wrong.
    pub field: String,
    /// What is wrong and the mend.
    pub message: String,
}

/// Asks again and again until the answer is there.
///
/// # Errors
/// When it is not there in time; `what` says what was waited for.
pub async fn wait_until<T, F, Fut>(what: &str, mut ask: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>, Failure>>,
{
    let begun = Instant::now();
    let mut last = None;
    while begun.elapsed() < PATIENCE {
        match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            // A service that is down or a server that restarts: the next look tells more.
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("waited {PATIENCE:?} for {what}; last error: {last:?}").into())
}

/// Somebody who talks to an installation over its bus, wherever its processes run.
#[derive(Debug)]
pub struct Talk {
    /// The two regions: the one of the resources, the one of the copies.
    pub regions: [Region; 2],
    /// A connection to each region's bus; the same where one server serves both.
    pub buses: [Bus; 2],
}

impl Talk {
    /// Waits until the deciding services answer.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn wait_until_ready(&self) -> Result<(), Failure> {
        wait_until("the planner to answer", || async { self.query(&Query::ListVaults).await.map(Some) }).await?;
        let plans = || async { self.query(&Query::ListRestoreTestingPlans).await.map(Some) };
        wait_until("the verifier to answer", plans).await?;
        Ok(())
    }

    /// Publishes a request and waits for its answer.
    ///
    /// # Errors
    /// [`Rejected`] when it is refused; another when no answer comes.
    pub async fn request(&self, request: impl Into<Request>) -> Result<RequestAccepted, Failure> {
        let request = request.into();
        let subject = subjects::request(&self.regions[0], request.service(), request.name());
        self.request_raw(&subject, &request.event_type(), request.to_value()?).await
    }

    /// Publishes any payload as a request and waits for its answer.
    ///
    /// # Errors
    /// [`Rejected`] when it is refused; another when no answer comes.
    pub async fn request_raw(
        &self,
        subject: &str,
        event_type: &str,
        data: serde_json::Value,
    ) -> Result<RequestAccepted, Failure> {
        let region = &self.regions[0];
        let id = Uuid::from_u128(rand::random()).to_string();
        let mut facts =
            self.buses[0].watch(&subjects::fact_stream(region), &subjects::facts(region), StartAt::New).await?;
        let envelope =
            Envelope::new(id.clone(), "/tests".to_owned(), event_type.to_owned(), jiff::Timestamp::UNIX_EPOCH, data);
        let publish = Publish {
            subject: subject.to_owned(),
            id: id.clone(),
            payload: envelope.to_bytes()?.into(),
            traceparent: None,
            expect_stream: subjects::request_stream(region),
            once_per_subject: false,
        };
        self.buses[0].publish(&publish).await?;
        let answer = async {
            while let Some(watched) = facts.next().await {
                match Envelope::from_bytes(&watched?.payload)?.fact()? {
                    Fact::RequestAccepted(accepted) if accepted.request_id == id => return Ok(accepted),
                    Fact::RequestRejected(r) if r.request_id == id => {
                        return Err(Rejected { code: r.code, field: r.field, message: r.message }.into());
                    }
                    _ => {}
                }
            }
            Err("the connection ended".into())
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .map_err(|_| format!("no answer to {event_type} in {PATIENCE:?}"))?
    }

    /// Asks a question.
    ///
    /// # Errors
    /// When it is refused or nobody answers.
    pub async fn query(&self, query: &Query) -> Result<Answer, Failure> {
        let subject = subjects::query(&self.regions[0], query.service(), query.name());
        let bytes = self.buses[0].query(&subject, serde_json::to_vec(query)?, ANSWER_WITHIN).await?;
        match serde_json::from_slice(&bytes)? {
            Answer::Refused { code, field, message } => Err(Rejected { code, field, message }.into()),
            answer => Ok(answer),
        }
    }

    /// A job as the planner knows it.
    ///
    /// # Errors
    /// When it is unknown or nobody answers.
    pub async fn job(&self, job_id: JobId) -> Result<Job, Failure> {
        match self.query(&Query::ShowJob { job_id }).await? {
            Answer::Job(job) => Ok(job),
            other => Err(format!("not a job: {other:?}").into()),
        }
    }

    /// Waits until a job has ended.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn job_ended(&self, job_id: JobId) -> Result<Job, Failure> {
        wait_until(&format!("job {job_id} to end"), || async {
            Ok(Some(self.job(job_id).await?).filter(|job| job.state.is_terminal()))
        })
        .await
    }

    /// Every fact of a region, in the order of its stream: the planner's about all that it had decided before the call.
    ///
    /// # Errors
    /// When the planner does not answer or the stream cannot be read.
    pub async fn facts(&self, region: usize) -> Result<Vec<(Envelope, Fact)>, Failure> {
        self.planner_told(&self.regions[region]).await?;
        let (bus, region) = (&self.buses[region], &self.regions[region]);
        let stream = subjects::fact_stream(region);
        let last = bus.stream_identity(&stream).await?.last_sequence;
        let mut watch = bus.watch(&stream, &subjects::facts(region), StartAt::All).await?;
        let mut facts = Vec::new();
        let mut seen = 0;
        while seen < last {
            let Some(watched) = watch.next().await else { break };
            let watched = watched?;
            seen = watched.sequence;
            let envelope = Envelope::from_bytes(&watched.payload)?;
            let fact = envelope.fact()?;
            facts.push((envelope, fact));
        }
        Ok(facts)
    }

    /// Waits until the planner has told what it had decided: a job is seen to end before that is told.
    async fn planner_told(&self, region: &Region) -> Result<(), Failure> {
        let far = || async {
            match self.query(&Query::ToldUpTo { region: region.clone() }).await? {
                Answer::ToldUpTo { written, told } => Ok((written, told)),
                other => Err(Failure::from(format!("not how far the planner told: {other:?}"))),
            }
        };
        let (end, _) = far().await?;
        wait_until("the planner to tell what it decided", || async { Ok((far().await?.1 >= end).then_some(())) }).await
    }
}
