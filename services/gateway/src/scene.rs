//! What the tests of the gateway play with: recovery points by number, and an API around a store without any service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use jiff::{SignedDuration, Timestamp};
use job_bus::BusConfig;
use job_model::{Arn, PlanId, RecoveryPoint, Vault};
use serde_json::{Value, json};
use service_host::{ManualClock, SystemIds};
use state_store::StateStore;
use uuid::Uuid;

use crate::access::{AccessKey, Keys, Role};
use crate::backend::Backend;
use crate::calls::Calls;
use crate::config::{Config, RegionConfig};
use crate::http::{self, Api};
use crate::page_token::PageTokens;
use crate::projection::Projection;
use crate::signature::Signer;
use crate::throttle::Throttle;

pub(crate) const REGION: &str = "eu-central-1";
pub(crate) const ACCOUNT: &str = "000000000000";
/// Resources that the recovery points of [`point`] are of.
pub(crate) const RESOURCES: u64 = 1000;
/// Plans that made them.
pub(crate) const PLANS: u64 = 20;
const KEY: &str = "HOLDFAST0TEST";
const SECRET: &str = "a-secret-of-the-tests-alone";

pub(crate) fn start() -> Timestamp {
    "2025-01-02T03:04:05Z".parse().unwrap()
}

pub(crate) fn vault_arn() -> Arn {
    format!("arn:aws:backup:{REGION}:{ACCOUNT}:backup-vault:main").parse().unwrap()
}

pub(crate) fn resource_arn(number: u64) -> Arn {
    format!("arn:aws:files:{REGION}:{ACCOUNT}:tree/resource-{}", number % RESOURCES).parse().unwrap()
}

pub(crate) fn plan_id(number: u64) -> PlanId {
    PlanId::new(Uuid::from_u128(0xabc0_0000 + u128::from(number % PLANS)))
}

pub(crate) fn vault() -> Vault {
    serde_json::from_value(json!({
        "name": "main",
        "region": REGION,
        "access": { "arn": vault_arn(), "location": "file:///vaults/main", "key_profile": "main" },
        "state": "AVAILABLE",
        "created_at": start(),
    }))
    .unwrap()
}

/// A recovery point: every minute one, of one resource after the other.
pub(crate) fn point(number: u64) -> RecoveryPoint {
    let at = start() + SignedDuration::from_mins(i64::try_from(number).unwrap());
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes());
    let resource = number % RESOURCES;
    let digest = format!("{0:032x}{0:032x}", id.as_u128());
    serde_json::from_value(json!({
        "id": id,
        "arn": format!("arn:aws:backup:{REGION}:{ACCOUNT}:recovery-point:{id}"),
        "kind": "SNAPSHOT",
        "vault": vault_arn(),
        "snapshot_id": digest,
        "resource": resource_arn(resource),
        "resource_type": if resource.is_multiple_of(4) { "Volume" } else { "Files" },
        "status": "COMPLETED",
        "job_id": id,
        "created_by": {
            "plan_id": plan_id(resource),
            "plan_version": 3,
            "rule_id": Uuid::from_u128(7),
            "rule_name": "every-day",
            "plan_name": "everything",
        },
        "created_at": at,
        "completed_at": at + SignedDuration::from_secs(30),
        "summary": {
            "tree_id": digest,
            "consistency": "filesystem",
            "capture_started_at": at,
            "capture_ended_at": at + SignedDuration::from_secs(20),
            "size_bytes": 12_345_678_901_u64,
            "items": 54_321,
            "change_detection": "file metadata",
            "exception_count": 0,
            "exceptions": [],
        },
        "lifecycle": { "delete_after_days": 35 },
        "time_zone": "Asia/Tokyo",
        "tags": { "team": "storage" },
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "iam_role": format!("arn:aws:iam::{ACCOUNT}:role/backup"),
    }))
    .unwrap()
}

pub(crate) async fn projection(store: StateStore) -> Projection {
    Projection::load(store, ACCOUNT.parse().unwrap(), REGION.parse().unwrap()).await.unwrap()
}

/// An API that answers what needs no service; the clock stands until it is turned.
pub(crate) async fn api(store: StateStore) -> (Arc<Api>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(start()));
    let nats: BusConfig = serde_json::from_value(json!({ "url": "", "name": "" })).unwrap();
    let key = AccessKey {
        account: ACCOUNT.parse().unwrap(),
        role: Role::Administrator,
        secret_file: None,
        secret_env: Some(KEY.to_owned()),
    };
    let keys = BTreeMap::from([(KEY.to_owned(), key)]);
    let api = Api {
        throttle: Throttle::new(u32::MAX),
        calls: Calls::new(store.clone()),
        config: Config {
            regions: BTreeMap::from([(REGION.parse().unwrap(), RegionConfig { nats })]),
            access_keys: keys.clone(),
            ..Config::default()
        },
        keys: Keys::load(&keys, |_| Some(SECRET.to_owned())).unwrap(),
        backend: Backend::new(BTreeMap::new(), Duration::from_secs(1), clock.clone(), Arc::new(SystemIds)),
        projection: projection(store).await,
        tokens: PageTokens::new(&[7; 32]),
        clock: clock.clone(),
        ids: Arc::new(SystemIds),
    };
    (Arc::new(api), clock)
}

/// A request as a client signs it.
pub(crate) fn signed(api: &Api, method: &str, target: &str, body: &[u8]) -> Request<Body> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    headers.insert("host", "gateway.test".parse().unwrap());
    headers.insert("amz-sdk-invocation-id", api.ids.uuid().to_string().parse().unwrap());
    let signer = Signer { key_id: KEY, secret: SECRET, region: REGION, service: "backup" };
    signer.sign((method, path, query), &mut headers, body, api.clock.now()).unwrap();
    let mut request = Request::builder().method(method).uri(target).body(Body::from(body.to_vec())).unwrap();
    *request.headers_mut() = headers;
    request
}

/// The answer to a signed request.
pub(crate) async fn ask(api: &Arc<Api>, method: &str, target: &str, body: &[u8]) -> Response<Body> {
    http::answer(api.clone(), signed(api, method, target, body)).await
}

/// The JSON of an answer.
pub(crate) async fn json_of(response: Response<Body>) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
