//! From a request's labels, query and body to one checked input. Everything is held against the model: required members,
//! types, patterns, enums, ranges. A member that nobody knows is refused: it cannot be applied.

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::model::{Kind, Location, Member, Shape, api};
use crate::route::Route;

/// A checked input: members by their names in the model. Instants are RFC 3339 texts, whatever form they came in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Input {
    members: Map<String, Value>,
}

/// Reads and checks an input.
pub(crate) fn input(route: &Route, raw_query: &str, body: &[u8]) -> Result<Input, Fault> {
    let mut members = Map::new();
    let shape = match &route.operation.input {
        Some(name) => api().shape(name),
        None => return Ok(Input::default()),
    };
    for (label, value) in &route.labels {
        let found = shape.members.iter().find(|(name, member)| is_at(name, member, Location::Uri, label));
        if let Some((name, _)) = found {
            members.insert(name.clone(), Value::String(value.clone()));
        }
    }
    query(shape, raw_query, &mut members)?;
    body_members(shape, body, &mut members)?;
    let checked = structure("", shape, members)?;
    Ok(Input { members: checked })
}

fn is_at(name: &str, member: &Member, location: Location, given: &str) -> bool {
    member.location == location && member.name.as_deref().unwrap_or(name) == given
}

fn query(shape: &Shape, raw: &str, members: &mut Map<String, Value>) -> Result<(), Fault> {
    for part in raw.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (text(key)?, text(value)?);
        let found = shape.members.iter().find(|(name, member)| is_at(name, member, Location::Query, &key));
        let Some((name, member)) = found else {
            return Err(Fault::invalid(&key, "no such parameter of this operation; leave it out"));
        };
        let typed = match api().shape(&member.shape).kind {
            Kind::Integer | Kind::Long => value.parse::<i64>().map_or(Value::String(value), Value::from),
            Kind::Boolean if value == "true" => Value::Bool(true),
            Kind::Boolean if value == "false" => Value::Bool(false),
            _ => Value::String(value),
        };
        if members.insert(name.clone(), typed).is_some() {
            return Err(Fault::invalid(name, "given twice"));
        }
    }
    Ok(())
}

fn text(raw: &str) -> Result<String, Fault> {
    let spaced = raw.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| Fault::invalid("query", "not UTF-8 when decoded"))
}

fn body_members(shape: &Shape, body: &[u8], members: &mut Map<String, Value>) -> Result<(), Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let serialization = |problem: String| Fault::new("SerializationException", problem);
    let value: Value = serde_json::from_slice(body).map_err(|e| serialization(format!("the body is no JSON: {e}")))?;
    let Value::Object(given) = value else {
        return Err(serialization("the body is no JSON object".to_owned()));
    };
    for (name, value) in given {
        match shape.members.get(&name) {
            Some(member) if member.location == Location::Body => {
                members.insert(name, value);
            }
            _ if value.is_null() => {}
            _ => return Err(unknown(&name)),
        }
    }
    Ok(())
}

fn unknown(path: &str) -> Fault {
    Fault::invalid(path, "no such member; it could not be applied, so leave it out")
}

