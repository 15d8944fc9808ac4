//! The verifier's tables.

mod answers;
mod plans;
mod points;
mod runs;

pub(crate) use answers::{answer, forget_answers, put_answer};
pub(crate) use plans::{PlanKey, PlanRow, all_plans, delete_plan, plan, put_plan};
pub(crate) use points::{all_points, delete_point, put_point};
pub(crate) use runs::{
    EntryRow, RunRow, all_runs, delete_run, entries, entry, entry_of_request, open_runs, put_entry, put_request,
    put_run, run,
};
