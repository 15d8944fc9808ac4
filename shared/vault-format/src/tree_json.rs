//! Trees as restic stores them.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::go_json::{parse_time, push_lossy_string, push_string, push_time};
use crate::quote::{quote, unquote};
use crate::{FormatError, Id, Node, NodeKind, Tree, Xattr, mode};

/// The bytes whose digest is the tree's id. The nodes are sorted by name first.
///
/// # Errors
/// When a name stands twice or cannot be a name.
pub fn encode_tree(tree: &mut Tree) -> Result<Vec<u8>, FormatError> {
    tree.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    check_names(&tree.nodes)?;
    let chunks = |node: &Node| if let NodeKind::File { content, .. } = &node.kind { content.len() } else { 0 };
    let ids: usize = tree.nodes.iter().map(chunks).sum();
    let mut out = String::with_capacity(tree.nodes.len() * 400 + ids * 67 + 16);
    out.push_str("{\"nodes\":[");
    for (at, node) in tree.nodes.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_node(&mut out, node);
    }
    out.push_str("]}\n");
    Ok(out.into_bytes())
}

/// Reads a tree.
///
/// # Errors
/// When it is not JSON of that shape, or when a name stands twice or could lead out of its directory.
pub fn decode_tree(json: &[u8]) -> Result<Tree, FormatError> {
    let document: TreeJson<'_> = serde_json::from_slice(json)?;
    let nodes = document.nodes.unwrap_or_default();
    let mut nodes = nodes.into_iter().map(Node::try_from).collect::<Result<Vec<_>, _>>()?;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    check_names(&nodes)?;
    Ok(Tree { nodes })
}

/// Expects sorted nodes.
fn check_names(nodes: &[Node]) -> Result<(), FormatError> {
    let shown = |node: &Node| quote(&node.name);
    for node in nodes {
        let name = node.name.as_slice();
        if name.is_empty() || name == b"." || name == b".." || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(FormatError::Invalid(format!("`{}` cannot be the name of an entry", shown(node))));
        }
    }
    match nodes.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(FormatError::Invalid(format!("the entry `{}` stands twice", shown(&pair[0])))),
        None => Ok(()),
    }
}

// Writing to a string cannot fail, which is why the results of `write!` are dropped below.

fn push_node(out: &mut String, node: &Node) {
    out.push_str("{\"name\":");
    push_string(out, &quote(&node.name));
    let _ = write!(out, ",\"type\":\"{}\"", type_name(&node.kind));
    push_number(out, "mode", mode::to_go(&node.kind, node.mode).into());
    for (field, time) in [("mtime", node.mtime), ("atime", node.atime), ("ctime", node.ctime)] {
        let _ = write!(out, ",\"{field}\":");
        push_time(out, time);
    }
    let _ = write!(out, ",\"uid\":{},\"gid\":{}", node.uid, node.gid);
    for (field, text) in [("user", &node.user), ("group", &node.group)] {
        if !text.is_empty() {
            let _ = write!(out, ",\"{field}\":");
            push_string(out, text);
        }
    }
    push_number(out, "inode", node.inode);
    push_number(out, "device_id", node.device_id);
    if let NodeKind::File { size, .. } = node.kind {
        push_number(out, "size", size);
    }
    push_number(out, "links", node.links);
    if let NodeKind::Symlink { target } = &node.kind {
        push_target(out, target);
    }
    push_xattrs(out, &node.xattrs);
    if let NodeKind::BlockDevice { device } | NodeKind::CharDevice { device } = node.kind {
        push_number(out, "device", device);
    }
    match &node.kind {
        NodeKind::File { content, .. } => push_content(out, content),
        _ => out.push_str(",\"content\":null"),
    }
    if let NodeKind::Dir { subtree } = &node.kind {
        let _ = write!(out, ",\"subtree\":\"{subtree}\"");
    }
    out.push('}');
}

/// Appends a number that is left out when it is 0.
fn push_number(out: &mut String, field: &str, value: u64) {
    if value != 0 {
        let _ = write!(out, ",\"{field}\":{value}");
    }
}

fn push_target(out: &mut String, target: &[u8]) {
    if target.is_empty() {
        return;
    }
    out.push_str(",\"linktarget\":");
    match std::str::from_utf8(target) {
        Ok(text) => push_string(out, text),
        Err(_) => {
            push_lossy_string(out, target);
            out.push_str(",\"linktarget_raw\":\"");
            STANDARD.encode_string(target, out);
            out.push('"');
        }
    }
}

