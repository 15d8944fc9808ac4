//! Death at each boundary: nothing is lost, and nothing is there twice by its id.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::fake::{Fault, Fixture, fact, job, order, request};

#[tokio::test(start_paused = true)]
async fn what_was_written_down_before_a_death_is_published_after_it() {
    let mut fixture = Fixture::new();
    let row = fixture.enqueue(request("r")).await;
    fixture.crash().await;
    fixture.start();
    fixture.ledger.published(row).await.unwrap();
    assert_eq!(fixture.bus.ids(), ["r"]);
}

#[tokio::test(start_paused = true)]
async fn a_death_between_the_bus_and_the_row_publishes_again_with_the_same_id() {
    let mut fixture = Fixture::running();
    fixture.bus.state().faults.extend([Fault::Silent; 3]);
    for outgoing in [request("r"), fact("f", job(1), 1), order("o", "volume-a", job(1))] {
        fixture.enqueue(outgoing).await;
    }
    fixture.ledger.kick();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fixture.bus.ids().len(), 3);
    fixture.crash().await;
    assert_eq!(fixture.pending().await, 3);
    fixture.start();
    for row in 1..=3 {
        fixture.ledger.published(row).await.unwrap();
    }
    assert_eq!(fixture.bus.ids().len(), 3);
    assert_eq!(fixture.bus.state().attempts.len(), 6);
    assert_eq!(fixture.unconfirmed().await, [3]);
}

#[cfg(feature = "failpoints")]
async fn dies_at(failpoint: &str, stored_before: usize) {
    let scenario = fail::FailScenario::setup();
    fail::cfg(failpoint, "panic").unwrap();
    let mut fixture = Fixture::running();
    let row = fixture.enqueue(order("o", "volume-a", job(1))).await;
    fixture.ledger.kick();
    fixture.died().await;
    assert_eq!(fixture.bus.ids().len(), stored_before);
    fail::remove(failpoint);
    fixture.start();
    fixture.ledger.published(row).await.unwrap();
    assert_eq!(fixture.bus.ids(), ["o"]);
    scenario.teardown();
}

#[cfg(feature = "failpoints")]
#[tokio::test(start_paused = true)]
async fn a_death_after_the_barrier_and_before_the_publish_loses_nothing() {
    dies_at("ledger::after_barrier_before_publish", 0).await;
}

#[cfg(feature = "failpoints")]
#[tokio::test(start_paused = true)]
async fn a_death_after_the_acknowledgement_and_before_the_mark_repeats_nothing() {
    dies_at("ledger::after_puback_before_mark", 1).await;
}

/// What a test run does, one after the other.
#[derive(Clone, Debug)]
enum Step {
    Fact { job: u128 },
    Order { resource: u8, job: u128 },
    Request,
    Faults(Vec<Fault>),
    Settle { resource: u8 },
    Wait { millis: u64 },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        Just(Fault::None),
        Just(Fault::AckLost),
        Just(Fault::MessageLost),
        Just(Fault::Silent),
        Just(Fault::Refused)
    ];
    prop_oneof![
        3 => (0..3_u128).prop_map(|job| Step::Fact { job }),
        3 => (0..3_u8, 0..3_u128).prop_map(|(resource, job)| Step::Order { resource, job }),
        1 => Just(Step::Request),
        2 => proptest::collection::vec(fault, 1..6).prop_map(Step::Faults),
        2 => (0..3_u8).prop_map(|resource| Step::Settle { resource }),
        3 => (0..20_000_u64).prop_map(|millis| Step::Wait { millis }),
        1 => Just(Step::Crash),
    ]
}

fn resource(number: u8) -> String {
    format!("volume-{number}")
}

/// Runs the steps, lets everything settle, and checks that each message is there once and each lane in order.
async fn run(steps: Vec<Step>) {
    let mut fixture = Fixture::running();
    // By lane, what was written down.
    let mut written: HashMap<String, Vec<String>> = HashMap::new();
    let mut rows = 0;
    for (number, step) in steps.into_iter().enumerate() {
        let id = format!("m{number}");
        let (lane, outgoing) = match step {
            Step::Fact { job: of } => (format!("job {of}"), fact(&id, job(of), number as u64)),
            Step::Order { resource: on, job: of } => (resource(on), order(&id, &resource(on), job(of))),
            Step::Request => ("request".to_owned(), request(&id)),
            Step::Faults(faults) => {
                fixture.bus.state().faults.extend(faults);
                continue;
            }
            Step::Settle { resource: on } => {
                fixture.bus.settle(&order("", &resource(on), job(0)).subject);
                continue;
            }
            Step::Wait { millis } => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                continue;
            }
            Step::Crash => {
                fixture.crash().await;
                fixture.start();
                continue;
            }
        };
        fixture.enqueue(outgoing).await;
        fixture.ledger.kick();
        written.entry(lane).or_default().push(id);
        rows += 1;
    }
    // The silent answers of before would never come.
    fixture.crash().await;
    fixture.bus.state().faults.clear();
    fixture.start();
    for _ in 0..200 {
        for on in 0..3 {
            fixture.bus.settle(&order("", &resource(on), job(0)).subject);
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        if fixture.pending().await == 0 {
            break;
        }
    }
    assert_eq!(fixture.pending().await, 0);
    let stored = fixture.bus.ids();
    assert_eq!(stored.len(), rows, "{stored:?}");
    for (lane, ids) in written {
        let found: Vec<_> = stored.iter().filter(|id| ids.contains(id)).cloned().collect();
        assert_eq!(found, ids, "lane {lane}");
    }
}

#[test]
fn whatever_fails_and_dies_each_message_is_there_once_and_each_lane_in_order() {
    let seed = std::env::var("MESSAGE_LEDGER_SEED").unwrap_or_else(|_| {
        let mut random = [0; 16];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut random).unwrap();
        random.iter().map(|byte| format!("{byte:02x}")).collect()
    });
    println!("MESSAGE_LEDGER_SEED={seed}");
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(seed.bytes()) {
        *to = from;
    }
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let checked = runner.run(&proptest::collection::vec(step(), 1..40), |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
        Ok(())
    });
    checked.unwrap();
}
