//! Selections of backup plans.

use super::limits::at_most;
use super::{Invalid, selection_name};
use crate::{Condition, Selection};

/// A selection within AWS's quotas: 500 ARNs (30 with wildcards) per list, 30 tags.
///
/// # Errors
/// Names the first field that is wrong.
pub fn selection(selection: &Selection) -> Result<(), Invalid> {
    selection_name("name", &selection.name)?;
    patterns("resources", &selection.resources)?;
    patterns("not_resources", &selection.not_resources)?;
    let conditions = [
        ("conditions.string_equals", &selection.conditions.string_equals),
        ("conditions.string_not_equals", &selection.conditions.string_not_equals),
        ("conditions.string_like", &selection.conditions.string_like),
        ("conditions.string_not_like", &selection.conditions.string_not_like),
    ];
    let condition_count: usize = conditions.iter().map(|(_, list)| list.len()).sum();
    at_most("list_of_tags", selection.list_of_tags.len() + condition_count, 30, "tags and conditions")?;
    for (index, tag) in selection.list_of_tags.iter().enumerate() {
        tag_key(&format!("list_of_tags[{index}].key"), &tag.key)?;
        if tag.key.starts_with(crate::RESOURCE_TAG_PREFIX) {
            return Err(Invalid::parameter(
                format!("list_of_tags[{index}].key"),
                &tag.key,
                "takes the plain key of the tag; the prefix belongs to `conditions`",
            ));
        }
    }
    for (path, list) in conditions {
        condition_keys(path, list)?;
    }
    Ok(())
}

fn patterns(field: &str, patterns: &[String]) -> Result<(), Invalid> {
    at_most(field, patterns.len(), 500, "ARNs")?;
    at_most(field, patterns.iter().filter(|pattern| pattern.contains('*')).count(), 30, "ARNs with `*`")?;
    for (index, pattern) in patterns.iter().enumerate() {
        arn_pattern(&format!("{field}[{index}]"), pattern)?;
    }
    Ok(())
}

/// An ARN, or a pattern that an ARN can match.
pub(super) fn arn_pattern(field: &str, pattern: &str) -> Result<(), Invalid> {
    let could_match = pattern.starts_with('*') || pattern.starts_with("arn:");
    let whole = pattern.contains('*') || pattern.parse::<crate::Arn>().is_ok();
    if could_match && whole && pattern.len() <= 1024 {
        return Ok(());
    }
    Err(Invalid::parameter(
        field,
        pattern,
        "matches no resource; write an ARN, with `*` where anything may stand, such as `arn:aws:files:*:*:tree/*`",
    ))
}

fn condition_keys(path: &str, conditions: &[Condition]) -> Result<(), Invalid> {
    for (index, condition) in conditions.iter().enumerate() {
        let field = format!("{path}[{index}].key");
        let plain = condition.key.strip_prefix(crate::RESOURCE_TAG_PREFIX).unwrap_or(&condition.key);
        if plain.starts_with("aws:") {
            let problem = "conditions look at tags only; write `aws:ResourceTag/<key>`";
            return Err(Invalid::parameter(field, &condition.key, problem));
        }
        tag_key(&field, plain)?;
    }
    Ok(())
}

fn tag_key(field: &str, key: &str) -> Result<(), Invalid> {
    if (1..=128).contains(&key.chars().count()) {
        return Ok(());
    }
    Err(Invalid::parameter(field, key, "a tag's key has 1 to 128 characters"))
}
