//! Who may publish and subscribe what: least privilege, as data.
//!
//! A worker cannot write another service's facts, so a fact's subject tells who wrote it. Nobody but the provisioner may
//! make or change streams and durable consumers. `deploy/` renders this table into the server's configuration.

use job_events::subjects::{self, Queue, Service};
use job_model::Region;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::topology::{bucket_stream, bucket_subject};

/// What a user is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// One of the services.
    Service(Service),
    /// The gateway: asks, requests, follows facts, tells the outside world what happened.
    Gateway,
    /// A person with the command line: asks, requests, reads facts and dead letters.
    Operator,
    /// Makes streams and consumers, once per region and upgrade.
    Provisioner,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Service(Service::Planner),
        Self::Service(Service::SnapshotWorker),
        Self::Service(Service::CopyReplicator),
        Self::Service(Service::RestoreWorker),
        Self::Service(Service::Verifier),
        Self::Gateway,
        Self::Operator,
        Self::Provisioner,
    ];

    /// The user's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service(service) => service.as_str(),
            Self::Gateway => "gateway",
            Self::Operator => "operator",
            Self::Provisioner => "provisioner",
        }
    }

    /// What [`BusConfig::inbox_prefix`](crate::BusConfig) has to be for a user of this role: replies to one role are not
    /// for the eyes of another.
    #[must_use]
    pub fn inbox_prefix(self) -> String {
        format!("_INBOX.{}", self.as_str())
    }
}

/// The subjects of one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// May publish there, and nowhere else.
    pub publish: Vec<String>,
    /// May subscribe there, and nowhere else.
    pub subscribe: Vec<String>,
    /// May answer what it was asked, once.
    pub answer: bool,
}

/// How a user proves who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Public key (`U…`) of an nkey pair.
    Nkey(String),
    /// Password in an environment variable of the server.
    PasswordVariable(String),
    /// Password, written into the rendered configuration: for the private server of `holdfast up` and for tests.
    Password(SecretString),
}

/// One user of the server.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name; not used with an nkey.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// Where.
    pub regions: Vec<Region>,
    /// How it proves who it is.
    pub credential: Credential,
}

impl Permissions {
    /// What a role needs in some regions.
    #[must_use]
    pub fn of(role: Role, regions: &[Region]) -> Self {
        let mut all = Self::default();
        all.subscribe.push(format!("{}.>", role.inbox_prefix()));
        for region in regions {
            match role {
                Role::Service(Service::Planner) => all.planner(region),
                Role::Service(Service::Verifier) => all.verifier(region),
                Role::Service(Service::SnapshotWorker) => {
                    all.worker(region, Service::SnapshotWorker, Queue::Snapshot);
                    all.reads_along(&subjects::assignment_stream(region));
                }
                Role::Service(Service::CopyReplicator) => all.worker(region, Service::CopyReplicator, Queue::Copy),
                Role::Service(Service::RestoreWorker) => all.worker(region, Service::RestoreWorker, Queue::Restore),
                Role::Gateway => all.gateway(region),
                Role::Operator => all.operator(region),
                Role::Provisioner => {}
            }
        }
        if role == Role::Provisioner {
            all.publish("$JS.API.>");
        }
        all
    }

    fn publish(&mut self, subject: impl Into<String>) {
        self.publish.push(subject.into());
    }

