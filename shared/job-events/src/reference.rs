//! The published description of the messages: JSON Schemas, an AsyncAPI document and the table of messages.
//!
//! Written from the types, so that it cannot say anything else than the code. `cargo run -p job-events --example
//! generate` writes the files; a test fails when they are stale.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::subjects::{PREFIX, Queue, Service};
use crate::{Answer, Assignment, Envelope, Fact, Family, OrderBody, Query, Request};

/// Where the generated part of `docs/reference/messages.md` begins.
pub const TABLE_BEGINS: &str = "<!-- generated: messages -->";
/// Where it ends.
pub const TABLE_ENDS: &str = "<!-- end of generated part -->";

/// One message type, as the documents need it.
struct Entry {
    family: Family,
    name: &'static str,
    event_type: String,
    schema: Value,
    summary: String,
}

fn entries() -> Vec<Entry> {
    let families = [
        (Family::Request, Request::schemas()),
        (Family::Order, OrderBody::schemas()),
        (Family::Assignment, Assignment::schemas()),
        (Family::Fact, Fact::schemas()),
    ];
    families
        .into_iter()
        .flat_map(|(family, schemas)| {
            schemas.into_iter().map(move |(name, event_type, schema)| {
                let schema = schema.to_value();
                let summary = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
                Entry { family, name, event_type, schema, summary }
            })
        })
        .collect()
}

/// The service that answers a request of this name.
#[must_use]
pub fn service_of_request(name: &str) -> Service {
    match name {
        "put-restore-testing-plan"
        | "delete-restore-testing-plan"
        | "run-restore-test"
        | "create-restore-testing-plan"
        | "update-restore-testing-plan"
        | "create-restore-testing-selection"
        | "update-restore-testing-selection"
        | "delete-restore-testing-selection" => Service::Verifier,
        _ => Service::Planner,
    }
}

/// The queue that an order of this name goes to; none for a name that is no order's.
#[must_use]
pub fn queue_of_order(name: &str) -> Option<Queue> {
    match name {
        "capture-snapshot"
        | "create-vault"
        | "check-vault"
        | "prune-vault"
        | "protect-vault"
        | "delete-recovery-point" => Some(Queue::Snapshot),
        "copy-recovery-point" | "forget-warm-snapshot" => Some(Queue::Copy),
        "restore-recovery-point" | "remove-sandbox" => Some(Queue::Restore),
        "verify-restore" => Some(Queue::Verify),
        _ => None,
    }
}

impl Entry {
    fn file(&self) -> String {
        format!("{}/{}.v1.schema.json", self.family.as_str(), self.name)
    }

    fn key(&self) -> String {
        format!("{}.{}", self.family.as_str(), self.name)
    }

    fn address(&self) -> String {
        let name = self.name;
        match self.family {
            Family::Request => format!("{PREFIX}.{{region}}.request.{}.{name}", service_of_request(name)),
            Family::Order => {
                let queue = queue_of_order(name).map_or("{queue}", Queue::as_str);
                format!("{PREFIX}.{{region}}.order.{queue}.{{resource}}")
            }
            Family::Assignment => format!("{PREFIX}.{{region}}.assignment.{{service}}.{{resource}}"),
            Family::Fact => format!("{PREFIX}.{{region}}.fact.{{service}}.{name}.{{job}}.{{sequence}}"),
        }
    }
}

/// The generated files below `docs/reference/messages/`: path and text.
#[must_use]
pub fn files() -> BTreeMap<String, String> {
    let entries = entries();
    let mut files: BTreeMap<String, String> = entries
        .iter()
        .map(|entry| {
            let mut schema = entry.schema.clone();
            schema["$id"] = json!(format!("https://holdfast.invalid/schema/{}.json", entry.event_type));
            (entry.file(), pretty(&schema))
        })
        .collect();
    files.insert("envelope.schema.json".to_owned(), pretty(&schemars::schema_for!(Envelope).to_value()));
    files.insert("query.schema.json".to_owned(), pretty(&schemars::schema_for!(Query).to_value()));
    files.insert("answer.schema.json".to_owned(), pretty(&schemars::schema_for!(Answer).to_value()));
    files.insert("asyncapi.json".to_owned(), pretty(&async_api(&entries)));
    files
}

