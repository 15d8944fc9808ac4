//! The services behind the gateway: requests and queries over the bus, answered within a bounded time or not at all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use job_bus::{Bus, Publish, QueryError, StartAt};
use job_events::subjects::{self, Service};
use job_events::{Answer, Envelope, Fact, Query, Request, RequestAccepted, RequestRejected};
use job_model::validation::REQUEST_EXPIRED;
use job_model::{AccountId, Arn, JobId, Region};
use parking_lot::Mutex;
use service_host::{Clock, Ids};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::calls::Call;
use crate::fault::Fault;

/// Source of the gateway's messages. The same for all gateways of an installation: a call may come again through another.
const SOURCE: &str = "/holdfast/gateway";
/// A service that answered this recently is not asked again whether it is there.
const FRESH_MS: u64 = 2_000;
/// How long a service may take to say that it is there.
const PING: Duration = Duration::from_secs(2);
/// How much longer an answer is waited for than a service may take to decide: its way back.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// Wait before a watch that broke off is begun again.
const PAUSE: Duration = Duration::from_millis(250);

/// On whose behalf something is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Behalf {
    pub(crate) account: AccountId,
    /// `arn:aws:iam::<account>:role/<role>`; access policies are evaluated against it.
    pub(crate) principal: Arn,
    pub(crate) region: Region,
    /// W3C trace context of the client's span, where it sent one.
    pub(crate) traceparent: Option<String>,
}

/// An answer to a request, and when it was decided.
type Answered = Result<(RequestAccepted, Timestamp), RequestRejected>;
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Answered>>>>;

#[derive(Debug)]
struct Link {
    bus: Bus,
    waiting: Waiting,
    /// When planner and verifier were heard last, in milliseconds of the monotonic clock.
    heard: [AtomicU64; 2],
}

/// The services of all regions.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    links: Arc<BTreeMap<Region, Link>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    timeout: Duration,
}

