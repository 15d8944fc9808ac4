//! From method and raw path to an operation. The path is split before it is decoded: an ARN is one segment, however many
//! encoded slashes it has. A trailing slash makes no difference.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;

use crate::model::{Location, Member, Operation, api};

/// A route that was found.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Its name: `DescribeBackupVault`.
    pub(crate) name: &'static str,
    pub(crate) operation: &'static Operation,
    /// Labels of the path with their decoded values.
    pub(crate) labels: Vec<(&'static str, String)>,
}

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// No operation has this method and path.
    Unknown,
    /// A segment is no UTF-8 when decoded.
    NotText,
    /// Where an operation has a label, the path has nothing.
    Empty {
        /// Name of the operation.
        name: &'static str,
        /// The input's member that stands in the label.
        member: &'static str,
    },
}

/// A segment of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// Comes first in the order: the more specific route wins.
    Fixed(&'static str),
    Label(&'static str),
}

#[derive(Debug)]
struct Template {
    name: &'static str,
    operation: &'static Operation,
    segments: Vec<Segment>,
    /// `?delete`: has to be in the query.
    flag: Option<&'static str>,
}

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let mut templates: Vec<Template> = api()
        .operations
        .iter()
        .map(|(name, operation)| {
            let (path, flag) = match operation.uri.split_once('?') {
                Some((path, flag)) => (path, Some(flag)),
                None => (operation.uri.as_str(), None),
            };
            let segments = split(path).map(|segment| {
                segment
                    .strip_prefix('{')
                    .and_then(|label| label.strip_suffix('}'))
                    .map_or(Segment::Fixed(segment), Segment::Label)
            });
            Template { name, operation, segments: segments.collect(), flag }
        })
        .collect();
    // With a flag before without; fixed segments before labels.
    templates.sort_by_key(|template| (template.flag.is_none(), template.segments.clone(), template.name));
    templates
});

fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

/// Finds the operation of a request.
pub(crate) fn find(method: &str, raw_path: &str, raw_query: &str) -> Result<Route, NoRoute> {
    let segments: Vec<&str> = split(raw_path).collect();
    for template in TEMPLATES.iter().filter(|template| template.operation.method == method) {
        if template.segments.len() != segments.len() {
            continue;
        }
        if template
            .flag
            .is_some_and(|flag| !raw_query.split('&').any(|part| part == flag || part == format!("{flag}=")))
        {
            continue;
        }
        let mut labels = Vec::new();
        let fits = template.segments.iter().zip(&segments).all(|(wanted, given)| match wanted {
            Segment::Fixed(fixed) => fixed == given,
            Segment::Label(label) => {
                labels.push((*label, *given));
                !given.is_empty()
            }
        });
        if !fits {
            continue;
        }
        let decoded = labels
            .into_iter()
            .map(|(label, raw)| {
                let text = percent_decode_str(raw).decode_utf8().map_err(|_| NoRoute::NotText)?;
                Ok((label, text.into_owned()))
            })
            .collect::<Result<_, NoRoute>>()?;
        return Ok(Route { name: template.name, operation: template.operation, labels: decoded });
    }
    Err(empty_label(method, raw_path).unwrap_or(NoRoute::Unknown))
}

