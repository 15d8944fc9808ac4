//! Names of users and groups. They are kept for people; restores go by the numbers.

use std::collections::HashMap;

/// The local names, read once for each capture.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// From `/etc/passwd` and `/etc/group`; what cannot be read gives no names.
    pub(crate) fn load() -> Self {
        let read = |path| std::fs::read(path).map(|bytes| parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default();
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    pub(crate) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_default()
    }

    pub(crate) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_default()
    }
}

/// Both files have the name first and the number third (passwd(5), group(5)); the first line for a number counts.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_name_of_a_number_counts_and_broken_lines_are_passed_over() {
        let names = parse("root:x:0:0::/root:/bin/sh\ntoor:x:0:0\n+nis\n\nbad:x:y\nnobody:x:65534:\n");
        assert_eq!(names, HashMap::from([(0, "root".to_owned()), (65534, "nobody".to_owned())]));
    }
}
