//! Report plans carried out: lists of jobs, written every day and on demand into the stores that the configuration names.

mod bucket;
mod table;
mod write;

pub use bucket::ReportBucket;
pub(crate) use write::run;
