//! Files that are made from the code are as the code would make them now. `just gen` writes them again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use job_bus::permissions::{Credential, Role, User, render};
use job_model::Region;

fn check(path: &str, wanted: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("HOLDFAST_GENERATE").is_some() {
        fs::write(&file, wanted).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(there == wanted, "{path} is stale; type: just gen");
}

/// The environment variable that holds a role's password in the server's container.
fn variable(role: Role) -> String {
    format!("{}_PASSWORD", role.as_str().replace('-', "_").to_uppercase())
}

#[test]
fn server_configuration_of_each_region_is_fresh() {
    for name in ["ap-northeast-1", "ap-northeast-3"] {
        let region: Region = name.parse().unwrap();
        let users: Vec<User> = Role::ALL
            .into_iter()
            .map(|role| User {
                name: role.as_str().to_owned(),
                role,
                regions: vec![region.clone()],
                credential: Credential::PasswordVariable(variable(role)),
            })
            .collect();
        let mut text = String::new();
        writeln!(text, "# nats-server of {name}: made from the permission table in shared/job-bus; type: just gen")
            .unwrap();
        writeln!(text, "# Passwords come from the environment: deploy/compose/prepare draws them.").unwrap();
        writeln!(text, "server_name: \"nats-{name}\"").unwrap();
        writeln!(text, "listen: \"0.0.0.0:4222\"").unwrap();
        writeln!(text, "jetstream {{ store_dir: \"/data\", sync_interval: always, max_file_store: 10G }}").unwrap();
        text.push_str(&render(&users));
        check(&format!("deploy/compose/nats-{name}.conf"), &text);
    }
}
