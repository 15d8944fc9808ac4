//! One connection to a server, for queries and for the replication protocol; blocking.
//!
//! Messages are encoded and decoded by `postgres-protocol`; what is here is the socket, TLS, the order of messages, and
//! the two copy modes that the replication commands use.

mod auth;
mod cancel;
mod rows;
mod socket;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::{ErrorFields, Message};
use postgres_protocol::message::frontend;

use crate::error::{PgError, ServerError};
use crate::server::{Credentials, ServerAddress};
use socket::Socket;

pub use rows::Rows;

/// The tag of `CopyBothResponse`, which starts a replication stream and which `postgres-protocol` does not know.
const COPY_BOTH_RESPONSE_TAG: u8 = b'W';

/// Longest message taken from a server; its own limit is a little below 1 GiB.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 256 << 10;

/// Bytes of data in one message to the server.
const SEND_BYTES: usize = 64 << 10;

/// How long to wait for a server to answer the opening of a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<'a> {
    /// Queries in this database.
    Database(&'a str),
    /// Replication commands; queries are not understood.
    Replication,
}

/// What a server sends while a command runs.
#[derive(Debug)]
pub enum Event {
    /// The names of the columns of the rows that follow.
    Columns(Vec<String>),
    /// A row in text form; none for NULL.
    Row(Vec<Option<String>>),
    /// The end of one result, with its command tag.
    Complete(String),
    /// The server begins to send data.
    CopyOut,
    /// The server waits for data.
    CopyIn,
    /// Both sides send data: a replication stream.
    CopyBoth,
    /// A piece of data.
    CopyData(Bytes),
    /// The server has sent all of its data.
    CopyDone,
    /// The command is over; another may be sent.
    Ready,
}

/// An open connection. Dropping it tells the server.
pub struct Connection {
    socket: Socket,
    input: BytesMut,
    output: BytesMut,
    parameters: BTreeMap<String, String>,
    notices: Vec<String>,
    /// What the server wants to hear before it gives up what it does for this connection.
    key: Option<cancel::Key>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects and authenticates.
    ///
    /// # Errors
    /// [`PgError::Unreachable`] when nobody answers, [`PgError::Tls`] when the server cannot be trusted,
    /// [`PgError::Server`] with the server's words when it refuses.
    pub fn open(server: &ServerAddress, credentials: &Credentials, mode: Mode<'_>) -> Result<Self, PgError> {
        let socket = socket::connect(server, credentials, CONNECT_TIMEOUT)?;
        let mut connection = Self {
            socket,
            input: BytesMut::with_capacity(READ_BYTES),
            output: BytesMut::new(),
            parameters: BTreeMap::new(),
            notices: Vec::new(),
            key: None,
        };
        connection.socket.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(PgError::Broken)?;
        let mut parameters = vec![
            ("user", credentials.user.as_str()),
            ("client_encoding", "UTF8"),
            ("application_name", "holdfast"),
            ("DateStyle", "ISO"),
            ("TimeZone", "UTC"),
            // A digest of a row's text must not depend on the settings of a role or database.
            ("extra_float_digits", "3"),
            ("IntervalStyle", "postgres"),
            ("bytea_output", "hex"),
        ];
        match mode {
            Mode::Database(name) => parameters.push(("database", name)),
            Mode::Replication => parameters.push(("replication", "true")),
        }
        frontend::startup_message(parameters, &mut connection.output).map_err(PgError::Broken)?;
        connection.flush()?;
        auth::authenticate(&mut connection, credentials)?;
        connection.socket.set_read_timeout(None).map_err(PgError::Broken)?;
        Ok(connection)
    }

    /// A setting the server reported, for example `server_version`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The server's major version: `15` for 15.14.
    #[must_use]
    pub fn major_version(&self) -> Option<u32> {
        let version = self.parameter("server_version")?;
        version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Warnings and notices the server sent since the last call.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Sends a command without waiting for its answer; read it with [`Self::next`] until [`Event::Ready`].
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, sql: &str) -> Result<(), PgError> {
        frontend::query(sql, &mut self.output).map_err(PgError::Broken)?;
        self.flush()
    }

    /// Runs commands and returns the rows of the last one that has rows.
    ///
    /// # Errors
    /// [`PgError::Server`] when the server refuses; the connection can be used further.
    pub fn query(&mut self, sql: &str) -> Result<Rows, PgError> {
        self.send(sql)?;
        let first = self.next();
        self.rows_from(first)
    }

    /// The rows of a command that was sent, and of whose answer the first part is at hand; else as [`Self::query`].
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn rows_from(&mut self, first: Result<Event, PgError>) -> Result<Rows, PgError> {
        let mut rows = Rows::default();
        let mut refused = None;
        let mut event = first;
        loop {
            match event {
                Ok(Event::Columns(columns)) => rows = Rows::new(columns),
                Ok(Event::Row(row)) => rows.push(row),
                Ok(Event::Ready) => return refused.map_or(Ok(rows), Err),
                Ok(Event::CopyIn) => {
                    frontend::copy_fail("a query sends no data", &mut self.output).map_err(PgError::Broken)?;
                    self.flush()?;
                }
                Ok(_) => {}
                Err(error @ PgError::Server(_)) => refused = Some(error),
                Err(error) => return Err(error),
            }
            event = self.next();
        }
    }

