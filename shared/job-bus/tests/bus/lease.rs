use std::time::Duration;

use job_bus::{Lease, LeaseError, uptime};
use job_events::subjects;

use crate::fixture::{Fixture, WAIT, patient, provisioned, provisioned_quick, quick};

/// Takes the lease as soon as it is free.
async fn when_free(f: &Fixture, holder: &str) -> Lease {
    let begin = std::time::Instant::now();
    loop {
        match f.bus.acquire_lease(&f.region, "vol1", holder, 0).await {
            Ok(lease) => return lease,
            Err(LeaseError::Held { .. }) if begin.elapsed() < WAIT => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn one_holder_at_a_time_and_the_other_one_learns_who() {
    let f = provisioned().await;
    let lease = f.bus.acquire_lease(&f.region, "vol1", "worker-a", 0).await.unwrap();
    match f.bus.acquire_lease(&f.region, "vol1", "worker-b", 0).await {
        Err(LeaseError::Held { holder, .. }) => assert_eq!(holder, "worker-a"),
        other => panic!("{other:?}"),
    }
    f.bus.acquire_lease(&f.region, "vol2", "worker-b", 0).await.unwrap();
    assert!(lease.remaining() <= patient().lease_ttl);
}

#[tokio::test]
async fn a_lease_that_was_given_back_is_free_at_once_and_has_a_higher_epoch() {
    let f = provisioned().await;
    let mut first = f.bus.acquire_lease(&f.region, "vol1", "worker-a", 0).await.unwrap();
    first.renew().await.unwrap();
    let epoch = first.epoch();
    first.release().await.unwrap();
    let second = f.bus.acquire_lease(&f.region, "vol1", "worker-b", 0).await.unwrap();
    assert!(second.epoch() > epoch);
}

/// Renews a lease for thrice as long as it lives without. False when this machine stood still for so long between two renewals
/// that it was lost by right.
async fn outlives(f: &Fixture, key: &str) -> bool {
    let mut lease = f.bus.acquire_lease(&f.region, key, "worker-a", 0).await.unwrap();
    let epoch = lease.epoch();
    let begin = std::time::Instant::now();
    while begin.elapsed() < quick().lease_ttl * 3 {
        let valid_until = lease.valid_until();
        match lease.renew().await {
            Err(LeaseError::Lost { .. }) if uptime() >= valid_until => return false,
            renewed => renewed.unwrap(),
        }
        match f.bus.acquire_lease(&f.region, key, "worker-b", 0).await {
            Err(LeaseError::Held { .. }) => {}
            Ok(_) if lease.remaining().is_zero() => return false,
            other => panic!("{other:?} beside {lease:?}"),
        }
        tokio::time::sleep(quick().lease_ttl / 5).await;
    }
    assert_eq!(lease.epoch(), epoch);
    true
}

#[tokio::test]
async fn a_renewed_lease_outlives_its_time_and_keeps_its_epoch() {
    let f = provisioned_quick().await;
    for number in 0..20 {
        if outlives(&f, &format!("vol{number}")).await {
            return;
        }
    }
    panic!("the machine stood still for a second in each of twenty times three");
}

#[tokio::test]
async fn a_lease_that_ran_out_goes_to_the_next_one_and_cannot_be_renewed() {
    let f = provisioned_quick().await;
    let mut stale = f.bus.acquire_lease(&f.region, "vol1", "worker-a", 0).await.unwrap();
    let fresh = when_free(&f, "worker-b").await;
    assert!(fresh.epoch() > stale.epoch());
    assert_eq!(stale.remaining(), Duration::ZERO, "the old holder knew before the new one began");
    assert!(matches!(stale.renew().await, Err(LeaseError::Lost { .. })));
    assert!(matches!(stale.release().await, Err(LeaseError::Lost { .. })));
    let third = f.bus.acquire_lease(&f.region, "vol1", "worker-c", 0).await;
    assert!(matches!(third, Err(LeaseError::Held { .. })) || fresh.remaining().is_zero(), "{third:?} beside {fresh:?}");
}

#[tokio::test]
async fn a_lease_that_ran_out_cannot_be_renewed_even_when_nobody_took_it() {
    let f = provisioned_quick().await;
    let mut stale = f.bus.acquire_lease(&f.region, "vol1", "worker-a", 0).await.unwrap();
    let bucket = format!("KV_{}", subjects::lease_bucket(&f.region));
    let begin = std::time::Instant::now();
    while f.bus.stream_identity(&bucket).await.unwrap().messages > 0 {
        assert!(begin.elapsed() < WAIT);
    }
    assert!(matches!(stale.renew().await, Err(LeaseError::Lost { .. })));
}

#[tokio::test]
async fn epochs_grow_also_when_the_bucket_was_lost() {
    let f = provisioned().await;
    let mut before = f.bus.acquire_lease(&f.region, "vol1", "worker-a", 0).await.unwrap();
    for _ in 0..50 {
        before.renew().await.unwrap();
    }
    f.raw().await.delete_stream(format!("KV_{}", subjects::lease_bucket(&f.region))).await.unwrap();
    assert!(matches!(
        f.bus.acquire_lease(&f.region, "vol1", "worker-b", 0).await,
        Err(LeaseError::BucketMissing { .. })
    ));
    f.bus.provision(&f.region).await.unwrap();
    let after = f.bus.acquire_lease(&f.region, "vol1", "worker-b", 0).await.unwrap();
    assert!(after.epoch() > before.epoch(), "{} > {}", after.epoch(), before.epoch());
    assert!(matches!(before.renew().await, Err(LeaseError::Lost { .. })));
}

#[tokio::test]
async fn the_epoch_is_above_what_the_caller_has_seen_and_so_is_the_next_one() {
    let f = provisioned().await;
    let seen = u64::MAX / 2;
    let lease = f.bus.acquire_lease(&f.region, "vol1", "worker-a", seen).await.unwrap();
    assert_eq!(lease.epoch(), seen + 1);
    let mut lease = lease;
    lease.renew().await.unwrap();
    lease.release().await.unwrap();
    let next = f.bus.acquire_lease(&f.region, "vol1", "worker-b", 0).await.unwrap();
    assert!(next.epoch() > seen + 1);
}