impl Backend {
    pub(crate) fn new(
        buses: BTreeMap<Region, Bus>,
        timeout: Duration,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Self {
        let link = |bus| Link { bus, waiting: Waiting::default(), heard: [AtomicU64::new(0), AtomicU64::new(0)] };
        let links = buses.into_iter().map(|(region, bus)| (region, link(bus))).collect();
        Self { links: Arc::new(links), clock, ids, timeout }
    }

    /// The regions served.
    pub(crate) fn regions(&self) -> impl Iterator<Item = &Region> {
        self.links.keys()
    }

    /// The bus of a region.
    pub(crate) fn bus(&self, region: &Region) -> Option<&Bus> {
        self.links.get(region).map(|link| &link.bus)
    }

    fn link(&self, region: &Region) -> Result<&Link, Fault> {
        self.links.get(region).ok_or_else(|| Fault::invalid("region", format!("`{region}` is not served here")))
    }

    /// Listens to the answers of a region's services until told to stop.
    pub(crate) async fn listen(self, region: Region, stop: CancellationToken) {
        let Some(link) = self.links.get(&region) else { return };
        let (stream, facts) = (subjects::fact_stream(&region), subjects::facts(&region));
        while !stop.is_cancelled() {
            let watch = link.bus.watch(&stream, &facts, StartAt::New);
            let mut answers = match watch.await {
                Ok(answers) => answers,
                Err(error) => {
                    tracing::warn!(%region, error = %service_host::error_chain(&error), "cannot listen for answers");
                    self.pause(&stop).await;
                    continue;
                }
            };
            loop {
                let next = tokio::select! {
                    next = answers.next() => next,
                    () = stop.cancelled() => return,
                };
                match next {
                    Some(Ok(watched)) => deliver(&link.waiting, &watched.subject, &watched.payload),
                    Some(Err(error)) => {
                        tracing::warn!(%region, error = %service_host::error_chain(&error), "answers broke off");
                        break;
                    }
                    None => break,
                }
            }
            self.pause(&stop).await;
        }
    }

    async fn pause(&self, stop: &CancellationToken) {
        tokio::select! {
            () = self.clock.sleep(PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Sends a request and waits until its service says that it is durable, or refuses it. The same call and label name
    /// the same request: sent again, it is answered again and done once. Tells when it was decided, too.
    pub(crate) async fn request(
        &self,
        behalf: &Behalf,
        call: Call,
        token: Option<&str>,
        request: &Request,
    ) -> Result<(RequestAccepted, Timestamp), Fault> {
        let link = self.link(&behalf.region)?;
        let service = request.service();
        self.ping(link, &behalf.region, service).await?;
        let id = call.request_id(request.name());
        let data = request.to_value().map_err(|error| broken(&error))?;
        let mut envelope = Envelope::new(id.clone(), SOURCE.to_owned(), request.event_type(), self.clock.now(), data);
        envelope.account = Some(behalf.account.clone());
        envelope.principal = Some(behalf.principal.clone());
        envelope.idempotency_token = token.map(str::to_owned);
        // Whoever was told that it was not done relies on that: nobody does it later.
        envelope.expiry_time = Some(self.clock.now() + self.timeout);
        envelope.traceparent.clone_from(&behalf.traceparent);
        let publish = Publish {
            subject: subjects::request(&behalf.region, service, request.name()),
            // Each sending counts for the bus: a repeated request has to reach its service to be answered again.
            id: format!("{id}:{}", self.ids.uuid()),
            payload: envelope.to_bytes().map_err(|error| broken(&error))?.into(),
            traceparent: behalf.traceparent.clone(),
            expect_stream: subjects::request_stream(&behalf.region),
            once_per_subject: false,
        };
        let (answer, answered) = oneshot::channel();
        link.waiting.lock().insert(id.clone(), answer);
        let _forget = Forget { waiting: &link.waiting, id: &id };
        link.bus.publish(&publish).await.map_err(|error| {
            tracing::warn!(error = %service_host::error_chain(&error), "a request was not sent");
            Fault::unavailable("the bus does not take requests at the moment; try again")
        })?;
        match tokio::time::timeout(self.timeout + ANSWERED_WITHIN, answered).await {
            Ok(Ok(Ok(accepted))) => {
                self.heard(link, service);
                Ok(accepted)
            }
            Ok(Ok(Err(rejected))) => {
                self.heard(link, service);
                Err(refusal(rejected))
            }
            _ => Err(Fault::unavailable(format!(
                "the {service} did not answer in time; the same call again finds out what became of it"
            ))),
        }
    }

    fn heard(&self, link: &Link, service: Service) {
        if let Some(slot) = slot(service) {
            link.heard[slot].store(self.clock.elapsed_ms() + 1, Ordering::Relaxed);
        }
    }

    /// Nothing is sent to a service that is not there: the answer is known at once.
    async fn ping(&self, link: &Link, region: &Region, service: Service) -> Result<(), Fault> {
        let last = slot(service).map_or(0, |slot| link.heard[slot].load(Ordering::Relaxed));
        if last > 0 && self.clock.elapsed_ms().saturating_sub(last) < FRESH_MS {
            return Ok(());
        }
        self.ask(link, region, &anything(service), PING).await.map(|_| ())
    }

    /// Whether a service answers at all, be it with a refusal.
    pub(crate) async fn is_there(&self, region: &Region, service: Service) -> bool {
        let Ok(link) = self.link(region) else { return false };
        self.ask(link, region, &anything(service), PING).await.is_ok()
    }

    /// Asks a question.
    pub(crate) async fn query(&self, region: &Region, query: &Query) -> Result<Answer, Fault> {
        let link = self.link(region)?;
        match self.ask(link, region, query, self.timeout).await? {
            Answer::Refused { code, field, message } => Err(named(&code, &field, &message)),
            answer => Ok(answer),
        }
    }

    async fn ask(&self, link: &Link, region: &Region, query: &Query, timeout: Duration) -> Result<Answer, Fault> {
        let service = query.service();
        if !link.bus.is_connected() {
            return Err(Fault::unavailable(format!("the bus of {region} is not reachable; try again")));
        }
        let subject = subjects::query(region, service, query.name());
        let payload = serde_json::to_vec(query).map_err(|error| broken(&error))?;
        let bytes = link.bus.query(&subject, payload, timeout).await.map_err(|error| match error {
            QueryError::NobodyAnswers { .. } => Fault::unavailable(format!("the {service} does not run; try again")),
            error => {
                tracing::warn!(error = %service_host::error_chain(&error), "a query was not answered");
                Fault::unavailable(format!("the {service} did not answer in time; try again"))
            }
        })?;
        self.heard(link, service);
        serde_json::from_slice(&bytes).map_err(|error| broken(&error))
    }
}

/// A question that costs its service nothing.
fn anything(service: Service) -> Query {
    match service {
        Service::Verifier => Query::ListTestRuns { account: None, limit: Some(1) },
        _ => Query::ShowJob { job_id: JobId::new(uuid::Uuid::nil()) },
    }
}

fn slot(service: Service) -> Option<usize> {
    match service {
        Service::Planner => Some(0),
        Service::Verifier => Some(1),
        _ => None,
    }
}

/// Takes a waiting call off the list, however its waiting ends.
struct Forget<'a> {
    waiting: &'a Waiting,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(self.id);
    }
}

/// Hands an answer to the call that waits for it; other facts are looked at by their subject only.
fn deliver(waiting: &Waiting, subject: &str, payload: &[u8]) {
    if !subject.contains(".request-accepted.") && !subject.contains(".request-rejected.") {
        return;
    }
    let Ok(envelope) = Envelope::from_bytes(payload) else { return };
    let Ok(fact) = envelope.fact() else { return };
    let (id, answer) = match fact {
        Fact::RequestAccepted(accepted) => (accepted.request_id.clone(), Ok((accepted, envelope.time))),
        // The same request came before, with less time; the answer to this one follows.
        Fact::RequestRejected(rejected) if rejected.code == REQUEST_EXPIRED => {
            tracing::warn!(request.id = rejected.request_id, message = rejected.message, "a request came too late");
            return;
        }
        Fact::RequestRejected(rejected) => (rejected.request_id.clone(), Err(rejected)),
        _ => return,
    };
    if let Some(call) = waiting.lock().remove(&id) {
        // Who does not wait any more needs no answer.
        let _ = call.send(answer);
    }
}

fn refusal(rejected: RequestRejected) -> Fault {
    let mut fault = named(&rejected.code, &rejected.field, &rejected.message);
    fault.arn = rejected.arn.map(|arn| arn.to_string().into_boxed_str());
    fault
}

/// A refusal in the words of the services; who knows what the client asked for names the member.
fn named(code: &str, field: &str, message: &str) -> Fault {
    let fault = Fault::new(code, message);
    if field.is_empty() || field == "." { fault } else { Fault { field: Some(field.into()), ..fault } }
}

fn broken(error: &serde_json::Error) -> Fault {
    tracing::error!(%error, "a message of our own cannot be written or read");
    Fault::internal("the services behind the gateway do not understand each other; see its log")
}
