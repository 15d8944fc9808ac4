//! `holdfast recovery-point browse`: looks into a recovery point with the keys of this machine. Writes nothing to the
//! vault.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use driver_api::SnapshotReader;
use job_model::{RecoveryPoint, VaultAccess};
use serde::Serialize;
use service_host::{Clock, SystemClock};
use vault_engine::{Profiles, Surroundings, Vault};
use vault_format::{Node, NodeKind, Tree};

use super::{recovery_points, repository};
use crate::args::Browse;
use crate::client::Client;
use crate::error::{Cause, CliError};
use crate::names::pick_vault;
use crate::render::{Output, Table, bytes, moment};

/// One entry of a directory.
#[derive(Serialize)]
struct Entry {
    /// Bytes that are no UTF-8 are replaced.
    name: String,
    kind: &'static str,
    /// Octal.
    mode: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    modified: jiff::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_target: Option<String>,
}

pub(super) async fn run(args: &Browse, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let point = recovery_points::find(client, &args.recovery_point).await?;
    let vaults = client.vaults().await?;
    let access = repository(pick_vault(&vaults, point.vault.as_str(), None)?, point.storage_class)?;
    let from_up = client.destination().endpoint.as_ref().map(|e| e.profiles_file.clone());
    let profiles = read_profiles(args.profiles.clone().or(from_up))?;
    let (path, print) = (args.path.clone(), args.print);
    let arn = access.arn.to_string();
    tokio::task::spawn_blocking(move || browse(&point, &access, &profiles, &path, print, output))
        .await
        .map_err(|e| CliError::Vault { vault: arn, source: Box::new(e) })?
}

/// The profiles that open vaults from here.
pub(super) fn read_profiles(file: Option<PathBuf>) -> Result<Profiles, CliError> {
    let Some(path) = file else {
        return Err(CliError::usage("no key is known here; name the file with the key profiles by `--profiles`"));
    };
    let text = std::fs::read_to_string(&path).map_err(|source| CliError::ReadFile { path: path.clone(), source })?;
    toml::from_str(&text).map_err(|e: toml::de::Error| CliError::BadFile { path, problem: e.message().to_owned() })
}

fn browse(
    point: &RecoveryPoint,
    access: &VaultAccess,
    profiles: &Profiles,
    path: &str,
    print: bool,
    output: Output,
) -> Result<(), CliError> {
    let failed = |source: Cause| CliError::Vault { vault: access.arn.to_string(), source };
    let clock = SystemClock::new();
    let vault =
        Vault::open(access, profiles, &Surroundings::new(move || clock.now())).map_err(|e| failed(Box::new(e)))?;
    let snapshot = point.snapshot_id.parse().map_err(|e| failed(Box::new(e)))?;
    let reader = vault.reader(snapshot).map_err(|e| failed(Box::new(e)))?;
    let found = find(&reader, path).map_err(|e| failed(Box::new(e)))?;
    match found {
        None => Err(CliError::NotFound {
            what: "entry",
            name: path.to_owned(),
            look: "holdfast recovery-point browse RECOVERY_POINT /",
        }),
        Some(Found::Directory(_)) if print => {
            Err(CliError::usage(format!("`{path}` is a directory; leave `--print` out to list it")))
        }
        Some(Found::Directory(tree)) => {
            let entries: Vec<Entry> = tree.nodes.iter().map(entry).collect();
            output.result(&entries, || table(&entries))
        }
        Some(Found::Entry(node)) if print => match &node.kind {
            NodeKind::File { content, .. } => print_content(&reader, content),
            _ => Err(CliError::usage(format!("`{path}` is no regular file; there is no content to print"))),
        },
        Some(Found::Entry(node)) => {
            let entries = [entry(&node)];
            output.result(&entries[0], || table(&entries))
        }
    }
}

/// What a path leads to.
enum Found {
    Directory(Tree),
    Entry(Node),
}

/// Walks from the root along the parts of a path; `.` and `..` are names like any other and are not there.
fn find(reader: &dyn SnapshotReader, path: &str) -> Result<Option<Found>, driver_api::ReadError> {
    let mut tree = reader.tree(&reader.root())?;
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        let Some(node) = tree.nodes.into_iter().find(|node| node.name == part.as_bytes()) else { return Ok(None) };
        match &node.kind {
            NodeKind::Dir { subtree } => tree = reader.tree(subtree)?,
            _ if parts.peek().is_none() => return Ok(Some(Found::Entry(node))),
            _ => return Ok(None),
        }
    }
    Ok(Some(Found::Directory(tree)))
}

fn print_content(reader: &dyn SnapshotReader, content: &[vault_format::Id]) -> Result<(), CliError> {
    let mut from = reader.open(content);
    let mut out = std::io::stdout().lock();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut buffer).map_err(CliError::io("read the file's content from the vault"))?;
        if length == 0 {
            return Ok(());
        }
        match out.write_all(&buffer[..length]) {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.map_err(CliError::io("write to standard output"))?,
        }
    }
}

const fn kind(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::File { .. } => "file",
        NodeKind::Dir { .. } => "dir",
        NodeKind::Symlink { .. } => "symlink",
        NodeKind::BlockDevice { .. } => "block",
        NodeKind::CharDevice { .. } => "char",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
    }
}

fn entry(node: &Node) -> Entry {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Entry {
        name: text(&node.name),
        kind: kind(&node.kind),
        mode: format!("{:04o}", node.mode),
        uid: node.uid,
        gid: node.gid,
        size: match &node.kind {
            NodeKind::File { size, .. } => Some(*size),
            _ => None,
        },
        modified: node.mtime,
        link_target: match &node.kind {
            NodeKind::Symlink { target } => Some(text(target)),
            _ => None,
        },
    }
}

fn table(entries: &[Entry]) -> String {
    let mut table = Table::new(&["kind", "mode", ">owner", ">size", "modified", "name"], "an empty directory");
    for e in entries {
        let name = match &e.link_target {
            Some(target) => format!("{} -> {}", Path::new(&e.name).display(), target),
            None => e.name.clone(),
        };
        table.row(vec![
            e.kind.to_owned(),
            e.mode.clone(),
            format!("{}:{}", e.uid, e.gid),
            e.size.map(bytes).unwrap_or_default(),
            moment(e.modified),
            name,
        ]);
    }
    table.render()
}
