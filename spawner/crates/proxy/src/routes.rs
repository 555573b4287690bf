//! The route table: a trie of path segments, pure data. The longest matching prefix wins; `/user/a` does not
//! match `/user/ab`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::upstream::Target;

pub(crate) struct Route {
    /// As matched, decoded: `/user/alice`; the root is `/`.
    pub(crate) prefix: String,
    pub(crate) target: Target,
    /// What was posted, and what is given back.
    data: Map<String, Value>,
    last_activity_ms: AtomicI64,
}

impl Route {
    /// Records activity now. Cheap enough for every piece of data that passes.
    pub(crate) fn touch(&self) {
        self.last_activity_ms.store(now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn last_activity_ms(&self) -> i64 {
        self.last_activity_ms.load(Ordering::Relaxed)
    }

    /// Whether JupyterHub itself is behind it, as JupyterHub says of the route that it adds for itself.
    pub(crate) fn is_hub(&self) -> bool {
        self.data.get("hub").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn json(&self) -> Value {
        let mut data = self.data.clone();
        let at = Timestamp::from_millisecond(self.last_activity_ms()).unwrap_or_default();
        data.insert("last_activity".to_owned(), at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string().into());
        Value::Object(data)
    }
}

pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[derive(Default)]
struct Node {
    route: Option<Arc<Route>>,
    children: HashMap<String, Node>,
}

#[derive(Default)]
pub(crate) struct RouteTable {
    root: Node,
    /// The same routes by path; every route is in both.
    by_path: BTreeMap<String, Arc<Route>>,
}

/// `/foo/bar` for `foo/bar/`; the root is `/`.
pub(crate) fn clean(path: &str) -> String {
    let slashed = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    match slashed.strip_suffix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        Some(_) | None => slashed,
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    let trimmed = path.trim_matches('/');
    trimmed.split('/').filter(move |_| !trimmed.is_empty())
}

impl RouteTable {
    /// Adds or replaces the route at `path`. `data` holds `target`.
    pub(crate) fn add(
        &mut self,
        path: &str,
        data: Map<String, Value>,
        now_ms: i64,
    ) -> anyhow::Result<Arc<Route>> {
        let text = data.get("target").and_then(Value::as_str).unwrap_or_default();
        let target = Target::parse(text)?;
        let prefix = clean(path);
        let route = Arc::new(Route {
            prefix: prefix.clone(),
            target,
            data,
            last_activity_ms: AtomicI64::new(now_ms),
        });
        let mut node = &mut self.root;
        for segment in segments(&prefix) {
            node = node.children.entry(segment.to_owned()).or_default();
        }
        node.route = Some(route.clone());
        self.by_path.insert(prefix, route.clone());
        Ok(route)
    }

    pub(crate) fn remove(&mut self, path: &str) -> Option<Arc<Route>> {
        fn prune(node: &mut Node, path: &[&str]) {
            match path {
                [] => node.route = None,
                [first, rest @ ..] => {
                    if let Some(child) = node.children.get_mut(*first) {
                        prune(child, rest);
                        if child.route.is_none() && child.children.is_empty() {
                            node.children.remove(*first);
                        }
                    }
                }
            }
        }
        let prefix = clean(path);
        let route = self.by_path.remove(&prefix)?;
        prune(&mut self.root, &segments(&prefix).collect::<Vec<_>>());
        Some(route)
    }

    /// The route posted at exactly this path.
    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Route>> {
        self.by_path.get(&clean(path))
    }

    /// The route whose prefix is the longest that `path` begins with.
    pub(crate) fn find(&self, path: &str) -> Option<&Arc<Route>> {
        let mut node = &self.root;
        let mut best = node.route.as_ref();
        for segment in segments(path) {
            match node.children.get(segment) {
                Some(child) => node = child,
                None => break,
            }
            best = node.route.as_ref().or(best);
        }
        best
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Route>)> {
        self.by_path.iter().map(|(path, route)| (path.as_str(), route))
    }

    pub(crate) fn count(&self) -> usize {
        self.by_path.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(paths: &[&str]) -> RouteTable {
        let mut table = RouteTable::default();
        for (index, path) in paths.iter().enumerate() {
            add(&mut table, path, index);
        }
        table
    }

    fn add(table: &mut RouteTable, path: &str, index: usize) {
        let mut data = Map::new();
        data.insert("target".to_owned(), format!("http://127.0.0.1:{}", 1000 + index).into());
        table.add(path, data, 0).unwrap();
    }

    fn found(table: &RouteTable, path: &str) -> Option<String> {
        table.find(path).map(|route| route.prefix.clone())
    }

    #[test]
    fn longest_prefix_of_whole_segments_wins() {
        let table = table(&["/", "/user/alice", "/user/alice/deep/er", "/services/nuna/"]);
        for (path, prefix) in [
            ("/", "/"),
            ("/user/alicent", "/"),
            ("/user/alice", "/user/alice"),
            ("/user/alice/", "/user/alice"),
            ("/user/alice/deep/x", "/user/alice"),
            ("/user/alice/deep/er/x", "/user/alice/deep/er"),
            ("/services/nuna/x", "/services/nuna"),
        ] {
            assert_eq!(found(&table, path).as_deref(), Some(prefix), "{path}");
        }
    }

    #[test]
    fn removing_a_route_leaves_those_above_and_below() {
        let mut table = table(&["/a", "/a/b", "/a/b/c"]);
        assert!(table.remove("/a/b/").is_some());
        assert!(table.remove("/a/b").is_none());
        assert_eq!(found(&table, "/a/b/x").as_deref(), Some("/a"));
        assert_eq!(found(&table, "/a/b/c").as_deref(), Some("/a/b/c"));
        table.remove("/a");
        table.remove("/a/b/c");
        assert!(table.root.children.is_empty() && table.by_path.is_empty());
        assert_eq!(found(&table, "/a"), None);
    }

    #[test]
    fn root_can_be_removed() {
        let mut table = table(&["/"]);
        assert!(table.remove("/").is_some());
        assert_eq!(found(&table, "/x"), None);
    }

    #[test]
    fn ten_thousand_routes_each_find_their_own() {
        let mut table = RouteTable::default();
        for index in 0..10_000 {
            add(&mut table, &format!("/user/u{index}"), index % 60_000);
        }
        for index in (0..10_000).step_by(37) {
            assert_eq!(found(&table, &format!("/user/u{index}/lab")), Some(format!("/user/u{index}")));
        }
        assert_eq!(table.count(), 10_000);
    }

    #[test]
    fn replaced_route_has_the_new_target() {
        let mut table = table(&["/a"]);
        add(&mut table, "/a/", 7);
        assert_eq!(table.count(), 1);
        assert_eq!(table.find("/a/x").unwrap().json()["target"], "http://127.0.0.1:1007");
        assert_eq!(table.get("a").unwrap().json()["last_activity"], "1970-01-01T00:00:00.000Z");
    }
}
