use std::collections::BTreeMap;

use jiff::SignedDuration;
use job_model::{PlanId, RecoveryPointStatus};
use proptest::prelude::*;

use super::*;
use crate::scene::{self, ACCOUNT, REGION};

const VAULTS: u64 = 3;
const RESOURCES: u64 = 5;

fn vault(number: u64) -> Arn {
    format!("arn:aws:backup:{REGION}:{ACCOUNT}:backup-vault:v{}", number % VAULTS).parse().unwrap()
}

fn plan(number: u64) -> PlanId {
    scene::plan_id(number % 4)
}

/// A recovery point in one of several states of its life; two of them are of one minute.
fn point(number: u64, state: u64) -> ListedPoint {
    let mut point = ListedPoint::from(&scene::point(number));
    point.created_at = scene::start() + SignedDuration::from_mins(i64::try_from(number / 2).unwrap());
    point.vault = vault(number / 2);
    point.resource = scene::resource_arn(number % RESOURCES);
    match &mut point.created_by {
        Some(by) if !number.is_multiple_of(7) => by.plan_id = plan(number),
        by => *by = None,
    }
    point.size_bytes = state;
    if state > 0 {
        point.status = RecoveryPointStatus::Deleting;
        point.status_message = Some(format!("state {state}"));
        point.last_restored_at = Some(point.created_at);
    }
    point
}

/// What happens between two pages.
#[derive(Clone, Debug)]
enum Step {
    Put {
        number: u64,
        state: u64,
    },
    Remove {
        number: u64,
    },
    /// A reader reads its next page.
    Page {
        reader: usize,
        limit: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..60, 0u64..3).prop_map(|(number, state)| Step::Put { number, state }),
        3 => (0u64..60).prop_map(|number| Step::Remove { number }),
        3 => (0usize..3, 1usize..6).prop_map(|(reader, limit)| Step::Page { reader, limit }),
    ]
}

fn filter() -> impl Strategy<Value = PointFilter> {
    let at = |minute: i64| scene::start() + SignedDuration::from_mins(minute);
    let kinds = prop_oneof![Just("Volume"), Just("Files"), Just("RDS"), Just("EBS"), Just("")];
    (
        prop::option::of(
            (0..=VAULTS).prop_map(|n| if n == VAULTS { "no ARN".to_owned() } else { vault(n).to_string() }),
        ),
        prop::option::of((0..=RESOURCES).prop_map(|n| scene::resource_arn(n).to_string())),
        prop::option::of(kinds.prop_map(str::to_owned)),
        prop::option::of((0u64..6).prop_map(|n| scene::plan_id(n).to_string())),
        prop::option::of((0i64..30).prop_map(at)),
        prop::option::of((0i64..30).prop_map(at)),
    )
        .prop_map(|(vault, resource, resource_type, plan, created_after, created_before)| PointFilter {
            vault,
            resource,
            resource_type,
            plan,
            created_after,
            created_before,
        })
}

type Model = BTreeMap<Place, ListedPoint>;

fn takes(filter: &PointFilter, point: &ListedPoint) -> bool {
    let equal = |wanted: &Option<String>, value: Option<&str>| wanted.is_none() || wanted.as_deref() == value;
    let plan = point.created_by.as_ref().map(|by| by.plan_id.to_string());
    equal(&filter.vault, Some(point.vault.as_str()))
        && equal(&filter.resource, Some(point.resource.as_str()))
        && equal(&filter.resource_type, Some(point.resource_type.as_str()))
        && equal(&filter.plan, plan.as_deref())
        && filter.created_after.is_none_or(|after| point.created_at > after)
        && filter.created_before.is_none_or(|before| point.created_at < before)
}

fn page_of(model: &Model, filter: &PointFilter, after: Option<Place>, limit: usize) -> Page<ListedPoint> {
    let rest = model.iter().rev().filter(|(place, _)| after.is_none_or(|after| **place < after));
    let rest: Vec<_> = rest.filter(|(_, point)| takes(filter, point)).collect();
    let rows = rest.iter().take(limit).map(|(_, point)| (*point).clone()).collect();
    Page { rows, next: (rest.len() > limit).then(|| *rest[limit - 1].0) }
}

/// The newest recovery point of each resource, in the order of the resources.
fn newest_of(model: &Model, vault: Option<&Arn>) -> Vec<ListedPoint> {
    let points = model.values().filter(|point| vault.is_none_or(|vault| point.vault == *vault));
    let by_arn: BTreeMap<&Arn, &ListedPoint> = points.map(|point| (&point.resource, point)).collect();
    by_arn.into_values().cloned().collect()
}

fn check_counts(points: &Points, model: &Model, list: &str) {
    assert_eq!(points.protected(list, None, None, 100), newest_of(model, None));
    for number in 0..VAULTS {
        let vault = vault(number);
        let newest = newest_of(model, Some(&vault));
        assert_eq!(points.count_in(&vault), model.values().filter(|point| point.vault == vault).count() as u64);
        // By pages of two.
        let (mut told, mut after) = (Vec::new(), None);
        loop {
            let page = points.protected(list, Some(&vault), after.as_ref(), 2);
            let Some(last) = page.last() else { break };
            after = Some(last.resource.clone());
            told.extend(page);
        }
        assert_eq!(told, newest);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any readers with any filters, each page between any changes: every page is what a plain map holds at that moment
    /// after the place where the reader is. The counts are in step, and nothing is left of what went.
    #[test]
    fn pages_and_counts_are_those_of_a_plain_map_while_points_come_change_and_go(
        filters in prop::array::uniform3(filter()),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let list = points_list(ACCOUNT, REGION);
        let (mut points, mut model) = (Points::default(), Model::new());
        let mut readers: [Option<Place>; 3] = [None; 3];
        for step in steps {
            match step {
                Step::Put { number, state } => {
                    let point = point(number, state);
                    points.put(&point);
                    model.insert(place_of_point(&point), point);
                }
                Step::Remove { number } => {
                    let point = point(number, 0);
                    points.remove(point.id.as_uuid(), &point.vault);
                    model.remove(&place_of_point(&point));
                }
                Step::Page { reader, limit } => {
                    let page = points.page(&list, &filters[reader], readers[reader], limit);
                    prop_assert_eq!(&page, &page_of(&model, &filters[reader], readers[reader], limit));
                    readers[reader] = page.next;
                }
            }
            check_counts(&points, &model, &list);
        }
        let ids = model.values().map(|point| (point.id.as_uuid(), point.vault.clone())).collect::<Vec<_>>();
        for (id, vault) in ids {
            points.remove(id, &vault);
        }
        prop_assert_eq!(points.shared.len(), 0);
        prop_assert_eq!((points.made.len(), points.of_lists.len(), points.of_vaults.len()), (0, 0, 0));
    }
}
