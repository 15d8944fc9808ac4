use super::super::marks::Holder;
use super::*;

fn id(byte: u8) -> Id {
    Id::new([byte; 32])
}

fn at(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000_000 + hours)
}

fn situation() -> Situation {
    Situation {
        repository_id: "r".to_owned(),
        snapshots: 1,
        named: Vec::new(),
        unnamed: BTreeMap::new(),
        restore: Vec::new(),
        marked: BTreeMap::new(),
        living: HashSet::new(),
        foreign: Vec::new(),
        now: at(100),
        store_now: at(100),
        grace: Duration::from_secs(24 * 3600),
        max_unused_percent: 5,
        repack_bytes_max: None,
    }
}

fn named(byte: u8, blobs: u64, kept_blobs: u64, kept_bytes: u64) -> NamedPack {
    NamedPack { id: id(byte), length: 1000, stored: Some(1000), blobs, kept_blobs, kept_bytes }
}

fn marked(modified: i64, written_at: i64, holders: &[&str]) -> Marked {
    let holders = holders.iter().map(|name| Holder { holder: (*name).to_owned(), hostname: "h".to_owned(), pid: 7 });
    Marked { modified: at(modified), written_at: at(written_at), holders: holders.collect() }
}

#[test]
fn packs_are_told_apart_by_what_is_needed_of_them() {
    let lost = |pack: NamedPack| NamedPack { stored: None, ..pack };
    let cut_off = |pack: NamedPack| NamedPack { stored: Some(10), ..pack };
    let plan = decide(Situation {
        named: vec![
            named(1, 3, 3, 900),
            named(2, 3, 0, 0),
            named(3, 3, 1, 100),
            lost(named(4, 3, 0, 0)),
            lost(named(5, 3, 1, 1)),
            cut_off(named(6, 3, 2, 5)),
            cut_off(named(7, 3, 0, 0)),
        ],
        ..situation()
    });
    let packs = |planned: &[PlannedPack]| planned.iter().map(|planned| planned.pack).collect::<Vec<_>>();
    assert_eq!(packs(&plan.unreferenced), [id(2), id(7)]);
    assert_eq!(plan.repack, [RepackedPack { pack: id(3), bytes: 1000, bytes_unused: 900 }]);
    assert_eq!(packs(&plan.forget_lost), [id(4)]);
    assert_eq!(packs(&plan.damaged), [id(5), id(6)]);
    assert!(plan.remove.is_empty() && plan.waiting.is_empty());
    assert_eq!(plan.bytes_marked(), 2010);
}

#[test]
fn little_waste_is_tolerated_and_the_worst_packs_are_packed_anew_first() {
    let packs = || vec![named(1, 9, 8, 980), named(2, 9, 8, 500), named(3, 9, 8, 700)];
    let chosen = |plan: PrunePlan| plan.repack.into_iter().map(|pack| pack.pack).collect::<Vec<_>>();
    let with = |max_unused_percent, repack_bytes_max| {
        decide(Situation { named: packs(), max_unused_percent, repack_bytes_max, ..situation() })
    };
    assert_eq!(chosen(with(100, None)), []);
    assert_eq!(chosen(with(5, None)), [id(2), id(3)]);
    assert_eq!(with(5, None).bytes_tolerated, 20);
    assert_eq!(chosen(with(0, None)), [id(2), id(3), id(1)]);
    assert_eq!(chosen(with(0, Some(750))), [id(2)], "as much as is allowed in one run");
    assert_eq!(with(0, Some(750)).bytes_tolerated, 320);
}

#[test]
fn a_pack_goes_only_when_both_clocks_say_so_and_all_who_worked_have_ended() {
    let reason = |marked: Option<Marked>, living: &[&str]| {
        let marked = marked.map(|marked| (id(1), marked)).into_iter().collect();
        let living = living.iter().map(|name| (*name).to_owned()).collect();
        let plan = decide(Situation { unnamed: [(id(1), 50)].into(), marked, living, ..situation() });
        assert_eq!(plan.remove.len() + plan.waiting.len(), 1);
        plan.waiting.into_iter().next().map(|pack| pack.reason)
    };
    assert_eq!(reason(None, &[]), Some(WaitingReason::NotMarked));
    assert_eq!(reason(Some(marked(76, 76, &[])), &[]), None);
    assert_eq!(reason(Some(marked(77, 76, &[])), &[]), Some(WaitingReason::Grace { marked_at: at(77) }));
    assert_eq!(reason(Some(marked(76, 77, &[])), &[]), Some(WaitingReason::Grace { marked_at: at(76) }));
    assert_eq!(reason(Some(marked(0, 0, &["a"])), &["b"]), None);
    assert_eq!(
        reason(Some(marked(0, 0, &["a"])), &["b", "a"]),
        Some(WaitingReason::HolderWorks { hostname: "h".to_owned(), pid: 7 })
    );
    // A clock that jumped back makes everything look younger, never older.
    assert_eq!(reason(Some(marked(300, 300, &[])), &[]), Some(WaitingReason::Grace { marked_at: at(300) }));
}

#[test]
fn what_snapshots_need_comes_back_before_anything_goes() {
    let restore = vec![PlannedPack { pack: id(9), bytes: 5 }];
    let plan = decide(Situation {
        named: vec![named(2, 3, 0, 0)],
        unnamed: [(id(1), 50)].into(),
        marked: [(id(1), marked(0, 0, &[]))].into(),
        restore: restore.clone(),
        ..situation()
    });
    assert_eq!(plan.restore, restore);
    assert!(plan.unreferenced.is_empty() && plan.remove.is_empty() && !plan.is_empty());
}

#[test]
fn a_plan_is_a_document_and_says_what_it_frees_and_why_the_rest_waits() {
    let plan = decide(Situation {
        named: vec![named(2, 3, 0, 0), named(3, 3, 1, 100)],
        unnamed: [(id(1), 50), (id(4), 60)].into(),
        marked: [(id(1), marked(0, 0, &[])), (id(4), marked(99, 99, &[]))].into(),
        foreign: vec!["process 7 on `h`".to_owned()],
        ..situation()
    });
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<PrunePlan>(&json).unwrap(), plan);
    let text = plan.to_string();
    for line in [
        "1 packs, 50 bytes: out of the index for the whole grace period, removed",
        "1 packs, 1000 bytes: needed by no snapshot, leave the index",
        "1 packs, 1000 bytes: used in part, packed anew, then leave the index",
        "1 packs, 60 bytes: out of the index, wait for the end of the grace period",
        "process 7 on `h`",
        "frees 50 bytes now and 2000 after the grace period",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("0 packs"), "{text}");
}
