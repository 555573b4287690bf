//! Owns who asks an S3-compatible store, and where it is: the environment variables and files that AWS's own tools read.
//! Each process reads its own, so no credentials are in plans.

use std::{collections::HashMap, fmt, path::PathBuf};

use crate::error::RemoteError;

/// A key and its secret. Shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// What requests to buckets need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// `None` asks without a signature, as public buckets allow.
    pub credentials: Option<Credentials>,
    pub region: String,
    /// Of another store than AWS's: `https://minio.example.org:9000`.
    pub endpoint: Option<String>,
}

/// What only AWS's own tools can turn into credentials.
const NOT_SUPPORTED: [&str; 4] = ["sso_session", "sso_start_url", "role_arn", "credential_process"];

impl Aws {
    /// From the process's environment variables and the files in `~/.aws`.
    ///
    /// # Errors
    /// If a file cannot be read, or a profile is named that is not there or needs AWS's own tools.
    pub fn from_environment() -> Result<Self, RemoteError> {
        Self::from(&|name| std::env::var(name).ok(), &|path| match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(RemoteError::Setup { message: format!("{} cannot be read: {error}", path.display()) })
            }
        })
    }

    /// As [`from_environment`](Self::from_environment), of a given environment.
    ///
    /// # Errors
    /// The same.
    pub fn from(
        variable: &dyn Fn(&str) -> Option<String>,
        read: &dyn Fn(&PathBuf) -> Result<Option<String>, RemoteError>,
    ) -> Result<Self, RemoteError> {
        let variable =
            |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let home = variable("HOME").map(PathBuf::from);
        let file = |name: &str, default: &str| {
            variable(name)
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| home.join(".aws").join(default)))
        };
        let sections = |path: &Option<PathBuf>| -> Result<HashMap<String, Section>, RemoteError> {
            Ok(path.as_ref().map(read).transpose()?.flatten().map(|text| parse(&text)).unwrap_or_default())
        };
        let credentials_file = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config_file = file("AWS_CONFIG_FILE", "config");
        let (known, config) = (sections(&credentials_file)?, sections(&config_file)?);
        let named = variable("AWS_PROFILE").or_else(|| variable("AWS_DEFAULT_PROFILE"));
        let profile = named.clone().unwrap_or_else(|| "default".to_owned());
        let config_name = if profile == "default" { profile.clone() } else { format!("profile {profile}") };
        let (known, config) = (known.get(&profile), config.get(&config_name));
        if named.is_some() && known.is_none() && config.is_none() {
            let file = |path: &Option<PathBuf>| {
                path.as_ref().map_or("~/.aws".to_owned(), |p| p.display().to_string())
            };
            let (first, second) = (file(&credentials_file), file(&config_file));
            let message =
                format!("the profile `{profile}` (AWS_PROFILE) is neither in {first} nor in {second}");
            return Err(RemoteError::Setup { message });
        }
        let setting = |name: &str| {
            let found = known.and_then(|section| section.get(name));
            found.or_else(|| config.and_then(|section| section.get(name))).cloned()
        };
        let anonymous = variable("AWS_NO_SIGN_REQUEST")
            .is_some_and(|text| ["1", "yes", "true", "on"].contains(&text.to_lowercase().as_str()));
        let given = |key: &str, secret: &str, token: &str, of: &dyn Fn(&str) -> Option<String>| {
            Some(Credentials { access_key: of(key)?, secret_key: of(secret)?, session_token: of(token) })
        };
        let from_variables =
            || given("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", &variable);
        let from_files =
            || given("aws_access_key_id", "aws_secret_access_key", "aws_session_token", &setting);
        let credentials = match anonymous {
            true => None,
            // A profile that is named goes before keys that happen to be in the environment, as in AWS's tools.
            false if named.is_some() => from_files().or_else(from_variables),
            false => from_variables().or_else(from_files),
        };
        if let (None, false, Some(name)) =
            (&credentials, anonymous, NOT_SUPPORTED.iter().find(|name| setting(name).is_some()))
        {
            let message = format!(
                "the profile `{profile}` gets its credentials by `{name}`, which is not supported; run `eval \"$(aws configure export-credentials --format env)\"` before the notebook and its workers start, or set AWS_NO_SIGN_REQUEST=yes for public buckets"
            );
            return Err(RemoteError::Setup { message });
        }
        let region =
            variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).or_else(|| setting("region"));
        let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
        let endpoint = endpoint.or_else(|| setting("endpoint_url"));
        Ok(Self { credentials, region: region.unwrap_or_else(|| "us-east-1".to_owned()), endpoint })
    }
}

