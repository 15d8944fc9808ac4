//! What came: an order of this queue, or something that must not be carried out.

use job_events::subjects::Queue;
use job_events::{Envelope, OrderBody, OrderHeader};
use job_model::Region;

/// A message from the queue, read.
#[derive(Debug)]
pub(crate) enum Intake {
    /// An order.
    Order {
        /// Its envelope.
        envelope: Box<Envelope>,
        /// What to do.
        body: Box<OrderBody>,
    },
    /// An order this worker cannot understand, of a job it can name: the planner is told.
    Senseless {
        /// Its envelope.
        envelope: Box<Envelope>,
        /// The job.
        header: Box<OrderHeader>,
        /// What is wrong.
        problem: String,
    },
    /// Nothing that names a job.
    Unreadable {
        /// What is wrong.
        problem: String,
    },
}

/// Reads a message of a queue.
pub(crate) fn read(payload: &[u8], queue: Queue, region: &Region) -> Intake {
    let envelope = match Envelope::from_bytes(payload) {
        Ok(envelope) => Box::new(envelope),
        Err(error) => return Intake::Unreadable { problem: error.to_string() },
    };
    let problem = match envelope.order() {
        Ok(body) if body.queue() != queue => {
            format!("`{}` belongs to queue `{}`", envelope.event_type, body.queue().as_str())
        }
        Ok(body) if body.header().region != *region => {
            format!("it is for region `{}`", body.header().region)
        }
        Ok(body) => return Intake::Order { envelope, body: Box::new(body) },
        Err(error) => error.to_string(),
    };
    match envelope.data.get("order").cloned().map(serde_json::from_value) {
        Some(Ok(header)) => Intake::Senseless { envelope, header: Box::new(header), problem },
        _ => Intake::Unreadable { problem },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    fn message(event_type: &str, data: serde_json::Value) -> Vec<u8> {
        let (id, source) = ("m1".to_owned(), "/holdfast/planner/a".to_owned());
        Envelope::new(id, source, event_type.to_owned(), Timestamp::UNIX_EPOCH, data).to_bytes().unwrap()
    }

    fn header(region: &str) -> serde_json::Value {
        json!({
            "job_id": "00000000-0000-0000-0000-000000000001",
            "attempt": 1,
            "region": region,
            "resource": "arn:aws:ec2:ap-northeast-1:123456789012:volume/vol-1",
            "issued_at": "2026-01-01T00:00:00Z",
        })
    }

    fn read_here(payload: &[u8]) -> Intake {
        read(payload, Queue::Restore, &"ap-northeast-1".parse().unwrap())
    }

    #[test]
    fn an_order_of_this_queue_and_region_is_an_order() {
        let data =
            json!({ "order": header("ap-northeast-1"), "restore_job_id": "00000000-0000-0000-0000-000000000002" });
        let read = read_here(&message("holdfast.order.remove-sandbox.v1", data.clone()));
        assert!(matches!(read, Intake::Order { .. }), "{read:?}");
        let elsewhere = super::read(
            &message("holdfast.order.remove-sandbox.v1", data),
            Queue::Copy,
            &"ap-northeast-1".parse().unwrap(),
        );
        assert!(matches!(elsewhere, Intake::Senseless { problem, .. } if problem.contains("`restore`")));
    }

    #[test]
    fn what_names_its_job_is_senseless_and_what_does_not_is_unreadable() {
        let data = json!({ "order": header("ap-northeast-1") });
        for (kind, data) in [("remove-sandbox", data.clone()), ("dance", data)] {
            let read = read_here(&message(&format!("holdfast.order.{kind}.v1"), data));
            assert!(matches!(read, Intake::Senseless { .. }), "{kind}: {read:?}");
        }
        for payload in [b"not json".to_vec(), message("holdfast.order.remove-sandbox.v1", json!({}))] {
            assert!(matches!(read_here(&payload), Intake::Unreadable { .. }));
        }
    }

    #[test]
    fn an_order_for_another_region_is_senseless() {
        let data = json!({ "order": header("eu-central-1"), "restore_job_id": "00000000-0000-0000-0000-000000000002" });
        let read = read_here(&message("holdfast.order.remove-sandbox.v1", data));
        assert!(matches!(read, Intake::Senseless { problem, .. } if problem.contains("eu-central-1")));
    }
}
