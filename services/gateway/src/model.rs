//! The AWS Backup API as data: routes, members, rules. Derived from botocore's service model by `model/derive.py`.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

/// The derived model.
const DERIVED: &str = include_str!("../model/backup.json");

/// The API.
#[derive(Debug, Deserialize)]
pub(crate) struct Api {
    /// Version of botocore it was derived from; the test of its freshness goes by it.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the test of freshness reads it"))]
    pub(crate) botocore: String,
    /// Name in the scope of a signature.
    pub(crate) service: String,
    /// All operations, served or not.
    pub(crate) operations: BTreeMap<String, Operation>,
    /// All shapes.
    pub(crate) shapes: HashMap<String, Shape>,
}

/// One operation.
#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    pub(crate) method: String,
    /// Template: `/backup/plans/{backupPlanId}/`.
    pub(crate) uri: String,
    /// Status of success.
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) input: Option<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "answers are held against it in tests"))]
    #[serde(default)]
    pub(crate) output: Option<String>,
}

/// One shape.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    #[serde(default)]
    pub(crate) members: BTreeMap<String, Member>,
    #[serde(default, rename = "enum")]
    pub(crate) allowed: Vec<String>,
    #[serde(default)]
    pub(crate) pattern: Option<String>,
    #[serde(default)]
    pub(crate) min: Option<i64>,
    #[serde(default)]
    pub(crate) max: Option<i64>,
    /// Shape of a list's members.
    #[serde(default)]
    pub(crate) member: Option<String>,
    /// Shape of a map's keys.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// Shape of a map's values.
    #[serde(default)]
    pub(crate) value: Option<String>,
    /// Status of an error.
    #[serde(default)]
    pub(crate) exception: Option<u16>,
}

/// What kind of value a shape is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Structure,
    List,
    Map,
    String,
    Integer,
    Long,
    Boolean,
    Timestamp,
}

/// One member of a structure.
#[derive(Debug, Deserialize)]
pub(crate) struct Member {
    pub(crate) shape: String,
    #[serde(default)]
    pub(crate) location: Location,
    /// Name at its location; the member's own unless given.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Clients fill it so that a repeated call is recognised.
    #[serde(default)]
    pub(crate) token: bool,
}

/// Where a member of an input stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Location {
    #[default]
    Body,
    Uri,
    #[serde(rename = "querystring")]
    Query,
}

static API: LazyLock<Api> = LazyLock::new(|| {
    // The file is part of the source and read by every test; a broken one cannot be shipped.
    serde_json::from_str(DERIVED).unwrap_or_else(|error| unreachable!("model/backup.json is no model: {error}"))
});

/// Patterns by their text, whole values only.
static PATTERNS: LazyLock<HashMap<&'static str, Regex>> = LazyLock::new(|| {
    let texts = API.shapes.values().filter_map(|shape| shape.pattern.as_deref());
    let compiled = texts.filter_map(|text| Some((text, Regex::new(&format!(r"\A(?s:{text})\z")).ok()?)));
    compiled.collect()
});

/// The API.
pub(crate) fn api() -> &'static Api {
    &API
}

impl Api {
    /// A shape that is named in the model.
    pub(crate) fn shape(&self, name: &str) -> &Shape {
        static NONE: LazyLock<Shape> = LazyLock::new(Shape::default);
        self.shapes.get(name).unwrap_or(&NONE)
    }
}

impl Shape {
    /// Whether a text fits the pattern, where there is one.
    pub(crate) fn fits(&self, text: &str) -> bool {
        self.pattern.as_deref().and_then(|pattern| PATTERNS.get(pattern)).is_none_or(|regex| regex.is_match(text))
    }
}

#[cfg(test)]
mod tests;
