use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn place(at_ms: i64, id: u128) -> Place {
    Place { at_ms, id: Uuid::from_u128(id) }
}

#[test]
fn bytes_of_places_sort_like_places() {
    let places = [place(i64::MIN, 0), place(-1, 9), place(0, 0), place(0, 1), place(7, 0), place(i64::MAX, 1)];
    let bytes: Vec<_> = places.iter().map(|place| place.to_bytes()).collect();
    assert!(bytes.is_sorted());
    for (place, bytes) in places.iter().zip(&bytes) {
        assert_eq!(Place::from_bytes(bytes), Some(*place));
    }
    assert_eq!(Place::from_bytes(b"short"), None);
}

type Model = BTreeMap<Place, ([u64; 2], u32)>;

fn wanted_of(model: &Model, wanted: &Wanted<u64, 2>, after: Option<Place>) -> Vec<(Place, [u64; 2], u32)> {
    let rows = model.iter().rev().filter(|(place, (marks, _))| {
        between(place.at_ms, wanted.created)
            && after.is_none_or(|after| **place < after)
            && wanted.marks.iter().zip(marks).all(|(wanted, mark)| wanted.is_none_or(|wanted| wanted == *mark))
    });
    rows.map(|(place, (marks, row))| (*place, *marks, *row)).collect()
}

/// Blocks are sorted, none is empty or too large, and no two neighbours would fit into half a one.
fn check_shape(index: &Index<u64, 2, u32>) {
    for blocks in index.lists.values() {
        assert!(blocks.iter().flat_map(|block| block.places()).is_sorted());
        assert!(blocks.iter().all(|block| (1..=block::ROWS_MAX).contains(&block.len())));
        for pair in blocks.windows(2) {
            assert!(pair[0].len() + pair[1].len() > block::ROWS_MAX / 2, "two small neighbours");
        }
    }
}

/// What happens to a list: a run of rows comes or goes, so that blocks split and join.
#[derive(Clone, Debug)]
enum Step {
    Put { begin: i64, count: i64, mark: u64 },
    Take { begin: i64, count: i64, every: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0i64..3000, 1i64..1500, 0u64..3).prop_map(|(begin, count, mark)| Step::Put { begin, count, mark }),
        (0i64..3000, 1i64..1500, 1i64..4).prop_map(|(begin, count, every)| Step::Take { begin, count, every }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes and goes, in runs that split blocks and join them: every filter from every place gives what a plain
    /// map gives.
    #[test]
    fn it_is_a_map_with_filters(
        steps in prop::collection::vec(step(), 1..8),
        marks in (prop::option::of(0u64..4), prop::option::of(0u64..4)),
        created in (prop::option::of(0i64..3000), prop::option::of(0i64..3000)),
        after in prop::option::of((0i64..3000, 0u128..3)),
    ) {
        let (mut index, mut model) = (Index::<u64, 2, u32>::default(), Model::new());
        let mut version = 0;
        for step in steps {
            match step {
                Step::Put { begin, count, mark } => {
                    for n in begin..begin + count {
                        version += 1;
                        // Several of one millisecond, and marks in no order.
                        let (at, marks) = (place(n / 2, n.unsigned_abs().into()), [mark, n.unsigned_abs() % 4]);
                        prop_assert_eq!(index.put("l", at, marks, version), model.insert(at, (marks, version)));
                    }
                }
                Step::Take { begin, count, every } => {
                    for n in (begin..begin + count).filter(|n| n % every == 0) {
                        let at = place(n / 2, n.unsigned_abs().into());
                        prop_assert_eq!(index.take("l", &at), model.remove(&at));
                    }
                }
            }
            check_shape(&index);
            let places: Vec<Place> = index.places().map(|(_, place)| place).collect();
            prop_assert_eq!(places, model.keys().copied().collect::<Vec<_>>());
        }
        let after = after.map(|(at, id)| place(at, id));
        for wanted in [
            Wanted::default(),
            Wanted { marks: [marks.0, marks.1], created },
            Wanted { marks: [None, marks.1], created: (None, None) },
        ] {
            let found: Vec<_> = index.newest_first("l", &wanted, after).map(|(p, marks, row)| (p, marks, *row)).collect();
            prop_assert_eq!(found, wanted_of(&model, &wanted, after));
        }
        prop_assert_eq!(index.newest_first("another", &Wanted::default(), None).count(), 0);
    }
}

#[test]
fn a_list_that_grows_at_its_end_has_full_blocks() {
    let mut index = Index::<u64, 2, u32>::default();
    let rows = 10 * block::ROWS_MAX;
    for n in 0..rows {
        index.put("l", place(n as i64, 0), [0, 0], 0);
    }
    assert_eq!(index.lists["l"].len(), 10);
    for n in 0..rows {
        assert!(index.take("l", &place(n as i64, 0)).is_some());
    }
    assert!(index.lists.is_empty(), "nothing is left of a list without rows");
}
