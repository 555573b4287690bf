//! What launchers ask of the fleet: who may have an environment, and where a user server may be.
//!
//! Anybody on the network can ask. A code counts once, for its job, and from the node on which PBS runs that job; a
//! ticket can name no machine but the one it is shown from.

use std::net::IpAddr;

use nuna_pbs::JobId;

use super::{Answer, Fleet, Outcome, PbsHealth, Resolved};
use crate::clock::Millis;
use crate::lifecycle::server;
use crate::lifecycle::state::{Address, LaunchReport, State};
use crate::secret::Digest;

/// Ports below are the system's.
const PORT_MIN: u16 = 1024;

impl Fleet {
    pub(super) fn exchange(
        &mut self,
        now: Millis,
        code: &Digest,
        job: &str,
        ticket: Digest,
        peer: IpAddr,
        resolved: Option<&Resolved>,
    ) -> Outcome {
        let answer = |answer| Outcome { effects: Vec::new(), answer: Some(answer) };
        let Some(server) = self.codes.get(code).and_then(|id| self.servers.get(id)) else {
            return answer(Answer::Refused("the code is unknown or was used before"));
        };
        if matches!(server.state, State::Submitting { .. }) {
            return answer(Answer::NotYet);
        }
        let (Some(environment), true) = (server.spec.environment.clone(), server.awaits_launcher()) else {
            return answer(Answer::Refused("the user server is being stopped"));
        };
        let is_its_job = job
            .parse::<JobId>()
            .is_ok_and(|claimed| server.state.job().is_some_and(|known| known.is_same_job(&claimed)));
        if !is_its_job {
            return answer(Answer::Refused("the code belongs to another job"));
        }
        let node = match (server.news.exec_host.clone(), &self.pbs) {
            // PBS has the final word on where its job runs, and it is asked before anybody is believed.
            (None, PbsHealth::Answers | PbsHealth::Unknown) => {
                self.plan.soon();
                return answer(Answer::NotYet);
            }
            // Its silence must not end a job that has just begun.
            (None, PbsHealth::Silent { .. }) => None,
            (Some(host), _) => match resolved.filter(|resolved| resolved.host == host) {
                None => return answer(Answer::Resolve(host)),
                // A name that only PBS knows proves nothing and disproves nothing.
                Some(resolved) if resolved.addresses.is_empty() => None,
                Some(resolved) if leads_to(&resolved.addresses, peer) => Some(host),
                Some(_) => {
                    let why = "the request does not come from the node on which PBS runs the job";
                    return answer(Answer::Refused(why));
                }
            },
        };
        let (id, user) = (server.spec.id.clone(), server.spec.user.clone());
        self.tickets.insert(ticket.clone(), id.clone());
        let mut effects = Vec::new();
        self.tell(now, &id, server::Event::Exchanged { ticket }, &mut effects);
        Outcome { effects, answer: Some(Answer::Granted { id, user, environment, node }) }
    }

    pub(super) fn ready(
        &mut self,
        now: Millis,
        ticket: &Digest,
        host: &str,
        port: u16,
        peer: IpAddr,
        resolved: Option<&Resolved>,
    ) -> Outcome {
        let refused = |why| Outcome { effects: Vec::new(), answer: Some(Answer::Refused(why)) };
        let Some(server) = self.tickets.get(ticket).and_then(|id| self.servers.get(id)) else {
            return refused("the ticket is unknown or its server is gone");
        };
        match &server.state {
            State::Starting { .. } => {}
            // The launcher asks again because it did not get the answer.
            State::Running { address, .. } if address.port == port => {
                let id = server.spec.id.clone();
                return Outcome { effects: Vec::new(), answer: Some(Answer::Done(id)) };
            }
            State::Running { .. }
            | State::Submitting { .. }
            | State::Lost { .. }
            | State::Queued { .. }
            | State::Stopping { .. }
            | State::Gone { .. } => return refused("the user server is not starting"),
        }
        let addresses = match resolved.filter(|resolved| resolved.host == host) {
            Some(resolved) => resolved.addresses.as_slice(),
            None if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() => &[],
            None => return Outcome { effects: Vec::new(), answer: Some(Answer::Resolve(host.to_owned())) },
        };
        let exec_host = server.news.exec_host.as_deref();
        let Some(host) = proven_host(host, peer, addresses, exec_host) else {
            return refused("the host is neither where the request came from nor where PBS runs the job");
        };
        if port < PORT_MIN {
            return refused("ports below 1024 are not a user server's");
        }
        let id = server.spec.id.clone();
        let mut effects = Vec::new();
        self.tell(now, &id, server::Event::Ready { address: Address { host, port } }, &mut effects);
        Outcome { effects, answer: Some(Answer::Done(id)) }
    }

    pub(super) fn launch_failed(&mut self, now: Millis, ticket: &Digest, report: LaunchReport) -> Outcome {
        let Some(server) = self.tickets.get(ticket).and_then(|id| self.servers.get(id)) else {
            let why = "the ticket is unknown or its server is gone";
            return Outcome { effects: Vec::new(), answer: Some(Answer::Refused(why)) };
        };
        let id = server.spec.id.clone();
        let mut effects = Vec::new();
        if matches!(server.state, State::Starting { .. }) {
            self.tell(now, &id, server::Event::LaunchFailed { report }, &mut effects);
        }
        Outcome { effects, answer: Some(Answer::Done(id)) }
    }
}

fn leads_to(addresses: &[IpAddr], peer: IpAddr) -> bool {
    addresses.iter().any(|address| address.to_canonical() == peer.to_canonical())
}

/// The host to send a user's traffic to, if the launcher's claim holds: a user must not be able to point the
/// hub's proxy at anything but the node the job runs on. A name that leads to the peer becomes the peer's
/// address, since a name can lead elsewhere a moment later.
pub(super) fn proven_host(
    host: &str,
    peer: IpAddr,
    resolved: &[IpAddr],
    exec_host: Option<&str>,
) -> Option<String> {
    let peer = peer.to_canonical();
    let is_local = |address: &IpAddr| address.is_loopback() || address.is_unspecified();
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return (address.to_canonical() == peer).then(|| peer.to_string());
    }
    if leads_to(resolved, peer) {
        return Some(peer.to_string());
    }
    let is_exec_host = exec_host.is_some_and(|exec_host| exec_host.eq_ignore_ascii_case(host));
    // PBS names its nodes; a node that is this machine, reached from elsewhere, would be the hub's own ports.
    let address = resolved.iter().find(|address| !is_local(&address.to_canonical()) || is_local(&peer))?;
    is_exec_host.then(|| address.to_canonical().to_string())
}
