//! The shape of `deploy/compose.yaml` with real containers: a server, an S3 store and workers per region, a network per
//! region, users with least privilege. A worker is killed in the middle of a job and the regions are cut from each other; the
//! cycle completes, once.
//!
//! The configuration files are those of `deploy/compose`; only host names get the run's suffix and the vaults an S3 store.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use integration_tests::cycle::Stage;
use integration_tests::installation::{Failure, Talk, program, wait_until};
use job_bus::{Bus, BusConfig};
use job_events::{CreateVaultRequest, Query};
use job_model::{Arn, JobState, ResourceType};
use testcontainers::core::{ContainerPort, Mount, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

const TAG: &str = "test";
const CITIES: [&str; 2] = ["tokyo", "osaka"];
const REGIONS: [&str; 2] = ["ap-northeast-1", "ap-northeast-3"];
/// Enough random data that a job lasts long enough to be disturbed.
const DATA_BYTES: u64 = 192 << 20;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn run(command: &mut Command) -> Result<String, Failure> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

fn docker(arguments: &[&str]) -> Result<String, Failure> {
    run(Command::new("docker").args(arguments))
}

/// Everything of one run carries its suffix, so that two runs do not meet.
struct Shape {
    suffix: String,
    dir: PathBuf,
    containers: BTreeMap<String, ContainerAsync<GenericImage>>,
}

impl Shape {
    fn name(&self, plain: &str) -> String {
        format!("{plain}-{}", self.suffix)
    }

    fn prepare(dir: &Path) -> Result<Self, Failure> {
        let suffix = format!("{:08x}", rand::random::<u32>());
        let repository = repository();
        let programs = program()?;
        run(Command::new(repository.join("deploy/build-images"))
            .args(["debug", TAG])
            .env("CARGO_TARGET_DIR", programs.parent().and_then(Path::parent).ok_or("a target directory")?)
            .env("NATS_SERVER_BIN", job_bus::server_process::find_binary()?))?;
        let image = dir.join("s3-image");
        fs::create_dir_all(&image)?;
        let store = programs.with_file_name("s3-store");
        run(Command::new("objcopy").arg("--strip-debug").arg(store).arg(image.join("s3-store")))?;
        fs::write(image.join("Dockerfile"), "FROM debian:bookworm-slim\nCOPY s3-store /s3-store\n")?;
        docker(&["build", "--quiet", "-t", &format!("holdfast/s3-store:{TAG}"), &image.to_string_lossy()])?;

        let shape = Self { suffix, dir: dir.to_owned(), containers: BTreeMap::new() };
        run(Command::new("cp").arg("-r").arg(repository.join("deploy/compose")).arg(dir.join("compose")))?;
        // Secrets of a developer's own compose run are not this run's.
        drop(fs::remove_dir_all(dir.join("compose/secrets")));
        run(&mut Command::new(dir.join("compose/prepare")))?;
        for (name, secret) in [("s3.access", "access-key-of-the-test"), ("s3.secret", "secret-key-of-the-test")] {
            fs::write(dir.join("compose/secrets").join(name), secret)?;
        }
        for entry in fs::read_dir(dir.join("compose"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                fs::write(&path, shape.configuration(&fs::read_to_string(&path)?))?;
            }
        }
        for below in ["data/tree", "restore", "sandbox/tokyo", "sandbox/osaka", "s3/tokyo/vault", "s3/osaka/vault"] {
            fs::create_dir_all(dir.join(below))?;
        }
        let mut random = File::open("/dev/urandom")?.take(DATA_BYTES);
        std::io::copy(&mut random, &mut File::create(dir.join("data/tree/large"))?)?;
        File::create(dir.join("data/tree/small"))?.write_all(b"small\n")?;
        Ok(shape)
    }

    fn configuration(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for city in CITIES {
            text = text.replace(&format!("//nats-{city}:"), &format!("//{}:", self.name(&format!("nats-{city}"))));
        }
        if text.contains("[keys.") {
            for city in CITIES {
                let host = self.name(&format!("s3-{city}"));
                text.push_str(&format!(
                    "\n[stores.{city}]\nendpoint = \"http://{host}:9000\"\nregion = \"us-east-1\"\nallow_http = true\n\
                     access_key_id_file = \"/run/secrets/holdfast/s3.access\"\n\
                     secret_access_key_file = \"/run/secrets/holdfast/s3.secret\"\n"
                ));
            }
        }
        text
    }

    fn bind(&self, below: &str, target: &str) -> Mount {
        Mount::bind_mount(self.dir.join(below).to_string_lossy().into_owned(), target)
    }

    async fn start_servers(&mut self) -> Result<(), Failure> {
        let environment = fs::read_to_string(self.dir.join("compose/secrets/nats.env"))?;
        for (city, region) in CITIES.iter().zip(REGIONS) {
            let plain = format!("nats-{city}");
            let mut image = GenericImage::new("holdfast/nats", TAG)
                .with_exposed_port(ContainerPort::Tcp(4222))
                .with_wait_for(WaitFor::message_on_stderr("Server is ready"))
                .with_container_name(self.name(&plain))
                .with_network(self.name(city))
                .with_mount(self.bind(&format!("compose/nats-{region}.conf"), "/etc/nats/nats.conf"));
            for (variable, value) in environment.lines().filter_map(|line| line.split_once('=')) {
                image = image.with_env_var(variable, value);
            }
            self.containers.insert(plain, image.start().await?);
            let plain = format!("s3-{city}");
            let image = GenericImage::new("holdfast/s3-store", TAG)
                .with_container_name(self.name(&plain))
                .with_network(self.name(city))
                .with_mount(self.bind(&format!("s3/{city}"), "/buckets"))
                .with_mount(self.bind("compose/secrets", "/run/secrets/holdfast"))
                .with_cmd(
                    [
                        "/s3-store",
                        "/buckets",
                        "0.0.0.0:9000",
                        "/run/secrets/holdfast/s3.access",
                        "/run/secrets/holdfast/s3.secret",
                    ]
                    .map(str::to_owned),
                );
            self.containers.insert(plain, image.start().await?);
        }
        Ok(())
    }

    async fn start_service(
        &mut self,
        plain: &str,
        image: &str,
        cities: &[&str],
        mounts: Vec<Mount>,
    ) -> Result<(), Failure> {
        let mut request = GenericImage::new(format!("holdfast/{image}").as_str(), TAG)
            .with_container_name(self.name(plain))
            .with_network(self.name(cities[0]))
            .with_mount(self.bind(&format!("compose/{plain}.toml"), &format!("/etc/holdfast/{image}.toml")))
            .with_mount(self.bind("compose/secrets", "/run/secrets/holdfast"));
        for mount in mounts {
            request = request.with_mount(mount);
        }
        self.containers.insert(plain.to_owned(), request.start().await?);
        for city in &cities[1..] {
            docker(&["network", "connect", &self.name(city), &self.name(plain)])?;
        }
        Ok(())
    }

    async fn start_services(&mut self) -> Result<(), Failure> {
        let sandbox = |shape: &Self, city: &str| {
            shape.bind(&format!("sandbox/{city}"), &format!("/var/lib/holdfast-sandbox/{city}"))
        };
        self.start_service("planner", "planner", &CITIES, Vec::new()).await?;
        let mounts = CITIES.iter().map(|city| sandbox(self, city)).collect();
        self.start_service("verifier", "verifier", &CITIES, mounts).await?;
        for city in CITIES {
            let mounts = vec![self.bind("data", "/data")];
            self.start_service(&format!("snapshot-worker-{city}"), "snapshot-worker", &[city], mounts).await?;
            let mounts = vec![sandbox(self, city), self.bind("restore", "/restore")];
            self.start_service(&format!("restore-worker-{city}"), "restore-worker", &[city], mounts).await?;
            self.start_service(&format!("copy-replicator-{city}"), "copy-replicator", &CITIES, Vec::new()).await?;
        }
        Ok(())
    }

    async fn bus(&self, city: &str, role: &str) -> Result<Bus, Failure> {
        let server = &self.containers[&format!("nats-{city}")];
        let port = server.get_host_port_ipv4(ContainerPort::Tcp(4222)).await?;
        let config = BusConfig {
            url: format!("nats://127.0.0.1:{port}"),
            name: format!("test/{role}"),
            user: Some(role.to_owned()),
            password_file: Some(self.dir.join(format!("compose/secrets/{role}.password"))),
            nkey_seed_file: None,
            inbox_prefix: Some(format!("_INBOX.{role}")),
            ca_file: None,
        };
        Ok(Bus::connect(&config, Duration::from_secs(30)).await?)
    }

    async fn talk(&self) -> Result<Talk, Failure> {
        for (city, region) in CITIES.iter().zip(REGIONS) {
            self.bus(city, "provisioner").await?.provision(&region.parse()?).await?;
        }
        let buses = [self.bus(CITIES[0], "operator").await?, self.bus(CITIES[1], "operator").await?];
        Ok(Talk { regions: [REGIONS[0].parse()?, REGIONS[1].parse()?], buses })
    }

    /// The last lines of every container, for a failed test.
    fn logs(&self) -> String {
        let mut all = String::new();
        for plain in self.containers.keys() {
            let logs = Command::new("docker").args(["logs", "--tail", "30", &self.name(plain)]).output();
            let text = logs.map(|l| [l.stdout, l.stderr].concat()).unwrap_or_default();
            all.push_str(&format!("--- {plain}\n{}\n", String::from_utf8_lossy(&text)));
        }
        all
    }
}

async fn vault(talk: &Talk, city: usize) -> Result<Arn, Failure> {
    let request = CreateVaultRequest {
        name: format!("vault-{}", CITIES[city]),
        region: talk.regions[city].clone(),
        location: format!("s3://vault/{}", CITIES[city]),
        key_profile: CITIES[city].to_owned(),
        min_retention_days: None,
        max_retention_days: None,
    };
    let name = request.name.clone();
    talk.request(request).await?;
    wait_until("the vault", || async {
        let job_events::Answer::Vaults(vaults) = talk.query(&Query::ListVaults).await? else { return Ok(None) };
        let found = vaults.into_iter().find(|vault| vault.name == name);
        Ok(found.filter(|v| v.state == job_model::VaultState::Available).map(|v| v.access.arn))
    })
    .await
}

async fn running(talk: &Talk, list: Query) -> Result<job_model::JobId, Failure> {
    wait_until("a running job", || async {
        let job_events::Answer::Jobs(jobs) = talk.query(&list).await? else { return Ok(None) };
        Ok(jobs.into_iter().find(|job| job.state == JobState::Running || job.state.is_terminal()).map(|job| job.id))
    })
    .await
}

async fn journey(shape: &mut Shape) -> Result<(), Failure> {
    shape.start_servers().await?;
    let talk = shape.talk().await?;
    shape.start_services().await?;
    talk.wait_until_ready().await?;
    let stage = Stage { primary: vault(&talk, 0).await?, copy: vault(&talk, 1).await? };
    let resource = talk.register("tree", ResourceType::Files, Path::new("/data/tree")).await?;

    let backup = talk.start_backup(&resource, &stage).await?;
    let jobs = |kind| Query::ListJobs { kind: Some(kind), state: None, resource: None, limit: None };
    running(&talk, jobs(job_model::JobKind::Backup)).await?;
    let worker = shape.name("snapshot-worker-tokyo");
    docker(&["kill", &worker])?;
    docker(&["start", &worker])?;
    let backup = talk.job_ended(backup).await?;

    running(&talk, jobs(job_model::JobKind::Copy)).await?;
    let cut = [("copy-replicator-osaka", "tokyo"), ("planner", "osaka")];
    for (plain, city) in cut {
        docker(&["network", "disconnect", &shape.name(city), &shape.name(plain)])?;
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    for (plain, city) in cut {
        docker(&["network", "connect", &shape.name(city), &shape.name(plain)])?;
    }
    let copy = talk.copy_after(backup.id).await?;
    let test = talk.prove(&resource, ResourceType::Files, &stage.copy).await?;
    let cycle = integration_tests::cycle::Cycle { backup, copy, test };
    let faults = talk.faults_of(&resource, &cycle).await?;
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_regions_in_containers_survive_a_killed_worker_and_a_cut_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut shape = Shape::prepare(dir.path()).unwrap();
    if let Err(error) = journey(&mut shape).await {
        panic!("{error}\n{}", shape.logs());
    }
}

#[test]
fn the_compose_file_is_one_that_compose_accepts() {
    let repository = repository();
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("cp").arg("-r").arg(repository.join("deploy")).arg(dir.path())).unwrap();
    run(&mut Command::new(dir.path().join("deploy/compose/prepare"))).unwrap();
    let file = dir.path().join("deploy/compose.yaml");
    run(Command::new("docker-compose").arg("-f").arg(file).args(["config", "--quiet"])).unwrap();
}
