//! Making a region's streams and consumers, or seeing that those that exist are as they must be.
//!
//! An old or foreign server drops settings it does not know without a word. So what it echoes is compared, member by
//! member, with what was wanted; what it adds of its own is not looked at.

use jiff::Timestamp;
use job_model::Region;
use serde_json::{Value, json};

use crate::topology::{self, ConsumerPlan, StreamPlan};
use crate::{ApiError, Bus, api};

/// Why a region's streams are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The server refused, or did not answer.
    #[error("cannot make or read stream `{stream}`")]
    Stream {
        /// The stream.
        stream: String,
        /// Why.
        #[source]
        source: ApiError,
    },
    /// A stream or consumer is configured otherwise.
    #[error(
        "`{object}` has `{field}` = `{found}`, but `{wanted}` is needed; correct it with `nats stream edit` or \
         `nats consumer edit`, or delete it while it is empty and provision again"
    )]
    Differs {
        /// The stream, or `<stream>/<consumer>`.
        object: String,
        /// The setting, as the JetStream API calls it.
        field: String,
        /// What it must be.
        wanted: String,
        /// What the server says it is.
        found: String,
    },
    /// JetStream answered without telling the time.
    #[error("`{stream}` came without the server's time")]
    NoTime {
        /// The stream.
        stream: String,
    },
}

impl Bus {
    /// Makes what is missing of the region's streams, consumers and lease bucket, and compares the rest. Nothing that
    /// exists is changed.
    ///
    /// # Errors
    /// When the server refuses, or something exists with other settings; the message names stream, setting, wanted and
    /// found value.
    pub async fn provision(&self, region: &Region) -> Result<(), ProvisionError> {
        self.provision_replicated(region, 1).await
    }

    /// As [`Bus::provision`], for a cluster: every stream on so many servers (1, 3 or 5).
    ///
    /// # Errors
    /// As [`Bus::provision`].
    pub async fn provision_replicated(&self, region: &Region, replicas: u8) -> Result<(), ProvisionError> {
        let mut server_time = None;
        for plan in topology::streams(region, self.timing(), replicas) {
            server_time = Some(self.ensure_stream(&plan).await?);
            for consumer in &plan.consumers {
                self.ensure_consumer(&plan.name, consumer).await?;
            }
        }
        let mut bucket = topology::lease_bucket(region, self.timing(), replicas);
        if let Some(now) = server_time {
            // The bucket's revisions are the epochs of leases. A bucket that is made anew, because it was lost, has to
            // begin above all epochs of the old one: with the microseconds since 1970 of the server's clock.
            let first = u64::try_from(now.as_microsecond()).unwrap_or(1).max(1);
            topology::merge(&mut bucket.config, json!({ "first_seq": first }));
        }
        self.ensure_stream(&bucket).await?;
        Ok(())
    }

    async fn ensure_stream(&self, plan: &StreamPlan) -> Result<Timestamp, ProvisionError> {
        let stream = || plan.name.clone();
        let failed = |source| ProvisionError::Stream { stream: stream(), source };
        let info = match self.api::<Value>(&format!("STREAM.INFO.{}", plan.name), &Value::Null).await {
            Err(ApiError::Refused { code: api::STREAM_NOT_FOUND, .. }) => {
                let made = self.api::<Value>(&format!("STREAM.CREATE.{}", plan.name), &plan.config).await;
                made.map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        let mut wanted = plan.config.clone();
        if let Value::Object(wanted) = &mut wanted {
            // True for the moment of its making only.
            wanted.remove("first_seq");
        }
        compare(&plan.name, &wanted, &info["config"])?;
        let time = info["ts"].as_str().and_then(|text| text.parse().ok());
        time.ok_or_else(|| ProvisionError::NoTime { stream: stream() })
    }

    async fn ensure_consumer(&self, stream: &str, plan: &ConsumerPlan) -> Result<(), ProvisionError> {
        let failed = |source| ProvisionError::Stream { stream: stream.to_owned(), source };
        let durable = &plan.durable;
        let info = match self.api::<Value>(&format!("CONSUMER.INFO.{stream}.{durable}"), &Value::Null).await {
            Err(ApiError::Refused { code: api::CONSUMER_NOT_FOUND, .. }) => {
                let body = json!({ "stream_name": stream, "config": plan.config, "action": "create" });
                let made = self.api::<Value>(&format!("CONSUMER.CREATE.{stream}.{durable}"), &body).await;
                made.map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        compare(&format!("{stream}/{durable}"), &plan.config, &info["config"])
    }
}

/// Every member that was wanted has the wanted value; what else the server says is its own business.
fn compare(object: &str, wanted: &Value, found: &Value) -> Result<(), ProvisionError> {
    let Value::Object(wanted) = wanted else { return Ok(()) };
    for (field, value) in wanted {
        let echoed = found.get(field).unwrap_or(&Value::Null);
        if !same(value, echoed) {
            return Err(ProvisionError::Differs {
                object: object.to_owned(),
                field: field.clone(),
                wanted: value.to_string(),
                found: echoed.to_string(),
            });
        }
    }
    Ok(())
}

fn same(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        // The server leaves out what has its zero value.
        (value, Value::Null) => is_zero(value),
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().all(|one| found.contains(one))
        }
        (wanted, found) => wanted == found,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_the_server_dropped_is_named() {
        let wanted = json!({ "retention": "workqueue", "discard_new_per_subject": true, "max_age": 0 });
        let found = json!({ "retention": "workqueue", "max_consumers": -1 });
        let error = compare("ORDERS", &wanted, &found).unwrap_err().to_string();
        assert!(error.contains("`ORDERS` has `discard_new_per_subject` = `null`, but `true`"), "{error}");
    }

    #[test]
    fn order_of_subjects_and_defaults_of_the_server_do_not_matter() {
        let wanted = json!({ "subjects": ["a", "b"], "max_age": 0, "deny_delete": false });
        let found = json!({ "subjects": ["b", "a"], "max_msgs": -1 });
        compare("S", &wanted, &found).unwrap();
    }
}
