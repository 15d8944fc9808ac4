//! `register-resource`: what is protected, where it lies and who reaches it.

use job_events::RegisterResource;
use job_model::{Resource, ResourceType};

use crate::decide::{Accepted, Refusal, Step, scope};
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
    if request.resource_type == ResourceType::Rds && !request.location.starts_with("file:") {
        server("location", &request.location)?;
    } else if request.resource_type == ResourceType::Volume && request.location.starts_with("qemu:") {
        served("location", &request.location)?;
    } else {
        absolute_file("location", &request.location)?;
    }
    let empty = request.hooks.as_ref().is_some_and(|hooks| hooks.trim().is_empty());
    if empty {
        return Err(Refusal::invalid(
            "hooks",
            "an empty name; name a hook set of the workers' configuration or leave it out",
        ));
    }
    let named = request.arn.account();
    let taken = step
        .state
        .resources
        .get(&request.arn)
        .is_some_and(|known| !step.sees(known.account_or(&step.settings.account)));
    if taken || (!named.is_empty() && !step.sees(named)) {
        return Err(Refusal::invalid(
            "arn",
            format!("`{}` belongs to another account; name one of your own", request.arn),
        ));
    }
    scope::check_tags("tags", &request.tags)?;
    let account = named.is_empty().then(|| step.account());
    let registered_at = step.state.resources.get(&request.arn).map_or(step.now, |known| known.registered_at);
    let resource = Resource {
        arn: request.arn.clone(),
        resource_type: request.resource_type,
        region: request.region.clone(),
        location: request.location.clone(),
        hooks: request.hooks.clone(),
        tags: request.tags.clone(),
        registered_at,
        account,
    };
    step.state.resources.put(request.arn.clone(), resource);
    Ok(Accepted::result(&request.arn))
}

/// The block node of a process of QEMU and the profile by which workers reach that; their driver reads the rest.
fn served(field: &str, location: &str) -> Result<(), Refusal> {
    let named = location.strip_prefix("qemu:///").and_then(|rest| rest.split_once("?profile="));
    let fits = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
    };
    match named {
        Some((node, profile)) if fits(node) && fits(profile) => Ok(()),
        _ => {
            let problem = format!("`{location}` is not `qemu:///node-name?profile=name`");
            Err(Refusal::invalid(field, problem))
        }
    }
}

/// A `postgresql://` URL without secrets; its driver reads the rest.
fn server(field: &str, location: &str) -> Result<(), Refusal> {
    let rest = location.strip_prefix("postgresql://").ok_or_else(|| {
        let shape = "`postgresql://host:5432/?profile=main`, or `file://` with the data directory of a server at rest";
        Refusal::invalid(field, format!("`{location}` is not {shape}"))
    })?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        let mend = "put them into a credential profile of the workers' configuration and name it with `profile=`";
        return Err(Refusal::invalid(field, format!("user and password do not belong into a location; {mend}")));
    }
    let names_profile = rest.split_once('?').is_some_and(|(_, query)| {
        query.split('&').any(|pair| pair.strip_prefix("profile=").is_some_and(|name| !name.is_empty()))
    });
    if names_profile && !location.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(Refusal::invalid(field, format!("`{location}` names no credential profile; add `?profile=main`")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_served_volumes_location_names_a_node_and_a_profile() {
        served("location", "qemu:///disk0?profile=web-1").unwrap();
        for location in
            ["qemu:///disk0", "qemu:///?profile=web", "qemu://host/disk0?profile=web", "qemu:///a/b?profile=web"]
        {
            assert!(served("location", location).is_err(), "{location}");
        }
    }

    #[test]
    fn a_servers_location_names_a_profile_and_no_secret() {
        server("location", "postgresql://db1:5432/?profile=main&method=stream").unwrap();
        server("location", "postgresql:///shop?host=/run/postgresql&profile=main").unwrap();
        for location in [
            "postgresql://db1/",
            "postgresql://db1/?profile=",
            "postgresql://user:secret@db1/?profile=main",
            "mysql://db1/?profile=main",
            "postgresql://db1/?profile=a b",
        ] {
            assert!(server("location", location).is_err(), "{location}");
        }
    }
}