fn structure(path: &str, shape: &Shape, given: Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    let mut checked = Map::new();
    for (name, value) in given {
        if value.is_null() {
            continue;
        }
        let inner = join(path, &name);
        let Some(member) = shape.members.get(&name) else { return Err(unknown(&inner)) };
        checked.insert(name, self::value(&inner, api().shape(&member.shape), value)?);
    }
    match shape.required.iter().find(|name| !checked.contains_key(*name)) {
        Some(name) => Err(Fault::missing(&join(path, name))),
        None => Ok(checked),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn value(path: &str, shape: &Shape, given: Value) -> Result<Value, Fault> {
    match (shape.kind, given) {
        (Kind::Structure, Value::Object(members)) => structure(path, shape, members).map(Value::Object),
        (Kind::List, Value::Array(items)) => {
            range(path, "members", i64::try_from(items.len()).unwrap_or(i64::MAX), shape)?;
            let member = api().shape(shape.member.as_deref().unwrap_or_default());
            let items = items.into_iter().enumerate();
            items.map(|(index, item)| value(&format!("{path}[{index}]"), member, item)).collect()
        }
        (Kind::Map, Value::Object(entries)) => {
            let keys = api().shape(shape.key.as_deref().unwrap_or_default());
            let values = api().shape(shape.value.as_deref().unwrap_or_default());
            let mut checked = Map::new();
            for (key, item) in entries.into_iter().filter(|(_, item)| !item.is_null()) {
                let inner = format!("{path}[{key}]");
                string(&inner, keys, &key)?;
                checked.insert(key, value(&inner, values, item)?);
            }
            Ok(Value::Object(checked))
        }
        (Kind::String, Value::String(text)) => string(path, shape, &text).map(|()| Value::String(text)),
        (Kind::Boolean, given @ Value::Bool(_)) => Ok(given),
        (Kind::Integer | Kind::Long, Value::Number(number)) => {
            // `7.0` is what some JSON writers make of 7.
            let whole = number.as_i64().or_else(|| number.as_f64().filter(|f| f.fract() == 0.0).and_then(whole_of));
            let whole = whole.ok_or_else(|| Fault::invalid(path, format!("`{number}` is no whole number")))?;
            if shape.kind == Kind::Integer && i32::try_from(whole).is_err() {
                return Err(Fault::invalid(path, format!("`{whole}` does not fit into 32 bits")));
            }
            range(path, "", whole, shape)?;
            Ok(Value::from(whole))
        }
        (Kind::Timestamp, given) => instant(&given)
            .map(|at| Value::String(at.to_string()))
            .ok_or_else(|| Fault::invalid(path, format!("{given} is no instant; write seconds or RFC 3339"))),
        (kind, given) => Err(Fault::invalid(path, format!("{} where {} is expected", shown(&given), named(kind)))),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn whole_of(number: f64) -> Option<i64> {
    (number.abs() < 9.0e15).then_some(number as i64)
}

fn instant(given: &Value) -> Option<Timestamp> {
    match given {
        Value::String(text) => text.parse().ok().or_else(|| from_seconds(text.parse().ok()?)),
        Value::Number(number) => from_seconds(number.as_f64()?),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn from_seconds(seconds: f64) -> Option<Timestamp> {
    let millis = (seconds * 1000.0).round();
    if !millis.is_finite() || millis.abs() > 2.0e14 {
        return None;
    }
    Timestamp::from_millisecond(millis as i64).ok()
}

/// Values that AWS documents for a member of an input and takes, and that its own pattern leaves out: all accounts of the
/// organisation in lists of jobs, all of them apart or together in summaries.
const BESIDE_THE_PATTERN: [(&str, &str); 3] =
    [("ByAccountId", "*"), ("AccountId", "ANY"), ("AccountId", "AGGREGATE_ALL")];

fn string(path: &str, shape: &Shape, text: &str) -> Result<(), Fault> {
    if !shape.allowed.is_empty() && !shape.allowed.iter().any(|allowed| allowed == text) {
        let problem = format!("`{}` is none of {}", short(text), shape.allowed.join(", "));
        return Err(Fault::invalid(path, problem));
    }
    range(path, "characters", i64::try_from(text.chars().count()).unwrap_or(i64::MAX), shape)?;
    if !shape.fits(text) && !BESIDE_THE_PATTERN.contains(&(path, text)) {
        let pattern = shape.pattern.as_deref().unwrap_or_default();
        return Err(Fault::invalid(path, format!("`{}` does not match `{pattern}`", short(text))));
    }
    Ok(())
}

fn range(path: &str, unit: &str, size: i64, shape: &Shape) -> Result<(), Fault> {
    let (low, high) = (shape.min.unwrap_or(i64::MIN), shape.max.unwrap_or(i64::MAX));
    if (low..=high).contains(&size) {
        return Ok(());
    }
    let allowed = match (shape.min, shape.max) {
        (Some(low), Some(high)) => format!("{low} to {high}"),
        (Some(low), None) => format!("at least {low}"),
        (None, _) => format!("at most {high}"),
    };
    let space = if unit.is_empty() { "" } else { " " };
    Err(Fault::invalid(path, format!("{size}{space}{unit} given; {allowed} allowed")))
}

/// Holds a document that came inside of a text against one of the model's structures.
pub(crate) fn structure_of(shape: &str, given: Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    structure("", api().shape(shape), given)
}

/// A value in a message: its beginning is enough, and an ARN is whole.
pub(crate) fn short(text: &str) -> String {
    let beginning: String = text.chars().take(160).collect();
    if beginning.len() < text.len() { format!("{beginning}…") } else { beginning }
}

fn shown(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn named(kind: Kind) -> &'static str {
    match kind {
        Kind::Structure => "an object",
        Kind::List => "a list",
        Kind::Map => "an object of texts",
        Kind::String => "a text",
        Kind::Integer | Kind::Long => "a whole number",
        Kind::Boolean => "true or false",
        Kind::Timestamp => "an instant",
    }
}

impl Input {
    /// All of it.
    pub(crate) fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// A member.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// A text member that the model requires.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Fault> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| Fault::missing(name))
    }

    /// A text member.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Value::as_i64)
    }

    /// True where the member is there and true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// An instant.
    pub(crate) fn instant(&self, name: &str) -> Option<Timestamp> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// The token by which a client marks a repeated call, where the operation has one and it was sent.
    pub(crate) fn token(&self, route: &Route) -> Option<&str> {
        let shape = api().shape(route.operation.input.as_deref()?);
        let (name, _) = shape.members.iter().find(|(_, member)| member.token)?;
        self.text(name).filter(|token| !token.is_empty())
    }
}

#[cfg(test)]
mod tests;
