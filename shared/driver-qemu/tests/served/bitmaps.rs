//! Whether the parent's bitmap can be believed.

use driver_api::Driver;

use crate::chain::{Chain, driver};
use crate::daemon::{Daemon, MIB};

#[test]
fn bitmaps_of_qcow2_survive_a_restart_and_a_kill_is_noticed() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    chain.daemon.write(&["write -P 1 2M 64k"]);
    chain.daemon.stop();
    chain.daemon.start();
    chain.daemon.write(&["write -P 2 4M 64k"]);
    chain.tracked(2 * MIB);
    // One that was never saved is lost, and one that was loaded and not saved again says so itself.
    chain.daemon.write(&["write -P 3 8M 64k"]);
    chain.daemon.kill9();
    chain.daemon.start();
    chain.fell_back("is gone");
    chain.daemon.stop();
    chain.daemon.start();
    chain.daemon.write(&["write -P 4 9M 64k"]);
    chain.daemon.kill9();
    chain.daemon.start();
    chain.fell_back("was not saved");
    chain.daemon.write(&["write -P 5 9M 64k"]);
    chain.tracked(MIB);
}

#[test]
fn bitmaps_of_raw_images_end_with_the_process_and_that_is_said() {
    let mut chain = Chain::new("raw");
    let probe = driver(&chain.daemon).probe("qemu:///disk0?profile=vm").unwrap();
    assert_eq!((probe.size_bytes, probe.warnings.len()), (Some(300 * MIB), 1));
    chain.capture();
    chain.daemon.write(&["write -P 1 2M 64k"]);
    chain.tracked(MIB);
    chain.daemon.stop();
    chain.daemon.start();
    chain.fell_back("is gone");
}

#[test]
fn a_bitmap_that_cannot_be_trusted_is_not() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    let bitmap = |daemon: &Daemon| serde_json::json!({ "node": "disk0", "name": daemon.bitmaps()[0] });
    chain.daemon.monitor("block-dirty-bitmap-disable", bitmap(&chain.daemon));
    chain.daemon.write(&["write -P 1 2M 64k"]);
    chain.fell_back("does not record");
    let made = bitmap(&chain.daemon);
    chain.daemon.monitor("block-dirty-bitmap-remove", made.clone());
    let mut other = made;
    other["granularity"] = 4096.into();
    chain.daemon.monitor("block-dirty-bitmap-add", other);
    chain.fell_back("another granularity");
    // The base is lost with the worker's state.
    let forgotten = chain.newest.as_mut().unwrap().capture.remains.take().unwrap();
    driver(&chain.daemon).discard(&forgotten).unwrap();
    chain.fell_back("keeps no bitmap");
}
