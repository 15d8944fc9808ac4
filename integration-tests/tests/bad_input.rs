//! Wrong requests are refused with the field, the value and the mend; nothing changes. Wrong configuration ends a service at
//! once with the exit code that says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use integration_tests::installation::{Installation, Options, Rejected, program};
use job_events::subjects::{self, Service};
use job_events::{Answer, Query};
use serde_json::{Value, json};

/// Request name, payload, and what the refusal must say: the field, and words of the message.
struct Case {
    name: &'static str,
    data: Value,
    field: &'static str,
    words: &'static [&'static str],
}

fn vault(region: &str) -> Value {
    json!(format!("arn:aws:backup:{region}:000000000000:backup-vault:primary"))
}

fn plan(rule: Value) -> Value {
    let mut whole = json!({ "name": "daily", "target_vault": vault("ap-northeast-1") });
    for (key, value) in rule.as_object().unwrap() {
        whole[key] = value.clone();
    }
    json!({ "name": "bad", "rules": [whole] })
}

fn cases() -> Vec<Case> {
    let unknown = "arn:aws:backup:ap-northeast-1:000000000000:backup-vault:nowhere";
    let point = "arn:aws:backup:ap-northeast-1:000000000000:recovery-point:018f0000-0000-7000-8000-000000000000";
    vec![
        Case { name: "start-backup", data: json!({}), field: "data", words: &["resource"] },
        Case {
            name: "start-backup",
            data: json!({ "resource": "not an arn", "vault": vault("ap-northeast-1") }),
            field: "data.resource",
            words: &["not an arn", "arn:aws"],
        },
        Case {
            name: "start-backup",
            data: json!({ "resource": "arn:aws:files:ap-northeast-1:000000000000:tree/none", "vault": vault("ap-northeast-1") }),
            field: "resource",
            words: &["tree/none", "regist"],
        },
        Case {
            name: "create-plan",
            data: plan(json!({ "target_vault": unknown })),
            field: "target_vault",
            words: &["nowhere"],
        },
        Case {
            name: "create-plan",
            data: plan(json!({ "schedule": "cron(61 5 ? * * *)" })),
            field: "schedule",
            words: &["61"],
        },
        Case {
            name: "create-plan",
            data: plan(json!({ "schedule": "rate(1 day)" })),
            field: "schedule",
            words: &["rate(1 day)", "cron"],
        },
        Case {
            name: "create-plan",
            data: plan(json!({ "time_zone": "Mars/Olympus" })),
            field: "time_zone",
            words: &["Mars/Olympus"],
        },
        Case {
            name: "create-plan",
            data: plan(json!({ "lifecycle": { "delete_after_days": 0 } })),
            field: "delete_after_days",
            words: &["0"],
        },
        Case {
            name: "create-plan",
            data: plan(json!({ "lifecycle": { "move_to_cold_after_days": 30, "delete_after_days": 120 } })),
            field: "move_to_cold_after_days",
            words: &["cold"],
        },
        Case {
            name: "create-plan",
            data: plan(json!({ "copy_actions": [{ "destination_vault": unknown }] })),
            field: "destination_vault",
            words: &["nowhere"],
        },
        Case { name: "create-plan", data: json!({ "name": "empty", "rules": [] }), field: "rules", words: &["rule"] },
        Case {
            name: "create-vault",
            data: json!({ "name": "v", "region": "ap-northeast-1", "location": "file:///tmp/x", "key_profile": "main" }),
            field: "name",
            words: &["`v`"],
        },
        Case {
            name: "create-vault",
            data: json!({ "name": "good-name", "region": "ap-northeast-1", "location": "ftp://x/y", "key_profile": "main" }),
            field: "location",
            words: &["ftp"],
        },
        Case {
            name: "create-vault",
            data: json!({ "name": "good-name", "region": "eu-central-1", "location": "file:///tmp/x", "key_profile": "main" }),
            field: "region",
            words: &["eu-central-1"],
        },
        Case {
            name: "start-copy",
            data: json!({ "recovery_point": point, "destination_vault": vault("ap-northeast-3") }),
            field: "recovery_point",
            words: &["018f0000"],
        },
        Case {
            name: "start-restore",
            data: json!({ "recovery_point": point, "target": { "kind": "location", "url": "file:///tmp/r" } }),
            field: "recovery_point",
            words: &["018f0000"],
        },
        Case {
            name: "stop-job",
            data: json!({ "job_id": "018f0000-0000-7000-8000-000000000000" }),
            field: "job_id",
            words: &["018f0000"],
        },
        Case { name: "start-backup", data: json!({ "resourse": "x" }), field: "data", words: &["resourse"] },
        Case { name: "make-coffee", data: json!({}), field: "type", words: &["make-coffee"] },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_request_is_refused_with_its_field_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    installation.make_vaults().await.unwrap();
    let mut wrong = Vec::new();
    for case in cases() {
        let subject = subjects::request(&installation.regions[0], Service::Planner, case.name);
        let event_type = format!("holdfast.request.{}.v1", case.name);
        let story = format!("{} {}", case.name, case.data);
        match installation.request_raw(&subject, &event_type, case.data).await {
            Ok(accepted) => wrong.push(format!("{story}: accepted as {accepted:?}")),
            Err(error) => match error.downcast_ref::<Rejected>() {
                None => wrong.push(format!("{story}: {error}")),
                Some(rejected) => {
                    let all = case.words.iter().all(|word| rejected.message.contains(word));
                    if !rejected.field.contains(case.field) || !all {
                        wrong.push(format!("{story}: {rejected} lacks `{}` or {:?}", case.field, case.words));
                    }
                }
            },
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for query in [Query::ListPlans, Query::ListResources] {
        match installation.query(&query).await.unwrap() {
            Answer::Plans(plans) => assert!(plans.is_empty(), "a refused plan was kept: {plans:?}"),
            Answer::Resources(resources) => assert!(resources.is_empty(), "{resources:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_cloud_event_is_answered_too() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let region = installation.regions[0].clone();
    let publish = job_bus::Publish {
        subject: subjects::request(&region, Service::Planner, "start-backup"),
        id: "not-json".to_owned(),
        payload: "{ this is not JSON".into(),
        traceparent: None,
        expect_stream: subjects::request_stream(&region),
        once_per_subject: false,
    };
    installation.buses[0].publish(&publish).await.unwrap();
    let rejected = integration_tests::installation::wait_until("a rejection", || async {
        let facts = installation.facts(0).await?;
        Ok(facts.into_iter().find_map(|(_, fact)| match fact {
            job_events::Fact::RequestRejected(rejected) => Some(rejected),
            _ => None,
        }))
    })
    .await
    .unwrap();
    assert!(rejected.message.contains("CloudEvents"), "{rejected:?}");
}

fn service(dir: &Path, name: &str, config: &str) -> Output {
    let file = dir.join(format!("{name}.toml"));
    fs::write(&file, config).unwrap();
    Command::new(program().unwrap()).args(["service", name, "--config"]).arg(&file).output().unwrap()
}

#[test]
fn wrong_configuration_ends_a_service_with_64_and_names_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let good = format!("region = \"ap-northeast-1\"\n[common]\nstate_dir = {state:?}\n");
    for (config, word) in [
        (format!("{good}[nats]\nurl = \"nats://127.0.0.1:1\"\nname = \"x\"\nuzer = \"y\"\n"), "uzer"),
        (format!("slots = \"many\"\n{good}"), "slots"),
        (good.replace("ap-northeast-1", "Tokyo"), "Tokyo"),
        (good.replace(&format!("{state:?}"), "\"relative\""), "state_dir"),
    ] {
        let output = service(dir.path(), "snapshot-worker", &config);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{config}\n{said}");
        assert!(said.contains(word), "`{word}` is not named in: {said}");
    }
    assert!(!state.exists(), "a refused configuration leaves nothing behind");
}

#[test]
fn a_bus_that_cannot_be_reached_ends_a_service_with_75_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let config = format!(
        "region = \"ap-northeast-1\"\n[common]\nstate_dir = {state:?}\nstart_wait = \"1s\"\n[nats]\nurl = \
         \"nats://127.0.0.1:1\"\nname = \"x\"\n"
    );
    let output = service(dir.path(), "snapshot-worker", &config);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("nats://127.0.0.1:1"), "{said}");
}
