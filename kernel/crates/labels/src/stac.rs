//! Owns catalogues that say what data there are (STAC, SpatioTemporal Asset Catalogs): reading collections and items from
//! files and addresses, choosing among items, and opening what they name as one dataset or cube.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use nuna_storage::{Attributes, GeotiffOptions};
use serde_json::Value;

use crate::{
    Calendar, DataArray, Dataset, LabelError, Result, Times, concat, coord::Values, open_geotiffs_with,
    open_many,
};

/// Documents of one catalogue; more are more likely a circle of links.
const DOCUMENTS_MAX: usize = 100_000;
/// Links from one document to the next.
const DEPTH_MAX: usize = 2_000;

/// What there is of one place and time: a scene, or a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub id: String,
    pub collection: Option<String>,
    /// West, south, east, north in degrees; west is greater than east across the date line.
    pub bbox: Option<[f64; 4]>,
    /// First and last instant, in microseconds since 1970; equal if there is only one.
    pub time: Option<(i64, i64)>,
    /// As they stand in the item, `datetime` among them.
    pub properties: Attributes,
    pub assets: BTreeMap<String, Asset>,
}

/// A file or store of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// A path, or an address.
    pub path: PathBuf,
    /// Its media type, such as `image/tiff; application=geotiff`.
    pub media_type: Option<String>,
    pub title: Option<String>,
    pub roles: Vec<String>,
}

/// Items of a catalogue, in the order in which it lists them. Nothing of the data is read until they are opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Items {
    items: Vec<Item>,
}

/// Reads all items that a STAC file leads to: a catalogue or collection with those below it, an item, or a collection of
/// items as searches give it, page by page. `path` may be an address.
///
/// # Errors
/// If a document cannot be read, is no STAC, or there are more than 100,000.
pub fn open_stac(path: impl AsRef<Path>) -> Result<Items> {
    let first = nuna_storage::resolve(None, &path.as_ref().to_string_lossy())?;
    let mut seen = HashSet::from([first.clone()]);
    let mut level = vec![first];
    let mut items = Vec::new();
    for _ in 0..DEPTH_MAX {
        let documents = nuna_storage::read_documents(&level)?;
        let mut next = Vec::new();
        for (file, document) in level.iter().zip(documents) {
            let wrong = |message: &str| {
                let file = nuna_storage::shown(file);
                LabelError::Invalid(format!("the catalogue {} cannot be read: {message}", file.display()))
            };
            let document = document.ok_or_else(|| wrong("there is no such file"))?;
            let mut follow: &[&str] = &[];
            match document["type"].as_str() {
                Some("Feature") => items.push(Item::new(file, &document).map_err(|m| wrong(&m))?),
                Some("FeatureCollection") => {
                    let features =
                        document["features"].as_array().ok_or_else(|| wrong("it has no `features`"))?;
                    for feature in features {
                        items.push(Item::new(file, feature).map_err(|m| wrong(&m))?);
                    }
                    follow = &["next"];
                }
                Some("Collection" | "Catalog") => {
                    let has = |rel: &str| links(&document).any(|link| link["rel"] == rel);
                    // A service lists its items by pages as well as one by one.
                    follow = if has("item") || has("child") { &["item", "child"] } else { &["items"] };
                }
                _ => {
                    return Err(wrong(
                        "its `type` is none of Catalog, Collection, Feature and FeatureCollection",
                    ));
                }
            }
            for link in links(&document).filter(|link| follow.iter().any(|rel| link["rel"] == *rel)) {
                if link["method"].as_str().is_some_and(|method| method != "GET") {
                    return Err(wrong("its next page must be asked for by POST, which is not supported"));
                }
                let href = link["href"].as_str().ok_or_else(|| wrong("a link has no `href`"))?;
                let to = nuna_storage::resolve(Some(file), href)?;
                if seen.insert(to.clone()) {
                    next.push(to);
                }
            }
            if seen.len() > DOCUMENTS_MAX {
                return Err(wrong("it leads to more than 100000 documents"));
            }
        }
        if next.is_empty() {
            return Ok(Items { items });
        }
        level = next;
    }
    Err(LabelError::Invalid(format!("{}: links are nested too deep", path.as_ref().display())))
}

