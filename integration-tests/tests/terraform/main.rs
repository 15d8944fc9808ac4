//! Terraform with the AWS provider against `holdfast up`: what it makes it finds again as it made it, after an update too,
//! and with the gateway and the planner killed between its steps.
//!
//! Left out, loudly, where there is no `terraform` on the path or no mirror of the provider (`HOLDFAST_TERRAFORM_PLUGINS`,
//! else `/opt/tf-plugins`): neither comes with a checkout.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use integration_tests::up::Up;

const CONFIGURATION: &str = include_str!("main.tf");
const PROVIDER: &str = "registry.terraform.io/hashicorp/aws";

/// Where the provider lies, if this machine can run the test.
fn mirror() -> Option<PathBuf> {
    let terraform = Command::new("terraform").arg("version").stdout(Stdio::null()).status();
    let place = std::env::var_os("HOLDFAST_TERRAFORM_PLUGINS").map_or_else(|| "/opt/tf-plugins".into(), PathBuf::from);
    (terraform.is_ok_and(|status| status.success()) && place.join(PROVIDER).is_dir()).then_some(place)
}

struct Terraform {
    dir: PathBuf,
    api: String,
    credentials: PathBuf,
}

impl Terraform {
    fn new(dir: &Path, mirror: &Path, up: &Up) -> Self {
        let home = dir.join("terraform");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("main.tf"), CONFIGURATION).unwrap();
        let settings = format!("provider_installation {{ filesystem_mirror {{ path = {:?} }} }}\n", mirror.display());
        fs::write(home.join("terraform.rc"), settings).unwrap();
        let api = up.api_url();
        let made = Self { dir: home, api, credentials: up.credentials_file() };
        made.run(&["init", "-no-color", "-input=false"], 0);
        made
    }

    /// Runs a command, which must end with this code; what it said.
    fn run(&self, arguments: &[&str], expected: i32) -> String {
        let output = Command::new("terraform")
            .args(arguments)
            .current_dir(&self.dir)
            .env("TF_CLI_CONFIG_FILE", self.dir.join("terraform.rc"))
            .env("TF_VAR_api", &self.api)
            .env("AWS_SHARED_CREDENTIALS_FILE", &self.credentials)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("CHECKPOINT_DISABLE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(expected), "terraform {arguments:?}\n{said}");
        said
    }

    fn apply(&self, generation: &str) {
        let variable = format!("generation={generation}");
        self.run(&["apply", "-auto-approve", "-no-color", "-input=false", "-var", &variable], 0);
    }

    /// A plan that finds nothing to do: 0 where 2 would say that something differs.
    fn finds_no_difference(&self, generation: &str) {
        let variable = format!("generation={generation}");
        self.run(&["plan", "-detailed-exitcode", "-no-color", "-input=false", "-var", &variable], 0);
    }
}

#[test]
fn what_terraform_makes_it_finds_again_through_kills_updates_and_the_end() {
    let Some(mirror) = mirror() else {
        println!("LEFT OUT: no terraform on the path, or no mirror of {PROVIDER}");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path());
    let terraform = Terraform::new(dir.path(), &mirror, &up);

    terraform.apply("1");
    terraform.finds_no_difference("1");
    up.kill(&["gateway", "planner"]);
    terraform.finds_no_difference("1");
    let version = terraform.run(&["output", "-raw", "version"], 0);
    up.kill(&["gateway", "planner"]);
    terraform.apply("2");
    up.kill(&["gateway", "planner"]);
    terraform.finds_no_difference("2");
    assert_ne!(terraform.run(&["output", "-raw", "version"], 0), version, "a changed plan has another version");
    let count = |noun: &str| up.cli(&[noun, "list"]).as_array().unwrap().len();
    assert_eq!((count("vault"), count("plan")), (3, 1));

    up.kill(&["gateway", "planner"]);
    terraform.run(&["destroy", "-auto-approve", "-no-color", "-input=false", "-var", "generation=2"], 0);
    assert_eq!((count("vault"), count("plan"), count("restore-test")), (0, 0, 0), "nothing is left");
}
