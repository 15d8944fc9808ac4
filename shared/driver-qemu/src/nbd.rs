//! A client of NBD: fixed newstyle with structured replies, as in the protocol's document
//! (`doc/proto.md` of github.com/NetworkBlockDevice/nbd).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::error::{QemuError, protocol};
use crate::settings::QemuProfile;

const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// Fixed newstyle, and no zeroes after the handshake.
const HANDSHAKE_FLAGS: u32 = 0b11;
const OPT_GO: u32 = 7;
const OPT_STRUCTURED_REPLY: u32 = 8;
const OPT_SET_META_CONTEXT: u32 = 10;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_META_CONTEXT: u32 = 4;
const REP_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;

const CMD_READ: u16 = 0;
const CMD_DISC: u16 = 2;
const CMD_BLOCK_STATUS: u16 = 7;
const CHUNK_DONE: u16 = 1;
const CHUNK_NONE: u16 = 0;
const CHUNK_OFFSET_DATA: u16 = 1;
const CHUNK_OFFSET_HOLE: u16 = 2;
const CHUNK_BLOCK_STATUS: u16 = 5;
const CHUNK_ERROR: u16 = 1 << 15;

/// Longest part of an option's reply or a reply that is no data, in bytes; a server sends far shorter ones.
const PAYLOAD_BYTES_MAX: u32 = 16 << 20;
/// What is asked at once where nothing is read: the length is 32 bits, and whole blocks.
const STATUS_BYTES_MAX: u64 = 1 << 31;

/// What is known of all blocks; given to [`Client::connect`].
pub(crate) const ALLOCATION: &str = "base:allocation";
/// Bit of [`ALLOCATION`]: it reads as zeros.
pub(crate) const STATE_ZERO: u32 = 2;
/// Bit of a dirty bitmap.
pub(crate) const STATE_DIRTY: u32 = 1;

/// The context of a dirty bitmap.
pub(crate) fn dirty_context(bitmap: &str) -> String {
    format!("qemu:dirty-bitmap:{bitmap}")
}

/// A connection to an export. One request at a time.
pub(crate) struct Client {
    stream: UnixStream,
    socket: String,
    /// In bytes.
    size: u64,
    /// The number of the context that was asked for.
    context: Option<u32>,
    handle: u64,
}

/// A part of the export and its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) flags: u32,
}

impl Client {
    /// Connects to an export, with at most one context.
    pub(crate) fn connect(profile: &QemuProfile, export: &str, context: Option<&str>) -> Result<Self, QemuError> {
        let socket = profile.nbd_socket.display().to_string();
        let failed =
            |source| QemuError::Connection { action: "connect to QEMU's NBD server", socket: socket.clone(), source };
        let stream = UnixStream::connect(&profile.nbd_socket).map_err(failed)?;
        stream.set_read_timeout(Some(profile.timeout())).map_err(failed)?;
        stream.set_write_timeout(Some(profile.timeout())).map_err(failed)?;
        let mut client = Self { stream, socket, size: 0, context: None, handle: 0 };
        if client.u64()? != INIT_MAGIC || client.u64()? != OPTION_MAGIC {
            return Err(protocol("it is no NBD server of the newstyle"));
        }
        let flags = client.u16()?;
        if flags & 1 == 0 {
            return Err(protocol("the NBD server has no fixed newstyle"));
        }
        client.send(&(HANDSHAKE_FLAGS & u32::from(flags)).to_be_bytes())?;
        client.option(OPT_STRUCTURED_REPLY, &[], |_, _| Ok(()))?;
        if let Some(context) = context {
            let mut data = Vec::new();
            string(&mut data, export)?;
            data.extend_from_slice(&1_u32.to_be_bytes());
            string(&mut data, context)?;
            let mut number = None;
            client.option(OPT_SET_META_CONTEXT, &data, |kind, payload| {
                if kind == REP_META_CONTEXT {
                    number = Some(be32(payload, 0)?);
                }
                Ok(())
            })?;
            client.context = Some(
                number
                    .ok_or_else(|| QemuError::Failed { problem: format!("the export does not offer `{context}`") })?,
            );
        }
        let mut data = Vec::new();
        string(&mut data, export)?;
        data.extend_from_slice(&0_u16.to_be_bytes());
        let mut size = None;
        client.option(OPT_GO, &data, |kind, payload| {
            if kind == REP_INFO && payload.get(..2) == Some(&INFO_EXPORT.to_be_bytes()) {
                size = Some(be64(payload, 2)?);
            }
            Ok(())
        })?;
        client.size = size.ok_or_else(|| protocol("the NBD server does not tell the size of the export"))?;
        Ok(client)
    }

