//! Goal: whatever call to a store fails, whoever dies and whatever a power cut leaves, no committed recovery point loses
//! a byte, and what was acknowledged is there.
//! Method: the engine on a store in memory that fails on command; the same invariants after every single failure; a
//! simple model beside random histories; restic as the referee of what is left on the disk.
//!
//! These tests are a module of the crate, because they stand in for a store.

mod decoders;
mod disk;
mod faults;
mod interleavings;
mod invariants;
mod model;
mod scene;
mod transfers;
mod upkeep_faults;
