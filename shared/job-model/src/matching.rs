//! Whether a selection takes a resource.
//!
//! AWS's rules: `resources` and `list_of_tags` add up (either is enough; with neither, every resource is taken),
//! `conditions` all have to hold, `not_resources` takes away. A tag that is missing fails Equals and Like and satisfies
//! NotEquals and NotLike, as in IAM. What restore tests made is never taken, or the tests would be backed up.

use std::collections::BTreeMap;

use crate::{Condition, Conditions, ProtectedResourceConditions, Resource, Selection};

/// The prefix that AWS puts before a tag's key in conditions; optional here.
pub const RESOURCE_TAG_PREFIX: &str = "aws:ResourceTag/";

/// The tag, and the prefix of the name, of everything a restore test made.
pub const RESTORE_TEST_MARK: &str = "awsbackup-restore-test";

/// Whether `text` is `pattern`, where each `*` stands for any characters, none included. Case-sensitive.
#[must_use]
pub fn wildcard_matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    // The tail is what follows the last `*`; between them each piece takes its first place, which leaves most to the
    // pieces after it.
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(inner) = text.strip_suffix(tail) else { return false };
    text = inner;
    for piece in middle.split('*') {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    true
}

/// Whether a selection takes a resource of a type that is opted in.
#[must_use]
pub fn selection_takes(selection: &Selection, resource: &Resource) -> bool {
    selection_takes_with(selection, resource, true)
}

/// Whether a selection takes a resource. A type that is not opted in (`PutRegionSettings`) is taken only where an ARN
/// pattern of the selection names it.
#[must_use]
pub fn selection_takes_with(selection: &Selection, resource: &Resource, opted_in: bool) -> bool {
    let arn = resource.arn.as_str();
    let matches_any = |patterns: &[String]| patterns.iter().any(|pattern| wildcard_matches(pattern, arn));
    let has_tag = |key: &str, value: &str| resource.tags.get(key).is_some_and(|v| v == value);
    let named = if selection.resources.is_empty() && selection.list_of_tags.is_empty() {
        opted_in
    } else {
        matches_any(&selection.resources)
            || (opted_in && selection.list_of_tags.iter().any(|tag| has_tag(&tag.key, &tag.value)))
    };
    named
        && !is_made_by_restore_test(resource)
        && conditions_hold(&selection.conditions, &resource.tags)
        && !matches_any(&selection.not_resources)
}

/// Whether a restore test made the resource: by its tag, or by the beginning of its name.
#[must_use]
pub fn is_made_by_restore_test(resource: &Resource) -> bool {
    let name = resource.arn.resource().rsplit(['/', ':']).next().unwrap_or_default();
    resource.tags.contains_key(RESTORE_TEST_MARK) || name.starts_with(RESTORE_TEST_MARK)
}

/// Whether all conditions hold on these tags.
#[must_use]
pub fn conditions_hold(conditions: &Conditions, tags: &BTreeMap<String, String>) -> bool {
    let value_of = |condition: &Condition| tags.get(plain_key(&condition.key));
    let equal = |c: &Condition| value_of(c).is_some_and(|value| *value == c.value);
    let like = |c: &Condition| value_of(c).is_some_and(|value| wildcard_matches(&c.value, value));
    conditions.string_equals.iter().all(equal)
        && !conditions.string_not_equals.iter().any(equal)
        && conditions.string_like.iter().all(like)
        && !conditions.string_not_like.iter().any(like)
}

/// Whether all conditions of a restore testing selection hold on the tags of a resource's latest recovery point.
#[must_use]
pub fn protected_resource_conditions_hold(
    conditions: &ProtectedResourceConditions,
    tags: &BTreeMap<String, String>,
) -> bool {
    let equal = |key: &str, expected: &str| tags.get(plain_key(key)).is_some_and(|value| value == expected);
    conditions.string_equals.iter().all(|c| equal(&c.key, &c.value))
        && !conditions.string_not_equals.iter().any(|c| equal(&c.key, &c.value))
}

fn plain_key(key: &str) -> &str {
    key.strip_prefix(RESOURCE_TAG_PREFIX).unwrap_or(key)
}

#[cfg(test)]
mod tests;