fn links(document: &Value) -> impl Iterator<Item = &Value> {
    document["links"].as_array().into_iter().flatten()
}

impl Item {
    fn new(file: &Path, document: &Value) -> std::result::Result<Self, String> {
        let id = document["id"].as_str().ok_or("an item has no `id`")?.to_owned();
        let about = |message: String| format!("item `{id}`: {message}");
        let properties = document["properties"].as_object().cloned().unwrap_or_default();
        let numbers =
            |value: &Value| -> Option<Vec<f64>> { value.as_array()?.iter().map(Value::as_f64).collect() };
        let bbox = match &document["bbox"] {
            Value::Null => None,
            value => match numbers(value).as_deref() {
                Some(&[west, south, east, north] | &[west, south, _, east, north, _]) => {
                    Some([west, south, east, north])
                }
                _ => return Err(about("its `bbox` is not four or six numbers".to_owned())),
            },
        };
        let instant = |key: &str| match properties.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let time = value.as_str().and_then(period).map(|(start, _)| start);
                time.map(Some).ok_or_else(|| about(format!("its `{key}` {value} is no date")))
            }
        };
        let (at, from, to) = (instant("datetime")?, instant("start_datetime")?, instant("end_datetime")?);
        let time = from.zip(to).or(at.zip(at));
        let mut assets = BTreeMap::new();
        for (name, asset) in document["assets"].as_object().into_iter().flatten() {
            let text = |key: &str| asset[key].as_str().map(str::to_owned);
            let href = text("href").ok_or_else(|| about(format!("its asset `{name}` has no `href`")))?;
            let path = nuna_storage::resolve(Some(file), &href).map_err(|error| about(error.to_string()))?;
            let roles = asset["roles"].as_array().into_iter().flatten();
            let roles = roles.filter_map(|role| role.as_str().map(str::to_owned)).collect();
            let asset = Asset { path, media_type: text("type"), title: text("title"), roles };
            assets.insert(name.clone(), asset);
        }
        let collection = document["collection"].as_str().map(str::to_owned);
        Ok(Self { id, collection, bbox, time, properties, assets })
    }
}

/// What a date means, `2021`, `2021-07`, `2021-07-14` or an instant: its first microsecond, and the one after its last.
/// Without a zone it is UTC.
fn period(text: &str) -> Option<(i64, i64)> {
    use jiff::{Timestamp, ToSpan, civil};
    // Not as a timestamp, which ends a day before the year 9999 does: items that have no end are often said to end then.
    let utc = |time: civil::DateTime| {
        i64::try_from(time.duration_since(civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_micros()).ok()
    };
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i16>().ok();
    let day = |month: i16, day: i16| {
        civil::Date::new(number(0..4)?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
    };
    let digits = |count: usize| {
        text.len() == count
            && text
                .bytes()
                .enumerate()
                .all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() })
    };
    let (first, span) = match text.len() {
        4 if digits(4) => (day(1, 1)?, 1.year()),
        7 if digits(7) => (day(number(5..7)?, 1)?, 1.month()),
        10 if digits(10) => (day(number(5..7)?, number(8..10)?)?, 1.day()),
        _ => {
            let instant = match text.parse::<Timestamp>() {
                Ok(instant) => instant.as_microsecond(),
                Err(_) => {
                    utc(text.strip_suffix(['Z', 'z']).unwrap_or(text).parse::<civil::DateTime>().ok()?)?
                }
            };
            return Some((instant, instant.checked_add(1)?));
        }
    };
    let end = match first.checked_add(span) {
        Ok(next) => utc(next.to_datetime(civil::Time::midnight()))?,
        Err(_) => utc(civil::DateTime::MAX)? + 1,
    };
    Some((utc(first.to_datetime(civil::Time::midnight()))?, end))
}

