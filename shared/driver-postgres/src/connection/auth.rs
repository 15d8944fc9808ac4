//! The opening of a connection: passwords and SCRAM.

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use secrecy::{ExposeSecret as _, SecretString};

use super::cancel::Key;
use super::{Connection, Incoming};
use crate::error::PgError;
use crate::server::Credentials;

/// Answers the server's questions until it is ready for queries.
pub(super) fn authenticate(connection: &mut Connection, credentials: &Credentials) -> Result<(), PgError> {
    loop {
        match message(connection)? {
            Message::AuthenticationOk => {}
            Message::AuthenticationCleartextPassword => {
                if !connection.socket.is_private() {
                    return Err(unsupported(
                        "the server asks for the password in clear text on an unencrypted connection",
                    ));
                }
                let password = password(credentials)?;
                send_password(connection, password.expose_secret().as_bytes())?;
            }
            Message::AuthenticationMd5Password(body) => {
                let password = password(credentials)?;
                let hash = md5_hash(credentials.user.as_bytes(), password.expose_secret().as_bytes(), body.salt());
                send_password(connection, hash.as_bytes())?;
            }
            Message::AuthenticationSasl(body) => {
                let offered: Vec<String> =
                    body.mechanisms().map(|m| Ok(m.to_owned())).collect().map_err(PgError::Broken)?;
                if !offered.iter().any(|mechanism| mechanism == SCRAM_SHA_256) {
                    return Err(unsupported(&format!("the server offers {}", offered.join(", "))));
                }
                scram(connection, credentials)?;
            }
            Message::BackendKeyData(body) => connection.key = Some(Key::of(&body)),
            Message::ReadyForQuery(_) => return Ok(()),
            Message::AuthenticationGss | Message::AuthenticationSspi | Message::AuthenticationKerberosV5 => {
                return Err(unsupported("the server asks for Kerberos"));
            }
            other => {
                connection.event(other)?;
            }
        }
    }
}

/// RFC 5802 and 7677, as <https://www.postgresql.org/docs/current/sasl-authentication.html> uses them.
fn scram(connection: &mut Connection, credentials: &Credentials) -> Result<(), PgError> {
    let password = password(credentials)?;
    let mut scram = ScramSha256::new(password.expose_secret().as_bytes(), ChannelBinding::unsupported());
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut connection.output).map_err(PgError::Broken)?;
    connection.flush()?;
    loop {
        match message(connection)? {
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data()).map_err(PgError::Broken)?;
                frontend::sasl_response(scram.message(), &mut connection.output).map_err(PgError::Broken)?;
                connection.flush()?;
            }
            // Proves that the server knows the password too.
            Message::AuthenticationSaslFinal(body) => return scram.finish(body.data()).map_err(PgError::Broken),
            other => {
                connection.event(other)?;
            }
        }
    }
}

fn message(connection: &mut Connection) -> Result<Message, PgError> {
    loop {
        match connection.poll_incoming()? {
            Some(Incoming::Message(message)) => return Ok(message),
            Some(Incoming::CopyBoth) => {}
            None => return Err(PgError::Broken(std::io::ErrorKind::TimedOut.into())),
        }
    }
}

fn send_password(connection: &mut Connection, password: &[u8]) -> Result<(), PgError> {
    frontend::password_message(password, &mut connection.output).map_err(PgError::Broken)?;
    connection.flush()
}

fn password(credentials: &Credentials) -> Result<&SecretString, PgError> {
    credentials.password.as_ref().ok_or_else(|| {
        unsupported(&format!(
            "the server asks for the password of `{}` and the credential profile has none; set `password_file`",
            credentials.user
        ))
    })
}

fn unsupported(problem: &str) -> PgError {
    PgError::Login { problem: problem.to_owned() }
}