/// The table of messages in `docs/reference/messages.md`, without its marks.
#[must_use]
pub fn table() -> String {
    let mut text = String::new();
    let families = [
        (Family::Request, "Requests"),
        (Family::Order, "Orders"),
        (Family::Assignment, "Assignments"),
        (Family::Fact, "Facts"),
    ];
    for (family, title) in families {
        let _ = write!(text, "\n### {title}\n\n| message | subject | meaning |\n|---|---|---|\n");
        for entry in entries().into_iter().filter(|entry| entry.family == family) {
            let (file, name, address) = (entry.file(), entry.name, entry.address());
            let _ = writeln!(text, "| [`{name}`](messages/{file}) | `{address}` | {} |", entry.summary);
        }
    }
    text.push('\n');
    text
}

/// The AsyncAPI 3.0 document, from the point of view of a program outside: it sends requests and receives facts.
fn async_api(entries: &[Entry]) -> Value {
    let mut channels = serde_json::Map::new();
    let mut operations = serde_json::Map::new();
    let mut messages = serde_json::Map::new();
    for entry in entries {
        let key = entry.key();
        let parameters: serde_json::Map<String, Value> = PARAMETERS
            .iter()
            .filter(|(name, _)| entry.address().contains(&format!("{{{name}}}")))
            .map(|(name, description)| ((*name).to_owned(), json!({ "description": description })))
            .collect();
        channels.insert(
            key.clone(),
            json!({
                "address": entry.address(),
                "description": entry.summary,
                "parameters": parameters,
                "messages": { entry.name: { "$ref": format!("#/components/messages/{key}") } },
            }),
        );
        messages.insert(
            key.clone(),
            json!({
                "name": entry.event_type,
                "title": entry.name,
                "summary": entry.summary,
                "contentType": "application/cloudevents+json",
                "payload": {
                    "allOf": [
                        { "$ref": "./envelope.schema.json" },
                        {
                            "type": "object",
                            "properties": {
                                "type": { "const": entry.event_type },
                                "data": { "$ref": format!("./{}", entry.file()) },
                            },
                        },
                    ],
                },
            }),
        );
        let (verb, action) = match entry.family {
            Family::Request => ("send", "send"),
            Family::Order | Family::Assignment | Family::Fact => ("receive", "receive"),
        };
        operations.insert(
            format!("{verb}.{key}"),
            json!({ "action": action, "channel": { "$ref": format!("#/channels/{key}") }, "summary": entry.summary }),
        );
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Holdfast messages",
            "version": "1.0.0",
            "description": "Requests, orders and facts of Holdfast on NATS JetStream, as CloudEvents 1.0 in structured JSON. \
                Anybody with permission may send requests and receive facts; orders are for the workers and are described \
                so that they can be watched.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
    })
}

/// Parameters of subjects.
const PARAMETERS: [(&str, &str); 5] = [
    ("region", "Region as AWS names it, for example `ap-northeast-1`."),
    ("resource", "Key of the resource: 32 hexadecimal digits, UUID version 5 of its ARN."),
    ("service", "The service that says it: planner, snapshot-worker, copy-replicator, restore-worker or verifier."),
    ("job", "The job it is about, or another name where it is about none."),
    ("sequence", "`<epoch>-<n>`: unique per job, so that no fact is published twice."),
];

fn pretty(value: &Value) -> String {
    // A `Value` has text keys only, which is all that could fail.
    serde_json::to_string_pretty(value).map(|text| text + "\n").unwrap_or_default()
}
