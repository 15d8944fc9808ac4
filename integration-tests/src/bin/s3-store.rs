//! The S3 server of the tests as a program, for containers: `s3-store ROOT LISTEN ACCESS_KEY_FILE SECRET_KEY_FILE`.

use std::error::Error;
use std::fs;
use std::path::Path;

use integration_tests::s3_store::S3Store;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, listen, access_key, secret_key] = arguments.as_slice() else {
        return Err("usage: s3-store ROOT LISTEN ACCESS_KEY_FILE SECRET_KEY_FILE".into());
    };
    let access_key = fs::read_to_string(access_key)?;
    let secret_key = fs::read_to_string(secret_key)?;
    let store = S3Store::start(Path::new(root), listen.parse()?, access_key.trim(), secret_key.trim()).await?;
    store.serve().await;
    Ok(())
}
