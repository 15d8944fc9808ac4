use std::io;
use std::path::PathBuf;

use super::*;

/// One of each kind whose wording a person reads.
fn examples() -> Vec<CliError> {
    vec![
        CliError::usage("this command works in one region; give `--region` once"),
        CliError::ReadFile { path: "plan.toml".into(), source: io::Error::from(io::ErrorKind::NotFound) },
        CliError::BadFile { path: "plan.toml".into(), problem: "`rules[0].shedule`: unknown field".to_owned() },
        CliError::NotFound { what: "vault", name: "kyoto".to_owned(), look: "holdfast vault list" },
        CliError::Ambiguous { what: "vault", name: "main".to_owned(), candidates: "`arn:1`, `arn:2`".to_owned() },
        CliError::Refused {
            code: "InvalidParameterValueException".to_owned(),
            field: "rules[0].schedule".to_owned(),
            message: "`cron(61 * * * ? *)` has minute 61".to_owned(),
        },
        CliError::NoConnection { state: PathBuf::from("/home/u/.local/share/holdfast") },
        CliError::Unreachable { url: "nats://127.0.0.1:1".to_owned(), source: "connection refused".into() },
        CliError::Bus { step: "send the request", source: "no acknowledgement".into() },
        CliError::NoAnswer { service: "planner", seconds: 20 },
        CliError::BadAnswer { service: "planner", source: "`vaults` answers another question".into() },
        CliError::NotProven { message: "1 of 2 resources are proven restorable".to_owned() },
        CliError::AlreadyRunning { state: PathBuf::from("/s"), pid: "4711".to_owned() },
        CliError::ProgramMissing { program: "mkfs.ext4", mend: "install e2fsprogs" },
    ]
}

#[test]
fn every_error_reads_well_and_has_its_exit_code() {
    let text: Vec<String> = examples().iter().map(|e| format!("{:>2} {}", e.exit().code(), e.chain())).collect();
    insta::assert_snapshot!("errors", text.join("\n"));
}

#[test]
fn a_cause_is_told_once() {
    let error = CliError::Io { step: "write to standard output".to_owned(), source: io::Error::other("disk full") };
    assert_eq!(error.chain(), "write to standard output: disk full");
}
