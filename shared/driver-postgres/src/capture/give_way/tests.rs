//! The decisions, on a machine that is made up.

use super::*;

/// Two processors.
const WHOLE: u64 = 2 * SECOND;

fn share() -> Share {
    Share { whole: WHOLE, least: WHOLE / 32, limit: None }
}

/// What is seen of a capture with a thread for each processor beside others that could use so much, where either side gets
/// half as long as it wants that much.
fn seen(share: Share, demand: u64) -> Seen {
    let wanted = share.limit.unwrap_or(WHOLE);
    let used = wanted.min((WHOLE - demand.min(WHOLE)).max(WHOLE / 2));
    let others = demand.min(WHOLE - used);
    // Out of a break, it is let in at once.
    let waited = if share.limit.is_none() { wanted - used } else { 0 };
    Seen { used, waited, idle: WHOLE - used - others, others }
}

/// The same beside a server that waits for its disk now and then: a tenth of the processors is idle whatever is taken, and what is
/// taken is taken from the server.
fn seen_beside_a_disk(share: Share) -> Seen {
    let idle = WHOLE / 10;
    let wanted = share.limit.unwrap_or(WHOLE);
    let used = wanted.min((WHOLE - idle) / 2);
    let others = WHOLE - idle - used;
    // The more it wants the longer it stands in line, breaks or not.
    Seen { used, waited: wanted * others / WHOLE, idle, others }
}

/// What it takes in each tenth of a second.
fn taken(mut share: Share, others: impl Fn(usize) -> u64, times: usize) -> Vec<u64> {
    (0..times)
        .map(|time| {
            let seen = seen(share, others(time));
            share = share.next(seen);
            seen.used
        })
        .collect()
}

#[test]
fn alone_it_takes_no_breaks() {
    let all = taken(share(), |_| 0, 20);
    assert!(all.iter().all(|&used| used == WHOLE), "{all:?}");
}

#[test]
fn one_that_waits_for_its_own_disk_takes_no_breaks() {
    let seen = Seen { used: WHOLE / 10, waited: WHOLE / 200, idle: WHOLE / 2, others: WHOLE / 3 };
    assert_eq!(share().next(seen), share());
    assert_eq!(share().next(Seen::default()), share());
    assert_eq!(share().next(Seen { others: WHOLE, ..Seen::default() }), share(), "it is not the one who takes");
}

#[test]
fn one_whose_own_threads_are_in_each_others_way_takes_no_breaks() {
    let seen = Seen { used: WHOLE * 8 / 10, waited: WHOLE, idle: 0, others: WHOLE * 2 / 10 };
    assert_eq!(share().next(seen), share());
}

#[test]
fn beside_others_who_want_everything_it_has_its_least_part_at_once() {
    for greed in [WHOLE, 4 * WHOLE] {
        let all = taken(share(), |_| greed, 50);
        assert_eq!(all[0], WHOLE / 2, "as the system shares");
        assert!(all[1..].iter().all(|&used| used == WHOLE / 32), "{all:?}");
    }
}

#[test]
fn processors_that_a_server_leaves_idle_however_much_is_taken_are_not_taken() {
    let mut share = share();
    let all: Vec<u64> = (0..50)
        .map(|_| {
            let seen = seen_beside_a_disk(share);
            share = share.next(seen);
            seen.used
        })
        .collect();
    assert!(all[1..].iter().all(|&used| used == WHOLE / 32), "{all:?}");
}

#[test]
fn it_has_everything_again_as_soon_as_others_are_done() {
    let all = taken(share(), |time| if time < 20 { WHOLE } else { 0 }, 40);
    assert_eq!(all[19], WHOLE / 32);
    assert!(all[26..].iter().all(|&used| used == WHOLE), "{all:?}");
}

#[test]
fn beside_others_who_want_a_part_it_takes_what_they_leave_but_a_little() {
    for others in [WHOLE * 6 / 10, WHOLE * 8 / 10] {
        let all = taken(share(), |_| others, 50);
        let (left, spared) = (WHOLE - others, WHOLE * SPARED_PERCENT / 100);
        assert!(all[20..].iter().all(|&used| used <= left && used + 2 * spared >= left), "{others}: {all:?}");
    }
}

#[test]
fn others_who_come_back_have_their_processors_back() {
    let busy = |time: usize| (time / 10).is_multiple_of(2);
    let all = taken(share(), |time| if busy(time) { 2 * WHOLE } else { WHOLE / 4 }, 100);
    for (time, &used) in all.iter().enumerate().skip(10) {
        match time % 10 {
            5.. if busy(time) => assert_eq!(used, WHOLE / 32, "{time}: {all:?}"),
            6.. if !busy(time) => assert!(used > WHOLE / 2, "{time}: {all:?}"),
            _ => {}
        }
    }
}

#[test]
fn it_never_has_less_than_its_least_part() {
    let tiny = Share { limit: Some(WHOLE / 32), ..share() };
    for seen in [Seen::default(), Seen { used: WHOLE, waited: 9 * WHOLE, idle: 0, others: WHOLE }] {
        assert!(tiny.next(seen).limit.is_none_or(|limit| limit >= WHOLE / 32), "{seen:?}");
        assert!(share().next(seen).limit.is_none_or(|limit| limit >= WHOLE / 32), "{seen:?}");
    }
}

#[test]
fn breaks_are_as_long_as_the_share_asks_for() {
    let mut state = State::new(WHOLE, 32);
    let millis = |number: u64| number * 1_000_000;
    let mut now = Duration::ZERO;
    let mut times = ThreadTimes { ran: millis(50_000), waited: millis(7) };
    let mut breaks = Duration::ZERO;
    // What a thread did before it came here is nobody's business.
    assert_eq!(state.wait(now, times, || Some(Counted::default())), Duration::ZERO);
    for _ in 0..2_000 {
        // Five milliseconds of work, in ten unless it comes out of a break; nothing is ever idle.
        let line = if state.share.limit.is_none() { 5 } else { 0 };
        now += Duration::from_millis(5 + line);
        times = ThreadTimes { ran: times.ran + millis(5), waited: times.waited + millis(line) };
        let wait = state.wait(now, times, || Some(Counted::default()));
        breaks += wait;
        now += wait;
    }
    let part = (now - breaks).as_secs_f64() / now.as_secs_f64();
    assert!((0.06..0.08).contains(&part), "{part} of a processor, {now:?} in all");
    assert!(state.told);
}

#[test]
fn nothing_changes_where_the_system_does_not_tell_what_is_idle() {
    let mut state = State::new(WHOLE, 32);
    for second in 0..10 {
        let times = ThreadTimes { ran: second * SECOND / 2, waited: second * SECOND / 2 };
        assert_eq!(state.wait(Duration::from_secs(second), times, || None), Duration::ZERO);
    }
}

#[test]
fn a_capture_in_a_break_is_stopped_and_says_what_it_waits_for() {
    struct Control(std::sync::atomic::AtomicBool);
    impl driver_api::Control for Control {
        fn is_stopped(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
        fn advance(&self, difference: Progress) {
            assert_eq!(difference.waits_for, Some(WaitsFor::Processors));
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let give_way = GiveWay::new(Priority::Idle).unwrap();
    give_way.state.lock().share.limit = Some(1);
    // What was done before asks for years.
    give_way.state.lock().schedule = Schedule::new(1);
    give_way.state.lock().schedule.wait(Duration::ZERO, SECOND);
    let control = Control(false.into());
    assert!(matches!(give_way.wait(&control), Err(DriverError::Stopped)));
    assert!(GiveWay::new(Priority::Normal).is_none());
}
