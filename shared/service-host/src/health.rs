//! `/livez` and `/readyz`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How a part of the process is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Ready,
    /// Degraded or starting; recovers by itself.
    Waiting(String),
    /// Will not recover: the process should be restarted.
    Broken(String),
}

/// What the parts of a process say of themselves. Cloned handles share one state.
#[derive(Clone, Debug, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Condition>>>,
}

/// One reason why a process is not ready or not alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Reason {
    part: String,
    reason: String,
}

/// The body of both answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Answer {
    ok: bool,
    reasons: Vec<Reason>,
}

impl Health {
    /// No parts: alive and ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The part works.
    pub fn ready(&self, part: &str) {
        self.set(part, Condition::Ready);
    }

    /// The part does not work yet, or not now; the reason says what it waits for and how to help.
    pub fn not_ready(&self, part: &str, reason: impl Into<String>) {
        self.set(part, Condition::Waiting(reason.into()));
    }

    /// The part will not work again in this process.
    pub fn broken(&self, part: &str, reason: impl Into<String>) {
        self.set(part, Condition::Broken(reason.into()));
    }

    /// Whether all parts work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness().ok
    }

    /// Why the process is not ready, one `part: reason` each; empty when it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        self.readiness().reasons.into_iter().map(|r| format!("{}: {}", r.part, r.reason)).collect()
    }

    fn set(&self, part: &str, condition: Condition) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.get(part) == Some(&condition) {
            return;
        }
        match &condition {
            Condition::Ready => tracing::info!(part, "ready"),
            Condition::Waiting(reason) => tracing::warn!(part, reason, "not ready"),
            Condition::Broken(reason) => tracing::error!(part, reason, "broken"),
        }
        parts.insert(part.to_owned(), condition);
    }

    fn answer(&self, counts: impl Fn(&Condition) -> Option<String>) -> Answer {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let reasons: Vec<_> = parts
            .iter()
            .filter_map(|(part, condition)| counts(condition).map(|reason| Reason { part: part.clone(), reason }))
            .collect();
        Answer { ok: reasons.is_empty(), reasons }
    }

    fn liveness(&self) -> Answer {
        self.answer(|condition| match condition {
            Condition::Broken(reason) => Some(reason.clone()),
            Condition::Ready | Condition::Waiting(_) => None,
        })
    }

    fn readiness(&self) -> Answer {
        self.answer(|condition| match condition {
            Condition::Broken(reason) | Condition::Waiting(reason) => Some(reason.clone()),
            Condition::Ready => None,
        })
    }

    fn router(&self) -> Router {
        let respond = |answer: Answer| {
            let status = if answer.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, Json(answer))
        };
        Router::new()
            .route("/livez", get(move |State(health): State<Self>| async move { respond(health.liveness()) }))
            .route("/readyz", get(move |State(health): State<Self>| async move { respond(health.readiness()) }))
            .with_state(self.clone())
    }
}

/// Answers until the token is cancelled. The address is bound before this returns; the bound one is given back.
pub(crate) async fn serve(health: &Health, listen: SocketAddr, stop: CancellationToken) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let bound = listener.local_addr()?;
    let router = health.router();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, "the health server ended");
        }
    });
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> (u16, serde_json::Value) {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn the_answers_follow_the_parts_and_name_the_reason() {
        let health = Health::new();
        let stop = CancellationToken::new();
        let address = serve(&health, "127.0.0.1:0".parse().unwrap(), stop.clone()).await.unwrap();
        assert_eq!(ask(address, "/readyz").await.0, 200);

        health.not_ready("bus", "no connection to `nats://x`");
        let (status, body) = ask(address, "/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(body["reasons"][0]["part"], "bus");
        assert_eq!(body["reasons"][0]["reason"], "no connection to `nats://x`");
        assert_eq!(ask(address, "/livez").await.0, 200);

        health.ready("bus");
        assert_eq!(ask(address, "/readyz").await.0, 200);

        health.broken("state", "barrier failed");
        assert_eq!(ask(address, "/livez").await.0, 503);
        stop.cancel();
    }
}
