//! Synchronous work beside an asynchronous runner.

use order_runner::WorkFailure;

use crate::WorkError;

/// Runs work of drivers and the engine on a thread of its own, in the current span, so that heartbeats go on meanwhile.
/// A panic in it is a failure of the attempt, not of the process.
///
/// # Errors
/// What the work failed with.
pub async fn off_the_runtime<T, F>(work: F) -> Result<T, WorkFailure>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, WorkError> + Send + 'static,
{
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result.map_err(WorkFailure::from),
        Err(error) => Err(WorkError::refused(
            job_model::FailureCode::Internal,
            format!("the work ended with a panic ({error}); report it with the worker's log"),
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failure_of_the_attempt() {
        let failure = off_the_runtime::<(), _>(|| panic!("bug")).await.unwrap_err();
        assert_eq!(failure.code, job_model::FailureCode::Internal);
        assert!(!failure.stopped);
    }
}
