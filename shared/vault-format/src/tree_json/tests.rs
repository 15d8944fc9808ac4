use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn node(name: &[u8], kind: NodeKind) -> Node {
    Node {
        name: name.to_vec(),
        kind,
        mode: 0o644,
        mtime: "2014-12-06T16:50:23.34513538Z".parse().unwrap(),
        atime: Timestamp::UNIX_EPOCH,
        ctime: Timestamp::new(1, 500_000_000).unwrap(),
        uid: 1000,
        gid: 100,
        user: "fd0".to_owned(),
        group: String::new(),
        inode: 5,
        device_id: 0,
        links: 1,
        xattrs: Vec::new(),
    }
}

#[test]
fn trees_have_the_bytes_that_restic_would_write() {
    let mut tree = Tree {
        nodes: vec![
            node(b"z<\xff", NodeKind::Symlink { target: b"to\xfe".to_vec() }),
            node(b"a", NodeKind::File { content: vec![Id::new([0xab; 32])], size: 3 }),
        ],
    };
    tree.nodes[1].xattrs = vec![Xattr { name: "user.x".to_owned(), value: vec![1, 2] }];
    let text = String::from_utf8(encode_tree(&mut tree).unwrap()).unwrap();
    let common = r#""mtime":"2014-12-06T16:50:23.34513538Z","atime":"1970-01-01T00:00:00Z","ctime":"1970-01-01T00:00:01.5Z","uid":1000,"gid":100,"user":"fd0","inode":5"#;
    let expected = format!(
        "{{\"nodes\":[{{\"name\":\"a\",\"type\":\"file\",\"mode\":420,{common},\"size\":3,\"links\":1,\
         \"extended_attributes\":[{{\"name\":\"user.x\",\"value\":\"AQI=\"}}],\"content\":[\"{}\"]}},\
         {{\"name\":\"z\\u003c\\\\xff\",\"type\":\"symlink\",\"mode\":134218148,{common},\"links\":1,\
         \"linktarget\":\"to\\ufffd\",\"linktarget_raw\":\"dG/+\",\"content\":null}}]}}\n",
        "ab".repeat(32)
    );
    assert_eq!(text, expected);
    assert_eq!(decode_tree(text.as_bytes()).unwrap(), tree);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", b"/"] {
        let mut tree = Tree { nodes: vec![node(name, NodeKind::Fifo)] };
        assert!(encode_tree(&mut tree).is_err());
    }
    let json = r#"{"nodes":[{"name":"..","type":"fifo","mtime":"1970-01-01T00:00:00Z","atime":"1970-01-01T00:00:00Z","ctime":"1970-01-01T00:00:00Z"}]}"#;
    let refused = decode_tree(json.as_bytes()).unwrap_err().to_string();
    assert!(refused.contains("`..`"), "{refused}");
}

#[test]
fn an_entry_without_times_has_the_time_that_restic_takes_for_it() {
    // A directory above what rustic 0.11.4 has captured.
    let json =
        format!(r#"{{"nodes":[{{"name":"tmp","type":"dir","mode":493,"content":null,"subtree":"{:064}"}}]}}"#, 7);
    let tree = decode_tree(json.as_bytes()).unwrap();
    let time: Timestamp = "0001-01-01T00:00:00Z".parse().unwrap();
    assert_eq!([tree.nodes[0].mtime, tree.nodes[0].atime, tree.nodes[0].ctime], [time; 3]);
    assert_eq!(tree.nodes[0].mode, 0o755);
}

#[test]
fn an_entry_that_stands_twice_is_refused() {
    let mut tree = Tree { nodes: vec![node(b"a", NodeKind::Fifo), node(b"a", NodeKind::Socket)] };
    assert!(encode_tree(&mut tree).unwrap_err().to_string().contains("twice"));
}

#[test]
fn times_outside_of_what_can_be_written_are_moved_to_the_nearest_that_can() {
    let mut tree = Tree { nodes: vec![node(b"a", NodeKind::Fifo)] };
    tree.nodes[0].mtime = Timestamp::MIN;
    let text = String::from_utf8(encode_tree(&mut tree).unwrap()).unwrap();
    assert!(text.contains("\"mtime\":\"0000-01-01T00:00:00Z\""), "{text}");
    let late = text.replace("1970-01-01T00:00:00Z", "9999-12-31T23:59:59.5Z");
    assert_eq!(decode_tree(late.as_bytes()).unwrap().nodes[0].atime, Timestamp::MAX);
}

fn any_kind() -> impl Strategy<Value = NodeKind> {
    let id = any::<[u8; 32]>().prop_map(Id::new);
    prop_oneof![
        (proptest::collection::vec(id.clone(), 0..4), any::<u64>())
            .prop_map(|(content, size)| NodeKind::File { content, size }),
        id.prop_map(|subtree| NodeKind::Dir { subtree }),
        any::<Vec<u8>>().prop_map(|target| NodeKind::Symlink { target }),
        any::<u64>().prop_map(|device| NodeKind::BlockDevice { device }),
        any::<u64>().prop_map(|device| NodeKind::CharDevice { device }),
        Just(NodeKind::Fifo),
        Just(NodeKind::Socket),
    ]
}

prop_compose! {
    fn any_node()(
        name in proptest::collection::vec(any::<u8>().prop_filter("name", |b| !matches!(b, 0 | b'/' | b'.')), 1..12),
        kind in any_kind(),
        mode in 0_u32..0o10000,
        seconds in -60_000_000_000_i64..250_000_000_000,
        nanoseconds in 0..1_000_000_000_i32,
        owner: (u32, u32, String, String),
        numbers: (u64, u64, u64),
        xattrs in proptest::collection::vec(any::<(String, Vec<u8>)>(), 0..3),
    ) -> Node {
        let time = Timestamp::new(seconds, 0).unwrap() + jiff::SignedDuration::from_nanos(nanoseconds.into());
        let (uid, gid, user, group) = owner;
        let (inode, device_id, links) = numbers;
        let xattrs = xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect();
        Node { name, kind, mode, mtime: time, atime: time, ctime: time, uid, gid, user, group, inode, device_id, links, xattrs }
    }
}

proptest! {
    #[test]
    fn every_tree_survives(nodes in proptest::collection::vec(any_node(), 0..6)) {
        let mut tree = Tree { nodes };
        tree.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        tree.nodes.dedup_by(|a, b| a.name == b.name);
        let json = encode_tree(&mut tree).unwrap();
        prop_assert_eq!(decode_tree(&json).unwrap(), tree);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = decode_tree(&bytes);
    }
}
