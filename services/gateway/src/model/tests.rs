use std::process::Command;

use super::*;

#[test]
fn every_name_in_the_model_leads_somewhere_and_every_pattern_can_be_used() {
    let api = api();
    let mut named: Vec<&String> = Vec::new();
    for operation in api.operations.values() {
        named.extend(operation.input.iter().chain(&operation.output));
    }
    for shape in api.shapes.values() {
        named.extend(shape.members.values().map(|member| &member.shape));
        named.extend(shape.member.iter().chain(&shape.key).chain(&shape.value));
        if let Some(pattern) = &shape.pattern {
            assert!(PATTERNS.contains_key(pattern.as_str()), "{pattern}");
        }
    }
    for name in named {
        assert!(api.shapes.contains_key(name), "{name}");
    }
}

/// Where botocore of the version it was derived from is installed, deriving it again gives the same bytes.
#[test]
fn the_derived_model_is_fresh() {
    let installed = Command::new("python3").args(["-c", "import botocore; print(botocore.__version__)"]).output();
    let version = installed.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if version != api().botocore {
        println!("not compared: botocore {} is not installed (found `{version}`)", api().botocore);
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/model/derive.py");
    let derived = Command::new("python3").arg(script).output().unwrap();
    assert!(derived.status.success(), "{}", String::from_utf8_lossy(&derived.stderr));
    assert!(derived.stdout == DERIVED.as_bytes(), "run model/derive.py > model/backup.json");
}
