use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::route;

fn decode(method: &str, path: &str, query: &str, body: &Value) -> Result<Input, Fault> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    input(&route::find(method, path, query).unwrap(), query, &body)
}

#[test]
fn labels_query_and_body_become_one_input() {
    let query = "createdAfter=2025-01-02T03%3A04%3A05.678000Z&maxResults=7&resourceType=EBS";
    let read = decode("GET", "/backup-vaults/v-1/recovery-points/", query, &Value::Null).unwrap();
    assert_eq!(read.text("BackupVaultName"), Some("v-1"));
    assert_eq!(read.number("MaxResults"), Some(7));
    assert_eq!(read.instant("ByCreatedAfter").unwrap().as_millisecond(), 1_735_787_045_678);
    let body = json!({"BackupVaultTags": {"a": "b"}, "CreatorRequestId": null});
    let read = decode("PUT", "/backup-vaults/v-1", "", &body).unwrap();
    assert_eq!(read.members().len(), 2);
}

#[test]
fn what_is_wrong_is_named_with_its_path() {
    let plan = |rule: Value| json!({"BackupPlan": {"BackupPlanName": "p", "Rules": [rule]}});
    let cases = [
        (json!({"RuleName": "r"}), "MissingParameterValueException", "BackupPlan.Rules[0].TargetBackupVaultName"),
        (
            json!({"RuleName": "r", "TargetBackupVaultName": "v"}),
            "InvalidParameterValueException",
            "BackupPlan.Rules[0].TargetBackupVaultName",
        ),
        (
            json!({"RuleName": "r", "TargetBackupVaultName": "vv", "StartWindowMinutes": "60"}),
            "InvalidParameterValueException",
            "BackupPlan.Rules[0].StartWindowMinutes",
        ),
        (
            json!({"RuleName": "r", "TargetBackupVaultName": "vv", "Nonsense": 1}),
            "InvalidParameterValueException",
            "BackupPlan.Rules[0].Nonsense",
        ),
        (
            json!({"RuleName": "r/s", "TargetBackupVaultName": "vv"}),
            "InvalidParameterValueException",
            "BackupPlan.Rules[0].RuleName",
        ),
    ];
    for (rule, code, member) in cases {
        let fault = decode("PUT", "/backup/plans", "", &plan(rule)).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.context.as_deref()), (code, Some(member)), "{fault}");
    }
    let fault = decode("GET", "/backup-jobs", "state=SLEEPING", &Value::Null).unwrap_err();
    assert_eq!(fault.context.as_deref(), Some("ByState"));
    let fault = decode("GET", "/backup-jobs", "maxResults=1001", &Value::Null).unwrap_err();
    assert!(fault.message.contains("1 to 1000"), "{fault}");
    let fault = decode("GET", "/backup-jobs", "colour=red", &Value::Null).unwrap_err();
    assert_eq!(fault.context.as_deref(), Some("colour"));
}

#[test]
fn a_pattern_holds_for_the_whole_value() {
    let path = "/backup-vaults/good%0Abad";
    assert_eq!(decode("PUT", path, "", &Value::Null).unwrap_err().context.as_deref(), Some("BackupVaultName"));
}

#[test]
fn what_aws_takes_beside_its_pattern_is_taken_where_it_is_documented_and_nowhere_else() {
    for list in ["/backup-jobs", "/copy-jobs", "/restore-jobs"] {
        let read = decode("GET", list, "accountId=%2A", &Value::Null).unwrap();
        assert_eq!(read.text("ByAccountId"), Some("*"));
        for other in ["accountId=ANY", "accountId=%2A%2A", "accountId=12"] {
            let fault = decode("GET", list, other, &Value::Null).unwrap_err();
            assert_eq!(fault.context.as_deref(), Some("ByAccountId"), "{list}?{other}");
        }
    }
    for value in ["ANY", "AGGREGATE_ALL"] {
        let query = format!("AccountId={value}");
        assert!(decode("GET", "/audit/backup-job-summaries", &query, &Value::Null).is_ok(), "{value}");
    }
    let fault = decode("GET", "/audit/backup-job-summaries", "AccountId=%2A", &Value::Null).unwrap_err();
    assert_eq!(fault.context.as_deref(), Some("AccountId"));
}

/// JSON of any shape, with names of the model in it so that the checks go deep.
fn any_json() -> impl Strategy<Value = Value> {
    let names = ["BackupPlan", "Rules", "RuleName", "Lifecycle", "DeleteAfterDays", "Tags", "GlobalSettings", "x"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(names.to_vec()), inner), 0..5).prop_map(|pairs| pairs
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn any_path_query_and_body_is_read_or_refused_with_a_4xx(
        method in prop::sample::select(vec!["GET", "PUT", "POST", "DELETE", "HEAD"]),
        segments in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec!["backup", "plans", "backup-vaults", "resources", "tags", "restore-jobs", "audit"])
                    .prop_map(str::to_owned),
                "[ -~]{0,12}".prop_map(|s| s.replace(['/', '?', '#'], "")),
                "%[0-9a-fA-F]{2}",
            ],
            0..7,
        ),
        query in "[ -~]{0,60}",
        body in any_json(),
        raw in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let path = format!("/{}", segments.join("/"));
        if let Ok(route) = route::find(method, &path, &query) {
            for body in [body.to_string().into_bytes(), raw] {
                if let Err(fault) = input(&route, &query, &body) {
                    prop_assert!(fault.status.is_client_error(), "{fault}");
                }
            }
        }
    }

    #[test]
    fn any_body_of_any_operation_is_read_or_refused_with_a_4xx(
        index in any::<prop::sample::Index>(), body in any_json(),
    ) {
        let operations: Vec<_> = api().operations.values().collect();
        let operation = operations[index.index(operations.len())];
        let path = operation.uri.split('?').next().unwrap_or_default().replace(['{', '}'], "");
        if let Ok(route) = route::find(&operation.method, &path, "")
            && let Err(fault) = input(&route, "", body.to_string().as_bytes())
        {
            prop_assert!(fault.status.is_client_error(), "{fault}");
        }
    }
}
