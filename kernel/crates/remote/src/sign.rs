//! Owns signatures of requests, AWS's version 4 for S3, without any I/O or clock.

use hmac::{Hmac, Mac};
use reqwest::Url;
use sha2::{Digest, Sha256};

use crate::aws::Credentials;

/// A header to be sent, its name in lower case.
pub(crate) type SignedHeader = (String, String);

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// What stands for a body in a signature.
pub(crate) fn digest(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// All headers of a signed request, `headers` (in lower case) among them; `body` is the digest of its body, SHA-256 in hexadecimal.
///
/// `url` has its path and query percent-encoded, strictly: letters, digits and `-._~` stand as they are, all else does
/// not, and no `+` means a blank. `time` is of the form `20130524T000000Z`.
pub(crate) fn sign(
    method: &str,
    url: &Url,
    headers: &[SignedHeader],
    body: &str,
    credentials: &Credentials,
    region: &str,
    time: &str,
) -> Vec<SignedHeader> {
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let mut headers = headers.to_vec();
    headers.push(("host".to_owned(), host));
    headers.push(("x-amz-content-sha256".to_owned(), body.to_owned()));
    headers.push(("x-amz-date".to_owned(), time.to_owned()));
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token".to_owned(), token.clone()));
    }
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let mut query: Vec<&str> =
        url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()).collect();
    query.sort_unstable();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let request = format!("{method}\n{}\n{}\n{lines}\n{names}\n{body}", url.path(), query.join("&"));
    let day = time.get(..8).unwrap_or(time);
    let scope = format!("{day}/{region}/s3/aws4_request");
    let digest = hex::encode(Sha256::digest(request));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let mut key = hmac(format!("AWS4{}", credentials.secret_key).as_bytes(), day);
    for part in [region, "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hex::encode(hmac(&key, &to_sign));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
        credentials.access_key
    );
    headers.retain(|(name, _)| name != "host");
    headers.push(("authorization".to_owned(), authorization));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of AWS's documentation, "Signature Calculations for the Authorization Header".
    #[test]
    fn signatures_are_those_of_the_documentation() {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        };
        let range = ("range".to_owned(), "bytes=0-9".to_owned());
        for (path, headers, expected) in [
            ("/test.txt", vec![range], "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            ("/?lifecycle=", vec![], "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (
                "/?prefix=J&max-keys=2",
                vec![],
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let url = Url::parse(&format!("https://examplebucket.s3.amazonaws.com{path}")).unwrap();
            let signed =
                sign("GET", &url, &headers, &digest(&[]), &credentials, "us-east-1", "20130524T000000Z");
            let (_, authorization) = signed.iter().find(|(name, _)| name == "authorization").unwrap();
            assert!(authorization.ends_with(&format!("Signature={expected}")), "{path}: {authorization}");
        }
    }
}
