//! The worker as a process, and the vault it works on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use job_events::{CreateVault, Fact};
use job_model::VaultAccess;
use vault_engine::{KeyProfile, Profiles, Surroundings, Vault};
use worker_host::testing::Bench;

/// The program of this package, until it is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with the state of the lives before.
    pub(crate) fn start(bench: &Bench) -> Self {
        let (config, log) = (bench.path("worker.toml"), bench.path("worker.log"));
        let common = bench.common("1");
        let text = format!(
            "region = \"{}\"\nslots = 4\n[common]\ninstance = {:?}\nstate_dir = {:?}\n[common.telemetry]\nlog_filter = \
             \"info,snapshot_worker=debug\"\n[nats]\nurl = {:?}\n[keys.main]\npassword_file = {:?}\n",
            bench.region(),
            common.instance,
            common.state_dir,
            bench.nats().url,
            bench.password_file(),
        );
        fs::write(&config, text).unwrap();
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_snapshot-worker"))
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub(crate) fn kill9(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the worker ended by itself: {ended:?}");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    #[expect(clippy::print_stdout, reason = "a failed test shows what the worker said")]
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            println!("the worker's log:\n{log}");
        }
    }
}

/// A vault that all captures go to.
pub(crate) async fn make_vault(bench: &Bench) -> VaultAccess {
    let mut vault = bench.vault("vault");
    let job = bench.order(CreateVault { order: bench.header(&vault.arn), vault: vault.clone() }).await;
    match bench.outcome(job).await {
        Fact::VaultCreated(made) => vault.repository_id = Some(made.repository_id),
        other => panic!("{other:?}"),
    }
    vault
}

/// Opens it beside the worker.
pub(crate) fn open(bench: &Bench, vault: &VaultAccess) -> Vault {
    let key = KeyProfile { password_file: Some(bench.password_file()), ..KeyProfile::default() };
    let profiles = Profiles { keys: BTreeMap::from([("main".to_owned(), key)]), stores: BTreeMap::new() };
    let now = bench.now();
    Vault::open(vault, &profiles, &Surroundings::new(move || now)).unwrap()
}