fn push_xattrs(out: &mut String, xattrs: &[Xattr]) {
    if xattrs.is_empty() {
        return;
    }
    out.push_str(",\"extended_attributes\":[");
    for (at, xattr) in xattrs.iter().enumerate() {
        out.push_str(if at > 0 { ",{\"name\":" } else { "{\"name\":" });
        push_string(out, &xattr.name);
        out.push_str(",\"value\":\"");
        STANDARD.encode_string(&xattr.value, out);
        out.push_str("\"}");
    }
    out.push(']');
}

fn push_content(out: &mut String, content: &[Id]) {
    out.push_str(",\"content\":[");
    for (at, id) in content.iter().enumerate() {
        out.push_str(if at > 0 { ",\"" } else { "\"" });
        id.with_digits(|digits| out.push_str(digits));
        out.push('"');
    }
    out.push(']');
}

const fn type_name(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::File { .. } => "file",
        NodeKind::Dir { .. } => "dir",
        NodeKind::Symlink { .. } => "symlink",
        NodeKind::BlockDevice { .. } => "dev",
        NodeKind::CharDevice { .. } => "chardev",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
    }
}

#[derive(Deserialize)]
struct TreeJson<'a> {
    #[serde(borrow)]
    nodes: Option<Vec<NodeJson<'a>>>,
}

#[derive(Deserialize)]
struct NodeJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    mode: u32,
    #[serde(borrow, default = "unknown_time")]
    mtime: Cow<'a, str>,
    #[serde(borrow, default = "unknown_time")]
    atime: Cow<'a, str>,
    #[serde(borrow, default = "unknown_time")]
    ctime: Cow<'a, str>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    linktarget: String,
    linktarget_raw: Option<String>,
    extended_attributes: Option<Vec<XattrJson>>,
    #[serde(default)]
    device: u64,
    content: Option<Vec<Id>>,
    subtree: Option<Id>,
}

/// Go's zero time, which restic takes where a file says none: rustic knows no times of the directories above what it
/// captures.
fn unknown_time<'a>() -> Cow<'a, str> {
    Cow::Borrowed("0001-01-01T00:00:00Z")
}

#[derive(Deserialize)]
struct XattrJson {
    name: String,
    value: Option<String>,
}

impl TryFrom<NodeJson<'_>> for Node {
    type Error = FormatError;

    fn try_from(json: NodeJson<'_>) -> Result<Self, FormatError> {
        let name = unquote(&json.name)?;
        let invalid = |problem: String| FormatError::Invalid(format!("the entry `{}` {problem}", quote(&name)));
        let base64 =
            |text: &str| STANDARD.decode(text).map_err(|_| invalid("has bytes that are not base64".to_owned()));
        let time = |text: &str| parse_time(text).map_err(|error| invalid(format!("has a bad time: {error}")));
        let kind = match &*json.kind {
            "file" => NodeKind::File { content: json.content.unwrap_or_default(), size: json.size },
            "dir" => NodeKind::Dir { subtree: json.subtree.ok_or_else(|| invalid("has no subtree".to_owned()))? },
            "symlink" => NodeKind::Symlink {
                target: match &json.linktarget_raw {
                    Some(raw) => base64(raw)?,
                    None => json.linktarget.into_bytes(),
                },
            },
            "dev" => NodeKind::BlockDevice { device: json.device },
            "chardev" => NodeKind::CharDevice { device: json.device },
            "fifo" => NodeKind::Fifo,
            "socket" => NodeKind::Socket,
            other => return Err(invalid(format!("is of the unknown type `{}`", other.escape_debug()))),
        };
        let xattrs = json
            .extended_attributes
            .unwrap_or_default()
            .into_iter()
            .map(|xattr| Ok(Xattr { name: xattr.name, value: base64(&xattr.value.unwrap_or_default())? }));
        Ok(Self {
            kind,
            mode: mode::from_go(json.mode),
            mtime: time(&json.mtime)?,
            atime: time(&json.atime)?,
            ctime: time(&json.ctime)?,
            uid: json.uid,
            gid: json.gid,
            user: json.user,
            group: json.group,
            inode: json.inode,
            device_id: json.device_id,
            links: json.links,
            xattrs: xattrs.collect::<Result<_, FormatError>>()?,
            name,
        })
    }
}

#[cfg(test)]
mod tests;
