//! What the gateway is told at its start, checked as a whole before anything is served.

use std::fmt;

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the hub answers this service, such as `http://127.0.0.1:8081/hub/api`.
    pub hub_api_url: String,
    /// This service's own token at the hub; also its OAuth secret.
    pub api_token: Secret,
    /// `service-NAME`, as the hub calls this OAuth client.
    pub client_id: String,
    /// Path of this service on the public host, with a slash at both ends.
    pub public_prefix: String,
    /// Path of the hub on the public host, with a slash at both ends.
    pub hub_public_path: String,
    /// `https://hub.example.org`, if it is known; then only pages from there are answered, and cookies are for
    /// TLS only. Without it, a page's Origin must be the host the request was sent to.
    pub public_origin: Option<String>,
    /// Ports of this machine that belong to hub, proxy and service: never a dashboard's.
    pub own_ports: Vec<u16>,
}

impl Settings {
    pub fn new(hub_api_url: impl Into<String>, api_token: Secret, client_id: impl Into<String>) -> Self {
        Self {
            hub_api_url: hub_api_url.into(),
            api_token,
            client_id: client_id.into(),
            public_prefix: "/services/nuna/".to_owned(),
            hub_public_path: "/hub/".to_owned(),
            public_origin: None,
            own_ports: Vec::new(),
        }
    }

    /// The service's name at the hub, as scopes have it.
    pub(crate) fn service_name(&self) -> &str {
        self.client_id.strip_prefix("service-").unwrap_or(&self.client_id)
    }

    pub(crate) fn redirect_uri(&self) -> String {
        format!("{}oauth_callback", self.public_prefix)
    }

    pub(crate) fn check(&self) -> Result<(), GatewayError> {
        let wrong =
            |setting, value: &str, rule| GatewayError::Setting { setting, value: value.to_owned(), rule };
        if self.api_token.expose().is_empty() {
            return Err(wrong("api_token", "***", "must not be empty: it is the service's token at the hub"));
        }
        let id_is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.client_id.is_empty() || !self.client_id.bytes().all(id_is_plain) {
            return Err(wrong(
                "client_id",
                &self.client_id,
                "must be `service-NAME`, as the hub names the service",
            ));
        }
        for (setting, path) in
            [("public_prefix", &self.public_prefix), ("hub_public_path", &self.hub_public_path)]
        {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~@".contains(&byte);
            let in_slashes = path.starts_with('/') && path.ends_with('/') && !path.contains("//");
            if !in_slashes || !path.bytes().all(is_plain) || path.contains("..") {
                return Err(wrong(
                    setting,
                    path,
                    "must be a path with a slash at both ends, such as /services/nuna/",
                ));
            }
        }
        if let Some(origin) = &self.public_origin {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if !host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@'])) {
                return Err(wrong(
                    "public_origin",
                    origin,
                    "must be scheme and host, such as https://hub.example.org",
                ));
            }
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the gateway's setting {setting} = {value:?} {rule}")]
    Setting { setting: &'static str, value: String, rule: &'static str },
    #[error("cannot set up the connection to the hub's API: {0}")]
    Client(#[from] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("http://127.0.0.1:8081/hub/api", Secret::new("s3cret"), "service-nuna")
    }

    #[test]
    fn what_cannot_be_used_is_named_and_secrets_are_not_printed() {
        assert!(settings().check().is_ok());
        assert_eq!(settings().service_name(), "nuna");
        assert!(!format!("{:?}", settings()).contains("s3cret"));
        type Spoil = fn(&mut Settings);
        let spoil: [(&str, Spoil); 5] = [
            ("api_token", |s| s.api_token = Secret::new("")),
            ("client_id", |s| s.client_id = "a&b=c".into()),
            ("public_prefix", |s| s.public_prefix = "/services/nuna".into()),
            ("hub_public_path", |s| s.hub_public_path = "https://evil.example/".into()),
            ("public_origin", |s| s.public_origin = Some("https://hub.example.org/".into())),
        ];
        for (name, spoil) in spoil {
            let mut settings = settings();
            spoil(&mut settings);
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
