//! A vault on a disk in memory, with its own clock and its own randomness, and content that is small to write down.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use driver_api::{CaptureWriter, Chunking, ContentRequest, ContentSink, Control, NoControl, ReadError, SnapshotReader};
use jiff::SignedDuration;
use job_model::{RecoveryPointId, VaultAccess};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use secrecy::SecretString;
use vault_format::{Config, Id, KdfParams, KeyFile, MasterKey, Node, NodeKind, Tree};
use zeroize::Zeroizing;

use super::disk::{Client, Disk, Failure, START};
use crate::error::chain;
use crate::{
    Committed, Copied, CopyRequest, Reader, SnapshotInput, Surroundings, Vault, VaultError, copy_snapshot,
    recovery_point_tag,
};

/// The password of all vaults here.
pub(super) const PASSWORD: &str = "correct horse";
/// Bytes of a block.
const BLOCK: usize = 4096;

/// Files by their path, `directory/name`; of each the numbers of its blocks.
pub(super) type Content = BTreeMap<String, Vec<u16>>;

/// A block that its number decides: some are noise, some text that compresses, one is all zero.
fn block(number: u16) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    match number % 4 {
        _ if number == 0 => {}
        0 => bytes.iter_mut().zip(format!("{number} ").bytes().cycle()).for_each(|(at, byte)| *at = byte),
        _ => StdRng::seed_from_u64(number.into()).fill_bytes(&mut bytes),
    }
    bytes
}

/// The bytes of a file.
pub(super) fn bytes_of(blocks: &[u16]) -> Vec<u8> {
    // Odd lengths at the end, as files have them.
    let mut bytes: Vec<u8> = blocks.iter().flat_map(|number| block(*number)).collect();
    bytes.truncate(bytes.len().saturating_sub(blocks.last().map_or(0, |last| usize::from(*last) % 97)));
    bytes
}

/// A vault without the processes that use it.
pub(super) struct Scene {
    pub(super) disk: Arc<Disk>,
    random: Arc<Mutex<StdRng>>,
}

impl Scene {
    /// With an empty repository, made by hand with a key that costs nothing to open.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut secret = Zeroizing::new([0; 64]);
        random.fill_bytes(&mut *secret);
        let key = MasterKey::from_bytes(secret);
        let cheap = KdfParams { log_n: 4, r: 8, p: 1 };
        let (salt, nonce) = (draw(&mut random), draw(&mut random));
        let file =
            KeyFile::seal(&key, PASSWORD.as_bytes(), cheap, salt, nonce, START, String::new(), "scene".to_owned());
        let file = file.unwrap().encode().unwrap();
        let polynomial = serde_json::from_str("\"25b468838dcb75\"").unwrap();
        let config = Config { version: 2, id: Id::new(draw(&mut random)), chunker_polynomial: polynomial };
        let disk = Disk::new();
        disk.place("config", config.encode(&key, draw(&mut random)).unwrap());
        disk.place(&format!("keys/{}", Id::of(&file)), file);
        Self { disk: Arc::new(disk), random: Arc::new(Mutex::new(random)) }
    }

    /// The same vault at the same time, on a disk of its own.
    pub(super) fn twin(&self) -> Self {
        Self { disk: Arc::new(self.disk.twin()), random: Arc::new(Mutex::new(self.random.lock().clone())) }
    }

    /// Time goes by.
    pub(super) fn wait(&self, duration: SignedDuration) {
        self.disk.wait(duration.as_secs());
    }

    /// A process that will meet this failure.
    pub(super) fn client(&self, fault: Option<(u64, Failure)>) -> Arc<Client> {
        Client::new(&self.disk, fault)
    }

    /// Opens the vault in that process.
    pub(super) fn open_as(&self, client: Arc<Client>) -> Result<Vault, VaultError> {
        let access = VaultAccess {
            arn: "arn:aws:backup:ap-northeast-1:000000000000:backup-vault:scene".parse().unwrap(),
            location: "memory://scene".to_owned(),
            key_profile: "main".to_owned(),
            repository_id: None,
        };
        let (disk, random) = (Arc::clone(&self.disk), Arc::clone(&self.random));
        let now = move || START + SignedDuration::from_secs(disk.seconds());
        let mut surroundings = Surroundings::new(now).with_random(move |bytes| random.lock().fill_bytes(bytes));
        // Another machine, so that nobody takes a dead client for alive or the reverse by the number of this process.
        "elsewhere".clone_into(&mut surroundings.hostname);
        Vault::open_on(client, &access, &SecretString::from(PASSWORD), &surroundings)
    }

    /// Opens the vault where nothing goes wrong.
    pub(super) fn open(&self) -> Vault {
        self.open_as(self.client(None)).unwrap()
    }
}

