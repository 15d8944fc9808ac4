//! Connections: so many at once, with TLS where there is a certificate, and none that stays silent for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use service_host::ConfigProblem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::config::TlsConfig;

/// A handshake that takes longer is no client of ours.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that wait to be served.
const QUEUE: usize = 64;
/// Wait after the operating system gave no connection (too many open files).
const PAUSE: Duration = Duration::from_millis(100);

/// Reads certificate and key.
pub(crate) fn tls(config: &TlsConfig) -> Result<TlsAcceptor, ConfigProblem> {
    let unreadable = |key: &str, path: &std::path::Path, problem: String| {
        ConfigProblem::new(format!("tls.{key}"), path.display(), format!("{problem}; name a PEM file"))
    };
    let chain = CertificateDer::pem_file_iter(&config.certificate_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable("certificate_file", &config.certificate_file, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&config.key_file)
        .map_err(|error| unreadable("key_file", &config.key_file, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut server =
        server.map_err(|error| unreadable("certificate_file", &config.certificate_file, error.to_string()))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// Hands over connections that are ready to be served.
#[derive(Debug)]
pub(crate) struct Listener {
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
    address: SocketAddr,
}

impl Listener {
    /// Begins to accept.
    pub(crate) async fn bind(
        address: SocketAddr,
        acceptor: Option<TlsAcceptor>,
        most: usize,
        idle: Duration,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (hand_over, ready) = mpsc::channel(QUEUE);
        let places = Arc::new(Semaphore::new(most));
        tokio::spawn(async move {
            let accepting = accept(listener, acceptor, places, idle, hand_over);
            tokio::select! {
                () = accepting => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(Self { ready, address })
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    idle: Duration,
    hand_over: mpsc::Sender<(Connection, SocketAddr)>,
) {
    loop {
        // Never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection was accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers may be held back by the operating system");
        }
        let (acceptor, hand_over) = (acceptor.clone(), hand_over.clone());
        tokio::spawn(async move {
            let io = match acceptor {
                None => Either::Left(stream),
                Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Either::Right(Box::new(stream)),
                    Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS handshake"),
                    Err(_) => return tracing::debug!(%peer, "the TLS handshake took too long"),
                },
            };
            let silence = Box::pin(tokio::time::sleep(idle));
            // Fails when the gateway stops.
            let _ = hand_over.send((Connection { io, silence, idle, _place: place }, peer)).await;
        });
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // Nobody accepts any more: the gateway stops.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// One connection; its place is free again when it ends.
#[derive(Debug)]
pub(crate) struct Connection {
    io: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    silence: Pin<Box<Sleep>>,
    idle: Duration,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(read) => {
                this.silence.as_mut().reset(Instant::now() + this.idle);
                Poll::Ready(read)
            }
            Poll::Pending => match this.silence.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
