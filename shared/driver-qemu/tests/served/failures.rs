//! Captures that cannot begin, or do not come to their end.

use driver_api::{Driver, DriverError};

use crate::chain::{Chain, driver};
use crate::daemon::{Daemon, MIB, run, write};

#[test]
fn a_capture_that_fails_takes_nothing_from_the_next_one() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    chain.daemon.write(&["write -P 1 2M 64k"]);
    let socket = chain.daemon.path("nbd");
    let fails = || {
        write(&socket, &["write -P 2 30M 64k"]);
        Err(DriverError::Stopped)
    };
    let (_, intended) = chain.try_capture(&fails).map(|_| ()).unwrap_err();
    // As after `kill -9`: everything is still there, until what was intended is discarded.
    assert_eq!(chain.daemon.bitmaps().len(), 3);
    assert!(!chain.daemon.litter().is_empty());
    let intended = intended.unwrap();
    driver(&chain.daemon).discard(&intended).unwrap();
    driver(&chain.daemon).discard(&intended).unwrap();
    assert_eq!((chain.daemon.bitmaps().len(), chain.daemon.litter()), (1, Vec::new()));
    chain.daemon.write(&["write -P 3 50M 64k"]);
    // All three writes, of before, during and after the capture that failed.
    chain.tracked(3 * MIB);
}

#[test]
fn a_daemon_killed_during_the_capture_is_an_error_and_the_next_capture_is_whole() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    let id = chain.daemon.child.as_ref().unwrap().id().to_string();
    let killed = || {
        run("kill", &["-9", &id]);
        Ok(())
    };
    let (error, intended) = chain.try_capture(&killed).map(|_| ()).unwrap_err();
    assert!(matches!(error, DriverError::Io { .. }), "{error:?}");
    chain.daemon.child.take().unwrap().wait().unwrap();
    // Its bitmap may be in the image: it stays listed until the process is there again.
    let intended = intended.unwrap();
    driver(&chain.daemon).discard(&intended).unwrap_err();
    chain.daemon.start();
    driver(&chain.daemon).discard(&intended).unwrap();
    chain.fell_back("is gone");
}

#[test]
fn no_capture_begins_without_room_for_what_the_guest_overwrites() {
    let mut chain = Chain::new("qcow2");
    let scratch = chain.daemon.path("scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=70m", "none", scratch.to_str().unwrap()]);
    let refused = chain.try_capture(&|| Ok(())).map(|_| ()).unwrap_err();
    run("umount", &[scratch.to_str().unwrap()]);
    assert!(refused.0.to_string().contains("scratch_min_free_percent"), "{:?}", refused.0);
    assert_eq!((refused.1, chain.daemon.bitmaps()), (None, Vec::new()), "nothing was made");
    chain.capture();
}

#[test]
fn what_is_not_configured_or_not_there_is_named() {
    let daemon = Daemon::new("qcow2", false);
    let said = |location: &str| match driver(&daemon).probe(location).unwrap_err() {
        DriverError::BadLocation { problem, .. } => problem,
        other => other.to_string(),
    };
    assert!(said("qemu:///disk0?profile=other").contains("[qemu.profiles.other]"));
    assert!(said("qemu:///disk7?profile=vm").contains("disk7"));
    assert!(said("qemu:///disk0?profile=vm&socket=/run/x").contains("nothing else"));
}