type Section = HashMap<String, String>;

/// Sections of an INI file as AWS's tools write it. Lines that belong to a setting of several lines are left out.
fn parse(text: &str) -> HashMap<String, Section> {
    let mut sections: HashMap<String, Section> = HashMap::new();
    let mut current = None;
    for line in text.lines() {
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let name = name.0.split_whitespace().collect::<Vec<_>>().join(" ");
            sections.entry(name.clone()).or_default();
            current = Some(name);
        } else if let (Some(section), Some((key, value))) = (&current, line.split_once('=')) {
            let (key, value) = (key.trim().to_lowercase(), value.trim().to_owned());
            if !value.is_empty() {
                sections.entry(section.clone()).or_default().insert(key, value);
            }
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "[default]\naws_access_key_id = file\naws_secret_access_key=s=1\n\n# [lab]\n[lab]\naws_access_key_id=lab\naws_secret_access_key=x\naws_session_token=t\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n[profile lab]\nendpoint_url = https://minio:9000\n[profile sso]\nsso_session = a\n";

    fn aws(variables: &[(&str, &str)]) -> Result<Aws, RemoteError> {
        let variable = |name: &str| {
            let given = variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            given.or_else(|| (name == "HOME").then(|| "/home/me".to_owned()))
        };
        let read = |path: &PathBuf| {
            Ok(match path.to_str().unwrap() {
                "/home/me/.aws/credentials" => Some(CREDENTIALS.to_owned()),
                "/home/me/.aws/config" => Some(CONFIG.to_owned()),
                _ => None,
            })
        };
        Aws::from(&variable, &read)
    }

    #[test]
    fn variables_go_before_files_and_a_named_profile_before_both() {
        let found = aws(&[]).unwrap();
        let credentials = found.credentials.clone().unwrap();
        assert_eq!((credentials.access_key.as_str(), credentials.secret_key.as_str()), ("file", "s=1"));
        assert_eq!((found.region.as_str(), found.endpoint), ("eu-west-1", None));
        let keys =
            [("AWS_ACCESS_KEY_ID", "env"), ("AWS_SECRET_ACCESS_KEY", "e"), ("AWS_REGION", "us-west-2")];
        let found = aws(&keys).unwrap();
        assert_eq!(
            (found.credentials.unwrap().access_key.as_str(), found.region.as_str()),
            ("env", "us-west-2")
        );
        let found = aws(&[keys[0], keys[1], ("AWS_PROFILE", "lab")]).unwrap();
        let credentials = found.credentials.unwrap();
        assert_eq!(
            (credentials.access_key.as_str(), credentials.session_token.as_deref()),
            ("lab", Some("t"))
        );
        assert_eq!(found.endpoint.as_deref(), Some("https://minio:9000"));
        assert_eq!(found.region, "us-east-1");
    }

    #[test]
    fn who_asks_for_nobody_is_nobody() {
        assert_eq!(aws(&[("AWS_NO_SIGN_REQUEST", "YES")]).unwrap().credentials, None);
        assert_eq!(aws(&[("HOME", "/nowhere")]).unwrap().credentials, None);
    }

    #[test]
    fn what_cannot_be_followed_is_said_and_secrets_are_not() {
        assert!(aws(&[("AWS_PROFILE", "other")]).unwrap_err().to_string().contains("/home/me/.aws/config"));
        assert!(aws(&[("AWS_PROFILE", "sso")]).unwrap_err().to_string().contains("`sso_session`"));
        assert!(aws(&[("AWS_PROFILE", "sso"), ("AWS_NO_SIGN_REQUEST", "1")]).is_ok());
        assert!(!format!("{:?}", aws(&[]).unwrap()).contains("s=1"));
    }
}
