//! What captures read, and of which instant.

use job_model::ChangeMethod;

use crate::chain::Chain;
use crate::daemon::{Daemon, MIB, run, write};

#[test]
fn a_disk_is_read_by_what_was_written_and_its_holes_never() {
    let mut chain = Chain::new("qcow2");
    let first = chain.capture();
    assert_eq!((first.method, first.fallback), (ChangeMethod::FullRead, None));
    assert_eq!(first.read, 23 * MIB, "what reads as zeros is not read");
    chain.tracked(0);
    chain.daemon.write(&["write -P 1 5M 4k", "write -P 2 150M 64k", "write -P 3 299M 1M"]);
    chain.tracked(3 * MIB);
    chain.daemon.write(&["discard 200M 1M", "write -z 6M 1M", "write -P 0 7M 64k"]);
    chain.tracked(2 * MIB);
    chain.tracked(0);
}

#[test]
fn what_is_written_during_a_capture_is_in_the_next_one_and_not_in_this_one() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    chain.daemon.write(&["write -P 1 1M 1M"]);
    let before = chain.daemon.copy("before");
    let socket = chain.daemon.path("nbd");
    // The guest goes on as soon as the instant is taken, over what is about to be read.
    let goes_on = || {
        write(&socket, &["write -P 0xee 1M 20M", "write -P 0xee 100M 1M"]);
        Ok(())
    };
    let seen = chain.try_capture(&goes_on).map_err(|(error, _)| error).unwrap();
    assert_eq!((seen.method, seen.fallback), (ChangeMethod::DirtyBitmap, None));
    assert!(seen.read <= MIB, "{} bytes", seen.read);
    let restored = chain.restored();
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", restored.to_str().unwrap(), before.to_str().unwrap()]);
    chain.tracked(21 * MIB);
}

#[test]
fn the_nbd_server_is_started_where_none_runs() {
    let mut chain = Chain::of(Daemon::new("qcow2", false));
    assert_eq!(chain.capture().read, 23 * MIB);
    chain.tracked(0);
}
