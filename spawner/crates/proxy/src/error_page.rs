//! What a client sees when the proxy itself cannot answer: the hub's page, a file, or a plain one.

use std::path::Path;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, REFRESH, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use tracing::{debug, error};

use crate::body::{AnyBody, full};
use crate::forward::Visit;
use crate::options::ErrorPages;
use crate::path::encode;
use crate::upstream::Target;

/// The hub has this long to make a page; then a plain one is sent.
const PAGE_MAX: Duration = Duration::from_secs(10);

/// `path_and_query` is what the client asked for; it is told to the error target, not shown.
pub(crate) async fn respond(visit: &Visit, status: StatusCode, path_and_query: &str) -> Response<AnyBody> {
    let page = match &visit.proxy.options.error_pages {
        ErrorPages::Builtin => None,
        ErrorPages::Folder(folder) => from_folder(folder, status).await,
        ErrorPages::Target(target, url) => {
            match tokio::time::timeout(PAGE_MAX, from_target(visit, target, url, status, path_and_query))
                .await
            {
                Ok(Ok(page)) => Some(page),
                Ok(Err(error)) => {
                    error!("Failed to get custom error page: {error:#}");
                    None
                }
                Err(_) => {
                    error!("Failed to get custom error page: no answer within {PAGE_MAX:?}");
                    None
                }
            }
        }
    };
    page.unwrap_or_else(|| plain(status))
}

/// The page while the hub itself does not answer. Who only looks sees the hub's page as soon as it is there; what was
/// sent is not sent again by itself.
pub(crate) fn without_hub(status: StatusCode, method: &Method) -> Response<AnyBody> {
    let looks = method == Method::GET || method == Method::HEAD;
    let hint = match looks {
        true => {
            "The hub does not answer at the moment. Servers that run go on, and so do jobs that wait. \
             This page asks again every 10 seconds."
        }
        false => {
            "The hub does not answer at the moment, and may or may not have taken what was sent. Servers that run go \
             on, and so do jobs that wait. Go back in a minute and look before you send it again."
        }
    };
    let mut response = plain_with(status, hint);
    if looks {
        response.headers_mut().insert(REFRESH, HeaderValue::from_static("10"));
    }
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn plain(status: StatusCode) -> Response<AnyBody> {
    let hint = match status {
        StatusCode::NOT_FOUND => "There is no route to this address.",
        StatusCode::SERVICE_UNAVAILABLE => {
            "The server behind this address does not answer. It may be starting or stopped."
        }
        StatusCode::BAD_REQUEST => "The request is not well formed.",
        _ => "The proxy could not answer this request.",
    };
    plain_with(status, hint)
}

fn plain_with(status: StatusCode, hint: &str) -> Response<AnyBody> {
    let (code, name) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
    let text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><title>{code}: {name}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\"></head>\
         <body style=\"font-family: sans-serif; max-width: 40em; margin: 2em auto\"><h1>{code}: {name}</h1><p>{hint}</p></body></html>\n"
    );
    page(status, "text/html", full(text))
}

fn page(status: StatusCode, kind: &'static str, body: AnyBody) -> Response<AnyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn from_folder(folder: &Path, status: StatusCode) -> Option<Response<AnyBody>> {
    for name in [format!("{}.html", status.as_u16()), "error.html".to_owned()] {
        let file = folder.join(name);
        match tokio::fs::read(&file).await {
            Ok(bytes) => return Some(page(status, "text/html", full(bytes))),
            Err(error) => debug!("No error file {}: {error}", file.display()),
        }
    }
    None
}

/// Asks for `ERROR_TARGET/CODE?url=…` and passes on its content under our status.
async fn from_target(
    visit: &Visit,
    target: &Target,
    url: &str,
    status: StatusCode,
    path_and_query: &str,
) -> anyhow::Result<Response<AnyBody>> {
    debug!("Requesting custom error page: {url}{}", status.as_u16());
    let path = format!("/{}?url={}", status.as_u16(), encode(path_and_query));
    let request = Request::builder()
        .method(Method::GET)
        .uri(target.uri(&path.parse()?, true)?)
        .header(http::header::HOST, target.host())
        .body(full(""))?;
    let answer = visit.upstream.send(target, Box::new(request)).await?;
    let (parts, body) = answer.into_parts();
    let mut response = Response::new(AnyBody::Answer(body));
    *response.status_mut() = status;
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}
