//! From the command line's connection arguments to a bus or a gateway: which server, which user, which region.

use std::path::{Path, PathBuf};
use std::time::Duration;

use job_bus::{Bus, BusConfig};
use job_model::Region;

use crate::api::{ApiLogin, USUAL_PROFILE};
use crate::args::Connection;
use crate::endpoint::{Endpoint, FILE_NAME};
use crate::error::CliError;

/// The state directory: the one given, or the user's.
#[must_use]
pub(crate) fn state_dir(given: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> PathBuf {
    if let Some(given) = given {
        return given.to_owned();
    }
    let set = |name| env(name).filter(|value| value.starts_with('/'));
    match (set("XDG_DATA_HOME"), set("HOME")) {
        (Some(data), _) => Path::new(&data).join("holdfast"),
        (None, Some(home)) => Path::new(&home).join(".local/share/holdfast"),
        (None, None) => PathBuf::from(".holdfast"),
    }
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// How to reach the services.
    pub(crate) way: Way,
    /// The region requests are sent in and names are looked up in first.
    pub(crate) region: Region,
    /// Whether the region was chosen on the command line.
    pub(crate) region_given: bool,
    /// The `holdfast up` behind it, where it is one.
    pub(crate) endpoint: Option<Endpoint>,
    /// Seconds to wait for an answer.
    pub(crate) timeout: Duration,
}

/// How the services are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over their bus.
    Bus(BusConfig),
    /// Through the gateway.
    Api(ApiLogin),
}

/// Decides where requests go.
///
/// # Errors
/// When nothing says where the bus is, or no region is known.
pub(crate) fn destination(args: &Connection, state: &Path) -> Result<Destination, CliError> {
    let endpoint = Endpoint::read(state)
        .map_err(|e| CliError::BadEndpoint { path: state.join(FILE_NAME), source: Box::new(e) })?;
    let given = match args.region.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        _ => return Err(CliError::usage("this command works in one region; give `--region` once")),
    };
    let login = |url: String, user: Option<String>, password_file: Option<PathBuf>| BusConfig {
        url,
        name: format!("cli/{}", std::process::id()),
        // Replies to one user are not for the eyes of another: a user's permissions allow this prefix.
        inbox_prefix: user.as_ref().map(|user| format!("_INBOX.{user}")),
        user,
        password_file,
        nkey_seed_file: None,
        ca_file: None,
    };
    let way = match (&args.url, &endpoint) {
        (Some(url), endpoint) if url.starts_with("http://") || url.starts_with("https://") => {
            let known = endpoint.as_ref().and_then(|e| e.aws_credentials_file.clone());
            let credentials_file = args.credentials_file.clone().or(known).ok_or_else(|| {
                CliError::usage("a gateway wants an access key; give `--credentials-file` (and `--profile`)")
            })?;
            Way::Api(ApiLogin {
                url: url.clone(),
                credentials_file,
                profile: args.profile.clone().unwrap_or_else(|| USUAL_PROFILE.to_owned()),
                ca_file: args.ca_file.clone(),
            })
        }
        (Some(url), _) => Way::Bus(login(url.clone(), args.user.clone(), args.password_file.clone())),
        (None, Some(e)) => Way::Bus(login(e.url.clone(), Some(e.user.clone()), Some(e.password_file.clone()))),
        (None, None) => return Err(CliError::NoConnection { state: state.to_owned() }),
    };
    // With a bus of its own choice, the state directory has no say in the region or in keys.
    let endpoint = endpoint.filter(|_| args.url.is_none());
    let region_given = given.is_some();
    let region = given.or_else(|| endpoint.as_ref().and_then(|e| e.regions.first().cloned())).ok_or_else(|| {
        CliError::usage("no region is known for this address; give `--region`, for example `ap-northeast-1`")
    })?;
    Ok(Destination { way, region, region_given, endpoint, timeout: Duration::from_secs(args.timeout) })
}

/// Connects.
///
/// # Errors
/// When the bus cannot be reached within the timeout.
pub(crate) async fn connect(bus: &BusConfig, timeout: Duration) -> Result<Bus, CliError> {
    Bus::connect(bus, timeout).await.map_err(|e| CliError::Unreachable { url: bus.url.clone(), source: Box::new(e) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Connection {
        Connection { timeout: 3, ..Connection::default() }
    }

    fn running(state: &Path) -> Endpoint {
        let endpoint = Endpoint {
            url: "nats://127.0.0.1:5000".to_owned(),
            user: "operator".to_owned(),
            password_file: state.join("operator.password"),
            regions: vec!["ap-northeast-1".parse().unwrap(), "ap-northeast-3".parse().unwrap()],
            profiles_file: state.join("profiles.toml"),
            vaults_dir: state.join("vaults"),
            api_url: None,
            aws_credentials_file: None,
            pid: 1,
            started_at: jiff::Timestamp::UNIX_EPOCH,
        };
        endpoint.write(state).unwrap();
        endpoint
    }

    #[test]
    fn the_running_up_gives_address_user_and_first_region() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = running(dir.path());
        let to = destination(&args(), dir.path()).unwrap();
        let Way::Bus(bus) = to.way else { panic!("{:?}", to.way) };
        assert_eq!(bus.url, endpoint.url);
        assert_eq!(bus.user.as_deref(), Some("operator"));
        assert_eq!(to.region.as_str(), "ap-northeast-1");
        assert!(!to.region_given);
    }

    #[test]
    fn a_url_of_its_own_needs_a_region_and_ignores_the_running_up() {
        let dir = tempfile::tempdir().unwrap();
        running(dir.path());
        let mut given = Connection { url: Some("nats://other:4222".to_owned()), ..args() };
        assert!(matches!(destination(&given, dir.path()), Err(CliError::Usage { .. })));
        given.region = vec!["eu-west-1".parse().unwrap()];
        let to = destination(&given, dir.path()).unwrap();
        let Way::Bus(bus) = to.way else { panic!("{:?}", to.way) };
        assert_eq!((bus.url.as_str(), bus.user, to.endpoint), ("nats://other:4222", None, None));
    }

    #[test]
    fn an_address_of_http_is_a_gateway_and_wants_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let mut given = Connection {
            url: Some("https://backup.example.net".to_owned()),
            region: vec!["eu-west-1".parse().unwrap()],
            ..args()
        };
        let error = destination(&given, dir.path()).unwrap_err();
        assert!(error.to_string().contains("--credentials-file"), "{error}");
        given.credentials_file = Some("/keys".into());
        let to = destination(&given, dir.path()).unwrap();
        let Way::Api(login) = to.way else { panic!("{:?}", to.way) };
        assert_eq!((login.url.as_str(), login.profile.as_str()), ("https://backup.example.net", "default"));
    }

    #[test]
    fn nothing_running_and_no_url_is_an_error_that_says_what_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let error = destination(&args(), dir.path()).unwrap_err();
        assert!(error.to_string().contains("holdfast up --state"), "{error}");
    }

    #[test]
    fn the_state_directory_is_the_users_unless_given() {
        let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
        assert_eq!(state_dir(None, env), Path::new("/home/u/.local/share/holdfast"));
        assert_eq!(state_dir(Some(Path::new("/x")), env), Path::new("/x"));
        assert_eq!(state_dir(None, |_| None), Path::new(".holdfast"));
    }
}
