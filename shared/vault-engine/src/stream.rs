//! A stream that grows in a vault: pieces that are durable at once, and a snapshot that takes them up later.

use std::fmt;

use driver_api::{
    BuildStream, Control, LookAtStream, PieceSpan, ReadError, StreamCommitted, StreamSource, StreamState, StreamStore,
    WriteError,
};
use job_model::{Arn, Consistency, RecoveryPointId, ResourceType};
use parking_lot::Mutex;
use vault_format::{FormatError, Id, ShortLivedSealer, decode_unpacked};

use crate::error::chain;
use crate::vault::snapshot_path;
use crate::{
    DESCRIPTION_SCHEMA, RecoveryPointDescription, SnapshotInput, SnapshotSummary, StoreError, Vault, VaultError,
    read_description, recovery_point_tag, snapshot_root,
};

/// Where pieces lie.
const DIRECTORY: &str = "holdfast/streams";
/// How the tag of a stream's own snapshots begins; epoch and number follow.
const STATE_TAG: &str = "holdfast:stream:";
/// How the tag of a full capture that belongs to a stream begins.
const BASE_TAG: &str = "holdfast:base:";
/// How the name of an epoch's claim begins.
const CLAIM: &str = "epoch-";
/// Longest piece that is read, in bytes as stored.
const PIECE_BYTES_MAX: u64 = 256 << 20;
/// Length of the head in a piece's plaintext: lane, start, end.
const HEAD_BYTES: usize = 20;

/// The tag of a full capture that a stream starts from, so that a repeated attempt of the same job finds its own.
#[must_use]
pub fn stream_base_tag(job: &str) -> String {
    format!("{BASE_TAG}{job}")
}

/// What a stream belongs to; stands in the description of its snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSubject {
    /// The continuous recovery point.
    pub recovery_point_id: RecoveryPointId,
    /// Its ARN.
    pub recovery_point: Arn,
    /// What is followed.
    pub resource: Arn,
    /// Its type.
    pub resource_type: ResourceType,
    /// Where it lies.
    pub location: String,
}

/// The snapshots of a continuous recovery point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamParts {
    /// Full captures, oldest first.
    pub bases: Vec<SnapshotSummary>,
    /// The newest state of the stream.
    pub state: Option<SnapshotSummary>,
    /// States that were replaced and are still there.
    pub replaced: Vec<Id>,
}

/// Reads a stream.
pub struct StreamReader<'a> {
    vault: &'a Vault,
    id: RecoveryPointId,
}

/// Follows a stream, with the right of its epoch.
pub struct Stream<'a> {
    reader: StreamReader<'a>,
    subject: StreamSubject,
    epoch: u64,
    control: &'a dyn Control,
    state: Mutex<Numbered>,
    piece: Mutex<Piece>,
}

/// What makes one piece after the other.
struct Piece {
    plaintext: Vec<u8>,
    sealer: ShortLivedSealer,
}

/// The newest state and what its successor is called.
struct Numbered {
    snapshot: Option<Id>,
    sequence: u64,
}

impl Vault {
    /// The snapshots of a continuous recovery point.
    ///
    /// # Errors
    /// When the store fails.
    pub fn stream_parts(&self, id: RecoveryPointId) -> Result<StreamParts, VaultError> {
        let tag = recovery_point_tag(id);
        let mut states = Vec::new();
        let mut parts = StreamParts::default();
        for snapshot in self.snapshots()?.readable {
            if !snapshot.tags.contains(&tag) {
                continue;
            }
            if let Some(number) = number_of(&snapshot) {
                states.push((number, snapshot));
            } else if snapshot.tags.iter().any(|tag| tag.starts_with(BASE_TAG)) {
                parts.bases.push(snapshot);
            }
        }
        states.sort_by_key(|(number, snapshot)| (*number, snapshot.id));
        parts.state = states.pop().map(|(_, snapshot)| snapshot);
        parts.replaced = states.into_iter().map(|(_, snapshot)| snapshot.id).collect();
        Ok(parts)
    }