    /// In bytes.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Negotiates an option; the function is given every part of the reply but the last.
    fn option(
        &mut self,
        option: u32,
        data: &[u8],
        mut part: impl FnMut(u32, &[u8]) -> Result<(), QemuError>,
    ) -> Result<(), QemuError> {
        let mut request = OPTION_MAGIC.to_be_bytes().to_vec();
        request.extend_from_slice(&option.to_be_bytes());
        request.extend_from_slice(&length(data)?.to_be_bytes());
        request.extend_from_slice(data);
        self.send(&request)?;
        loop {
            if self.u64()? != OPTION_REPLY_MAGIC || self.u32()? != option {
                return Err(protocol("an option's reply is of another option"));
            }
            let (kind, length) = (self.u32()?, self.u32()?);
            let payload = self.payload(length)?;
            match kind {
                REP_ACK => return Ok(()),
                kind if kind & REP_ERROR != 0 => {
                    let problem = String::from_utf8_lossy(&payload).into_owned();
                    let class = format!("{:#x}", kind & !REP_ERROR);
                    return Err(QemuError::Refused { command: format!("NBD option {option}"), class, problem });
                }
                kind => part(kind, &payload)?,
            }
        }
    }

    fn request(&mut self, command: u16, offset: u64, length: u32) -> Result<(), QemuError> {
        self.handle += 1;
        let mut request = REQUEST_MAGIC.to_be_bytes().to_vec();
        request.extend_from_slice(&0_u16.to_be_bytes());
        request.extend_from_slice(&command.to_be_bytes());
        request.extend_from_slice(&self.handle.to_be_bytes());
        request.extend_from_slice(&offset.to_be_bytes());
        request.extend_from_slice(&length.to_be_bytes());
        self.send(&request)
    }

    /// The head of a part of a reply: whether it is the last, its type and its length. Errors of the server are errors.
    fn reply(&mut self) -> Result<(bool, u16, u32), QemuError> {
        match self.u32()? {
            STRUCTURED_REPLY_MAGIC => {}
            SIMPLE_REPLY_MAGIC => return Err(protocol("a simple reply where a structured one was negotiated")),
            other => return Err(protocol(format!("a reply begins with {other:#x}"))),
        }
        let (flags, kind) = (self.u16()?, self.u16()?);
        if self.u64()? != self.handle {
            return Err(protocol("a reply is to another request"));
        }
        let length = self.u32()?;
        if kind & CHUNK_ERROR != 0 {
            let payload = self.payload(length)?;
            let message = payload.get(6..).unwrap_or_default();
            let code = be32(&payload, 0).unwrap_or(0);
            let problem = format!("error {code}: {}", String::from_utf8_lossy(message));
            return Err(QemuError::Failed { problem: format!("the NBD server cannot read: {problem}") });
        }
        Ok((flags & CHUNK_DONE != 0, kind, length))
    }

    /// Fills the buffer from an offset.
    pub(crate) fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<(), QemuError> {
        let wanted = length(buffer)?;
        self.request(CMD_READ, offset, wanted)?;
        let mut filled = 0_u64;
        loop {
            let (last, kind, length) = self.reply()?;
            let room = |at: u64, count: u64| {
                let start = at.checked_sub(offset).and_then(|start| usize::try_from(start).ok());
                let count = usize::try_from(count).ok();
                let range = start.zip(count).and_then(|(start, count)| Some(start..start.checked_add(count)?));
                range.ok_or_else(|| protocol("data of another place"))
            };
            match kind {
                CHUNK_OFFSET_DATA if length >= 8 => {
                    let (at, count) = (self.u64()?, u64::from(length - 8));
                    let range = room(at, count)?;
                    let part = buffer.get_mut(range).ok_or_else(|| protocol("more data than asked for"))?;
                    let failed = |source| gone(&self.socket, source);
                    (&self.stream).read_exact(part).map_err(failed)?;
                    filled += count;
                }
                CHUNK_OFFSET_HOLE if length == 12 => {
                    let (at, count) = (self.u64()?, u64::from(self.u32()?));
                    let range = room(at, count)?;
                    buffer.get_mut(range).ok_or_else(|| protocol("more data than asked for"))?.fill(0);
                    filled += count;
                }
                CHUNK_NONE if length == 0 => {}
                other => return Err(protocol(format!("a part of type {other} and length {length} to a read"))),
            }
            if last {
                return if filled == u64::from(wanted) { Ok(()) } else { Err(protocol("less data than asked for")) };
            }
        }
    }

