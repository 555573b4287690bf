//! WebSockets within HTTP/2 (RFC 8441), made to look like those of HTTP/1.1, which is what targets speak.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use ring::rand::{SecureRandom, SystemRandom};

use crate::body::{AnyBody, full};

/// Makes the request one of HTTP/1.1, if it is a WebSocket's within HTTP/2; whether it is.
pub(crate) fn as_http1(request: &mut Request<Incoming>) -> bool {
    let is_websocket = request.method() == Method::CONNECT
        && request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    let mut key = [0; 16];
    if !is_websocket || SystemRandom::new().fill(&mut key).is_err() {
        return false;
    }
    let Ok(key) = HeaderValue::from_str(&STANDARD.encode(key)) else { return false };
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_KEY, key);
    true
}

/// Makes the answer to such a request one of HTTP/2.
pub(crate) fn as_http2(response: &mut Response<AnyBody>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        *response.status_mut() = StatusCode::OK;
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
            response.headers_mut().remove(name);
        }
    } else if response.status().is_success() {
        // Within HTTP/2 that would say that the WebSocket is open.
        *response = Response::new(full("the server did not open a WebSocket"));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
}
