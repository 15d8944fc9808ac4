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
use job_events::Query;
use job_model::{JobState, ResourceType};
use testcontainers::core::{ContainerPort, Mount, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

const TAG: &str = "test";
const CITIES: [&str; 2] = ["tokyo", "osaka"];
const REGIONS: [&str; 2] = ["ap-northeast-1", "ap-northeast-3"];
/// Random data in so many pieces, over each of which a worker takes its time, that a job lasts long enough to be disturbed on
/// the fastest of machines.
const DATA_BYTES: u64 = 192 << 20;
const SLOWLY: &str = "runner::at_a_piece=sleep(40)";

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

fn build_images() -> Result<(), Failure> {
    let programs = program()?;
    run(Command::new(repository().join("deploy/build-images"))
        .args(["debug", TAG])
        .env("CARGO_TARGET_DIR", programs.parent().and_then(Path::parent).ok_or("a target directory")?)
        .env("NATS_SERVER_BIN", job_bus::server_process::find_binary()?))?;
    Ok(())
}

async fn connect(port: u16, role: &str, password_file: PathBuf) -> Result<Bus, Failure> {
    let config = BusConfig {
        url: format!("nats://127.0.0.1:{port}"),
        name: format!("test/{role}"),
        user: Some(role.to_owned()),
        password_file: Some(password_file),
        nkey_seed_file: None,
        inbox_prefix: Some(format!("_INBOX.{role}")),
        ca_file: None,
    };
    Ok(Bus::connect(&config, Duration::from_secs(30)).await?)
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
        build_images()?;
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
        if ["snapshot-worker-tokyo", "copy-replicator-osaka"].contains(&plain) {
            request = request.with_env_var("FAILPOINTS", SLOWLY);
        }
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
        connect(port, role, self.dir.join(format!("compose/secrets/{role}.password"))).await
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
    let mut vaults = Vec::new();
    for (city, region) in CITIES.iter().zip(&talk.regions) {
        vaults
            .push(talk.make_vault_under(region, &format!("vault-{city}"), &format!("s3://vault/{city}"), city).await?);
    }
    let stage = Stage { primary: vaults[0].clone(), copy: vaults[1].clone() };
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

/// A project brought up with compose; taken down, with its volumes, when it is dropped.
struct Composed {
    dir: PathBuf,
    project: String,
}

impl Composed {
    fn compose(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new("docker-compose");
        command.arg("-p").arg(&self.project).arg("-f").arg(self.dir.join("deploy/compose.yaml")).args(arguments);
        command.env("HOLDFAST_TAG", TAG);
        // The engine picks ports that are free: a number of ours could be taken by whatever else runs on the machine.
        for port in ["HOLDFAST_PORT_TOKYO", "HOLDFAST_PORT_OSAKA", "HOLDFAST_PORT_API"] {
            command.env(port, "0");
        }
        command.env("HOLDFAST_DATA", self.dir.join("data")).env("HOLDFAST_RESTORE", self.dir.join("restore"));
        run(&mut command)
    }

    /// The port of the loopback address that reaches `inner` of a service.
    fn port(&self, service: &str, inner: u16) -> Result<u16, Failure> {
        let told = self.compose(&["port", service, &inner.to_string()])?;
        let port = told.trim().rsplit_once(':').ok_or_else(|| format!("no port of {service}: `{told}`"))?.1;
        Ok(port.parse()?)
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        drop(self.compose(&["down", "--volumes", "--timeout", "2"]));
    }
}

async fn composed_journey(composed: &Composed) -> Result<(), Failure> {
    composed.compose(&["up", "-d"])?;
    let secret = |role: &str| composed.dir.join(format!("deploy/compose/secrets/{role}.password"));
    let mut buses = Vec::new();
    for server in ["nats-tokyo", "nats-osaka"] {
        let port = composed.port(server, 4222)?;
        buses.push(connect(port, "operator", secret("operator")).await?);
    }
    let buses: [Bus; 2] = buses.try_into().map_err(|_| "two ports make two buses")?;
    let talk = Talk { regions: [REGIONS[0].parse()?, REGIONS[1].parse()?], buses };
    talk.wait_until_ready().await?;
    let mut vaults = Vec::new();
    for (city, region) in CITIES.iter().zip(&talk.regions) {
        let location = format!("file:///vaults/{city}/vault");
        vaults.push(talk.make_vault_under(region, &format!("vault-{city}"), &location, city).await?);
    }
    let stage = Stage { primary: vaults[0].clone(), copy: vaults[1].clone() };
    let resource = talk.register("tree", ResourceType::Files, Path::new("/data/tree")).await?;
    let cycle = talk.cycle(&resource, ResourceType::Files, &stage).await?;
    let faults = talk.faults_of(&resource, &cycle).await?;
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_compose_file_runs_a_proven_cycle() {
    let dir = tempfile::tempdir().unwrap();
    build_images().unwrap();
    run(Command::new("cp").arg("-r").arg(repository().join("deploy")).arg(dir.path())).unwrap();
    drop(fs::remove_dir_all(dir.path().join("deploy/compose/secrets")));
    run(&mut Command::new(dir.path().join("deploy/compose/prepare"))).unwrap();
    fs::create_dir_all(dir.path().join("data/tree")).unwrap();
    fs::create_dir_all(dir.path().join("restore")).unwrap();
    fs::write(dir.path().join("data/tree/file"), "content\n".repeat(1000)).unwrap();
    let project = format!("hf{:08x}", rand::random::<u32>());
    let composed = Composed { dir: dir.path().to_owned(), project };
    if let Err(error) = composed_journey(&composed).await {
        panic!("{error}\n{}", composed.compose(&["logs", "--tail", "30"]).unwrap_or_default());
    }
}
