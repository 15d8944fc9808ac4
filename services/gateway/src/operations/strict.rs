//! AWS's own limits, for those who want to know today what they could not take back there tomorrow. Pure.

use serde_json::{Map, Value};

use crate::fault::Fault;

/// Days that AWS keeps a recovery point in cold storage at least.
const COLD_DAYS_MIN: i64 = 90;
/// Minutes of AWS's shortest start window.
const START_WINDOW_MIN: i64 = 60;

/// A rule of a plan by AWS's limits: six fields, hourly at the finest, windows of an hour, 90 days of cold storage.
pub(super) fn rule(path: &str, members: &Map<String, Value>) -> Result<(), Fault> {
    if let Some(expression) = members.get("ScheduleExpression").and_then(Value::as_str) {
        schedule(&format!("{path}.ScheduleExpression"), expression)?;
    }
    if members.get("StartWindowMinutes").and_then(Value::as_i64).is_some_and(|minutes| minutes < START_WINDOW_MIN) {
        let text = format!("AWS's start windows have {START_WINDOW_MIN} minutes or more (aws_strict)");
        return Err(Fault::invalid(&format!("{path}.StartWindowMinutes"), text));
    }
    lifecycle(&format!("{path}.Lifecycle"), members.get("Lifecycle"))?;
    let copies = members.get("CopyActions").and_then(Value::as_array).into_iter().flatten().enumerate();
    for (place, copy) in copies {
        lifecycle(&format!("{path}.CopyActions[{place}].Lifecycle"), copy.get("Lifecycle"))?;
    }
    Ok(())
}

/// A lifecycle by AWS's limits.
pub(super) fn lifecycle(path: &str, value: Option<&Value>) -> Result<(), Fault> {
    let days = |name: &str| value.and_then(|value| value.get(name)).and_then(Value::as_i64).filter(|days| *days > 0);
    match (days("MoveToColdStorageAfterDays"), days("DeleteAfterDays")) {
        (Some(cold), Some(delete)) if delete < cold + COLD_DAYS_MIN => {
            let text = format!("has to be {COLD_DAYS_MIN} days or more after MoveToColdStorageAfterDays (aws_strict)");
            Err(Fault::invalid(&format!("{path}.DeleteAfterDays"), text))
        }
        _ => Ok(()),
    }
}

/// A schedule by AWS's limits.
pub(super) fn schedule(member: &str, expression: &str) -> Result<(), Fault> {
    let inner = expression.strip_prefix("cron(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(expression);
    let fields: Vec<&str> = inner.split_ascii_whitespace().collect();
    if fields.len() != 6 {
        return Err(Fault::invalid(member, "AWS's cron expressions have six fields (aws_strict)"));
    }
    if !fields[0].bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Fault::invalid(member, "AWS's finest schedule is hourly: name one minute (aws_strict)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_aws_forbids_is_refused_with_its_member() {
        let cases = [
            (json!({"ScheduleExpression": "cron(0 5 * * *)"}), Some("r.ScheduleExpression")),
            (json!({"ScheduleExpression": "cron(0/15 * * * ? *)"}), Some("r.ScheduleExpression")),
            (json!({"ScheduleExpression": "cron(0 5 ? * * *)"}), None),
            (json!({"StartWindowMinutes": 59}), Some("r.StartWindowMinutes")),
            (
                json!({"Lifecycle": {"MoveToColdStorageAfterDays": 7, "DeleteAfterDays": 30}}),
                Some("r.Lifecycle.DeleteAfterDays"),
            ),
            (json!({"Lifecycle": {"MoveToColdStorageAfterDays": 7, "DeleteAfterDays": 97}}), None),
            (
                json!({"CopyActions": [{"Lifecycle": {"MoveToColdStorageAfterDays": 7, "DeleteAfterDays": 8}}]}),
                Some("r.CopyActions[0].Lifecycle.DeleteAfterDays"),
            ),
        ];
        for (given, expected) in cases {
            let refused = rule("r", given.as_object().unwrap()).err().and_then(|fault| fault.context);
            assert_eq!(refused.as_deref(), expected, "{given}");
        }
    }
}
