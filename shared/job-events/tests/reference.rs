//! The published description of the messages is what the types say, and what the page tells people to send works.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use job_events::Envelope;
use job_events::reference::{TABLE_BEGINS, TABLE_ENDS, files, table};

const MEND: &str = "type: just gen";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference")
}

fn page() -> String {
    fs::read_to_string(docs().join("messages.md")).unwrap()
}

/// Whether the files are to be written again.
fn is_wanted() -> bool {
    std::env::var_os("HOLDFAST_GENERATE").is_some()
}

fn written(below: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            written(&path, root, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_schemas_and_the_asyncapi_document_are_fresh() {
    let root = docs().join("messages");
    if is_wanted() {
        fs::remove_dir_all(&root).unwrap();
        for (name, text) in files() {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let mut found = BTreeMap::new();
    written(&root, &root, &mut found);
    let wanted = files();
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "stale; {MEND}");
    for (name, text) in wanted {
        assert!(found[&name] == text, "`{name}` is stale; {MEND}");
    }
}

#[test]
fn the_table_of_messages_is_fresh() {
    let there = page();
    let (before, rest) = there.split_once(TABLE_BEGINS).unwrap();
    let (_, after) = rest.split_once(TABLE_ENDS).unwrap();
    let wanted = format!("{before}{TABLE_BEGINS}\n{}{TABLE_ENDS}{after}", table());
    if is_wanted() {
        fs::write(docs().join("messages.md"), &wanted).unwrap();
    }
    assert!(page() == wanted, "the table of docs/reference/messages.md is stale; {MEND}");
}

#[test]
fn every_reference_in_the_asyncapi_document_leads_somewhere() {
    let files = files();
    let document: serde_json::Value = serde_json::from_str(&files["asyncapi.json"]).unwrap();
    let mut pending = vec![&document];
    let mut seen = 0;
    while let Some(value) = pending.pop() {
        match value {
            serde_json::Value::Object(members) => {
                if let Some(target) = members.get("$ref") {
                    let target = target.as_str().unwrap();
                    seen += 1;
                    match target.strip_prefix("./") {
                        Some(file) => assert!(files.contains_key(file), "{target}"),
                        None => assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}"),
                    }
                }
                pending.extend(members.values());
            }
            serde_json::Value::Array(items) => pending.extend(items),
            _ => {}
        }
    }
    assert!(seen > 100, "only {seen} references");
}

#[test]
fn the_json_the_page_tells_people_to_send_is_a_valid_request() {
    let page = page();
    let blocks: Vec<&str> = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let request = Envelope::from_bytes(block.as_bytes()).unwrap().request().unwrap();
        let subject = format!(".request.{}.{}", request.service(), request.name());
        assert!(page.contains(&subject), "the page does not say where to send `{}`", request.name());
    }
}