impl Items {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Item> {
        self.items.iter()
    }

    /// Rows for a table: `id`, and the properties.
    pub fn rows(&self) -> Vec<Attributes> {
        let row = |item: &Item| {
            let id = ("id".to_owned(), Value::from(item.id.clone()));
            std::iter::once(id).chain(item.properties.clone()).collect()
        };
        self.items.iter().map(row).collect()
    }

    /// The items of which `keep` says so.
    pub fn filter_with(&self, keep: impl Fn(&Item) -> bool) -> Items {
        Items { items: self.items.iter().filter(|item| keep(item)).cloned().collect() }
    }

    /// The items with a property equal to `value`. `id` and `collection` count as properties.
    pub fn filter(&self, property: &str, value: impl Into<Value>) -> Items {
        let value = value.into();
        self.filter_with(|item| match property {
            "id" => value == item.id.as_str(),
            "collection" => item.collection.as_deref().is_some_and(|name| value == name),
            _ => match (item.properties.get(property), value.as_f64()) {
                // 1 and 1.0 are equal.
                (Some(found), Some(number)) => found.as_f64() == Some(number),
                (Some(found), None) => *found == value,
                (None, _) => false,
            },
        })
    }

    /// The items with a number for a property that lies in `range`: `filter_range("eo:cloud_cover", 0.0..=20.0)`.
    pub fn filter_range(&self, property: &str, range: RangeInclusive<f64>) -> Items {
        let number = |item: &Item| item.properties.get(property).and_then(Value::as_f64);
        self.filter_with(|item| number(item).is_some_and(|value| range.contains(&value)))
    }

    /// The items that have something in common with a box of degrees, also if it, or theirs, crosses the date line (west
    /// greater than east). Items that do not say where they are are left out.
    pub fn filter_bbox(&self, west: f64, south: f64, east: f64, north: f64) -> Items {
        let parts = |west: f64, east: f64| match west <= east {
            true => vec![(west, east)],
            false => vec![(west, 180.0), (-180.0, east)],
        };
        let wanted = parts(west, east);
        self.filter_with(|item| {
            let Some([w, s, e, n]) = item.bbox else { return false };
            let beside = parts(w, e).iter().any(|a| wanted.iter().any(|b| a.0 <= b.1 && b.0 <= a.1));
            beside && s <= north && south <= n
        })
    }

    /// The items of which some time lies between two dates, both included: `filter_dates("2021-03", "2021-05")` is March to
    /// May. Items that do not say when they are are left out.
    ///
    /// # Errors
    /// If one is no date.
    pub fn filter_dates(&self, from: &str, to: &str) -> Result<Items> {
        let known = |text: &str| {
            period(text).ok_or_else(|| {
                LabelError::Invalid(format!(
                    "`{text}` is no date; write 2021, 2021-07, 2021-07-14 or 2021-07-14T12:00:00Z"
                ))
            })
        };
        let ((start, _), (_, end)) = (known(from)?, known(to)?);
        Ok(self.filter_with(|item| item.time.is_some_and(|(first, last)| last >= start && first < end)))
    }

    /// By time, and what has none last; equal ones stay in order.
    #[must_use]
    pub fn sorted(&self) -> Items {
        let mut items = self.items.clone();
        items.sort_by_key(|item| item.time.map_or(i64::MAX, |(start, _)| start));
        Items { items }
    }

    /// Paths or addresses of one asset of every item.
    ///
    /// # Errors
    /// If there are no items, or one lacks it; names the item and what it has.
    pub fn paths(&self, asset: &str) -> Result<Vec<PathBuf>> {
        if self.is_empty() {
            return Err(LabelError::Invalid("there are no items to open; the filters left none".to_owned()));
        }
        let path = |item: &Item| match item.assets.get(asset) {
            Some(asset) => Ok(asset.path.clone()),
            None => {
                let has = item.assets.keys().cloned().collect::<Vec<_>>().join(", ");
                Err(LabelError::Invalid(format!("item `{}` has no asset `{asset}`, it has {has}", item.id)))
            }
        };
        self.items.iter().map(path).collect()
    }

