//! Restore testing plans.

use std::collections::BTreeSet;

use super::limits::{at_most, within};
use super::selection::arn_pattern;
use super::{Invalid, restore_testing_name};
use crate::{ProtectedResourceConditions, RestoreTestingPlan, RestoreTestingSelection};

/// A restore testing plan within AWS's bounds: start window of at most 168 hours, selection window of 1 to 365 days, at most
/// 30 selections of 30 ARNs, 30 conditions and 30 vaults.
///
/// # Errors
/// Names the first field that is wrong. The schedule is not looked at; see the `schedule` crate.
pub fn restore_testing_plan(plan: &RestoreTestingPlan) -> Result<(), Invalid> {
    restore_testing_name("name", &plan.name)?;
    within("start_window_hours", plan.start_window_hours, 0..=168, "hours")?;
    within("selection_window_days", plan.selection_window_days, 1..=365, "days")?;
    if plan.include_vaults.is_empty() {
        return Err(Invalid::missing("include_vaults", "name at least one vault, or write `*` for all"));
    }
    for (field, vaults) in [("include_vaults", &plan.include_vaults), ("exclude_vaults", &plan.exclude_vaults)] {
        at_most(field, vaults.len(), 30, "vaults")?;
        for (index, pattern) in vaults.iter().enumerate() {
            arn_pattern(&format!("{field}[{index}]"), pattern)?;
        }
    }
    if plan.recovery_point_kinds.is_empty() {
        return Err(Invalid::missing("recovery_point_kinds", "name at least one kind: `SNAPSHOT` or `CONTINUOUS`"));
    }
    at_most("selections", plan.selections.len(), 30, "selections")?;
    let mut names = BTreeSet::new();
    for (index, selection) in plan.selections.iter().enumerate() {
        let path = format!("selections[{index}]");
        testing_selection(&path, selection)?;
        if !names.insert(selection.name.as_str()) {
            return Err(Invalid::parameter(
                format!("{path}.name"),
                &selection.name,
                "another selection of the plan has this name; names are unique in a plan",
            ));
        }
    }
    Ok(())
}

fn testing_selection(path: &str, selection: &RestoreTestingSelection) -> Result<(), Invalid> {
    restore_testing_name(&format!("{path}.name"), &selection.name)?;
    within(&format!("{path}.validation_window_hours"), selection.validation_window_hours, 0..=168, "hours")?;
    let field = format!("{path}.protected_resources");
    if selection.protected_resources.is_empty() && selection.conditions == ProtectedResourceConditions::default() {
        return Err(Invalid::missing(field, "name resources, or write `*` for all of the type"));
    }
    at_most(&field, selection.protected_resources.len(), 30, "ARNs")?;
    for (index, resource) in selection.protected_resources.iter().enumerate() {
        let item = format!("{field}[{index}]");
        if resource == "*" && selection.protected_resources.len() > 1 {
            return Err(Invalid::parameter(item, resource, "stands for all resources of the type and so stands alone"));
        }
        if resource != "*" && resource.parse::<crate::Arn>().is_err() {
            let problem = "must be the ARN of a resource, or `*` alone; patterns are not known here";
            return Err(Invalid::parameter(item, resource, problem));
        }
    }
    crate::restore_metadata::overrides(
        &format!("{path}.restore_metadata_overrides"),
        &selection.restore_metadata_overrides,
    )?;
    let conditions = &selection.conditions;
    at_most(
        &format!("{path}.conditions"),
        conditions.string_equals.len() + conditions.string_not_equals.len(),
        30,
        "conditions",
    )?;
    for (name, list) in
        [("string_equals", &conditions.string_equals), ("string_not_equals", &conditions.string_not_equals)]
    {
        for (index, condition) in list.iter().enumerate() {
            let plain = condition.key.strip_prefix(crate::RESOURCE_TAG_PREFIX).unwrap_or(&condition.key);
            if plain.is_empty() || plain.starts_with("aws:") {
                return Err(Invalid::parameter(
                    format!("{path}.conditions.{name}[{index}].key"),
                    &condition.key,
                    "must be the key of a tag, plain or as `aws:ResourceTag/<key>`",
                ));
            }
        }
    }
    Ok(())
}
