//! The bytes of archives and manifest out of the messages of the server.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use driver_api::DriverError;

use crate::connection::{Connection, Event};
use crate::error::PgError;

/// What comes after the bytes at hand.
pub(super) enum Next {
    Nothing,
    Archive(String),
    Manifest,
    End,
}

/// The bytes of one archive, or of the manifest.
pub(super) struct Source<'a> {
    pub(super) stream: &'a mut Connection,
    pub(super) current: Bytes,
    pub(super) next: Next,
    /// What the connection said, while the archive's reader only knows that it cannot go on.
    pub(super) failed: Option<PgError>,
}

impl Source<'_> {
    /// Takes messages until there are bytes, or something new begins.
    pub(super) fn advance(&mut self) -> Result<(), PgError> {
        while self.current.is_empty() && matches!(self.next, Next::Nothing) {
            match self.stream.next()? {
                Event::CopyData(message) => self.message(message)?,
                Event::CopyDone => self.next = Next::End,
                Event::Ready => return Err(PgError::Unexpected { problem: "the backup ended early".to_owned() }),
                _ => {}
            }
        }
        Ok(())
    }

    fn message(&mut self, mut message: Bytes) -> Result<(), PgError> {
        if message.is_empty() {
            return Ok(());
        }
        match message.get_u8() {
            b'd' => self.current = message,
            b'n' => {
                let name = message.split(|byte| *byte == 0).next().unwrap_or_default();
                self.next = Next::Archive(String::from_utf8_lossy(name).into_owned());
            }
            b'm' => self.next = Next::Manifest,
            // Progress: counted here by what arrives.
            b'p' => {}
            other => {
                let problem = format!("a message `{}` in the backup", other.escape_ascii());
                return Err(PgError::Unexpected { problem });
            }
        }
        Ok(())
    }

    /// Skips what is left of an archive: a tar reader stops at the first sign of the end.
    pub(super) fn drain(&mut self) -> Result<(), DriverError> {
        let copied = io::copy(self, &mut io::sink()).map_err(PgError::Broken)?;
        tracing::trace!(copied, "the end of an archive");
        Ok(())
    }

    /// The connection's own words in place of the reader's.
    pub(super) fn check(&mut self, result: Result<(), DriverError>) -> Result<(), DriverError> {
        match (result, self.failed.take()) {
            (Err(_), Some(failed)) => Err(failed.into()),
            (result, _) => result,
        }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(error) = self.advance() {
            let words = error.to_string();
            self.failed = Some(error);
            return Err(io::Error::other(words));
        }
        let bytes = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}

/// Counts and sums what is read.
pub(super) struct Summed<'a> {
    pub(super) source: &'a mut dyn Read,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl Read for Summed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.source.read(buffer)?;
        self.crc = crc32c::crc32c_append(self.crc, &buffer[..bytes]);
        self.bytes += bytes as u64;
        Ok(bytes)
    }
}