fn draw<const N: usize>(random: &mut StdRng) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill_bytes(&mut bytes);
    bytes
}

/// The tag of the recovery point with this number.
pub(super) fn tag(number: u64) -> String {
    recovery_point_tag(format!("0199f0a8-0000-7000-8000-{number:012x}").parse::<RecoveryPointId>().unwrap())
}

pub(super) fn node(name: &str, kind: NodeKind) -> Node {
    let mode = if matches!(kind, NodeKind::Dir { .. }) { 0o755 } else { 0o640 };
    Node { inode: 1, ..Node::unowned(name, kind, mode, START) }
}

/// Captures content as the recovery point of that number.
pub(super) fn capture(vault: &Vault, number: u64, content: &Content) -> Result<Committed, VaultError> {
    capture_under(vault, number, content, &NoControl)
}

/// The same under a control.
pub(super) fn capture_under(
    vault: &Vault,
    number: u64,
    content: &Content,
    control: &dyn Control,
) -> Result<Committed, VaultError> {
    let writer = vault.writer(control)?;
    let mut directories: BTreeMap<&str, Vec<Node>> = BTreeMap::new();
    for (path, blocks) in content {
        let (directory, name) = path.split_once('/').unwrap();
        let bytes = bytes_of(blocks);
        let stored = writer.write_content(Chunking::Fixed(BLOCK as u32), &mut bytes.as_slice()).map_err(vault_error)?;
        assert_eq!(stored.size, bytes.len() as u64);
        let file = node(name, NodeKind::File { content: stored.blobs, size: stored.size });
        directories.entry(directory).or_default().push(file);
    }
    let mut nodes = Vec::new();
    for (name, files) in directories {
        let subtree = writer.write_tree(Tree { nodes: files }).map_err(vault_error)?;
        nodes.push(node(name, NodeKind::Dir { subtree }));
    }
    let time = vault.surroundings().now();
    let root = Tree { nodes };
    let tags = vec![tag(number)];
    writer.commit(SnapshotInput {
        root,
        time,
        hostname: "source".to_owned(),
        paths: vec!["/".to_owned()],
        tags,
        parent: None,
    })
}

fn vault_error(error: driver_api::WriteError) -> VaultError {
    match error {
        driver_api::WriteError::Vault(source) => *source.downcast::<VaultError>().unwrap(),
        other => panic!("only the vault can fail here: {other}"),
    }
}

/// Copies a recovery point with its tag.
pub(super) fn copy(from: &Vault, to: &Vault, number: u64, committed: &Committed) -> Result<Copied, VaultError> {
    copy_snapshot(&CopyRequest {
        source: from,
        snapshot_id: committed.snapshot_id,
        expected_tree: committed.tree_id,
        destination: to,
        tags: vec![tag(number)],
        parallelism: 2,
        control: &NoControl,
    })
}

/// Why a restore brought nothing.
pub(super) fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error)
}

/// Collects what a fetch delivers; places that nothing was delivered to are told from zeros.
struct Collected(Mutex<Vec<Vec<Option<u8>>>>);

impl ContentSink for Collected {
    fn write_at(&self, file: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.0.lock();
        let from = usize::try_from(offset).unwrap();
        files[file][from..from + bytes.len()].iter_mut().zip(bytes).for_each(|(at, byte)| *at = Some(*byte));
        Ok(())
    }
}

/// Restores a snapshot as drivers do: trees, then all content in the order of the packs.
pub(super) fn restore(vault: &Vault, snapshot: Id) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let reader = vault.reader(snapshot).map_err(|error| shown(&error))?;
    let (paths, bytes) = fetch(&reader).map_err(|error| shown(&error))?;
    let whole: Option<Vec<Vec<u8>>> = bytes.into_iter().map(|file| file.into_iter().collect()).collect();
    Ok(paths.into_iter().zip(whole.expect("a fetch that succeeds has delivered every byte")).collect())
}

type Fetched = (Vec<String>, Vec<Vec<Option<u8>>>);

fn fetch(reader: &Reader<'_>) -> Result<Fetched, ReadError> {
    let (mut paths, mut requests, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for directory in reader.tree(&reader.root())?.nodes {
        let NodeKind::Dir { subtree } = directory.kind else { panic!("only directories are at the top") };
        for file in reader.tree(&subtree)?.nodes {
            let NodeKind::File { content, size } = &file.kind else { panic!("only files are in directories") };
            let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
            paths.push(format!("{}/{}", text(&directory.name), text(&file.name)));
            requests.push(ContentRequest { file: files.len(), spans: reader.spans(content)? });
            files.push(vec![None; usize::try_from(*size).unwrap()]);
        }
    }
    let sink = Collected(Mutex::new(files));
    reader.fetch(&requests, &sink, &NoControl)?;
    Ok((paths, sink.0.into_inner()))
}
