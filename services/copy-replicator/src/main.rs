//! Makes recovery points exist in other vaults.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_host::main::<copy_replicator::CopyReplicator>()
}
