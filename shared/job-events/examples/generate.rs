//! Writes `docs/reference/messages/` and the table in `docs/reference/messages.md` from the types.

use std::error::Error;
use std::fs;
use std::path::Path;

use job_events::reference::{TABLE_BEGINS, TABLE_ENDS, files, table};

fn main() -> Result<(), Box<dyn Error>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let messages = docs.join("messages");
    if messages.exists() {
        fs::remove_dir_all(&messages)?;
    }
    for (path, text) in files() {
        let path = messages.join(path);
        fs::create_dir_all(path.parent().ok_or("a generated file has a directory")?)?;
        fs::write(path, text)?;
    }
    let page_path = docs.join("messages.md");
    let page = fs::read_to_string(&page_path)?;
    let (before, rest) = page.split_once(TABLE_BEGINS).ok_or("messages.md has no mark for the table")?;
    let (_, after) = rest.split_once(TABLE_ENDS).ok_or("messages.md has no mark for the end of the table")?;
    fs::write(page_path, format!("{before}{TABLE_BEGINS}\n{}{TABLE_ENDS}{after}", table()))?;
    Ok(())
}
