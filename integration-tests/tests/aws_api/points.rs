//! Recovery points by the thousand: told on the bus as the planner tells them, because making so many proves nothing more.

use integration_tests::installation::Installation;
use jiff::SignedDuration;
use job_bus::Publish;
use job_events::subjects::{self, Service};
use job_events::{Envelope, Fact, RecoveryPointCreated};
use job_model::{Arn, RecoveryPoint, RecoveryPointId};
use uuid::Uuid;

/// Tells of so many recovery points more, each like the given one and a second older than the last.
pub(crate) async fn tell_of(installation: &Installation, like: &RecoveryPoint, count: u32) {
    let region = &installation.regions[0];
    let telling = (1..=count).map(move |number| async move {
        let id = RecoveryPointId::new(Uuid::from_u128(rand::random()));
        let age = SignedDuration::from_secs(i64::from(number));
        let account = like.vault.account().parse().unwrap();
        let recovery_point = RecoveryPoint {
            id,
            arn: Arn::recovery_point(region, &account, id).unwrap(),
            created_at: like.created_at - age,
            ..like.clone()
        };
        let fact = Fact::RecoveryPointCreated(RecoveryPointCreated { recovery_point });
        let (time, event_type) = (like.created_at, fact.event_type());
        let envelope = Envelope::new(id.to_string(), "/tests".to_owned(), event_type, time, fact.to_value().unwrap());
        let publish = Publish {
            subject: subjects::fact(region, Service::Planner, fact.name(), &id.to_string(), u64::MAX, 1),
            id: id.to_string(),
            payload: envelope.to_bytes().unwrap().into(),
            traceparent: None,
            expect_stream: subjects::fact_stream(region),
            once_per_subject: true,
        };
        installation.buses[0].publish(&publish).await.unwrap();
    });
    // In batches: the server writes each to disk before it answers.
    let mut telling = telling.peekable();
    while telling.peek().is_some() {
        futures::future::join_all(telling.by_ref().take(100)).await;
    }
}
