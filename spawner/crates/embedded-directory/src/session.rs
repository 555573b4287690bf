//! One connection's conversation: who is signed in, and the answer to each request. No sockets here.
//!
//! A bind needs a slow hash, so it comes back as [`Step::Verify`] for the server to carry out.

use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindResponse, LdapExtendedResponse, LdapOp, LdapPartialAttribute, LdapResult,
    LdapResultCode, LdapSearchRequest, LdapSearchResultEntry, LdapSearchScope,
};

use crate::dn::Dn;
use crate::filter::{Truth, equals, matches};
use crate::tree::{Entry, Tree, attribute};

const WHOAMI: &str = "1.3.6.1.4.1.4203.1.11.3";

/// What the server does next.
pub(crate) enum Step {
    Answer(Vec<LdapOp>),
    /// Check `password` against `hash` (or pretend to, if there is none), then call [`Session::verified`].
    Verify {
        dn: Dn,
        hash: Option<String>,
        password: String,
    },
    /// Nothing to say: an abandoned request.
    Silence,
    Close,
}

#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Who signed in; nobody means anonymous.
    bound: Option<Dn>,
}

fn result(code: LdapResultCode, message: impl Into<String>) -> LdapResult {
    LdapResult { code, matcheddn: String::new(), message: message.into(), referral: Vec::new() }
}

fn bind_answer(code: LdapResultCode, message: &str) -> Step {
    Step::Answer(vec![LdapOp::BindResponse(LdapBindResponse { res: result(code, message), saslcreds: None })])
}

impl Session {
    pub(crate) fn is_bound(&self) -> bool {
        self.bound.is_some()
    }

    pub(crate) fn handle(&mut self, tree: &Tree, op: LdapOp, controls: &[LdapControl]) -> Step {
        let critical = controls.iter().find_map(|control| match control {
            LdapControl::Unknown { oid, criticality: true, .. } => Some(oid.clone()),
            _ => None,
        });
        if let Some(oid) = critical {
            let refused = result(
                LdapResultCode::UnavailableCriticalExtension,
                format!("control {oid} is not available"),
            );
            return match respond(&op, refused) {
                Some(answer) => Step::Answer(vec![answer]),
                None => Step::Close,
            };
        }
        match op {
            LdapOp::BindRequest(bind) => {
                // Whatever comes of it, the old identity is gone (RFC 4511, 4.2.1).
                self.bound = None;
                if bind.version != 3 {
                    return bind_answer(LdapResultCode::ProtocolError, "only LDAP version 3 is spoken here");
                }
                let LdapBindCred::Simple(password) = bind.cred else {
                    return bind_answer(
                        LdapResultCode::AuthMethodNotSupported,
                        "only simple bind is offered",
                    );
                };
                let Ok(dn) = Dn::parse(&bind.dn) else {
                    return bind_answer(LdapResultCode::InvalidDNSyntax, "invalid DN");
                };
                match (dn.is_empty(), password.is_empty()) {
                    (true, true) => bind_answer(LdapResultCode::Success, ""),
                    // Would otherwise count as a sign-in that succeeded (RFC 4513, 5.1.2).
                    (false, true) => bind_answer(
                        LdapResultCode::UnwillingToPerform,
                        "unauthenticated bind (DN with no password) disallowed",
                    ),
                    (_, false) => {
                        let hash = tree.get(&dn).and_then(|entry| entry.password_hash.clone());
                        Step::Verify { dn, hash, password }
                    }
                }
            }
            LdapOp::UnbindRequest => Step::Close,
            LdapOp::AbandonRequest(_) => Step::Silence,
            LdapOp::SearchRequest(request) => Step::Answer(self.search(tree, &request)),
            LdapOp::CompareRequest(request) => {
                let outcome = match Dn::parse(&request.dn).ok().and_then(|dn| tree.get(&dn)) {
                    _ if !self.may_read(tree) => self.refused(),
                    None => result(LdapResultCode::NoSuchObject, ""),
                    Some(entry) => match attribute(&request.atype) {
                        Some((name, _, _)) if entry.values(name).is_empty() => {
                            result(LdapResultCode::NoSuchAttribute, "")
                        }
                        None => result(LdapResultCode::UndefinedAttributeType, ""),
                        Some(_) => {
                            let value = String::from_utf8_lossy(&request.val);
                            match equals(entry, &request.atype, &value) {
                                Truth::True => result(LdapResultCode::CompareTrue, ""),
                                Truth::False => result(LdapResultCode::CompareFalse, ""),
                                Truth::Undefined => result(LdapResultCode::InvalidAttributeSyntax, ""),
                            }
                        }
                    },
                };
                Step::Answer(vec![LdapOp::CompareResult(outcome)])
            }
            LdapOp::ExtendedRequest(request) => {
                let answer = if request.name == WHOAMI {
                    let who = match self.bound.as_ref().and_then(|dn| tree.get(dn)) {
                        Some(entry) => format!("dn:{}", entry.dn),
                        None => String::new(),
                    };
                    LdapExtendedResponse {
                        res: result(LdapResultCode::Success, ""),
                        name: None,
                        value: Some(who.into_bytes()),
                    }
                } else {
                    let message = format!("extended operation {} is not offered", request.name);
                    LdapExtendedResponse {
                        res: result(LdapResultCode::ProtocolError, message),
                        name: None,
                        value: None,
                    }
                };
                Step::Answer(vec![LdapOp::ExtendedResponse(answer)])
            }
            write @ (LdapOp::ModifyRequest(_)
            | LdapOp::AddRequest(_)
            | LdapOp::DelRequest(_)
            | LdapOp::ModifyDNRequest(_)) => {
                let refused = result(
                    LdapResultCode::UnwillingToPerform,
                    "this directory is read from a file; change the file",
                );
                respond(&write, refused).map_or(Step::Close, |answer| Step::Answer(vec![answer]))
            }
            LdapOp::BindResponse(_)
            | LdapOp::SearchResultEntry(_)
            | LdapOp::SearchResultDone(_)
            | LdapOp::SearchResultReference(_)
            | LdapOp::ModifyResponse(_)
            | LdapOp::AddResponse(_)
            | LdapOp::DelResponse(_)
            | LdapOp::ModifyDNResponse(_)
            | LdapOp::CompareResult(_)
            | LdapOp::ExtendedResponse(_)
            | LdapOp::IntermediateResponse(_) => Step::Close,
        }
    }