    /// What the context says of a part of the export, in order.
    pub(crate) fn status(&mut self, start: u64, end: u64) -> Result<Vec<Status>, QemuError> {
        let context = self.context.ok_or_else(|| protocol("no context was negotiated"))?;
        let mut found: Vec<Status> = Vec::new();
        let mut position = start;
        while position < end {
            let wanted = (end - position).min(STATUS_BYTES_MAX);
            self.request(CMD_BLOCK_STATUS, position, u32::try_from(wanted).unwrap_or(u32::MAX))?;
            let before = position;
            loop {
                let (last, kind, length) = self.reply()?;
                match kind {
                    CHUNK_BLOCK_STATUS if length >= 4 && (length - 4) % 8 == 0 => {
                        let payload = self.payload(length)?;
                        if be32(&payload, 0)? != context {
                            return Err(protocol("the status of another context"));
                        }
                        for at in (4..payload.len()).step_by(8) {
                            let (count, flags) = (u64::from(be32(&payload, at)?), be32(&payload, at + 4)?);
                            let until = (position + count).min(end);
                            match found.last_mut() {
                                Some(last) if last.flags == flags && last.end == position => last.end = until,
                                _ if position < until => found.push(Status { start: position, end: until, flags }),
                                _ => {}
                            }
                            position = until;
                        }
                    }
                    CHUNK_NONE if length == 0 => {}
                    other => return Err(protocol(format!("a part of type {other} and length {length} to a status"))),
                }
                if last {
                    break;
                }
            }
            if position == before {
                return Err(protocol("an empty status"));
            }
        }
        Ok(found)
    }

    fn payload(&mut self, length: u32) -> Result<Vec<u8>, QemuError> {
        if length > PAYLOAD_BYTES_MAX {
            return Err(protocol(format!("a payload of {length} bytes")));
        }
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        Ok(payload)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), QemuError> {
        self.stream.read_exact(buffer).map_err(|source| gone(&self.socket, source))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), QemuError> {
        self.stream.write_all(bytes).map_err(|source| gone(&self.socket, source))
    }

    fn u16(&mut self) -> Result<u16, QemuError> {
        let mut bytes = [0; 2];
        self.fill(&mut bytes)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> Result<u32, QemuError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, QemuError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }
}

/// Says goodbye, so that the server does not log a broken connection.
impl Drop for Client {
    fn drop(&mut self) {
        let _it_may_be_gone = self.request(CMD_DISC, 0, 0);
    }
}

fn gone(socket: &str, source: std::io::Error) -> QemuError {
    QemuError::Connection { action: "talk to QEMU's NBD server", socket: socket.to_owned(), source }
}

fn length(bytes: &[u8]) -> Result<u32, QemuError> {
    u32::try_from(bytes.len()).map_err(|_| protocol("a request of more than 4 GiB"))
}

fn string(out: &mut Vec<u8>, text: &str) -> Result<(), QemuError> {
    out.extend_from_slice(&length(text.as_bytes())?.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn be32(bytes: &[u8], at: usize) -> Result<u32, QemuError> {
    let found = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    found.map(u32::from_be_bytes).ok_or_else(|| protocol("a payload is too short"))
}

fn be64(bytes: &[u8], at: usize) -> Result<u64, QemuError> {
    let found = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    found.map(u64::from_be_bytes).ok_or_else(|| protocol("a payload is too short"))
}
