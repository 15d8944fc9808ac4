//! An S3 server over a directory, in this process: `s3s-fs` on loopback.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use async_trait::async_trait;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::S3Access;
use s3s::auth::SimpleAuth;
use s3s::dto::{ListObjectsInput, ListObjectsV2Input};
use s3s::service::S3ServiceBuilder;
use s3s::{S3Request, S3Result};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// A running server; it ends with all its connections when this is dropped.
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
        service.set_access(OnlyTheKey);
        let service = service.build();
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let http = Builder::new(TokioExecutor::new());
            // They end with this task.
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let connection = http.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
                // A client that goes away in the middle of a request is its own affair.
                connections.spawn(async move { drop(connection.await) });
                while connections.try_join_next().is_some() {}
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

/// Lets in whoever has the key, and takes an empty delimiter for none, as stores do and restic expects.
struct OnlyTheKey;

#[async_trait]
impl S3Access for OnlyTheKey {
    async fn list_objects(&self, request: &mut S3Request<ListObjectsInput>) -> S3Result<()> {
        request.input.delimiter.take_if(|delimiter| delimiter.is_empty());
        Ok(())
    }

    async fn list_objects_v2(&self, request: &mut S3Request<ListObjectsV2Input>) -> S3Result<()> {
        request.input.delimiter.take_if(|delimiter| delimiter.is_empty());
        Ok(())
    }
}

impl Drop for S3Store {
    fn drop(&mut self) {
        self.task.abort();
    }
}
