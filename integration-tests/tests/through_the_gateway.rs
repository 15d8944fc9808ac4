//! The command line through the gateway, the native operations, and reports of jobs: against `holdfast up`, with signed
//! requests over HTTP.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::Path;

use gateway::Signer;
use integration_tests::up::{Up, wait_for};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

const REGION: &str = "ap-northeast-1";

/// Requests of one access key.
struct Http {
    client: reqwest::blocking::Client,
    url: String,
    key_id: String,
    secret: String,
}

impl Http {
    fn new(up: &Up, key_id: &str) -> Self {
        let text = fs::read_to_string(up.credentials_file()).unwrap();
        let after = text.split_once(key_id).unwrap().1;
        let secret = after.split_once("aws_secret_access_key = ").unwrap().1.lines().next().unwrap().to_owned();
        Self { client: reqwest::blocking::Client::new(), url: up.api_url(), key_id: key_id.to_owned(), secret }
    }

    /// Status and document of an answer.
    #[expect(clippy::disallowed_methods, reason = "a signature is made with the real clock")]
    fn call(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        headers.insert("host", self.url.trim_start_matches("http://").parse().unwrap());
        headers.insert("amz-sdk-invocation-id", uuid::Uuid::now_v7().to_string().parse().unwrap());
        let signer = Signer { key_id: &self.key_id, secret: &self.secret, region: REGION, service: "backup" };
        signer.sign((method, path, query), &mut headers, &body, jiff::Timestamp::now()).unwrap();
        let request = self.client.request(method.parse().unwrap(), format!("{}{target}", self.url)).headers(headers);
        let response = request.body(body).send().unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().unwrap()).unwrap_or(Value::Null))
    }

    fn ok(&self, method: &str, target: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, target, body);
        assert!((200..300).contains(&status), "{method} {target}: {status} {answer}");
        answer
    }
}

fn encoded(arn: &str) -> String {
    arn.replace(':', "%3A").replace('/', "%2F")
}

/// An hour of the day that is half a day away: what is scheduled for it does not come while the test runs.
#[expect(clippy::disallowed_methods, reason = "schedules come by the real clock")]
fn far_hour() -> i64 {
    (jiff::Timestamp::now().as_second() / 3600 + 12) % 24
}

/// A tree, two vaults, and a plan in the form of AWS that nothing selects.
fn stage(dir: &Path, through: &dyn Fn(&[&str]) -> Value) {
    let tree = dir.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "content\n".repeat(1000)).unwrap();
    let plan = dir.join("plan.json");
    let document = json!({ "BackupPlan": { "BackupPlanName": "nightly", "Rules": [{
        "RuleName": "night",
        "TargetBackupVault": "near",
        "ScheduleExpression": format!("cron(0 {} * * *)", far_hour()),
        "Lifecycle": { "DeleteAfterDays": 30 },
    }] } });
    fs::write(&plan, document.to_string()).unwrap();
    let place = |name: &str| format!("file://{}", dir.join(name).display());
    through(&["vault", "create", "near", "--location", &place("near"), "--key-profile", "default"]);
    through(&["vault", "create", "far", "--location", &place("far"), "--key-profile", "default"]);
    through(&["resource", "add", "tree", "--type", "files", "--path", tree.to_str().unwrap()]);
    through(&["plan", "create", "--file", plan.to_str().unwrap()]);
    through(&["backup", "start", "tree", "--vault", "near", "--wait"]);
}

