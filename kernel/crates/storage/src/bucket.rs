//! Owns Zarr stores that are written into buckets, where nothing can be moved: chunks come first and the documents that make
//! them a store last, and a mark says meanwhile that it is not whole. What a failed write leaves is removed, or said.

use std::collections::VecDeque;

use nuna_remote::{Client, Location, Pending, RemoteError};

use crate::{error::StorageError, metadata::ROOT_DOCUMENTS};

/// There as long as the store is not whole. No reader of Zarr looks at it.
pub(crate) const MARK: &str = ".nuna-unfinished";
const MARK_TEXT: &[u8] =
    b"This store is being written, or writing it was cut off. Without its metadata nobody opens it.\n";
/// Requests side by side.
const AT_ONCE: usize = 32;

/// A place in a bucket where a store is being written.
#[derive(Debug)]
pub(crate) struct NewBucket {
    root: Location,
    client: &'static Client,
    /// What makes it a store, in the order in which it is written at last.
    documents: Vec<(String, String)>,
}

fn failed(root: &Location, message: impl Into<String>) -> StorageError {
    StorageError::Write { path: root.to_string().into(), message: message.into() }
}

impl NewBucket {
    /// Sees that nothing is there, or removes it, and leaves a mark.
    ///
    /// # Errors
    /// If something is there that may not be replaced, or the bucket refuses.
    pub(crate) fn create(root: Location, overwrite: bool) -> Result<Self, StorageError> {
        match &root {
            Location::S3 { key, .. } if key.is_empty() => {
                return Err(failed(&root, "it is a whole bucket; give the store a name in it"));
            }
            Location::S3 { .. } => {}
            Location::Http(_) => {
                return Err(failed(
                    &root,
                    "stores are written to the file system and to buckets (s3://) only",
                ));
            }
        }
        let new = Self { root, client: Client::shared()?, documents: Vec::new() };
        let is_empty = new.client.below(&new.root)?.unwrap_or_default().is_empty();
        if !is_empty {
            new.check(overwrite)?;
        }
        new.client.put(&new.root.join(MARK)?, MARK_TEXT.into())?.wait()?;
        if !is_empty {
            // What made it a store goes first: a removal that is cut off leaves nothing that looks like one.
            let documents = ROOT_DOCUMENTS.iter().map(|name| (*name).to_owned());
            new.remove(documents)?;
            new.clear()?;
        }
        Ok(new)
    }

    /// Whether what is there may be replaced.
    fn check(&self, overwrite: bool) -> Result<(), StorageError> {
        let mut is_store = false;
        for name in ROOT_DOCUMENTS {
            is_store |= self.client.size(&self.root.join(name)?)?.is_some();
        }
        let is_unfinished = self.client.size(&self.root.join(MARK)?)?.is_some();
        let path = self.root.to_string().into();
        match (overwrite, is_store, is_unfinished) {
            (true, true, _) | (true, _, true) => Ok(()),
            (false, _, true) => Err(failed(
                &self.root,
                "a store is being written there, or writing one was cut off; choose another name, remove it, or ask for it to be overwritten",
            )),
            (false, _, false) => Err(StorageError::Exists { path }),
            (true, false, false) => Err(StorageError::ExistsNot { path, what: "a Zarr store".to_owned() }),
        }
    }

    pub(crate) fn keep(&mut self, documents: Vec<(String, String)>) {
        self.documents = documents;
    }

    /// The first of what lies there, without the mark.
    fn below(&self) -> Result<Vec<String>, RemoteError> {
        let found = self.client.below(&self.root)?.unwrap_or_default();
        Ok(found.into_iter().filter(|name| name != MARK).collect())
    }

    fn remove(&self, names: impl Iterator<Item = String>) -> Result<(), RemoteError> {
        let mut coming: VecDeque<Pending> = VecDeque::new();
        for name in names {
            if coming.len() >= AT_ONCE
                && let Some(first) = coming.pop_front()
            {
                first.wait()?;
            }
            coming.push_back(self.client.delete(&self.root.join(&name)?)?);
        }
        coming.into_iter().try_for_each(|pending| pending.wait().map(drop))
    }

    /// Removes everything but the mark.
    fn clear(&self) -> Result<(), StorageError> {
        let mut last = None;
        loop {
            let names = self.below()?;
            if names.is_empty() {
                return Ok(());
            }
            if last.as_ref() == Some(&names) {
                return Err(failed(&self.root, format!("{} is removed and still there", names[0])));
            }
            self.remove(names.iter().cloned())?;
            last = Some(names);
        }
    }

    /// Writes what makes it a store.
    ///
    /// # Errors
    /// If the bucket refuses.
    pub(crate) fn finish(&self) -> Result<(), StorageError> {
        for (name, text) in &self.documents {
            self.client.put(&self.root.join(name)?, text.clone().into_bytes().into())?.wait()?;
        }
        Ok(())
    }

    /// Takes the mark away from what is whole.
    ///
    /// # Errors
    /// If the bucket refuses.
    pub(crate) fn unmark(&self) -> Result<(), StorageError> {
        self.remove(std::iter::once(MARK.to_owned())).map_err(|error| {
            failed(
                &self.root,
                format!("the store is whole, but `{MARK}` in it could not be removed: {error}"),
            )
        })
    }

    /// Removes what was written; if that fails, says what remains.
    pub(crate) fn abandon(&self) -> Option<String> {
        let removed = self
            .clear()
            .and_then(|()| self.remove(std::iter::once(MARK.to_owned())).map_err(StorageError::from));
        let error = removed.err()?;
        Some(format!(
            "what was written below {} could not be removed ({error}); without its metadata nobody opens it, `overwrite` replaces it",
            self.root
        ))
    }
}