    /// Reads a stream.
    #[must_use]
    pub const fn stream(&self, id: RecoveryPointId) -> StreamReader<'_> {
        StreamReader { vault: self, id }
    }

    /// Takes a stream over. A follower of a lower epoch can neither replace nor remove anything from now on.
    ///
    /// # Errors
    /// [`VaultError::Superseded`] when a follower of a higher epoch has it; otherwise when the store fails.
    pub fn follow<'a>(
        &'a self,
        subject: StreamSubject,
        epoch: u64,
        control: &'a dyn Control,
    ) -> Result<Stream<'a>, VaultError> {
        let reader = self.stream(subject.recovery_point_id);
        let path = reader.path(&format!("{CLAIM}{epoch:020}"));
        self.store().put_durable(&path, &[]).map_err(|error| error.when("claim the stream"))?;
        let state = Mutex::new(Numbered { snapshot: None, sequence: 0 });
        let piece = Mutex::new(Piece { plaintext: Vec::new(), sealer: ShortLivedSealer::new().map_err(encode)? });
        let stream = Stream { reader, subject, epoch, control, state, piece };
        stream.refuse_if_superseded()?;
        // The follower before may have died between a write and its sync. What is found is acknowledged to the server, and what
        // it replaces is removed: a power cut must not take it.
        self.store().barrier().map_err(|error| error.when("make durable what the stream has"))?;
        let parts = self.stream_parts(stream.subject.recovery_point_id)?;
        let sequence = parts.state.as_ref().and_then(number_of).map_or(0, |(_, sequence)| sequence);
        *stream.state.lock() = Numbered { snapshot: parts.state.map(|snapshot| snapshot.id), sequence };
        for id in parts.replaced {
            self.forget_replaced(id)?;
        }
        for (found, path) in stream.reader.claims()? {
            if found < epoch {
                self.store().delete(&path).map_err(|error| error.when("remove an old claim"))?;
            }
        }
        Ok(stream)
    }

    /// Removes a state that a newer one has replaced. What protects a continuous recovery point keeps its newest state, which
    /// has all of the log that any of its full captures needs, and it keeps these.
    fn forget_replaced(&self, state: Id) -> Result<(), VaultError> {
        let _lock = self.lock()?;
        self.store().delete(&snapshot_path(state)).map_err(|error| error.when("remove a state that was replaced"))?;
        self.store().settle().map_err(|error| error.when("remove a state that was replaced"))
    }

    /// Removes what a stream left outside of snapshots, when its recovery point is deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove_stream(&self, id: RecoveryPointId) -> Result<(), VaultError> {
        let reader = self.stream(id);
        for file in reader.list()? {
            self.store().delete(&reader.path(&file)).map_err(|error| error.when("remove a stream's piece"))?;
        }
        Ok(())
    }
}

impl StreamReader<'_> {
    fn path(&self, name: &str) -> String {
        format!("{DIRECTORY}/{}/{name}", self.id)
    }

    fn list(&self) -> Result<Vec<String>, VaultError> {
        let listed = self.vault.store().list(&format!("{DIRECTORY}/{}", self.id));
        let listed = listed.map_err(|error| error.when("list the stream's pieces"))?;
        Ok(listed.into_iter().map(|file| file.name).collect())
    }

    /// The pieces there are, in order.
    pub(crate) fn spans(&self) -> Result<Vec<PieceSpan>, VaultError> {
        let mut spans: Vec<PieceSpan> = self.list()?.iter().filter_map(|name| parse_piece_name(name)).collect();
        spans.sort_unstable();
        Ok(spans)
    }

    /// Epochs that were claimed, with their paths.
    fn claims(&self) -> Result<Vec<(u64, String)>, VaultError> {
        let names = self.list()?.into_iter();
        Ok(names.filter_map(|name| Some((name.strip_prefix(CLAIM)?.parse().ok()?, self.path(&name)))).collect())
    }

    pub(crate) fn read_piece(&self, span: PieceSpan) -> Result<Vec<u8>, VaultError> {
        let path = self.path(&piece_name(span));
        let damaged = |problem: String| VaultError::Damaged { what: format!("`{path}`"), problem };
        let sealed = match self.vault.store().get(&path, PIECE_BYTES_MAX) {
            Ok(sealed) => sealed,
            Err(error @ (StoreError::NotFound { .. } | StoreError::TooLarge { .. })) => {
                return Err(damaged(error.to_string()));
            }
            Err(error) => return Err(error.when("read a piece of the stream")),
        };
        let mut bytes = decode_unpacked(self.vault.key(), sealed).map_err(|error| damaged(chain(&error)))?;
        if bytes.len() < HEAD_BYTES || bytes[..HEAD_BYTES] != head(span) {
            return Err(damaged("it is another piece under this name".to_owned()));
        }
        if (bytes.len() - HEAD_BYTES) as u64 != span.end - span.start {
            return Err(damaged(format!("it holds {} bytes", bytes.len() - HEAD_BYTES)));
        }
        bytes.drain(..HEAD_BYTES);
        Ok(bytes)
    }

    fn look_at(&self, snapshot: Option<Id>, look: LookAtStream<'_>) -> Result<(), ReadError> {
        let Some(id) = snapshot else { return look(None) };
        let reader = self.vault.reader(id)?;
        let description = read_description(&reader)?;
        look(Some(StreamState { reader: &reader, facts: &description.driver }))
    }
}

