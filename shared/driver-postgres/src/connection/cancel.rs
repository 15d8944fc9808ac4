//! Has a server give up what it does for a connection:
//! <https://www.postgresql.org/docs/15/protocol-flow.html#id-1.10.6.7.10>.

use bytes::BytesMut;
use postgres_protocol::message::backend::BackendKeyDataBody;
use postgres_protocol::message::frontend;

use super::{CONNECT_TIMEOUT, Connection, socket};
use crate::error::PgError;
use crate::server::{Credentials, ServerAddress};

/// Names a process of the server, and proves that it works for whoever asks.
#[derive(Clone, Copy)]
pub(super) struct Key {
    process: i32,
    secret: i32,
}

impl Key {
    pub(super) fn of(body: &BackendKeyDataBody) -> Self {
        Self { process: body.process_id(), secret: body.secret_key() }
    }
}

impl Connection {
    /// Asks the server, over a connection of its own, to give up the command that runs. Whether it does shows in that
    /// command's answer.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn cancel(&self, server: &ServerAddress, credentials: &Credentials) -> Result<(), PgError> {
        let Some(key) = self.key else { return Ok(()) };
        let mut socket = socket::connect(server, credentials, CONNECT_TIMEOUT)?;
        let mut output = BytesMut::new();
        frontend::cancel_request(key.process, key.secret, &mut output);
        socket.write_all(&output).map_err(PgError::Broken)?;
        // The server closes the connection when it has heard it, and says nothing.
        socket.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(PgError::Broken)?;
        socket.read_into(&mut output, 1).map(drop).map_err(PgError::Broken)
    }
}
