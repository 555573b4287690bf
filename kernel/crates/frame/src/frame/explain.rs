//! Owns how a frame is described: its name on the dashboard, and what would be computed, in words.

use super::{Frame, Logical};
use crate::{column::ColumnType, expr::Node};

impl Frame {
    /// What it is called on the dashboard and in messages.
    pub(crate) fn label(&self) -> String {
        match &*self.logical {
            Logical::Csv(source) => format!("read {}", source.name),
            Logical::Parquet(source) => format!("read {}", source.name),
            Logical::Memory(_) => "table".to_owned(),
            Logical::Filter(frame, _) | Logical::Project(frame, _) => frame.label(),
            Logical::Group { keys, .. } => {
                let keys: Vec<&str> = keys.iter().map(|(name, _, _)| name.as_str()).collect();
                format!("groupby({})", keys.join(", "))
            }
            Logical::Join { left, keys, .. } => format!("{}, join({})", left.label(), keys.join(", ")),
            Logical::Sort(_, by, _) => format!("sort({})", list(by)),
            Logical::Top(_, by, count) => format!("top {count} by {}", list(by)),
            Logical::Head(frame, count) => format!("{}, first {count}", frame.label()),
            Logical::Concat(frames) => format!("{} tables", frames.len()),
        }
    }

    pub(super) fn explained(&self) -> String {
        let below = |frames: &[&Frame], line: String| {
            let inner: Vec<String> =
                frames.iter().map(|frame| frame.explained().replace('\n', "\n  ")).collect();
            format!("{line}\n  {}", inner.join("\n  "))
        };
        let columns = |items: &[(String, Node, ColumnType)]| {
            let item = |(name, node, _): &(String, Node, ColumnType)| match node {
                Node::Column(from) if from == name => name.clone(),
                node => format!("{name} = {node}"),
            };
            items.iter().map(item).collect::<Vec<_>>().join(", ")
        };
        match &*self.logical {
            Logical::Csv(source) => format!(
                "read {}: {} files, {} blocks of {} bytes; {}",
                source.name,
                source.files.len(),
                source.blocks,
                source.block_bytes,
                self.describe_columns()
            ),
            Logical::Parquet(source) => format!(
                "read {}: {} files, {} groups of rows; {}",
                source.name,
                source.files.len(),
                source.groups.len(),
                self.describe_columns()
            ),
            Logical::Memory(table) => {
                format!("table in memory: {} rows; {}", table.rows, self.describe_columns())
            }
            Logical::Filter(frame, node) => below(&[frame], format!("filter {node}")),
            Logical::Project(frame, items) => below(&[frame], format!("select {}", columns(items))),
            Logical::Group { frame, keys, aggs, .. } => {
                let aggs: Vec<&str> = aggs.iter().map(|(name, _)| name.as_str()).collect();
                below(&[frame], format!("groupby {}: {}", columns(keys), aggs.join(", ")))
            }
            Logical::Join { left, right, keys, keeps_left, .. } => {
                let kind = if *keeps_left { "left join" } else { "join" };
                below(&[left, right], format!("{kind} on {}", keys.join(", ")))
            }
            Logical::Sort(frame, ..) | Logical::Top(frame, ..) | Logical::Head(frame, _) => {
                below(&[frame], self.label())
            }
            Logical::Concat(frames) => {
                below(&frames.iter().collect::<Vec<_>>(), "one below another".to_owned())
            }
        }
    }
}

fn list(by: &[(String, bool)]) -> String {
    let one = |(name, descending): &(String, bool)| {
        if *descending { format!("{name} descending") } else { name.clone() }
    };
    by.iter().map(one).collect::<Vec<_>>().join(", ")
}
