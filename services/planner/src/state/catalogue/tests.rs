use std::collections::BTreeMap;

use job_model::Verdict;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;

fn vault(number: u64) -> Arn {
    format!("arn:aws:backup:eu-central-1:000000000000:backup-vault:v{number}").parse().unwrap()
}

fn resource(number: u64) -> Arn {
    format!("arn:aws:files:eu-central-1:000000000000:tree/r{number}").parse().unwrap()
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
}

/// A point; its second number says what its last restore test said, if there was one.
fn row(number: u64, tested: Option<(bool, u64)>) -> PointRow {
    let id = Uuid::from_u128(number.into());
    let mut point: job_model::RecoveryPoint = serde_json::from_value(json!({
        "id": id,
        "arn": format!("arn:aws:backup:eu-central-1:000000000000:recovery-point:{id}"),
        "kind": "SNAPSHOT",
        "vault": vault(number % 3),
        "snapshot_id": "0".repeat(64),
        "resource": resource(number % 4),
        "resource_type": "Files",
        "status": "COMPLETED",
        "job_id": id,
        "created_at": at(number / 2),
        "completed_at": at(number),
        "summary": {
            "tree_id": "0".repeat(64),
            "consistency": "filesystem",
            "capture_started_at": at(number),
            "capture_ended_at": at(number),
            "size_bytes": number,
            "items": 1,
            "change_detection": "full read by hashing",
            "exception_count": 0,
            "exceptions": [],
        },
        "lifecycle": {},
        "time_zone": "UTC",
    }))
    .unwrap();
    point.last_verdict = tested.map(|(is_good, second)| Verdict {
        status: if is_good { VerdictStatus::Successful } else { VerdictStatus::Failed },
        message: "compared".to_owned(),
        judged_at: at(second),
        restore_job_id: None,
        rto_ms: 1,
        rpo_ms: 1,
    });
    PointRow::new(point)
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, Option<(bool, u64)>),
    Load(u64, Option<(bool, u64)>),
    Remove(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let tested = || prop::option::of((any::<bool>(), 0u64..50));
    prop_oneof![
        3 => (0u64..24, tested()).prop_map(|(number, tested)| Step::Put(number, tested)),
        1 => (0u64..24, tested()).prop_map(|(number, tested)| Step::Load(number, tested)),
        2 => (0u64..24).prop_map(Step::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, changes and goes: counts, newest points and proofs are those of a look at every point.
    #[test]
    fn what_is_counted_is_in_step_with_the_points(steps in prop::collection::vec(step(), 0..60)) {
        let (mut catalogue, mut model) = (Catalogue::default(), BTreeMap::<Arn, PointRow>::new());
        for step in steps {
            match step {
                Step::Put(number, tested) => {
                    let row = row(number, tested);
                    catalogue.put(row.point.arn.clone(), row.clone());
                    model.insert(row.point.arn.clone(), row);
                }
                Step::Load(number, tested) => {
                    let row = row(number, tested);
                    catalogue.load(row.point.arn.clone(), row.clone());
                    model.insert(row.point.arn.clone(), row);
                }
                Step::Remove(number) => {
                    let arn = row(number, None).point.arn;
                    prop_assert_eq!(catalogue.remove(&arn).is_some(), model.remove(&arn).is_some());
                }
            }
            for number in 0..3 {
                let count = model.values().filter(|row| row.point.vault == vault(number)).count();
                prop_assert_eq!(catalogue.count_in(&vault(number)), count);
            }
            for number in 0..4 {
                let points = || model.values().filter(|row| row.point.resource == resource(number));
                let good = |row: &PointRow| {
                    let verdict = row.point.last_verdict.clone()?;
                    (verdict.status == VerdictStatus::Successful).then_some(verdict.judged_at)
                };
                prop_assert_eq!(catalogue.proven_at(&resource(number)), points().filter_map(good).max());
                let newest = points().max_by_key(|row| (row.point.created_at, row.point.id));
                prop_assert_eq!(catalogue.of(&resource(number)).next_back(), newest);
            }
        }
        let arns: Vec<Arn> = model.into_keys().collect();
        arns.iter().for_each(|arn| drop(catalogue.remove(arn)));
        prop_assert!(catalogue.of_resource.is_empty() && catalogue.in_vault.is_empty() && catalogue.proven.is_empty());
    }
}