#[test]
fn the_command_line_says_the_same_through_the_gateway_and_the_native_operations_do_their_work() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path());
    let (url, keys) = (up.api_url(), up.credentials_file());
    let with = |profile: &'static str| {
        let keys = keys.to_str().unwrap().to_owned();
        let url = url.clone();
        move |arguments: &[&str]| {
            let more: Vec<String> = [
                "--url",
                &url,
                "--credentials-file",
                &keys,
                "--profile",
                profile,
                "--region",
                REGION,
                "--timeout",
                "30",
            ]
            .map(str::to_owned)
            .to_vec();
            arguments.iter().map(|text| (*text).to_owned()).chain(more).collect::<Vec<String>>()
        }
    };
    let administrator = with("default");
    let through = |arguments: &[&str]| {
        let all = administrator(arguments);
        up.cli(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    stage(dir.path(), &through);
    for list in [
        vec!["vault", "list"],
        vec!["resource", "list"],
        vec!["plan", "list"],
        vec!["plan", "show", "nightly"],
        vec!["job", "list"],
        vec!["recovery-point", "list"],
        vec!["restore-test", "list"],
    ] {
        let on_the_bus = up.cli(&[list.as_slice(), &["--region", REGION]].concat());
        assert_eq!(through(&list), on_the_bus, "{list:?}");
    }
    let said = |profile: &'static str, arguments: &[&str]| {
        let all = with(profile)(arguments);
        let output = up.run(&all.iter().map(String::as_str).collect::<Vec<_>>());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = said("default", &["job", "watch"]);
    assert!(code != Some(0) && told.contains("needs the bus itself"), "{code:?} {told}");
    let (code, told) = said("auditor", &["vault", "delete", "far"]);
    assert!(code != Some(0) && told.contains("AccessDeniedException"), "{code:?} {told}");
    assert_eq!(said("auditor", &["vault", "list"]).0, Some(0), "an auditor may look");
    let (code, told) = said("restore-only", &["vault", "list"]);
    assert!(code != Some(0) && told.contains("AccessDeniedException"), "{code:?} {told}");

    native_operations(&up, dir.path());
    reports(&up);
}

fn native_operations(up: &Up, dir: &Path) {
    let http = Http::new(up, "HOLDFAST0ADMIN");
    let none = Value::Null;
    let idle = dir.join("idle");
    fs::create_dir(&idle).unwrap();
    let arn = format!("arn:aws:files:{REGION}:000000000000:tree/idle");
    let location = format!("file://{}", idle.display());
    let resource = json!({ "arn": arn, "resource_type": "Files", "region": REGION, "location": location });
    http.ok("PUT", "/holdfast/v1/resources", &resource);
    let target = format!("/holdfast/v1/resources/{}", encoded(&arn));
    assert_eq!(http.ok("GET", &target, &none)["location"], json!(location));
    let listed = http.ok("GET", "/holdfast/v1/resources", &none);
    assert_eq!(listed["resources"].as_array().unwrap().len(), 2, "{listed}");
    let free = http.ok("GET", "/holdfast/v1/unprotected-resources", &none);
    assert_eq!(free.as_array().unwrap().len(), 2, "no plan selects anything: {free}");
    let coverage = http.ok("GET", "/holdfast/v1/coverage", &none);
    assert_eq!(
        (&coverage["resources"], &coverage["protected"], &coverage["proven"]),
        (&json!(2), &json!(0), &json!(0))
    );

    up.cli(&["selection", "create", "nightly", "all", "--resource", "*"]);
    let free = http.ok("GET", "/holdfast/v1/unprotected-resources", &none);
    assert_eq!(free, json!([]));
    let runs = http.ok("GET", "/holdfast/v1/forecast?hours=25", &none);
    assert!(runs.as_array().unwrap().iter().all(|run| run["rule_name"] == "night"), "{runs}");
    assert!(runs.as_array().unwrap().len() >= 2, "each resource runs within 25 hours: {runs}");

    let plan = json!({ "RestoreTestingPlan": {
        "RestoreTestingPlanName": "weekly",
        "ScheduleExpression": format!("cron(0 {} ? * 1 *)", far_hour()),
        "RecoveryPointSelection": {
            "Algorithm": "LATEST_WITHIN_WINDOW", "IncludeVaults": ["*"], "RecoveryPointTypes": ["SNAPSHOT"],
        },
    } });
    http.ok("PUT", "/restore-testing/plans", &plan);
    let selection = json!({ "RestoreTestingSelection": {
        "RestoreTestingSelectionName": "trees",
        "ProtectedResourceType": "Files",
        "IamRoleArn": "arn:aws:iam::000000000000:role/backup",
        "ProtectedResourceArns": [format!("arn:aws:files:{REGION}:000000000000:tree/tree")],
    } });
    http.ok("PUT", "/restore-testing/plans/weekly/selections", &selection);
    let accepted = http.ok("POST", "/holdfast/v1/restore-testing-plans/weekly/run", &none);
    let run = format!("/holdfast/v1/test-runs/{}", accepted["result"].as_str().unwrap());
    let ended =
        wait_for("the restore test", || Some(http.ok("GET", &run, &none)).filter(|run| !run["ended_at"].is_null()));
    assert_eq!(ended["entries"][0]["verdict"]["status"], "SUCCESSFUL", "{ended}");
    let coverage = http.ok("GET", "/holdfast/v1/coverage", &none);
    assert_eq!((&coverage["protected"], &coverage["proven"]), (&json!(2), &json!(1)), "{coverage}");
    assert_eq!(http.ok("GET", "/holdfast/v1/test-runs", &none).as_array().unwrap().len(), 1);

    let job = ended["entries"][0]["restore_job_id"].as_str().unwrap_or_default().to_owned();
    let (status, refused) = http.call("POST", &format!("/holdfast/v1/restore-jobs/{job}/stop"), &none);
    assert!((400..500).contains(&status), "a job that ended is not stopped: {status} {refused}");
    let (status, _) = http.call("POST", "/holdfast/v1/copy-jobs/00000000-0000-7000-8000-000000000000/stop", &none);
    assert_eq!(status, 400, "there is no such copy");
    http.ok("DELETE", &target, &none);
    assert_eq!(http.call("GET", &target, &none).0, 400, "gone");
}

fn reports(up: &Up) {
    let http = Http::new(up, "HOLDFAST0ADMIN");
    let none = Value::Null;
    let plan = |bucket: &str| {
        json!({
            "ReportPlanName": "daily",
            "ReportDeliveryChannel": { "S3BucketName": bucket, "S3KeyPrefix": "jobs", "Formats": ["CSV", "JSON"] },
            "ReportSetting": { "ReportTemplate": "BACKUP_JOB_REPORT" },
        })
    };
    let (status, refused) = http.call("POST", "/audit/report-plans", &plan("elsewhere"));
    assert_eq!(status, 400);
    assert!(refused["Message"].as_str().unwrap().contains("report_buckets"), "{refused}");
    http.ok("POST", "/audit/report-plans", &plan("reports"));

    let ended = |id: &str| {
        let target = format!("/audit/report-jobs/{id}");
        let job = wait_for("the report", || {
            Some(http.ok("GET", &target, &none)["ReportJob"].clone()).filter(|job| job["Status"] != "CREATED")
        });
        (job["Status"].as_str().unwrap().to_owned(), job)
    };
    let start = || http.ok("POST", "/audit/report-jobs/daily", &none)["ReportJobId"].as_str().unwrap().to_owned();
    // The gateway dies while a report is due: the next one writes it.
    let id = start();
    up.kill(&["gateway"]);
    let http_after = Http::new(up, "HOLDFAST0ADMIN");
    wait_for("the gateway", || {
        let reached = std::net::TcpStream::connect(http_after.url.trim_start_matches("http://"));
        reached.ok()
    });
    let (status, job) = ended(&id);
    assert_eq!(status, "COMPLETED", "{job}");
    let keys: Vec<&str> =
        job["ReportDestination"]["S3Keys"].as_array().unwrap().iter().map(|k| k.as_str().unwrap()).collect();
    assert_eq!(keys.len(), 2, "{job}");
    let read = |key: &str| fs::read_to_string(up.state().join("reports").join(key)).unwrap();
    let csv = read(keys.iter().find(|key| key.ends_with(".csv")).unwrap());
    let lines: Vec<&str> = csv.trim_end().split("\r\n").collect();
    assert!(lines[0].starts_with("reportTimePeriodStart,reportTimePeriodEnd,accountId,region,backupJobId"), "{csv}");
    assert!(lines[1..].iter().any(|line| line.contains(",COMPLETED,")), "the backup: {csv}");
    let items: Value = serde_json::from_str(&read(keys.iter().find(|key| key.ends_with(".json")).unwrap())).unwrap();
    let items = items["reportItems"].as_array().unwrap();
    assert_eq!(items.len(), lines.len() - 1, "the same rows: {items:?}");
    assert!(items.iter().all(|item| item["backupVaultName"] == "near"), "{items:?}");

    // A bucket that takes nothing: the job says why as long as it may pass, and afterwards all is well.
    let store = up.state().join("reports");
    fs::rename(&store, up.state().join("reports-away")).unwrap();
    let id = start();
    let listed = http.ok("GET", "/audit/report-jobs?ReportPlanName=daily", &none);
    assert_eq!(listed["ReportJobs"].as_array().unwrap().len(), 2, "{listed}");
    fs::rename(up.state().join("reports-away"), &store).unwrap();
    assert_eq!(ended(&id).0, "COMPLETED");
    let described = http.ok("GET", "/audit/report-plans/daily", &none);
    assert!(described["ReportPlan"]["LastSuccessfulExecutionTime"].is_number(), "{described}");
    http.ok("DELETE", "/audit/report-plans/daily", &none);
}
