//! The suite every driver must pass, and a vault in memory to run it with.
//!
//! A driver's tests implement [`Subject`] for a small resource they can make, change, damage and compare by means that
//! have nothing to do with the driver, and call [`driver_conformance!`](crate::driver_conformance).

mod cases;
mod keeper;
mod memory;
mod mount;
mod subject;

pub use cases::*;
pub use keeper::Keeper;
pub use memory::{MemorySnapshot, MemoryVault};
pub use mount::Mount;
pub use subject::{Bench, CountingControl, Damage, Point, StoppingControl, Subject};

/// One test per case of the suite for a subject: `driver_conformance!(MySubject::new())`.
#[macro_export]
macro_rules! driver_conformance {
    ($subject:expr) => {
        $crate::driver_conformance!(@cases $subject,
            what_is_restored_is_what_was_captured
            capturing_twice_gives_the_same_tree
            incremental_capture_reads_only_what_changed
            incremental_capture_restores_to_the_changed_state
            content_lost_from_the_vault_is_stored_again
            existing_target_is_refused_and_left_alone
            never_keeps_what_exists
            if_changed_replaces_what_differs
            exact_makes_the_target_equal
            damaged_vault_leaves_existing_data_alone
            lost_blob_fails_before_anything_is_written
            restore_goes_on_after_an_interruption
            completed_restore_may_be_repeated
            check_accepts_a_good_restore
            check_finds_every_damage
            capture_and_restore_stop_when_told
            missing_resource_is_an_error_that_names_it
        );
    };
    (@cases $subject:expr, $($case:ident)+) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$case(&$subject);
            }
        )+
    };
}