impl StreamSource for StreamReader<'_> {
    fn pieces(&self) -> Result<Vec<PieceSpan>, ReadError> {
        Ok(self.spans()?)
    }

    fn piece(&self, span: PieceSpan) -> Result<Vec<u8>, ReadError> {
        Ok(self.read_piece(span)?)
    }

    fn look(&self, look: LookAtStream<'_>) -> Result<(), ReadError> {
        let state = self.vault.stream_parts(self.id)?.state;
        self.look_at(state.map(|snapshot| snapshot.id), look)
    }
}

impl Stream<'_> {
    /// The fencing token it was taken with.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    fn refuse_if_superseded(&self) -> Result<(), VaultError> {
        let highest = self.reader.claims()?.into_iter().map(|(epoch, _)| epoch).max().unwrap_or(0);
        if highest > self.epoch {
            let stream = self.subject.recovery_point.to_string();
            return Err(VaultError::Superseded { stream, ours: self.epoch, found: highest });
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), VaultError> {
        if self.control.is_stopped() { Err(VaultError::Stopped) } else { Ok(()) }
    }

    fn append_piece(&self, span: PieceSpan, bytes: &[u8]) -> Result<(), VaultError> {
        self.go_on()?;
        let mut piece = self.piece.lock();
        let Piece { plaintext, sealer } = &mut *piece;
        plaintext.clear();
        plaintext.extend_from_slice(&head(span));
        plaintext.extend_from_slice(bytes);
        let vault = self.reader.vault;
        // It is in the snapshot soon, compressed well; until then the server that is followed shall not wait for it.
        let sealed = sealer.seal(vault.key(), vault.surroundings().random(), plaintext).map_err(encode)?;
        let path = self.reader.path(&piece_name(span));
        vault.store().put_durable(&path, sealed).map_err(|error| error.when("write a piece of the stream"))
    }

    fn remove_pieces(&self, spans: &[PieceSpan]) -> Result<(), VaultError> {
        self.go_on()?;
        self.refuse_if_superseded()?;
        for span in spans {
            let path = self.reader.path(&piece_name(*span));
            self.reader.vault.store().delete(&path).map_err(|error| error.when("remove a piece of the stream"))?;
        }
        Ok(())
    }
}

impl StreamSource for Stream<'_> {
    fn pieces(&self) -> Result<Vec<PieceSpan>, ReadError> {
        self.reader.pieces()
    }

    fn piece(&self, span: PieceSpan) -> Result<Vec<u8>, ReadError> {
        self.reader.piece(span)
    }

    fn look(&self, look: LookAtStream<'_>) -> Result<(), ReadError> {
        let snapshot = self.state.lock().snapshot;
        self.reader.look_at(snapshot, look)
    }
}

