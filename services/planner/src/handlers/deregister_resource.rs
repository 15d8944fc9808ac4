//! `deregister-resource`: no longer protected. Its recovery points stay until their retention ends.

use job_events::DeregisterResource;

use crate::decide::{Accepted, Refusal, Step};

pub(crate) fn handle(step: &mut Step<'_>, request: &DeregisterResource) -> Result<Accepted, Refusal> {
    if step.state.resources.remove(&request.arn).is_none() {
        return Err(Refusal::not_found("arn", format!("resource `{}` is not registered", request.arn)));
    }
    step.state.retain_soon();
    Ok(Accepted::result(&request.arn))
}
