//! Pages of lists and their tokens.

use std::cell::Cell;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value, json};

use super::Context;
use crate::decode::Input;
use crate::fault::Fault;
use crate::projection::Page;
use crate::projection::index::Place;
use crate::reply::Reply;

/// Rows in a page unless the client wants fewer; AWS's most.
const ROWS_MAX: usize = 1000;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Paging {
    /// At most so many rows.
    pub(super) limit: usize,
    /// The list with its filters: a token opens for it only.
    list: String,
    place: Option<Vec<u8>>,
}

impl Paging {
    /// Reads a client's wish.
    pub(super) fn read(context: &Context<'_>, operation: &str, input: &Input) -> Result<Self, Fault> {
        let mut filters: Map<String, Value> = input.members().clone();
        filters.remove("NextToken");
        filters.remove("MaxResults");
        let list = format!("{}/{}/{operation}/{}", context.account(), context.region, Value::Object(filters));
        let token = input.text("NextToken").filter(|token| !token.is_empty());
        let place = token.map(|token| context.api.tokens.open(&list, token)).transpose()?;
        let limit = input.number("MaxResults").and_then(|n| usize::try_from(n).ok()).unwrap_or(ROWS_MAX);
        Ok(Self { limit: limit.clamp(1, ROWS_MAX), list, place })
    }

    /// The place in a list of the projection after which the page begins.
    pub(super) fn after(&self) -> Option<Place> {
        self.place.as_deref().and_then(Place::from_bytes)
    }

    /// The text after which the page begins, in lists that go by a key.
    pub(super) fn after_key(&self) -> Option<String> {
        self.place.as_deref().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
    }

    /// The token of the next page, with its name; nothing at the end.
    fn next(&self, context: &Context<'_>, place: Option<Vec<u8>>) -> Option<(String, Value)> {
        place.map(|place| ("NextToken".to_owned(), json!(context.api.tokens.make(&self.list, &place))))
    }

    /// The output of a page of the projection.
    pub(super) fn output<T>(
        &self,
        context: &Context<'_>,
        member: &str,
        page: Page<T>,
        show: impl Fn(&T) -> Value,
    ) -> Value {
        let mut output = Map::new();
        output.insert(member.to_owned(), page.rows.iter().map(show).collect());
        output.extend(self.next(context, page.next.map(Place::to_bytes)));
        Value::Object(output)
    }

    /// The answer of a page of many rows, written without a value in between.
    pub(super) fn rows(
        &self,
        context: &Context<'_>,
        member: &'static str,
        rows: impl Iterator<Item = impl Serialize>,
        next: Option<Place>,
    ) -> Result<Reply, Fault> {
        let mut text = Vec::with_capacity(64 << 10);
        let written = (|| {
            let mut writer = serde_json::Serializer::new(&mut text);
            let mut output = writer.serialize_map(None)?;
            output.serialize_entry(member, &Rows(Cell::new(Some(rows))))?;
            if let Some((name, token)) = self.next(context, next.map(Place::to_bytes)) {
                output.serialize_entry(&name, &token)?;
            }
            output.end()
        })();
        written.map_err(|error| Fault::internal(error.to_string()))?;
        Ok(context.listed_text(String::from_utf8(text).map_err(|error| Fault::internal(error.to_string()))?))
    }

    /// The output of a page of rows that go by a key: ascending, or descending where `newest_first`.
    pub(super) fn by_key(
        &self,
        context: &Context<'_>,
        member: &str,
        mut rows: Vec<(String, Value)>,
        newest_first: bool,
    ) -> Value {
        rows.sort_by(|(a, _), (b, _)| if newest_first { b.cmp(a) } else { a.cmp(b) });
        if let Some(after) = self.after_key() {
            rows.retain(|(key, _)| if newest_first { *key < after } else { *key > after });
        }
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let last = rows.last().map(|(key, _)| key.clone().into_bytes()).filter(|_| more);
        let mut output = Map::new();
        output.insert(member.to_owned(), rows.into_iter().map(|(_, value)| value).collect());
        output.extend(self.next(context, last));
        Value::Object(output)
    }

    /// The output of a page that another service cut; its own token is sealed in ours.
    pub(super) fn passed_on(
        &self,
        context: &Context<'_>,
        member: &str,
        rows: Vec<Value>,
        next: Option<String>,
    ) -> Value {
        let mut output = Map::new();
        output.insert(member.to_owned(), Value::Array(rows));
        output.extend(self.next(context, next.map(String::into_bytes)));
        Value::Object(output)
    }
}

/// Rows that are written as they are made, once.
struct Rows<I>(Cell<Option<I>>);

impl<I: Iterator<Item: Serialize>> Serialize for Rows<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}

/// The projection's store does not answer.
pub(super) fn unreadable(error: state_store::StoreError) -> Fault {
    tracing::error!(error = %service_host::error_chain(&error), "the projection cannot be read");
    Fault::unavailable("lists cannot be read at the moment; try again")
}
