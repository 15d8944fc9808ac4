use super::*;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

const NO_LIMIT: Limits = Limits { bytes: u64::MAX, files: u64::MAX };

#[test]
fn a_second_copy_writes_only_what_changed_and_takes_the_demos_own_changes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("s"), dir.path().join("t"));
    write(&source.join("a"), "one");
    write(&source.join("d/b"), "two");
    symlink("a", source.join("link")).unwrap();
    let first = refresh(&source, &target, &[], NO_LIMIT).unwrap();
    assert_eq!((first.files, first.bytes, first.files_written, first.complete), (2, 6, 2, true));
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("a"));

    write(&target.join("d/b"), "changed by the demo");
    write(&target.join("d/added"), "by the demo");
    let second = refresh(&source, &target, &[], NO_LIMIT).unwrap();
    assert_eq!((second.files, second.files_written), (2, 1));
    assert_eq!(fs::read_to_string(target.join("d/b")).unwrap(), "two");
    assert!(!target.join("d/added").exists());
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(&target.join("d/b")), modified(&source.join("d/b")));
}

#[test]
fn limits_hold_and_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("s"), dir.path().join("t"));
    for name in ["a", "b", "c"] {
        write(&source.join(name), "12345");
    }
    let by_bytes = refresh(&source, &target, &[], Limits { bytes: 11, files: 9 }).unwrap();
    assert_eq!((by_bytes.files, by_bytes.bytes, by_bytes.complete), (2, 10, false));
    let by_files = refresh(&source, &target, &[], Limits { bytes: 99, files: 1 }).unwrap();
    assert_eq!((by_files.files, by_files.complete), (1, false));
}

#[test]
fn the_working_directory_inside_of_the_source_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path();
    write(&source.join("a"), "one");
    let target = source.join("demo/work");
    let summary = refresh(source, &target, &[source.join("demo")], NO_LIMIT).unwrap();
    assert_eq!(summary.files, 1);
    assert!(!target.join("demo").exists());
}

#[test]
fn the_source_is_not_written_to_even_where_it_is_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("s"), dir.path().join("t"));
    write(&source.join("a"), "one");
    fs::set_permissions(source.join("a"), fs::Permissions::from_mode(0o444)).unwrap();
    refresh(&source, &target, &[], NO_LIMIT).unwrap();
    assert_eq!(fs::metadata(source.join("a")).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(fs::metadata(target.join("a")).unwrap().permissions().mode() & 0o777, 0o644);
}
