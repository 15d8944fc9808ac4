//! Tags of restore testing plans.

use job_events::ChangeTags;
use job_model::validation;
use state_store::{StoreError, Tx};

use super::requests::Wish;
use super::restore_testing_plans::{keep, unknown};
use crate::runs::Rules;
use crate::speak::Refusal;
use crate::store::{self, PlanRow};

/// AWS's quota of tags of a restore testing plan.
const TAGS_MAX: usize = 50;

pub(super) fn handle(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: &ChangeTags,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    let named = |row: &PlanRow| {
        let owner = row.plan.account.as_ref().unwrap_or(&rules.account);
        let visible = wish.account.as_ref().is_none_or(|account| account == owner);
        visible && row.plan.arn(&row.region, &rules.account).is_ok_and(|arn| arn == request.arn)
    };
    let Some(mut row) = store::all_plans(tx)?.into_iter().find(named) else {
        return Ok(Err(unknown("arn", request.arn.as_str())));
    };
    for (key, value) in &request.set {
        if let Err(invalid) = validation::tag(&format!("set.{key}"), key, value) {
            return Ok(Err(invalid.into()));
        }
    }
    for key in &request.remove {
        row.plan.tags.remove(key);
    }
    row.plan.tags.extend(request.set.clone());
    if row.plan.tags.len() > TAGS_MAX {
        let message = format!("`{}` tags; at most {TAGS_MAX} are allowed", row.plan.tags.len());
        return Ok(Err(Refusal { code: validation::LIMIT_EXCEEDED, field: "set".to_owned(), message }));
    }
    keep(tx, rules, &row, wish.now)?;
    Ok(Ok(Some(request.arn.to_string())))
}
