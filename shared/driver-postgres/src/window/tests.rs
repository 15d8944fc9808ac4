use super::*;
use crate::timeline::Branch;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

fn second(n: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + n).unwrap()
}

fn lsn(segment: u64, offset: u64) -> Lsn {
    Lsn(segment * SIZE.bytes() + offset)
}

/// A segment in which a transaction ends in each of these seconds.
fn segment(timeline: u32, number: u64, seconds: std::ops::Range<i64>) -> SegmentFacts {
    let mut facts = SegmentFacts::new(Segment { timeline, number });
    for (at, n) in seconds.enumerate() {
        let start = lsn(number, 1000 * (at as u64 + 1));
        facts.add(Mark { start, end: Lsn(start.0 + 40), time: second(n), kind: MarkKind::Commit });
    }
    facts
}

fn base(id: &str, number: u64, stopped_at: i64) -> Base {
    Base {
        id: id.to_owned(),
        timeline: 1,
        start: lsn(number, 40),
        stop: lsn(number, 500),
        stopped_at: second(stopped_at),
    }
}

fn log(segments: Vec<SegmentFacts>) -> Log {
    Log { size: SIZE, history: History::of_first(1), segments }
}

fn chosen(bases: &[Base], log: &Log, target: Target) -> Result<String, String> {
    plan(bases, log, &target).map(|plan| plan.base.id).map_err(|refusal| refusal.to_string())
}

#[test]
fn the_newest_base_that_ended_before_the_target_is_taken() {
    let log = log(vec![segment(1, 3, 0..10), segment(1, 4, 10..20), segment(1, 5, 20..30)]);
    let bases = [base("a", 3, 1), base("b", 4, 11)];
    let at = |n| chosen(&bases, &log, Target::Time(second(n)));
    assert_eq!(at(2), Ok("a".to_owned()));
    assert_eq!(at(11), Ok("a".to_owned()));
    assert_eq!(at(12), Ok("b".to_owned()));
    assert_eq!(at(28), Ok("b".to_owned()));
    assert_eq!(chosen(&bases, &log, Target::Latest), Ok("b".to_owned()));
    assert_eq!(chosen(&bases, &log, Target::Lsn(lsn(3, 700))), Ok("a".to_owned()));
    assert_eq!(chosen(&bases, &log, Target::Lsn(lsn(4, 500))), Ok("b".to_owned()));
}

#[test]
fn what_is_outside_is_refused_with_the_window() {
    let log = log(vec![segment(1, 3, 0..10), segment(1, 4, 10..20)]);
    let bases = [base("a", 3, 1)];
    let before = chosen(&bases, &log, Target::Time(second(1))).unwrap_err();
    assert!(before.contains("before the end of the first base backup"), "{before}");
    assert!(before.contains(&format!("{} to {}", second(1), second(19))), "{before}");
    let after = chosen(&bases, &log, Target::Time(second(19))).unwrap_err();
    assert!(after.contains("after the last durable commit"), "{after}");
    assert!(chosen(&bases, &log, Target::Lsn(lsn(3, 499))).is_err());
    assert!(chosen(&bases, &log, Target::Lsn(lsn(4, 9 * 1000 + 1001))).is_err());
    assert!(chosen(&[], &log, Target::Latest).unwrap_err().contains("nothing yet"));
}

#[test]
fn a_hole_splits_the_window() {
    let log = log(vec![segment(1, 3, 0..10), segment(1, 5, 20..30), segment(1, 6, 30..40)]);
    let bases = [base("a", 3, 1), base("b", 6, 31)];
    let window = intervals(&bases, &log);
    let times: Vec<_> = window.iter().map(|interval| (interval.from, interval.to)).collect();
    assert_eq!(times, [(second(1), second(9)), (second(31), second(39))]);
    assert_eq!(chosen(&bases, &log, Target::Time(second(5))), Ok("a".to_owned()));
    for n in [9, 15, 25, 31] {
        let refused = chosen(&bases, &log, Target::Time(second(n))).unwrap_err();
        assert!(refused.contains("it is in a gap") && refused.contains("0/4000000"), "{n}: {refused}");
        assert!(refused.contains(", and "), "{refused}");
    }
    assert_eq!(chosen(&bases, &log, Target::Time(second(32))), Ok("b".to_owned()));
}

