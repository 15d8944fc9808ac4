//! A server that cannot be streamed from: it has no slot to give, and `holdfast-wal push` fills its archive.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use integration_tests::installation::{Installation, Options, program};
use jiff::Timestamp;
use job_model::{JobDetail, ResourceType, VerdictStatus};

use crate::protection::{protect, restore, window_beyond};
use crate::server::{ROLE, source, wait_for};

/// Puts the program where the server's user can get at it, and has the server archive with it.
fn archiving(place: &Path) -> String {
    let program = place.join("holdfast-wal");
    fs::copy(self::program().unwrap().with_file_name("holdfast-wal"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!(
        "archive_mode = on\narchive_timeout = 2s\nmax_replication_slots = 0\narchive_command = '{} push %p %f {}'\n",
        program.display(),
        place.join("archive").display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_comes_back_to_the_second_before_out_of_an_archive() {
    let Some((place, source)) = source(archiving) else { return };
    source.open().unwrap().query("CREATE TABLE notes (id bigserial PRIMARY KEY, text text NOT NULL)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let archive = place.path().join("archive");
    let options =
        Options { postgres_role: Some(ROLE.to_owned()), postgres_archive: Some(archive.clone()), ..Options::default() };
    let installation = Installation::start(dir.path(), options).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = protect(&installation, &stage, &source, "&method=files&log=archive").await;
    window_beyond(&installation, &resource, Timestamp::UNIX_EPOCH).await;

    source.open().unwrap().query("INSERT INTO notes (text) SELECT 'kept' FROM generate_series(1, 1000)").unwrap();
    let at = Timestamp::from_second(source.clock().as_second() + 1).unwrap();
    wait_for("the second to be over", || source.clock() > at);
    source.open().unwrap().query("DROP TABLE notes").unwrap();
    let (dropped, segment) = (source.clock(), source.value("SELECT pg_walfile_name(pg_current_wal_lsn())"));
    // All of it went through the archive: no slot, and what is in the vault is gone there.
    let point = window_beyond(&installation, &resource, dropped).await;
    let continuous = point.continuous.as_ref().unwrap();
    assert_eq!((continuous.window.len(), continuous.gap_count), (1, 0), "{continuous:?}");
    assert_eq!(source.value("SELECT count(*) FROM pg_replication_slots"), "0");
    wait_for("the archive to be emptied of what is in the vault", || {
        fs::read_dir(&archive).unwrap().flatten().all(|entry| {
            let name = entry.file_name().into_string().unwrap();
            name.starts_with('.') || name > segment
        })
    });

    let restored = source.restored_to(&place.path().join("restored"), "data");
    let metadata = [
        ("RestoreTime", at.to_string()),
        ("Port", restored.port.to_string()),
        ("SocketDirectory", restored.sockets.display().to_string()),
    ];
    let job = restore(&installation, &point.arn, &restored.data, &metadata).await;
    installation.completed(job).await.unwrap();
    assert_eq!(restored.value("SELECT count(*) || ' ' || max(text) FROM notes"), "1000 kept", "at {at}");
    assert_eq!(restored.value("SELECT pg_is_in_recovery() || ' ' || current_setting('archive_mode')"), "false off");

    let run = installation.prove(&resource, ResourceType::Rds, &stage.primary).await.unwrap();
    let verdict = run.entries[0].verdict.clone().unwrap();
    assert_eq!(verdict.status, VerdictStatus::Successful, "{run:?}");
    let JobDetail::Restore { metadata, .. } = installation.restore_job(&run).await.unwrap().detail else { panic!() };
    assert!(metadata.contains_key("RestoreTime"), "a second of the window was drawn: {metadata:?}");
}