    pub(crate) fn verified(&mut self, dn: Dn, is_right: bool) -> Vec<LdapOp> {
        let res = if is_right {
            self.bound = Some(dn);
            result(LdapResultCode::Success, "")
        } else {
            result(LdapResultCode::InvalidCredentials, "")
        };
        vec![LdapOp::BindResponse(LdapBindResponse { res, saslcreds: None })]
    }

    fn may_read(&self, tree: &Tree) -> bool {
        tree.anonymous_search || self.bound.is_some()
    }

    fn refused(&self) -> LdapResult {
        result(LdapResultCode::InsufficentAccessRights, "sign in before searching")
    }

    fn search(&self, tree: &Tree, request: &LdapSearchRequest) -> Vec<LdapOp> {
        let done = |result| vec![LdapOp::SearchResultDone(result)];
        let Ok(base) = Dn::parse(&request.base) else {
            return done(result(LdapResultCode::InvalidDNSyntax, "invalid DN"));
        };
        if base.is_empty() && matches!(request.scope, LdapSearchScope::Base) {
            // What this server is may be asked by anyone.
            let mut answer = Vec::new();
            if matches(&request.filter, &tree.root) {
                answer.push(print(&tree.root, request));
            }
            answer.extend(done(result(LdapResultCode::Success, "")));
            return answer;
        }
        if !self.may_read(tree) {
            return done(self.refused());
        }
        if !base.is_empty() && tree.get(&base).is_none() {
            let mut missing = result(LdapResultCode::NoSuchObject, "");
            missing.matcheddn = tree.closest(&base);
            return done(missing);
        }
        let in_scope = |entry: &Entry| match request.scope {
            LdapSearchScope::Base => entry.key == base,
            LdapSearchScope::OneLevel if base.is_empty() => entry.key == tree.suffix,
            LdapSearchScope::OneLevel => entry.key.parent().as_ref() == Some(&base),
            LdapSearchScope::Subtree => entry.key == base || entry.key.is_below(&base),
            LdapSearchScope::Children => entry.key.is_below(&base),
        };
        let asked = usize::try_from(request.sizelimit).unwrap_or(0);
        let limit = if asked == 0 { tree.size_limit } else { asked.min(tree.size_limit) };
        let mut answer = Vec::new();
        for entry in tree.entries().filter(|entry| in_scope(entry) && matches(&request.filter, entry)) {
            if answer.len() == limit {
                answer.extend(done(result(LdapResultCode::SizeLimitExceeded, "")));
                return answer;
            }
            answer.push(print(entry, request));
        }
        answer.extend(done(result(LdapResultCode::Success, "")));
        answer
    }
}

/// The attributes asked for: all but operational ones if none is named, `+` for those, `1.1` for nothing.
fn print(entry: &Entry, request: &LdapSearchRequest) -> LdapOp {
    let asked = &request.attrs;
    let all = asked.is_empty() || asked.iter().any(|name| name == "*");
    let operational = asked.iter().any(|name| name == "+");
    let named: Vec<&str> = asked.iter().filter_map(|name| attribute(name)).map(|(name, _, _)| name).collect();
    let attributes = entry
        .attributes
        .iter()
        .filter(|(name, _)| {
            let is_operational = attribute(name).is_some_and(|(_, _, operational)| operational);
            named.contains(name) || if is_operational { operational } else { all }
        })
        .map(|(name, values)| LdapPartialAttribute {
            atype: (*name).to_owned(),
            vals: if request.typesonly {
                Vec::new()
            } else {
                values.iter().map(|value| value.clone().into_bytes()).collect()
            },
        })
        .collect();
    LdapOp::SearchResultEntry(LdapSearchResultEntry { dn: entry.dn.clone(), attributes })
}

/// `outcome` in the kind of answer `op` expects.
fn respond(op: &LdapOp, outcome: LdapResult) -> Option<LdapOp> {
    match op {
        LdapOp::BindRequest(_) => {
            Some(LdapOp::BindResponse(LdapBindResponse { res: outcome, saslcreds: None }))
        }
        LdapOp::SearchRequest(_) => Some(LdapOp::SearchResultDone(outcome)),
        LdapOp::CompareRequest(_) => Some(LdapOp::CompareResult(outcome)),
        LdapOp::ModifyRequest(_) => Some(LdapOp::ModifyResponse(outcome)),
        LdapOp::AddRequest(_) => Some(LdapOp::AddResponse(outcome)),
        LdapOp::DelRequest(_) => Some(LdapOp::DelResponse(outcome)),
        LdapOp::ModifyDNRequest(_) => Some(LdapOp::ModifyDNResponse(outcome)),
        LdapOp::ExtendedRequest(_) => {
            Some(LdapOp::ExtendedResponse(LdapExtendedResponse { res: outcome, name: None, value: None }))
        }
        _ => None,
    }
}