#[test]
fn a_segment_that_is_not_whole_ends_its_run() {
    let mut cut = segment(1, 4, 10..15);
    cut.until = Some(lsn(4, 9000));
    let runs = log(vec![segment(1, 3, 0..10), cut.clone(), segment(1, 5, 20..30)]).runs();
    assert_eq!(
        runs.iter().map(|run| (run.start, run.end)).collect::<Vec<_>>(),
        [(lsn(3, 0), lsn(4, 9000)), (lsn(5, 0), lsn(6, 0))]
    );
}

#[test]
fn the_log_goes_on_over_a_new_timeline() {
    let branch = Branch { parent: 1, until: lsn(4, 5000) };
    let mut old = segment(1, 4, 10..14);
    old.until = Some(lsn(4, 7000));
    let log = Log {
        size: SIZE,
        history: History { timeline: 2, branches: vec![branch] },
        segments: vec![segment(1, 3, 0..10), old, segment(1, 5, 14..20), segment(2, 4, 10..13), segment(2, 5, 40..50)],
    };
    let bases = [base("a", 3, 1), base("lost branch", 5, 15)];
    assert_eq!(log.runs().len(), 1);
    assert_eq!(chosen(&bases, &log, Target::Time(second(45))), Ok("a".to_owned()));
    assert_eq!(plan(&bases, &log, &Target::Latest).unwrap().timeline, 2);
}

#[test]
fn a_named_point_must_be_met_first() {
    let mut facts = segment(1, 4, 10..20);
    let named = |offset| Mark {
        start: lsn(4, offset),
        end: lsn(4, offset + 100),
        time: second(12),
        kind: MarkKind::RestorePoint("release".to_owned()),
    };
    facts.add(named(20_000));
    let one = log(vec![segment(1, 3, 0..10), facts.clone()]);
    let bases = [base("a", 3, 1)];
    assert_eq!(chosen(&bases, &one, Target::Point("release".to_owned())), Ok("a".to_owned()));
    assert!(chosen(&bases, &one, Target::Point("other".to_owned())).unwrap_err().contains("no point of that name"));
    facts.add(named(30_000));
    let two = log(vec![segment(1, 3, 0..10), facts]);
    assert!(chosen(&bases, &two, Target::Point("release".to_owned())).unwrap_err().contains("again"));
}

#[test]
fn retention_keeps_the_base_that_the_first_instant_needs() {
    let bases = [base("a", 3, 0), base("b", 4, 100), base("c", 5, 200), base("d", 6, 300)];
    let retired = |now, keep| retire(&bases, second(now), jiff::SignedDuration::from_secs(keep));
    assert_eq!(retired(350, 100), ["a", "b"]);
    assert_eq!(retired(10_000, 100), ["a", "b", "c"]);
    assert_eq!(retired(350, 1_000), Vec::<String>::new());
    assert_eq!(retire(&[], second(0), jiff::SignedDuration::ZERO), Vec::<String>::new());
}

#[test]
fn the_log_is_needed_from_the_first_base_backup_that_is_there() {
    let bases = [base("d", 6, 300), base("b", 4, 100), base("c", 5, 200)];
    assert_eq!(log_needed_from(&bases), Some(lsn(4, 40)));
    assert_eq!(log_needed_from(&[]), None);
}

#[test]
fn what_must_have_been_replayed_is_after_the_base_backup_and_before_the_instant() {
    let log = log(vec![segment(1, 3, 0..10), segment(1, 4, 10..20), segment(2, 5, 12..14)]);
    let known = |stopped_at, at| log.committed_by(&base("a", 3, stopped_at), second(at));
    assert_eq!(known(5, 7), None, "the transactions in between are not known one by one");
    assert_eq!(known(5, 9), Some(second(9)));
    assert_eq!(known(5, 15), Some(second(10)));
    assert_eq!(known(5, 30), Some(second(19)), "another timeline counts for nothing");
    assert_eq!(known(9, 9), None, "what ended before the backup did may not be in the log that is replayed");
}