    fn planner(&mut self, region: &Region) {
        let planner = Service::Planner;
        for queue in Queue::ALL {
            self.publish(subjects::orders(region, queue));
        }
        self.publish(subjects::stops(region));
        self.publish(subjects::assignments_to(region, Service::SnapshotWorker));
        self.says(region, planner);
        self.pulls(&subjects::request_stream(region), planner);
        self.pulls(&subjects::fact_stream(region), planner);
        self.pulls(&subjects::advisory_stream(region), planner);
        self.serves_queries(region, planner);
        // There is one planner at a time: it holds a lease of its own.
        let bucket = subjects::lease_bucket(region);
        self.publish(bucket_subject(&bucket, planner.as_str()));
        self.publish(format!(
            "$JS.API.DIRECT.GET.{}.{}",
            bucket_stream(&bucket),
            bucket_subject(&bucket, planner.as_str())
        ));
        // It compares all settings at its start, notices streams that were reset, and clears what is stuck.
        let orders = Queue::ALL.map(|queue| (queue.stream(region), queue.service()));
        let requests = [planner, Service::Verifier].map(|service| (subjects::request_stream(region), service));
        for (stream, consumer) in orders.into_iter().chain(requests) {
            self.publish(format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"));
            self.publish(format!("$JS.API.DIRECT.GET.{stream}"));
            self.publish(format!("$JS.API.DIRECT.GET.{stream}.>"));
            self.publish(format!("$JS.API.STREAM.MSG.DELETE.{stream}"));
        }
        self.publish(format!("$JS.API.CONSUMER.INFO.{}.{}", subjects::fact_stream(region), Service::Verifier));
        for stream in all_streams(region) {
            self.publish(format!("$JS.API.STREAM.INFO.{stream}"));
        }
        for stream in [subjects::fact_stream(region), subjects::dead_letter_stream(region)] {
            self.publish(format!("$JS.API.DIRECT.GET.{stream}"));
            self.publish(format!("$JS.API.DIRECT.GET.{stream}.>"));
        }
    }

    fn worker(&mut self, region: &Region, service: Service, queue: Queue) {
        self.says(region, service);
        self.pulls(&queue.stream(region), service);
        let bucket = subjects::lease_bucket(region);
        self.publish(bucket_subject(&bucket, ">"));
        self.publish(format!("$JS.API.DIRECT.GET.{}.>", bucket_stream(&bucket)));
        self.subscribe.push(subjects::stops(region));
        self.publish(format!("$JS.API.DIRECT.GET.{}.{}", subjects::control_stream(region), subjects::stops(region)));
        self.publish(format!("$JS.API.STREAM.INFO.{}", queue.stream(region)));
        self.publish(format!("$JS.API.STREAM.MSG.GET.{}", queue.stream(region)));
        self.serves_queries(region, service);
    }

    fn verifier(&mut self, region: &Region) {
        let verifier = Service::Verifier;
        self.worker(region, verifier, Queue::Verify);
        self.pulls(&subjects::request_stream(region), verifier);
        self.pulls(&subjects::fact_stream(region), verifier);
        self.publish(format!("$JS.API.STREAM.INFO.{}", subjects::fact_stream(region)));
        // It asks the planner for restores, and what there is to test.
        self.publish(subjects::requests_to(region, Service::Planner));
        self.publish(subjects::queries_to(region, Service::Planner));
    }

    fn gateway(&mut self, region: &Region) {
        // It speaks for its clients as an operator would.
        self.operator(region);
        // Events and notifications, for whoever listens.
        self.publish("backup.>".to_owned());
    }

    fn operator(&mut self, region: &Region) {
        for service in [Service::Planner, Service::Verifier] {
            self.publish(subjects::requests_to(region, service));
        }
        self.publish(subjects::queries_to(region, Service::Planner));
        self.publish(subjects::queries_to(region, Service::Verifier));
        // Reading along makes a consumer of its own.
        for stream in [subjects::fact_stream(region), subjects::dead_letter_stream(region)] {
            self.reads_along(&stream);
            self.publish(format!("$JS.API.DIRECT.GET.{stream}"));
            self.publish(format!("$JS.API.DIRECT.GET.{stream}.>"));
        }
        for stream in all_streams(region) {
            self.publish(format!("$JS.API.STREAM.INFO.{stream}"));
        }
    }

    /// Makes consumers of its own, which nobody else takes from.
    fn reads_along(&mut self, stream: &str) {
        for verb in ["CREATE", "INFO", "DELETE", "MSG.NEXT"] {
            self.publish(format!("$JS.API.CONSUMER.{verb}.{stream}.>"));
        }
        self.publish(format!("$JS.API.CONSUMER.CREATE.{stream}"));
    }

    /// Facts and dead letters of one service.
    fn says(&mut self, region: &Region, service: Service) {
        self.publish(subjects::facts_of(region, service));
        self.publish(subjects::dead_letter(region, service, "*"));
    }

    /// Takes from one durable consumer, and settles. Both forms of the reply subject of ADR-15.
    fn pulls(&mut self, stream: &str, consumer: Service) {
        self.publish(format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"));
        self.publish(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"));
        self.publish(format!("$JS.ACK.{stream}.{consumer}.>"));
        self.publish(format!("$JS.ACK.*.*.{stream}.{consumer}.>"));
    }

    fn serves_queries(&mut self, region: &Region, service: Service) {
        self.subscribe.push(subjects::queries_to(region, service));
        self.answer = true;
    }
}

fn all_streams(region: &Region) -> Vec<String> {
    let mut streams: Vec<String> = Queue::ALL.iter().map(|queue| queue.stream(region)).collect();
    streams.extend([
        subjects::request_stream(region),
        subjects::fact_stream(region),
        subjects::control_stream(region),
        subjects::assignment_stream(region),
        subjects::dead_letter_stream(region),
        subjects::advisory_stream(region),
        bucket_stream(&subjects::lease_bucket(region)),
    ]);
    streams
}

/// The `authorization` block of nats-server's configuration for these users.
#[must_use]
pub fn render(users: &[User]) -> String {
    let users: Vec<String> = users.iter().map(render_user).collect();
    format!("authorization {{\n  users: [\n{}\n  ]\n}}\n", users.join(",\n"))
}

fn render_user(user: &User) -> String {
    let permissions = Permissions::of(user.role, &user.regions);
    let name = json!(user.name);
    let login = match &user.credential {
        Credential::Nkey(public) => format!("nkey: {}", json!(public)),
        Credential::PasswordVariable(variable) => format!("user: {name}, password: ${variable}"),
        Credential::Password(password) => format!("user: {name}, password: {}", json!(password.expose_secret())),
    };
    let list = |subjects: &[String]| {
        let lines: Vec<String> = subjects.iter().map(|subject| format!("          {}", json!(subject))).collect();
        format!("[\n{}\n        ]", lines.join(",\n"))
    };
    let answer = if permissions.answer { "\n        allow_responses: { max: 1, expires: \"30s\" }" } else { "" };
    format!(
        "    {{ {login}\n      permissions: {{\n        publish: {}\n        subscribe: {}{answer}\n      }}\n    }}",
        list(&permissions.publish),
        list(&permissions.subscribe),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_service_may_write_the_facts_of_another() {
        let region: Region = "ap-northeast-1".parse().unwrap();
        for role in Role::ALL {
            let facts: Vec<String> = Permissions::of(role, std::slice::from_ref(&region))
                .publish
                .into_iter()
                .filter(|subject| subject.contains(".fact."))
                .filter(|subject| subject.starts_with("hf."))
                .collect();
            match role {
                Role::Service(service) => assert_eq!(facts, [subjects::facts_of(&region, service)]),
                _ => assert!(facts.is_empty(), "{role:?}: {facts:?}"),
            }
        }
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let credential = Credential::Password("hunter2".to_owned().into());
        assert!(!format!("{credential:?}").contains("hunter2"));
    }
}