/// The operation that a path would lead to if one of its labels were not empty: a client that left out a name is told so.
fn empty_label(method: &str, raw_path: &str) -> Option<NoRoute> {
    let path = raw_path.strip_prefix('/').unwrap_or(raw_path);
    // `/backup-vaults/` has an empty name at its end; `/backup/plans//` has one before the slash that makes no difference.
    [path, path.strip_suffix('/').unwrap_or(path)].into_iter().find_map(|path| {
        let segments: Vec<&str> = path.split('/').collect();
        TEMPLATES.iter().filter(|template| template.operation.method == method && template.flag.is_none()).find_map(
            |template| {
                let mut pairs = template.segments.iter().zip(&segments);
                let same_length = template.segments.len() == segments.len();
                let fits = same_length
                    && pairs.clone().all(|(wanted, given)| match wanted {
                        Segment::Fixed(fixed) => fixed == given,
                        Segment::Label(_) => true,
                    });
                let (Segment::Label(label), _) = pairs.find(|(_, given)| given.is_empty()).filter(|_| fits)? else {
                    return None;
                };
                let shape = api().shape(template.operation.input.as_deref()?);
                let at_label = |name: &str, member: &Member| {
                    member.location == Location::Uri && member.name.as_deref().unwrap_or(name) == *label
                };
                let member = shape.members.iter().find(|(name, member)| at_label(name, member))?.0;
                Some(NoRoute::Empty { name: template.name, member })
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: &str, path: &str) -> &'static str {
        find(method, path, "").map_or("-", |route| route.name)
    }

    #[test]
    fn every_operation_is_found_with_and_without_a_trailing_slash() {
        for (name, operation) in &api().operations {
            let (path, query) = operation.uri.split_once('?').unwrap_or((&operation.uri, ""));
            let filled: Vec<String> = path
                .split('/')
                .map(|part| if part.starts_with('{') { "arn%3Aaws%3Ax%2Fy".to_owned() } else { part.to_owned() })
                .collect();
            let filled = filled.join("/");
            let bare = filled.trim_end_matches('/').to_owned();
            for path in [bare.clone(), format!("{bare}/")] {
                let found = find(&operation.method, &path, query).unwrap();
                assert_eq!(found.name, name, "{} {path}", operation.method);
                assert!(found.labels.iter().all(|(_, value)| value == "arn:aws:x/y"), "{:?}", found.labels);
            }
        }
    }

    #[test]
    fn an_encoded_slash_does_not_split_a_segment_and_a_plain_one_does() {
        let path = "/backup-vaults/v1/recovery-points/arn%3Aaws%3Aec2%3Aeu-central-1%3A%3Asnapshot%2Fsnap-00a1";
        let route = find("GET", path, "").unwrap();
        assert_eq!(route.name, "DescribeRecoveryPoint");
        assert_eq!(route.labels[1], ("recoveryPointArn", "arn:aws:ec2:eu-central-1::snapshot/snap-00a1".to_owned()));
        assert_eq!(name("GET", "/backup-vaults/v1/recovery-points/arn:aws:ec2:e::snapshot/s"), "-");
    }

    #[test]
    fn the_more_specific_route_wins_and_a_wrong_method_finds_nothing() {
        assert_eq!(name("GET", "/backup/template/plans"), "ListBackupPlanTemplates");
        assert_eq!(name("GET", "/restore-testing/plans/p/selections"), "ListRestoreTestingSelections");
        assert_eq!(name("PATCH", "/backup-vaults/v1"), "-");
        assert_eq!(name("GET", "/nothing//here"), "-");
        assert_eq!(find("GET", "/backup-vaults/%ff%fe", "").unwrap_err(), NoRoute::NotText);
    }

    #[test]
    fn an_empty_label_is_a_missing_member_and_no_other_operation() {
        let cases = [
            ("GET", "/backup-vaults//recovery-points", Some("BackupVaultName")),
            ("PUT", "/backup-vaults/", Some("BackupVaultName")),
            ("GET", "/backup/plans//", Some("BackupPlanId")),
            ("POST", "/backup-vaults/v/recovery-points/", Some("RecoveryPointArn")),
            ("GET", "/nothing//here", None),
            ("GET", "/", None),
        ];
        for (method, path, expected) in cases {
            let member = match find(method, path, "").unwrap_err() {
                NoRoute::Empty { member, .. } => Some(member),
                _ => None,
            };
            assert_eq!(member, expected, "{method} {path}");
        }
        assert_eq!(name("GET", "/backup-vaults/"), "ListBackupVaults", "a list is no lookup without a name");
    }
}
