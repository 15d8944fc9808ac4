//! An S3 server over a directory, in this process: `s3s-fs` on loopback.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct S3Store {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl S3Store {
    /// Serves the buckets (directories) below `root` to the holder of the key.
    ///
    /// # Errors
    /// When the directory or the address cannot be used.
    pub async fn start(root: &Path, listen: SocketAddr, access_key: &str, secret_key: &str) -> io::Result<Self> {
        let files = s3s_fs::FileSystem::new(root).map_err(|e| io::Error::other(format!("{e:?}")))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(access_key.to_owned(), secret_key.to_owned()));
        let service = service.build();
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let http = Builder::new(TokioExecutor::new());
            while let Ok((socket, _)) = listener.accept().await {
                let connection = http.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
                // A client that goes away in the middle of a request is its own affair.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Ok(Self { address, task })
    }

    /// `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until the server ends by itself, which it does not.
    pub async fn serve(mut self) {
        // An aborted task is the only error there can be, and then there is nothing left to serve.
        drop((&mut self.task).await);
    }
}

impl Drop for S3Store {
    fn drop(&mut self) {
        self.task.abort();
    }
}
