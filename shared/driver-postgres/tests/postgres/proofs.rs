//! The ladder, both ways: the good pass, and each kind of bad fails with the finding that names it.

use std::collections::BTreeMap;

use driver_api::conformance::MemoryVault;

use super::captures::{Point, capture, under_load};
use super::cluster::Cluster;
use super::restored::{CapturedShop, RestoredCopy, failures, options};

/// A server restored, found good, and then changed behind everybody's back.
pub(crate) fn changed_after(point: &Point, change: &str) -> Vec<String> {
    let copy = RestoredCopy::of(point);
    assert_eq!(copy.failures(), Vec::<String>::new());
    copy.forge(change);
    copy.failures()
}

#[test]
fn lost_rows_changed_rows_and_orphans_are_found() {
    let shop = CapturedShop::by("stream");
    for (change, expected) in [
        ("DELETE FROM orders WHERE id = 77", "shop.public.orders: it has 19999 rows instead of 20000"),
        ("DROP TABLE writes", "shop.public.writes: the table is missing"),
        (
            "UPDATE \"odd \"\"name\".\"t T\" SET t = 'x'",
            "shop.odd \"name.t T: its rows are not those that were captured",
        ),
        (
            "SET session_replication_role = replica; DELETE FROM customers WHERE id = 3",
            "shop.orders.orders_customer_fkey: 40 rows refer to rows that are not there",
        ),
    ] {
        let found = changed_after(&shop.point, change);
        assert!(found.iter().any(|finding| finding == expected), "{change}: {found:?}");
    }
}

#[test]
fn counts_of_a_busy_server_are_neither_too_strict_nor_too_loose() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let point = under_load(&cluster, || capture(&vault, &cluster.location("stream")));
    let found = changed_after(&point, "DELETE FROM orders WHERE id BETWEEN 5000 AND 12000");
    assert!(found.iter().any(|finding| finding.starts_with("shop.public.orders: it has ")), "{found:?}");
    let found = changed_after(&point, "UPDATE customers SET name = 'forged' WHERE id = 9");
    assert!(found.iter().any(|finding| finding.starts_with("shop.public.customers: ")), "{found:?}");
}

#[test]
fn assertions_of_the_user_are_held_to_and_cannot_do_harm() {
    let shop = CapturedShop::by("stream");
    let copy = RestoredCopy::of(&shop.point);
    let harm = copy.place.path("harm");
    let program = format!("COPY (SELECT 1) TO PROGRAM 'touch {}'", harm.display());
    let check = copy.check(&options(&[
        ("Assert.shop.enough", "SELECT count(*) = 20000 FROM orders"),
        ("Assert.shop.wrong", "SELECT count(*) > 20000 FROM orders"),
        ("Assert.shop.broken", "SELECT nonsense"),
        ("Assert.shop.harm", &program),
        ("Assert.shop.writes", "DELETE FROM orders RETURNING true"),
    ]));
    let found = failures(&check);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.contains(&"assertion wrong: it is `f` and not true".to_owned()), "{found:?}");
    assert!(!harm.exists());
}

#[test]
fn a_server_that_does_not_start_is_a_finding_with_its_last_words() {
    let shop = CapturedShop::by("files");
    let copy = RestoredCopy::of(&shop.point);
    // An earlier attempt had found the files right.
    std::fs::write(copy.place.path("restored.holdfast-started"), "").unwrap();
    std::fs::remove_dir_all(copy.target.join("pg_wal")).unwrap();
    let found = copy.failures();
    assert!(found.iter().any(|finding| finding.contains("does not start") && finding.contains("pg_wal")), "{found:?}");
}

#[test]
fn nothing_of_a_sandbox_stays() {
    let shop = CapturedShop::by("files");
    let copy = RestoredCopy::of(&shop.point);
    copy.check(&BTreeMap::new());
    let prefix = format!("holdfast-pg-{}-", std::process::id());
    let left = std::fs::read_dir("/tmp").unwrap();
    let left: Vec<_> =
        left.map(|e| e.unwrap().file_name()).filter(|n| n.to_string_lossy().starts_with(&prefix)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!copy.target.join("postmaster.pid").exists());
}
