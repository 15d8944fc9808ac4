//! Follows the facts of a region, and rebuilds the projection where following is not enough: at the first start, when the
//! planner's state is another one, when the stream of facts lost what was not read yet.

use std::collections::HashSet;
use std::time::Duration;

use job_bus::{StartAt, Watch};
use job_events::subjects::{self, Service};
use job_events::{Answer, Envelope, Query, ScanKind, ScanPage};
use job_model::{Region, RestoreTestingPlan};
use service_host::{Clock, Health, error_chain};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::change::{self, Change};
use super::index::Place;
use super::object::Object;
use super::rows::{FEED, FeedRow};
use super::{Projection, STEP};
use crate::backend::Backend;

/// Facts that are applied in one transaction.
const BATCH: usize = 200;
/// Wait after trouble.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the services are asked whether they are there.
const GLANCE: Duration = Duration::from_secs(2);

/// Why following stopped.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the stream of facts of `{region}` cannot be read")]
    Bus {
        region: Region,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("a service does not answer")]
    Service(#[from] crate::fault::Fault),
    #[error("the projection cannot be stored")]
    Store(#[from] state_store::TransactError<state_store::StoreError>),
    #[error("`{0}` answers another question")]
    Answer(&'static str),
}

/// What is followed.
#[derive(Debug)]
struct Follower {
    projection: Projection,
    backend: Backend,
    regions: Vec<Region>,
}

/// Keeps the projection up to date until told to stop.
pub(crate) async fn follow(
    projection: Projection,
    backend: Backend,
    clock: std::sync::Arc<dyn Clock>,
    health: Health,
    stop: CancellationToken,
) {
    let regions: Vec<Region> = backend.regions().cloned().collect();
    let follower = Follower { projection, backend, regions };
    let watch = follower.glance(&*clock, &stop);
    let feed = async {
        while !stop.is_cancelled() {
            match follower.begin_and_follow(&*clock, &health, &stop).await {
                Ok(()) => {}
                Err(trouble) => {
                    tracing::warn!(error = %error_chain(&trouble), "the projection does not follow; trying again");
                    health.not_ready("projection", error_chain(&trouble));
                    tokio::select! {
                        () = clock.sleep(PAUSE) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    };
    tokio::join!(watch, feed);
}

impl Follower {
    /// Notes since when the services have not been heard.
    async fn glance(&self, clock: &dyn Clock, stop: &CancellationToken) {
        let Some(home) = self.regions.first() else { return };
        while !stop.is_cancelled() {
            let planner = self.backend.is_there(home, Service::Planner).await;
            let verifier = self.backend.is_there(home, Service::Verifier).await;
            let now = clock.now();
            self.projection.note_silence(|silence| {
                silence.planner = if planner { None } else { silence.planner.or(Some(now)) };
                silence.verifier = if verifier { None } else { silence.verifier.or(Some(now)) };
            });
            tokio::select! {
                () = clock.sleep(GLANCE) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn begin_and_follow(
        &self,
        clock: &dyn Clock,
        health: &Health,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let installation = self.page(ScanKind::Settings, None, Some(1)).await?.installation;
        let mut rows = Vec::new();
        for region in &self.regions {
            rows.push(self.position(region, &installation).await?);
        }
        let whole = rows.iter().all(Option::is_some);
        let mut positions = Vec::new();
        for (region, known) in self.regions.iter().zip(rows) {
            let position = match known.filter(|_| whole) {
                Some(row) => row,
                // Noted before the first page of the scan: nothing is missed in between.
                None => self.end_of(region, &installation).await?,
            };
            positions.push((region.clone(), position));
        }
        if !whole {
            tracing::info!("building the projection from the services");
            self.rebuild().await?;
            for (region, row) in &positions {
                self.projection.apply(Vec::new(), Some((region.clone(), row.clone()))).await?;
            }
        }
        self.testing_plans().await?;
        let mut watches = Vec::new();
        for (region, row) in positions {
            watches.push((region.clone(), row.clone(), self.watch(&region, row.sequence).await?));
        }
        health.ready("projection");
        self.projection.prune(clock.now()).await?;
        let following = watches.into_iter().map(|(region, row, watch)| self.follow_region(region, row, watch, stop));
        // The first trouble ends all: the next beginning looks at every region again.
        try_all(following).await
    }

    /// Where following can go on, when nothing was lost.
    async fn position(&self, region: &Region, installation: &str) -> Result<Option<FeedRow>, Trouble> {
        let name = region.as_str().as_bytes().to_vec();
        let row = self.projection.store.read(move |tx| tx.get(&FEED, &name)).await;
        let Some(row) = row.map_err(state_store::TransactError::Store)? else { return Ok(None) };
        let stream = self.identity(region).await?;
        let unbroken = row.installation == installation
            && row.stream_made_at == stream.created_at
            && row.sequence <= stream.last_sequence
            && row.sequence + 1 >= stream.first_sequence;
        Ok(unbroken.then_some(row))
    }

    async fn end_of(&self, region: &Region, installation: &str) -> Result<FeedRow, Trouble> {
        let stream = self.identity(region).await?;
        Ok(FeedRow {
            installation: installation.to_owned(),
            stream_made_at: stream.created_at,
            sequence: stream.last_sequence,
        })
    }

    async fn identity(&self, region: &Region) -> Result<job_bus::StreamIdentity, Trouble> {
        let bus = self.backend.bus(region).ok_or(Trouble::Answer("the configuration"))?;
        let identity = bus.stream_identity(&subjects::fact_stream(region)).await;
        identity.map_err(|source| Trouble::Bus { region: region.clone(), source: Box::new(source) })
    }

    async fn watch(&self, region: &Region, after: u64) -> Result<Watch, Trouble> {
        let bus = self.backend.bus(region).ok_or(Trouble::Answer("the configuration"))?;
        let start = StartAt::Sequence(after + 1);
        let watch = bus.watch(&subjects::fact_stream(region), &subjects::facts(region), start).await;
        watch.map_err(|source| Trouble::Bus { region: region.clone(), source: Box::new(source) })
    }

    async fn follow_region(
        &self,
        region: Region,
        mut row: FeedRow,
        mut watch: Watch,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let broken = |source| Trouble::Bus { region: region.clone(), source };
        loop {
            let mut batch = Vec::new();
            // One waits, the rest of the batch is what is there already.
            while batch.len() < BATCH {
                let next = async {
                    if batch.is_empty() {
                        Some(watch.next().await)
                    } else {
                        tokio::time::timeout(Duration::ZERO, watch.next()).await.ok()
                    }
                };
                let next = tokio::select! {
                    next = next => next,
                    () = stop.cancelled() => return Ok(()),
                };
                match next {
                    None => break,
                    Some(None) => return Err(broken("the connection ended".into())),
                    Some(Some(Err(error))) => return Err(broken(Box::new(error))),
                    Some(Some(Ok(watched))) => {
                        row.sequence = watched.sequence;
                        batch.push(watched.payload);
                    }
                }
            }
            let changes = batch.iter().filter_map(|payload| self.change_of(payload)).collect();
            self.projection.apply(changes, Some((region.clone(), row.clone()))).await?;
        }
    }

    /// What a message changes. What cannot be read is somebody else's matter: its service buries it.
    fn change_of(&self, payload: &[u8]) -> Option<Change> {
        let envelope = Envelope::from_bytes(payload).ok()?;
        let told_at = envelope.time;
        let change = change::of_fact(envelope.fact().ok()?, &self.projection.own)?;
        (!self.projection.is_late(&change, told_at)).then_some(change)
    }

    async fn page(&self, kind: ScanKind, after: Option<String>, limit: Option<u32>) -> Result<ScanPage, Trouble> {
        let home = self.regions.first().ok_or(Trouble::Answer("the configuration"))?;
        match self.backend.query(home, &Query::Scan { kind, after, limit }).await? {
            Answer::Scan(page) => Ok(page),
            _ => Err(Trouble::Answer("the planner")),
        }
    }

    /// Takes over everything there is, then forgets what is not there any more.
    async fn rebuild(&self) -> Result<(), Trouble> {
        let (mut objects, mut rows_seen) = (HashSet::new(), HashSet::new());
        for kind in ScanKind::ALL {
            let mut after = None;
            loop {
                let page = self.page(kind, after, None).await?;
                let changes: Vec<Change> = page.rows.into_iter().map(change::of_row).collect();
                for change in &changes {
                    match change {
                        Change::Put(object) => {
                            objects.insert(object.key(&self.projection.own, &self.projection.home));
                        }
                        Change::PutJob(job) => {
                            rows_seen.insert(job.id.as_uuid());
                        }
                        Change::PutPoint(point) => {
                            rows_seen.insert(point.id.as_uuid());
                        }
                        Change::Remove(_) | Change::RemovePoint { .. } => {}
                    }
                }
                self.projection.apply(changes, None).await?;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        self.forget_unseen(&objects, &rows_seen).await
    }

    async fn forget_unseen(&self, objects: &HashSet<String>, rows_seen: &HashSet<Uuid>) -> Result<(), Trouble> {
        let (keys, points, jobs): (Vec<Change>, Vec<Change>, Vec<(String, Place)>) = {
            let memory = self.projection.memory.read();
            let is_testing_plan = |object: &Object| matches!(object, Object::TestingPlan(_));
            let keys =
                memory.objects.iter().filter(|(key, object)| !objects.contains(*key) && !is_testing_plan(object));
            let points = memory.points.not_among(rows_seen).into_iter();
            let jobs = memory.jobs.places().filter(|(_, place)| !rows_seen.contains(&place.id));
            (
                keys.map(|(key, _)| Change::Remove(key.clone())).collect(),
                points.map(|(id, vault)| Change::RemovePoint { id, vault }).collect(),
                jobs.map(|(list, place)| (list.to_owned(), place)).collect(),
            )
        };
        for step in keys.chunks(STEP).chain(points.chunks(STEP)) {
            self.projection.apply(step.to_vec(), None).await?;
        }
        Ok(self.projection.forget_jobs(jobs).await?)
    }

    /// Restore testing plans are the verifier's and few: they are asked for whole. Without it they stay as they are.
    async fn testing_plans(&self) -> Result<(), Trouble> {
        let Some(home) = self.regions.first() else { return Ok(()) };
        let plans: Vec<RestoreTestingPlan> = match self.backend.query(home, &Query::ListRestoreTestingPlans).await {
            Ok(Answer::RestoreTestingPlans(plans)) => plans,
            Ok(_) => return Err(Trouble::Answer("the verifier")),
            Err(fault) => {
                tracing::warn!(error = %fault, "restore testing plans are as they were known last");
                return Ok(());
            }
        };
        let put: Vec<Change> = plans.into_iter().map(|plan| Change::Put(Box::new(Object::TestingPlan(plan)))).collect();
        let (own, here) = (&self.projection.own, &self.projection.home);
        let known: HashSet<String> = put.iter().map(|change| change.subject(own, here)).collect();
        let gone = self.projection.keys("testing-plan/").into_iter().filter(|key| !known.contains(key));
        let changes = gone.map(Change::Remove).chain(put.clone()).collect();
        Ok(self.projection.apply(changes, None).await?)
    }
}

/// Runs all until the first one ends.
async fn try_all<F: Future<Output = Result<(), Trouble>>>(all: impl Iterator<Item = F>) -> Result<(), Trouble> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        for one in &mut all {
            if let std::task::Poll::Ready(ended) = one.as_mut().poll(context) {
                return std::task::Poll::Ready(ended);
            }
        }
        if all.is_empty() { std::task::Poll::Ready(Ok(())) } else { std::task::Poll::Pending }
    })
    .await
}