    /// Runs a command that waits for data, and gives it these.
    ///
    /// # Errors
    /// [`PgError::Server`] when the server refuses; the connection can be used further.
    pub fn upload(&mut self, command: &str, bytes: &[u8]) -> Result<(), PgError> {
        self.send(command)?;
        let mut refused = None;
        loop {
            match self.next() {
                Ok(Event::CopyIn) => {
                    bytes.chunks(SEND_BYTES).try_for_each(|chunk| self.send_copy_data(chunk))?;
                    self.send_copy_done()?;
                }
                Ok(Event::Ready) => return refused.map_or(Ok(()), Err),
                Ok(_) => {}
                Err(error @ PgError::Server(_)) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for what the server sends next.
    ///
    /// # Errors
    /// [`PgError::Server`] for an error of the command (then read on until [`Event::Ready`]); others when the connection is
    /// broken.
    #[expect(clippy::should_implement_trait, reason = "an error is not the end, as it would be of an iterator")]
    pub fn next(&mut self) -> Result<Event, PgError> {
        // Without a time limit there is always an event; one that was set elsewhere ends the connection.
        self.poll_message()?.ok_or_else(|| PgError::Broken(io::ErrorKind::TimedOut.into()))
    }

    /// As [`Self::next`], but gives up waiting after so long: none then. For streams that also have to be answered.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_within(&mut self, wait: Duration) -> Result<Option<Event>, PgError> {
        self.socket.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).map_err(PgError::Broken)?;
        let result = self.poll_message();
        self.socket.set_read_timeout(None).map_err(PgError::Broken)?;
        result
    }

    /// Whether nothing was read from the socket that was not given out yet.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.input.is_empty()
    }

    /// Sends data in a [`Event::CopyBoth`] stream or after [`Event::CopyIn`], for example a standby status update.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send_copy_data(&mut self, bytes: &[u8]) -> Result<(), PgError> {
        frontend::CopyData::new(bytes).map_err(PgError::Broken)?.write(&mut self.output);
        self.flush()
    }

    /// Says that this side has sent all of its data.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send_copy_done(&mut self) -> Result<(), PgError> {
        frontend::copy_done(&mut self.output);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), PgError> {
        let output = self.output.split();
        self.socket.write_all(&output).map_err(PgError::Broken)
    }

    /// The next message that means something to the caller; none when the read timed out.
    fn poll_message(&mut self) -> Result<Option<Event>, PgError> {
        loop {
            let Some(incoming) = self.poll_incoming()? else { return Ok(None) };
            let event = match incoming {
                Incoming::CopyBoth => Event::CopyBoth,
                Incoming::Message(message) => match self.event(message)? {
                    Some(event) => event,
                    None => continue,
                },
            };
            return Ok(Some(event));
        }
    }

    fn event(&mut self, message: Message) -> Result<Option<Event>, PgError> {
        let event = match message {
            Message::CopyData(body) => Event::CopyData(body.into_bytes()),
            Message::DataRow(body) => Event::Row(rows::decode(&body).map_err(PgError::Broken)?),
            Message::RowDescription(body) => {
                let names = body.fields().map(|field| Ok(field.name().to_owned())).collect();
                Event::Columns(names.map_err(PgError::Broken)?)
            }
            Message::CommandComplete(body) => Event::Complete(body.tag().map_err(PgError::Broken)?.to_owned()),
            Message::CopyOutResponse(_) => Event::CopyOut,
            Message::CopyDone => Event::CopyDone,
            Message::ReadyForQuery(_) => Event::Ready,
            Message::ErrorResponse(body) => return Err(PgError::Server(server_error(body.fields()))),
            Message::NoticeResponse(body) => {
                let notice = server_error(body.fields());
                self.notices.push(notice.message);
                return Ok(None);
            }
            Message::ParameterStatus(body) => {
                let name = body.name().map_err(PgError::Broken)?.to_owned();
                let value = body.value().map_err(PgError::Broken)?.to_owned();
                self.parameters.insert(name, value);
                return Ok(None);
            }
            Message::CopyInResponse(_) => Event::CopyIn,
            _ => return Ok(None),
        };
        Ok(Some(event))
    }

    /// The next message as it came; none when the read timed out.
    fn poll_incoming(&mut self) -> Result<Option<Incoming>, PgError> {
        loop {
            if let Some(length) = message_length(&self.input)? {
                if self.input.len() >= length {
                    if self.input[0] == COPY_BOTH_RESPONSE_TAG {
                        let _ = self.input.split_to(length);
                        return Ok(Some(Incoming::CopyBoth));
                    }
                    if let Some(message) = Message::parse(&mut self.input).map_err(PgError::Broken)? {
                        return Ok(Some(Incoming::Message(message)));
                    }
                }
                self.input.reserve(length.saturating_sub(self.input.len()));
            }
            match self.socket.read_into(&mut self.input, READ_BYTES) {
                Ok(0) => return Err(PgError::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(PgError::Broken(e)),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The server notices a closed socket too; the message only spares it a line in its log.
        let mut output = BytesMut::new();
        frontend::terminate(&mut output);
        if let Err(error) = self.socket.write_all(&output) {
            tracing::trace!(%error, "the server had closed the connection");
        }
    }
}

enum Incoming {
    Message(Message),
    CopyBoth,
}

/// Length of the message at the front with its tag; none while that is not known.
fn message_length(input: &[u8]) -> Result<Option<usize>, PgError> {
    let Some(header) = input.get(1..5) else { return Ok(None) };
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        let problem = format!("the server announced a message of {length} bytes");
        return Err(PgError::Broken(io::Error::new(io::ErrorKind::InvalidData, problem)));
    }
    Ok(Some(length + 1))
}

/// Fields of an error or notice: <https://www.postgresql.org/docs/current/protocol-error-fields.html>.
fn server_error(mut fields: ErrorFields<'_>) -> ServerError {
    let mut error = ServerError::default();
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'V' => error.severity = value,
            b'C' => error.code = value,
            b'M' => error.message = value,
            b'D' => error.detail = Some(value),
            b'H' => error.hint = Some(value),
            _ => {}
        }
    }
    error
}