    /// One asset of every item, sorted by time, as one dataset along `dim`; as [`open_many`].
    ///
    /// # Errors
    /// As [`Items::paths`] and [`open_many`].
    pub fn open_many(&self, asset: &str, dim: &str) -> Result<Dataset> {
        open_many(self.sorted().paths(asset)?, dim)
    }

    /// Assets of every item, which are GeoTIFF files of the same place, as one cube `(time, band, y, x)`, sorted by time. Times
    /// are the items'. With several assets the bands are the assets, and are called after them.
    ///
    /// # Errors
    /// As [`Items::paths`] and [`open_geotiffs_with`]; if items have no time, or one of several assets has several bands.
    pub fn stack(&self, assets: &[&str], options: &GeotiffOptions) -> Result<DataArray> {
        let sorted = self.sorted();
        let start = |item: &Item| {
            let none = || LabelError::Invalid(format!("item `{}` does not say when it is", item.id));
            item.time.map(|(start, _)| start).ok_or_else(none)
        };
        let micros: Vec<i64> = sorted.items.iter().map(start).collect::<Result<_>>()?;
        let open = |asset: &&str| open_geotiffs_with(sorted.paths(asset)?, "time", options);
        let parts: Vec<DataArray> = assets.iter().map(open).collect::<Result<_>>()?;
        let mut cube = match &parts[..] {
            [] => return Err(LabelError::Invalid("no assets to stack are named".to_owned())),
            [one] => one.clone(),
            several => {
                if let Some(at) = several.iter().position(|part| part.shape()[1] != 1) {
                    let message = format!("`{}` has several bands; stack it alone", assets[at]);
                    return Err(LabelError::Invalid(message));
                }
                let names: Vec<String> = assets.iter().map(|&name| name.to_owned()).collect();
                concat(several, "band")?.assign_coord("band", Values::Text(names.into()))?
            }
        };
        cube = cube.assign_coord(
            "time",
            Values::Times(Times { calendar: Calendar::Standard, micros: micros.into() }),
        )?;
        Ok(cube)
    }
}

impl<'a> IntoIterator for &'a Items {
    type Item = &'a Item;
    type IntoIter = std::slice::Iter<'a, Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let plural = if self.len() == 1 { "" } else { "s" };
        write!(f, "{} item{plural} of a catalogue", self.len())?;
        for item in self.items.iter().take(SHOWN) {
            let date = item.properties.get("datetime").and_then(Value::as_str).unwrap_or("no date");
            let assets = item.assets.keys().cloned().collect::<Vec<_>>().join(", ");
            write!(f, "\n  {}  {date}  {assets}", item.id)?;
        }
        if self.len() > SHOWN {
            write!(f, "\n  and {} more", self.len() - SHOWN)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_mean_all_of_what_they_name() {
        let day = 86_400_000_000;
        assert_eq!(period("1970"), Some((0, 365 * day)));
        assert_eq!(period("1970-02"), Some((31 * day, 59 * day)));
        assert_eq!(period("1970-01-02"), Some((day, 2 * day)));
        assert_eq!(period("1970-01-02T00:00:00Z"), Some((day, day + 1)));
        assert_eq!(period("1970-01-02T02:00:00+02:00"), Some((day, day + 1)));
        assert_eq!(period("1970-01-02T00:00:00"), Some((day, day + 1)));
        for text in
            ["", "197", "1970-13", "1970-02-30", "19700102x", "später", "1970-1", "1970-01-01T00:00:00ZZ"]
        {
            assert!(period(text).is_none(), "{text}");
        }
        let end = 253_402_300_800_000_000;
        assert_eq!(period("9999-12-31T23:59:59Z"), Some((end - 1_000_000, end - 999_999)));
        assert_eq!(period("9999-12-31"), Some((end - day, end)));
        assert_eq!(period("9999").map(|found| found.1), Some(end));
    }
}
