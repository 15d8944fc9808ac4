//! Requests and queries: what the command line says to the services.

use std::time::Duration;

use job_bus::{Bus, Publish, StartAt, Watch};
use job_events::{Answer, Envelope, Fact, Query, Request, RequestAccepted, subjects};
use job_model::{BackupPlan, Region, Resource, Vault};
use service_host::{Clock, Ids};

use crate::api::{Api, Call};
use crate::connection::{self, Destination, Way};
use crate::error::CliError;

/// Source of the messages of the command line.
const SOURCE: &str = "/holdfast/cli";
/// W3C trace context handed down by the caller's environment, as CI systems and tracing shells do.
const TRACEPARENT: &str = "TRACEPARENT";

/// What leads to the services.
enum Link {
    Bus(Bus),
    Api(Api),
}

/// A connection to the services of one installation.
pub(crate) struct Client<'a> {
    link: Link,
    destination: Destination,
    clock: &'a dyn Clock,
    ids: &'a dyn Ids,
    traceparent: Option<String>,
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("destination", &self.destination).finish_non_exhaustive()
    }
}

impl<'a> Client<'a> {
    /// Connects.
    ///
    /// # Errors
    /// When the bus cannot be reached.
    pub(crate) async fn connect(
        destination: Destination,
        clock: &'a dyn Clock,
        ids: &'a dyn Ids,
    ) -> Result<Client<'a>, CliError> {
        let link = match &destination.way {
            Way::Bus(bus) => Link::Bus(connection::connect(bus, destination.timeout).await?),
            Way::Api(login) => Link::Api(Api::new(login.clone(), destination.timeout)?),
        };
        let traceparent = std::env::var(TRACEPARENT).ok().filter(|t| t.len() == 55 && t.starts_with("00-"));
        Ok(Self { link, destination, clock, ids, traceparent })
    }

    /// The bus.
    ///
    /// # Errors
    /// When the services are reached through the gateway, which does not hand on what is only on the bus.
    pub(crate) fn bus(&self) -> Result<&Bus, CliError> {
        match &self.link {
            Link::Bus(bus) => Ok(bus),
            Link::Api(_) => Err(CliError::usage(
                "this needs the bus itself, which a gateway does not hand on; give the address of the bus (`nats://…`) \
                 with `--url`",
            )),
        }
    }

    /// Whether facts can be listened to.
    #[must_use]
    pub(crate) const fn hears_facts(&self) -> bool {
        matches!(self.link, Link::Bus(_))
    }

    /// The time.
    #[must_use]
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// A call through the gateway; each has an id of its own.
    fn call<'c>(&'c self, invocation: &'c str) -> Call<'c> {
        Call { region: self.region().as_str(), invocation, traceparent: self.traceparent.as_deref() }
    }

    /// Where requests go.
    #[must_use]
    pub(crate) const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The region that requests are sent in.
    #[must_use]
    pub(crate) const fn region(&self) -> &Region {
        &self.destination.region
    }

    /// The region chosen on the command line, if one was.
    #[must_use]
    pub(crate) fn chosen_region(&self) -> Option<&Region> {
        self.destination.region_given.then_some(&self.destination.region)
    }

    /// Sends a request and waits until its service says that it is durable, or refuses it.
    ///
    /// # Errors
    /// When it is refused, the bus fails, or no answer comes in time.
    pub(crate) async fn request(&self, request: &Request) -> Result<RequestAccepted, CliError> {
        let id = self.ids.uuid().hyphenated().to_string();
        let queue = match &self.link {
            Link::Bus(queue) => queue,
            Link::Api(api) => return api.request(self.call(&id), request, || self.clock.now()).await,
        };
        let region = self.region();
        let service = request.service();
        let data = request.to_value().map_err(bus("write the request"))?;
        let mut envelope = Envelope::new(id.clone(), SOURCE.to_owned(), request.event_type(), self.clock.now(), data);
        envelope.traceparent.clone_from(&self.traceparent);
        let payload = envelope.to_bytes().map_err(bus("write the request"))?;

        // Listen first: the answer may be there before the publish returns.
        let mut answers = self.watch(&subjects::fact_stream(region), &subjects::facts_of(region, service)).await?;
        let publish = Publish {
            subject: subjects::request(region, service, request.name()),
            id: id.clone(),
            payload: payload.into(),
            traceparent: self.traceparent.clone(),
            expect_stream: subjects::request_stream(region),
            once_per_subject: false,
        };
        queue.publish(&publish).await.map_err(bus("send the request"))?;
        let timeout = self.destination.timeout;
        let answer = async {
            while let Some(watched) = answers.next().await {
                let watched = watched.map_err(bus("listen for the answer"))?;
                let Some(fact) = Envelope::from_bytes(&watched.payload).ok().and_then(|e| e.fact().ok()) else {
                    continue;
                };
                match fact {
                    Fact::RequestAccepted(accepted) if accepted.request_id == id => return Ok(accepted),
                    Fact::RequestRejected(r) if r.request_id == id => {
                        return Err(CliError::Refused { code: r.code, field: r.field, message: r.message });
                    }
                    _ => {}
                }
            }
            Err(CliError::NoAnswer { service: service.as_str(), seconds: timeout.as_secs() })
        };
        within(timeout, answer)
            .await
            .unwrap_or(Err(CliError::NoAnswer { service: service.as_str(), seconds: timeout.as_secs() }))
    }

    /// Asks a question.
    ///
    /// # Errors
    /// When it is refused, nobody answers in time, or the answer makes no sense.
    pub(crate) async fn query(&self, query: &Query) -> Result<Answer, CliError> {
        let service = query.service();
        let line = match &self.link {
            Link::Bus(line) => line,
            Link::Api(api) => {
                let id = self.ids.uuid().hyphenated().to_string();
                return api.query(self.call(&id), query, || self.clock.now()).await;
            }
        };
        let subject = subjects::query(self.region(), service, query.name());
        let payload = serde_json::to_vec(query).map_err(bus("write the query"))?;
        let bytes = line.query(&subject, payload, self.destination.timeout).await.map_err(bus("ask a service"))?;
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|e| CliError::BadAnswer { service: service.as_str(), source: Box::new(e) })?;
        match answer {
            Answer::Refused { code, field, message } => Err(CliError::Refused { code, field, message }),
            answer => Ok(answer),
        }
    }

    /// New messages of a stream.
    ///
    /// # Errors
    /// When the bus fails.
    pub(crate) async fn watch(&self, stream: &str, subject: &str) -> Result<Watch, CliError> {
        self.bus()?.watch(stream, subject, StartAt::New).await.map_err(bus("listen for answers"))
    }

    /// All resources.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub(crate) async fn resources(&self) -> Result<Vec<Resource>, CliError> {
        match self.query(&Query::ListResources).await? {
            Answer::Resources(resources) => Ok(resources),
            other => Err(unexpected("planner", &other)),
        }
    }

    /// All vaults.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub(crate) async fn vaults(&self) -> Result<Vec<Vault>, CliError> {
        match self.query(&Query::ListVaults).await? {
            Answer::Vaults(vaults) => Ok(vaults),
            other => Err(unexpected("planner", &other)),
        }
    }

    /// All plans.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub(crate) async fn plans(&self) -> Result<Vec<BackupPlan>, CliError> {
        match self.query(&Query::ListPlans).await? {
            Answer::Plans(plans) => Ok(plans),
            other => Err(unexpected("planner", &other)),
        }
    }
}

/// The future's output, or none when it takes longer.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// An error of the bus with what was tried.
pub(crate) fn bus<E: std::error::Error + Send + Sync + 'static>(step: &'static str) -> impl FnOnce(E) -> CliError {
    move |source| CliError::Bus { step, source: Box::new(source) }
}

/// An answer of another kind than the question asks for.
#[must_use]
pub(crate) fn unexpected(service: &'static str, answer: &Answer) -> CliError {
    let kind = serde_json::to_value(answer)
        .ok()
        .and_then(|value| value.get("answer").and_then(|a| a.as_str()).map(str::to_owned))
        .unwrap_or_default();
    CliError::BadAnswer { service, source: format!("`{kind}` answers another question").into() }
}
