//! Owns published data as a program sees it: results that a cluster's workers keep under a name, for later cells, other
//! notebooks, and the cells after a crash.

use std::{fmt, ops::Deref, sync::Arc};

use nuna_array::{ArrayError, HeldArray, persist};
use nuna_client::{Ask, PublishError as Refusal, Published, Told};
use nuna_labels::LabelError;
use nuna_plan::{Engine, EngineError};
use serde::{Deserialize, Serialize};

use crate::{Array, Cluster, DataArray, Dataset, display::Display, views::escape};

/// Why data could not be published, or not be had.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// `summary` begins with what it is.
    #[error("`{name}` is another kind of data ({summary}); write `let data: {} = cluster.get(\"{name}\")?;`", summary.split(' ').next().unwrap_or_default())]
    Kind { name: String, summary: String },
    #[error("`{name}` cannot be read: {message}")]
    Unreadable { name: String, message: String },
    #[error(transparent)]
    Array(#[from] ArrayError),
    #[error(transparent)]
    Label(#[from] LabelError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What travels with the blocks.
#[derive(Serialize, Deserialize)]
struct About {
    kind: String,
    arrays: Vec<HeldArray>,
    labels: Vec<u8>,
}

/// What can be published: [`Array`], [`DataArray`], [`Dataset`].
pub trait Publish: Sized {
    /// The type's name, by which it is told from the others.
    const KIND: &'static str;

    /// The arrays, whose blocks stay on the workers, and the rest as bytes.
    fn take_apart(&self) -> (Vec<Array>, Vec<u8>);

    /// The inverse of [`take_apart`](Self::take_apart).
    ///
    /// # Errors
    /// If the parts do not fit together.
    fn put_together(labels: &[u8], arrays: Vec<Array>) -> Result<Self, LabelError>;

    /// What a list shows besides the kind.
    fn summary(&self) -> String;
}

impl Publish for Array {
    const KIND: &'static str = "Array";

    fn take_apart(&self) -> (Vec<Array>, Vec<u8>) {
        (vec![self.clone()], Vec::new())
    }

    fn put_together(_: &[u8], mut arrays: Vec<Array>) -> Result<Self, LabelError> {
        arrays.pop().ok_or_else(|| LabelError::Invalid("there is no array".to_owned()))
    }

    fn summary(&self) -> String {
        format!("{} {:?}", self.dtype(), self.shape())
    }
}

impl Publish for DataArray {
    const KIND: &'static str = "DataArray";

    fn take_apart(&self) -> (Vec<Array>, Vec<u8>) {
        DataArray::take_apart(self)
    }

    fn put_together(labels: &[u8], arrays: Vec<Array>) -> Result<Self, LabelError> {
        DataArray::put_together(labels, arrays)
    }

    fn summary(&self) -> String {
        format!("{} ({})", self.dtype(), sizes(self.dims().iter().zip(self.shape())))
    }
}

impl Publish for Dataset {
    const KIND: &'static str = "Dataset";

    fn take_apart(&self) -> (Vec<Array>, Vec<u8>) {
        Dataset::take_apart(self)
    }

    fn put_together(labels: &[u8], arrays: Vec<Array>) -> Result<Self, LabelError> {
        Dataset::put_together(labels, arrays)
    }

    fn summary(&self) -> String {
        let names = self.names();
        let more = names.len().saturating_sub(NAMES_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let own = self.sizes();
        format!("of {shown}{more} ({})", sizes(own.iter().map(|(dim, size)| (dim, size))))
    }
}

const NAMES_SHOWN: usize = 6;

fn sizes<'a>(sizes: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    sizes.map(|(dim, size)| format!("{dim}: {size}")).collect::<Vec<_>>().join(", ")
}

/// Publishing on a [`Cluster`]. In the prelude.
pub trait Publishing {
    /// Computes `data`, leaves its blocks on the workers under `name`, and returns it as it is there. It stays when this
    /// program ends or crashes, until it is [taken away](Self::unpublish) or the cluster ends. What is persisted on this
    /// cluster already is not computed again. Blocks that are lost with a worker are computed again by the others.
    ///
    /// # Errors
    /// If the name is taken, or the computation fails.
    fn publish<T: Publish>(&self, name: &str, data: &T) -> Result<T, PublishError>;

    /// What was published as `name`, by whichever program: `let sst: DataArray = cluster.get("sst")?;`.
    ///
    /// # Errors
    /// If there is nothing of that name (the message lists what there is), it is of another kind, or it was lost with a
    /// worker and cannot be computed again.
    fn get<T: Publish>(&self, name: &str) -> Result<T, PublishError>;

    /// All that is published.
    ///
    /// # Errors
    /// If the cluster does not answer.
    fn published(&self) -> Result<Publications, PublishError>;

    /// Takes a name away. Its blocks are freed once no program reads them any more.
    ///
    /// # Errors
    /// If there is nothing of that name.
    fn unpublish(&self, name: &str) -> Result<(), PublishError>;
}

impl Publishing for Cluster {
    fn publish<T: Publish>(&self, name: &str, data: &T) -> Result<T, PublishError> {
        // Found out before anything is computed for it; another program may still be faster.
        if let Some(taken) = self.published()?.iter().find(|published| published.name == name) {
            return Err(Refusal::Taken { name: name.to_owned(), summary: taken.summary.clone() }.into());
        }
        let (arrays, labels) = data.take_apart();
        let arrays = held(arrays, &self.engine())?;
        let summary = format!("{} {}", T::KIND, data.summary());
        send(self, name, T::KIND, summary, &arrays, &labels)?;
        Ok(T::put_together(&labels, arrays)?)
    }

    fn get<T: Publish>(&self, name: &str) -> Result<T, PublishError> {
        let (arrays, labels) = receive(self, name, T::KIND)?;
        Ok(T::put_together(&labels, arrays)?)
    }

    fn published(&self) -> Result<Publications, PublishError> {
        match self.client().ask(Ask::List)? {
            Told::Listed(entries) => Ok(Publications { entries }),
            told => Err(unexpected(told, "the list of published data")),
        }
    }

    fn unpublish(&self, name: &str) -> Result<(), PublishError> {
        match self.client().ask(Ask::Unpublish { name: name.to_owned() })? {
            Told::Done => Ok(()),
            told => Err(unexpected(told, name)),
        }
    }
}

/// The same arrays, each held by `engine`; what is not yet is computed in one plan.
fn held(arrays: Vec<Array>, engine: &Arc<dyn Engine>) -> Result<Vec<Array>, PublishError> {
    let missing: Vec<Array> =
        arrays.iter().filter(|array| array.held_by(engine).is_none()).cloned().collect();
    let mut made = persist(&missing, engine)?.into_iter();
    let pick = |array: Array| match array.held_by(engine) {
        Some(_) => array,
        None => made.next().unwrap_or(array),
    };
    Ok(arrays.into_iter().map(pick).collect())
}

fn send(
    cluster: &Cluster,
    name: &str,
    kind: &str,
    summary: String,
    arrays: &[Array],
    labels: &[u8],
) -> Result<(), PublishError> {
    let engine = cluster.engine();
    let arrays: Vec<HeldArray> = arrays.iter().filter_map(|array| array.held_by(&engine)).collect();
    let held = arrays.iter().map(|array| array.id).collect();
    let about = About { kind: kind.to_owned(), arrays, labels: labels.to_vec() };
    let about = postcard::to_stdvec(&about).expect("plain data always encodes");
    match cluster.client().ask(Ask::Publish { name: name.to_owned(), summary, about, held })? {
        Told::Done => Ok(()),
        told => Err(unexpected(told, name)),
    }
}

fn receive(cluster: &Cluster, name: &str, kind: &str) -> Result<(Vec<Array>, Vec<u8>), PublishError> {
    match cluster.client().ask(Ask::Get { name: name.to_owned() })? {
        Told::Found { summary, about, held } => {
            let engine = cluster.engine();
            let about = match postcard::from_bytes::<About>(&about) {
                Ok(about) if about.arrays.iter().map(|array| &array.id).eq(&held) => about,
                _ => {
                    held.into_iter().for_each(|held| engine.release(held));
                    let message = "its description is damaged".to_owned();
                    return Err(PublishError::Unreadable { name: name.to_owned(), message });
                }
            };
            // From here on the arrays give back what was got.
            let own = |held: HeldArray| Array::from_held(held, engine.clone());
            let arrays = about.arrays.into_iter().map(own).collect();
            if about.kind != kind {
                return Err(PublishError::Kind { name: name.to_owned(), summary });
            }
            Ok((arrays, about.labels))
        }
        told => Err(unexpected(told, name)),
    }
}

fn unexpected(told: Told, name: &str) -> PublishError {
    match told {
        Told::Refused(refusal) => refusal.into(),
        Told::Done | Told::Found { .. } | Told::Listed(_) => PublishError::Unreadable {
            name: name.to_owned(),
            message: "the scheduler answered something else".to_owned(),
        },
    }
}

/// What a cluster keeps under names.
#[derive(Clone, PartialEq, Eq)]
pub struct Publications {
    entries: Vec<Published>,
}

impl Deref for Publications {
    type Target = [Published];

    fn deref(&self) -> &[Published] {
        &self.entries
    }
}

impl fmt::Debug for Publications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries.is_empty() {
            return f.write_str("nothing is published");
        }
        for (number, published) in self.entries.iter().enumerate() {
            let line = if number > 0 { "\n" } else { "" };
            write!(f, "{line}{}: {}, {}", published.name, published.summary, state(published))?;
        }
        Ok(())
    }
}

impl Display for Publications {
    fn mime_bundle(&self) -> Vec<(String, String)> {
        let rows: String = self
            .entries
            .iter()
            .map(|published| {
                format!(
                    "<tr><td style=\"text-align:left\">{}</td><td style=\"text-align:left\">{}</td><td>{}</td></tr>",
                    escape(&published.name),
                    escape(&published.summary),
                    escape(&state(published))
                )
            })
            .collect();
        let html = if rows.is_empty() {
            "<p>nothing is published</p>".to_owned()
        } else {
            format!(
                "<table><thead><tr><th style=\"text-align:left\">Name</th><th style=\"text-align:left\">Data</th>\
                 <th>Held</th></tr></thead><tbody>{rows}</tbody></table>"
            )
        };
        vec![("text/plain".to_owned(), format!("{self:?}")), ("text/html".to_owned(), html)]
    }
}

/// How much of it is there.
fn state(published: &Published) -> String {
    let Published { bytes, blocks, blocks_stored, lost, .. } = published;
    match lost {
        Some(reason) => format!("lost: {reason}"),
        None if blocks_stored < blocks => {
            format!("{blocks_stored} of {blocks} blocks, the others are being computed again")
        }
        None => nuna_cluster::show_bytes(*bytes),
    }
}
