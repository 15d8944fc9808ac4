//! A recovery point's own description.

use driver_api::{NoControl, ReadError};
use job_model::{Consistency, ExceptionKind, ReadException, ResourceType};
use vault_engine::{DESCRIPTION_SCHEMA, RecoveryPointDescription, VaultError, read_description, snapshot_root};
use vault_format::NodeKind;

use crate::support::{Workshop, capture, files, input, node, surroundings, write_files};

fn description() -> RecoveryPointDescription {
    let exceptions = (0..5000).map(|number| ReadException {
        path: format!("some/where/{number}"),
        kind: ExceptionKind::Vanished,
        message: "No such file or directory".to_owned(),
    });
    RecoveryPointDescription {
        schema: DESCRIPTION_SCHEMA,
        recovery_point: "arn:aws:backup:ap-northeast-1:000000000000:recovery-point:x".parse().unwrap(),
        resource: "arn:aws:files:ap-northeast-1:000000000000:tree/home".parse().unwrap(),
        resource_type: ResourceType::Files,
        consistency: Consistency::Crash,
        capture_started_at: "2026-11-20T10:00:00Z".parse().unwrap(),
        capture_ended_at: "2026-11-20T10:00:01.5Z".parse().unwrap(),
        change_detection: "file metadata".to_owned(),
        reading: None,
        size_bytes: 1,
        items: 2,
        exceptions: exceptions.collect(),
        driver: serde_json::json!({ "chunk": 4096 }),
    }
}

#[test]
fn a_description_survives_in_the_vault_beside_the_data_and_the_sidecars() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let writer = vault.writer(&NoControl).unwrap();
    let data = write_files(&writer, &files(&[("a", vec![1])])).nodes.remove(0);
    let sidecar = node(b"attributes.json", NodeKind::File { content: Vec::new(), size: 0 });
    let root = snapshot_root(&writer, data, &description(), vec![sidecar], surroundings().now()).unwrap();
    let committed = writer.commit(input(root, &[])).unwrap();
    let reader = vault.reader(committed.snapshot_id).unwrap();
    assert_eq!(read_description(&reader).unwrap(), description());
    let listed = workshop.restic("v", &["ls", &committed.snapshot_id.to_hex()]);
    for path in ["/data/a", "/holdfast/attributes.json", "/holdfast/recovery-point.json"] {
        assert!(listed.lines().any(|line| line == path), "{listed}");
    }
}

#[test]
fn a_snapshot_without_a_description_or_of_a_newer_schema_is_told_so() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let foreign = capture(&vault, &files(&[("a", vec![1])]));
    let read = |id| read_description(&vault.reader(id).unwrap());
    let refused = read(foreign.snapshot_id).unwrap_err().to_string();
    assert!(refused.contains("no recovery point"), "{refused}");

    let writer = vault.writer(&NoControl).unwrap();
    let data = write_files(&writer, &files(&[("a", vec![1])])).nodes.remove(0);
    let newer = RecoveryPointDescription { schema: DESCRIPTION_SCHEMA + 1, ..description() };
    let root = snapshot_root(&writer, data, &newer, Vec::new(), surroundings().now()).unwrap();
    let committed = writer.commit(input(root, &[])).unwrap();
    let refused = read(committed.snapshot_id).unwrap_err();
    assert!(matches!(&refused, ReadError::Damaged { problem, .. } if problem.contains("newer")), "{refused}");
    let as_seen: Box<dyn std::error::Error> = Box::new(refused);
    assert_eq!(VaultError::code_behind(as_seen.as_ref()), Some(job_model::FailureCode::VaultDamaged));
}
