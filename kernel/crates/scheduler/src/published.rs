//! Owns published data: held values with a name, which stay when the client that made them goes, until somebody takes
//! the name away or the cluster ends. What a value means is the clients' affair.

use nuna_plan::HeldId;
use nuna_wire::{
    ClientId,
    message::{Ask, PublishError, Published, ToClient, Told},
};

use crate::{journal::Record, scheduler::Scheduler};

const NAME_BYTES_MAX: usize = 128;
/// What a publication may bring along besides its blocks: the scheduler keeps it in memory.
const ABOUT_BYTES_MAX: usize = 64 << 20;
const PUBLICATIONS_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) summary: String,
    pub(crate) about: Vec<u8>,
    /// Held or lost, each of them.
    pub(crate) held: Vec<HeldId>,
}

impl Scheduler {
    pub(crate) fn ask(&mut self, client: ClientId, request: u32, ask: Ask) {
        if !self.clients.contains_key(&client) {
            return;
        }
        let told = match ask {
            Ask::Publish { name, summary, about, held } => {
                self.publish(client, name, Publication { summary, about, held }).map(|()| Told::Done)
            }
            Ask::Get { name } => self.get(client, name),
            Ask::List => Ok(Told::Listed(self.listed())),
            Ask::Unpublish { name } => self.unpublish(name).map(|()| Told::Done),
        };
        let told = told.unwrap_or_else(Told::Refused);
        self.to_client(client, ToClient::Told { request, told });
    }

    fn publish(
        &mut self,
        client: ClientId,
        name: String,
        publication: Publication,
    ) -> Result<(), PublishError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(PublishError::BadName { name: name.chars().take(NAME_BYTES_MAX).collect() });
        }
        if let Some(taken) = self.published.get(&name) {
            return Err(PublishError::Taken { name, summary: taken.summary.clone() });
        }
        if self.published.len() >= PUBLICATIONS_MAX {
            return Err(PublishError::TooMany { name, limit: PUBLICATIONS_MAX });
        }
        if publication.about.len() > ABOUT_BYTES_MAX {
            let (bytes, limit) = (publication.about.len() as u64, ABOUT_BYTES_MAX as u64);
            return Err(PublishError::TooLarge { name, bytes, limit });
        }
        for held in &publication.held {
            if let Some(reason) = self.lost.get(held) {
                return Err(PublishError::Lost { name, reason: reason.clone() });
            }
            // What still runs may yet be cancelled, and somebody else's is not this client's to give away.
            let whole = self.held.get(held).is_some_and(|key| {
                let computation = self.stage(*key).computation;
                !self.computation(computation).running
            });
            let own = self.clients.get(&client).is_some_and(|client| client.held.contains_key(held));
            if !whole || !own {
                return Err(PublishError::NotHeld { name });
            }
        }
        let Publication { summary, about, held } = publication.clone();
        self.journal(Record::Published { name: name.clone(), summary, about, held });
        self.published.insert(name, publication);
        Ok(())
    }

    fn get(&mut self, client: ClientId, name: String) -> Result<Told, PublishError> {
        let Some(publication) = self.published.get(&name) else { return Err(self.unknown(name)) };
        if let Some(reason) = publication.held.iter().find_map(|held| self.lost.get(held)) {
            return Err(PublishError::Lost { name, reason: reason.clone() });
        }
        let (summary, about, held) =
            (publication.summary.clone(), publication.about.clone(), publication.held.clone());
        if let Some(client) = self.clients.get_mut(&client) {
            for &held in &held {
                *client.held.entry(held).or_default() += 1;
            }
        }
        Ok(Told::Found { summary, about, held })
    }

    fn unpublish(&mut self, name: String) -> Result<(), PublishError> {
        let Some(publication) = self.published.remove(&name) else { return Err(self.unknown(name)) };
        self.journal(Record::Unpublished { name });
        for held in publication.held {
            self.release_unneeded(held);
        }
        Ok(())
    }

    fn unknown(&self, name: String) -> PublishError {
        PublishError::Unknown { name, there: self.published.keys().cloned().collect() }
    }

    fn listed(&self) -> Vec<Published> {
        let listed = self.published.iter().map(|(name, publication)| {
            let stages =
                || publication.held.iter().filter_map(|held| self.held.get(held)).map(|key| self.stage(*key));
            Published {
                name: name.clone(),
                summary: publication.summary.clone(),
                bytes: stages().map(|stage| stage.stored_bytes).sum(),
                blocks: stages().map(crate::stage::StageState::block_count).sum(),
                blocks_stored: stages().map(|stage| stage.stored_count).sum(),
                lost: publication.held.iter().find_map(|held| self.lost.get(held).cloned()),
            }
        });
        listed.collect()
    }
}
