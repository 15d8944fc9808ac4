use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Cli {
    Cli::try_parse_from(line.split_whitespace()).unwrap()
}

fn refused(line: &str) -> String {
    Cli::try_parse_from(line.split_whitespace()).unwrap_err().to_string()
}

#[test]
fn the_grammar_has_no_conflicts() {
    Cli::command().debug_assert();
}

#[test]
fn every_noun_and_verb_of_the_manual_is_understood() {
    for line in [
        "holdfast resource add home --type files --path /srv/home --tag env=prod",
        "holdfast resource list --output json",
        "holdfast resource remove home",
        "holdfast vault create tokyo --region ap-northeast-1 --key-profile tokyo",
        "holdfast vault list",
        "holdfast vault delete tokyo",
        "holdfast vault prune tokyo --plan",
        "holdfast vault key add tokyo --new-key-profile next",
        "holdfast vault key revoke tokyo --key ab",
        "holdfast vault keep hold tokyo --hold case --recovery-point 018f0000-0000-7000-8000-000000000000",
        "holdfast vault keep lock tokyo --min-retention-days 7 --fixed-from 2027-01-01T00:00:00Z",
        "holdfast vault scrub tokyo --read-mib 100",
        "holdfast plan create --file plan.toml",
        "holdfast plan show nightly",
        "holdfast plan update nightly --file plan.json",
        "holdfast plan delete nightly",
        "holdfast plan next-runs nightly --count 3",
        "holdfast selection create nightly everything",
        "holdfast selection list --plan nightly",
        "holdfast selection delete nightly everything",
        "holdfast backup start home --vault tokyo --copy-to osaka --wait",
        "holdfast copy start 018f0000-0000-7000-8000-000000000000 --to osaka",
        "holdfast restore start 018f0000-0000-7000-8000-000000000000 --to /srv/new --overwrite if-newer --include a/b",
        "holdfast restore-test create --file test.toml",
        "holdfast restore-test run from_osaka --wait",
        "holdfast restore-test show from_osaka",
        "holdfast job list --kind backup --state-is failed --limit 5",
        "holdfast job show 018f0000-0000-7000-8000-000000000000",
        "holdfast job watch",
        "holdfast job stop 018f0000-0000-7000-8000-000000000000",
        "holdfast recovery-point list --vault osaka",
        "holdfast recovery-point browse 018f0000-0000-7000-8000-000000000000 /data/etc --print",
        "holdfast recovery-point delete 018f0000-0000-7000-8000-000000000000 --wait",
        "holdfast check tokyo --read-data",
        "holdfast completions zsh",
        "holdfast service snapshot-worker --config /etc/holdfast/worker.toml",
    ] {
        parse(line);
    }
}

#[test]
fn up_takes_many_regions_and_keeps_their_order() {
    let cli = parse("holdfast up --state /s --region ap-northeast-1 --region ap-northeast-3");
    let regions: Vec<&str> = cli.connection.region.iter().map(job_model::Region::as_str).collect();
    assert_eq!(regions, ["ap-northeast-1", "ap-northeast-3"]);
    assert!(matches!(cli.command, Command::Up(_)));
}

#[test]
fn a_restore_refuses_to_overwrite_unless_told() {
    let cli = parse("holdfast restore start x --to /srv/new");
    let Command::Restore(RestoreCommand::Start(args)) = cli.command else { panic!("{cli:?}") };
    assert_eq!(job_model::OverwritePolicy::from(args.overwrite), job_model::OverwritePolicy::Refuse);
    assert!(!args.wait);
}

#[test]
fn the_guard_passes_the_arguments_of_its_program_on() {
    let cli = parse("holdfast guard --supervisor 7 -- nats-server --config /x -V");
    let Command::Guard(args) = cli.command else { panic!("{cli:?}") };
    assert_eq!(args.supervisor, 7);
    assert_eq!(args.program, ["nats-server", "--config", "/x", "-V"]);
}

#[test]
fn a_resource_without_a_place_and_a_tag_without_a_value_are_refused() {
    assert!(refused("holdfast resource add home --type files").contains("--path"));
    let error = refused("holdfast resource add home --type files --path /x --tag prod");
    assert!(error.contains("`prod` is not a tag: write `KEY=VALUE`"), "{error}");
}

#[test]
fn a_region_that_is_none_is_refused_with_its_shape() {
    let error = refused("holdfast vault list --region Tokyo");
    assert!(error.contains("`Tokyo` is not a region such as `ap-northeast-1`"), "{error}");
}

#[test]
fn help_lists_the_exit_codes() {
    let help = Cli::command().render_help().to_string();
    assert!(help.contains("Exit codes:\n   0  done\n   1  done, but"), "{help}");
}
