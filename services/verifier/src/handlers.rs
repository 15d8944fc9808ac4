//! What the verifier does about each message it consumes. One file per kind; each is one part of a transaction.

mod change_tags;
mod delete_restore_testing_plan;
mod facts;
mod put_restore_testing_plan;
mod requests;
mod restore_testing_plans;
mod restore_testing_selections;
mod run_restore_test;

pub(crate) use facts::{handle as handle_fact, project};
pub(crate) use requests::{Asked, handle as handle_request, picks};
