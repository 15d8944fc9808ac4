//! `deregister-resource`: no longer protected. Its recovery points stay until their retention ends.

use job_events::DeregisterResource;

use crate::decide::{Accepted, Refusal, Step};

pub(crate) fn handle(step: &mut Step<'_>, request: &DeregisterResource) -> Result<Accepted, Refusal> {
    let gone = || Refusal::not_found("arn", format!("resource `{}` is not registered", request.arn));
    step.resource("arn", &request.arn).map_err(|_| gone())?;
    step.state.resources.remove(&request.arn);
    step.state.retain_soon();
    Ok(Accepted::result(&request.arn))
}
