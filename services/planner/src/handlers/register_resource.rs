//! `register-resource`: what is protected, where it lies and who reaches it.

use job_events::RegisterResource;
use job_model::Resource;

use crate::decide::{Accepted, Refusal, Step};
use crate::handlers::create_vault::known_region;

pub(crate) fn handle(step: &mut Step<'_>, request: &RegisterResource) -> Result<Accepted, Refusal> {
    known_region(step, "region", &request.region)?;
    let named = request.arn.region();
    if !named.is_empty() && named != request.region.as_str() {
        return Err(Refusal::invalid(
            "region",
            format!("`{}` is not the region in the ARN (`{named}`); make them the same", request.region),
        ));
    }
    if request.arn.service() == "backup" {
        return Err(Refusal::invalid(
            "arn",
            format!("`{}` names a part of Holdfast itself; give the resource an ARN of its own service", request.arn),
        ));
    }
    absolute_file("location", &request.location)?;
    let empty = request.hooks.as_ref().is_some_and(|hooks| hooks.trim().is_empty());
    if empty {
        return Err(Refusal::invalid(
            "hooks",
            "an empty name; name a hook set of the workers' configuration or leave it out",
        ));
    }
    let registered_at = step.state.resources.get(&request.arn).map_or(step.now, |known| known.registered_at);
    let resource = Resource {
        arn: request.arn.clone(),
        resource_type: request.resource_type,
        region: request.region.clone(),
        location: request.location.clone(),
        hooks: request.hooks.clone(),
        tags: request.tags.clone(),
        registered_at,
    };
    step.state.resources.put(request.arn.clone(), resource);
    Ok(Accepted::result(&request.arn))
}

/// A `file://` URL of an absolute path without `..`.
pub(crate) fn absolute_file(field: &str, location: &str) -> Result<(), Refusal> {
    let path = location.strip_prefix("file://").filter(|path| path.starts_with('/'));
    let fits = path.is_some_and(|path| path.split('/').all(|part| part != ".." && part != "."));
    if fits && !location.contains('\0') {
        return Ok(());
    }
    Err(Refusal::invalid(
        field,
        format!("`{location}` is not `file://` with an absolute path such as `file:///srv/home`"),
    ))
}