impl StreamStore for Stream<'_> {
    fn append(&self, span: PieceSpan, bytes: &[u8]) -> Result<(), WriteError> {
        Ok(self.append_piece(span, bytes)?)
    }

    fn remove(&self, spans: &[PieceSpan]) -> Result<(), WriteError> {
        Ok(self.remove_pieces(spans)?)
    }

    fn commit(&self, build: BuildStream<'_>) -> Result<StreamCommitted, WriteError> {
        let mut state = self.state.lock();
        let vault = self.reader.vault;
        let started_at = vault.surroundings().now();
        let writer = vault.writer(self.control)?;
        let mut content = None;
        let looked = self.reader.look_at(state.snapshot, &mut |earlier| {
            content = Some(build(&writer, earlier));
            Ok(())
        });
        looked.map_err(|error| WriteError::Vault(Box::new(error)))?;
        let Some(content) = content else { return Err(WriteError::Stopped) };
        let content = content?;
        let ended_at = vault.surroundings().now();
        let description = RecoveryPointDescription {
            schema: DESCRIPTION_SCHEMA,
            recovery_point: self.subject.recovery_point.clone(),
            resource: self.subject.resource.clone(),
            resource_type: self.subject.resource_type,
            consistency: Consistency::Database,
            capture_started_at: started_at,
            capture_ended_at: ended_at,
            change_detection: "continuous".to_owned(),
            size_bytes: content.size_bytes,
            items: content.items,
            exceptions: Vec::new(),
            reading: None,
            driver: content.facts,
        };
        let root = snapshot_root(&writer, content.data, &description, content.sidecars, ended_at)?;
        let sequence = state.sequence + 1;
        self.refuse_if_superseded()?;
        let committed = writer.commit(SnapshotInput {
            root,
            time: ended_at,
            hostname: String::new(),
            paths: vec![self.subject.location.clone()],
            tags: vec![
                recovery_point_tag(self.subject.recovery_point_id),
                format!("{STATE_TAG}{:020}.{sequence:020}", self.epoch),
            ],
            parent: state.snapshot,
        })?;
        let before = state.snapshot.replace(committed.snapshot_id);
        state.sequence = sequence;
        if let Some(before) = before {
            self.refuse_if_superseded()?;
            vault.forget_replaced(before)?;
        }
        Ok(StreamCommitted { snapshot_id: committed.snapshot_id, tree_id: committed.tree_id })
    }
}

impl SnapshotSummary {
    /// Whether it belongs to a stream: a full capture that one starts from, or a state of it.
    pub(crate) fn is_of_stream(&self) -> bool {
        self.tags.iter().any(|tag| tag.starts_with(STATE_TAG) || tag.starts_with(BASE_TAG))
    }
}

fn encode(source: FormatError) -> VaultError {
    VaultError::Encode { what: "a piece of the stream", source }
}

/// Epoch and number of a stream's snapshot.
fn number_of(snapshot: &SnapshotSummary) -> Option<(u64, u64)> {
    let number = snapshot.tags.iter().find_map(|tag| tag.strip_prefix(STATE_TAG))?;
    let (epoch, sequence) = number.split_once('.')?;
    Some((epoch.parse().ok()?, sequence.parse().ok()?))
}

fn piece_name(span: PieceSpan) -> String {
    format!("{:08X}-{:016X}-{:016X}", span.lane, span.start, span.end)
}

fn parse_piece_name(name: &str) -> Option<PieceSpan> {
    let mut parts = name.split('-');
    let lane = u32::from_str_radix(parts.next()?, 16).ok()?;
    let start = u64::from_str_radix(parts.next()?, 16).ok()?;
    let end = u64::from_str_radix(parts.next()?, 16).ok()?;
    let span = PieceSpan { lane, start, end };
    (start < end && piece_name(span) == name).then_some(span)
}

/// Stands in the sealed part, so that no piece can be put in another's place.
fn head(span: PieceSpan) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&span.lane.to_le_bytes());
    head[4..12].copy_from_slice(&span.start.to_le_bytes());
    head[12..].copy_from_slice(&span.end.to_le_bytes());
    head
}

impl fmt::Debug for StreamReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("subject", &self.subject).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
