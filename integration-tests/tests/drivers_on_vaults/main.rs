//! The drivers and the engine together: file trees and volumes captured into real vaults, copied, damaged, reached over S3,
//! and read by restic and rustic, which know nothing of Holdfast. Run as root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod damage;
mod object_lock;
mod referees;
mod s3;
mod trees;
mod volumes;
mod workshop;

// The trees and the judges of the drivers' own tests: what they are worth does not depend on where they lie.
#[path = "../../../shared/driver-filesystem/tests/filesystem/oracle.rs"]
mod oracle;
#[expect(dead_code, reason = "the driver's own tests use all of it")]
#[path = "../../../shared/driver-filesystem/tests/filesystem/source.rs"]
mod source;
#[path = "../../../shared/driver-volume/tests/volume/oracle.rs"]
mod volume_oracle;
