//! How arrays and datasets look, as text, HTML and SVG.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use nuna_chunk::Chunk;
use nuna_labels::{Calendar, DataArray, Dataset, Times};

fn array() -> DataArray {
    let values: Vec<f32> = (0..24).map(|i| if i == 5 { f32::NAN } else { i as f32 / 4.0 - 2.0 }).collect();
    let dates: Vec<String> = (1..=4).map(|month| format!("2001-{month:02}-01")).collect();
    let times = Times::from_dates(&dates, Calendar::Standard).unwrap();
    DataArray::from_chunk(Chunk::from_slice(&[4, 6], &values), ["time", "lat"])
        .unwrap()
        .assign_coord("time", times)
        .unwrap()
        .assign_coord("lat", vec![-50.0, -30.0, -10.0, 10.0, 30.0, 50.0])
        .unwrap()
        .named("theta")
        .with_attr("units", "degC")
        .with_attr("long_name", "<script>alert('1')</script> & \"more\"")
}

fn dataset() -> Dataset {
    let lazy = (array() * 2.0).named("twice").rechunk([("time", 2)]).unwrap();
    Dataset::new().assign("theta", &array()).unwrap().assign("twice", &lazy).unwrap()
}

#[test]
fn text_views_follow_xarray() {
    insta::assert_snapshot!("array_text", array());
    insta::assert_snapshot!("dataset_text", dataset());
    insta::assert_snapshot!("scalar_text", array().mean(..).unwrap().compute().unwrap());
}

#[test]
fn html_views_escape_everything() {
    let (array, dataset) = (array().html(), dataset().html());
    for html in [&array, &dataset] {
        assert!(!html.contains("<script>"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;more&quot;"));
        for tag in ["div", "details", "summary", "dl", "dt", "dd", "pre", "table", "span"] {
            let count = |what: String| html.matches(&what).count();
            assert_eq!(
                count(format!("<{tag}>")) + count(format!("<{tag} ")),
                count(format!("</{tag}>")),
                "{tag}"
            );
        }
    }
    // The style sheet is long and says nothing about structure.
    let body = |html: &str| {
        html.split("</style>").nth(1).unwrap().replace("<div", "\n<div").replace("<details", "\n<details")
    };
    insta::assert_snapshot!("array_html", body(&array));
    insta::assert_snapshot!("dataset_html", body(&dataset));
}

#[test]
fn plots_have_axes_units_and_gaps() {
    let map = array().plot().unwrap();
    assert!(map.svg().contains("data:image/png;base64,") && map.svg().contains("2001-02"));
    assert!(!map.svg().contains("<script>") && map.svg().contains("[degC]"));
    let line = array().isel("time", 0).unwrap().plot().unwrap();
    let path = line.svg().split("stroke=\"#1f6fb4\"").next().unwrap();
    let path = path.rsplit("<path d=\"").next().unwrap();
    // Elements 0 to 4 are one line, the missing sixth ends it.
    assert_eq!((path.matches('M').count(), path.matches('L').count()), (1, 4), "{path}");
    insta::assert_snapshot!("line_svg", line.svg().replace("><", ">\n<"));
    let error = dataset()["theta"]
        .isel("time", 0)
        .unwrap()
        .where_(&array().isel("time", 0).unwrap().greater(99).unwrap());
    let error = error.unwrap().plot().unwrap_err().to_string();
    assert!(error.contains("all of them are missing"), "{error}");
}

#[test]
fn mistakes_name_what_there_is() {
    let ds = dataset();
    let text = |error: nuna_labels::LabelError| error.to_string();
    assert_eq!(
        text(ds.var("thet").unwrap_err()),
        "the dataset has no variable `thet`; it has `theta`, `twice`; did you mean `theta`?"
    );
    assert_eq!(
        text(ds["theta"].mean("tme").unwrap_err()),
        "`theta` has no dimension `tme`; its dimensions are (time, lat)"
    );
    let short = ds["theta"].isel("lat", 0..3).unwrap();
    assert_eq!((&ds["theta"] + &short).shape(), [4, 3], "labels in common remain");
    let far = short.assign_coord("lat", vec![1.0, 2.0, 3.0]).unwrap();
    let error = text(ds["theta"].binary(nuna_array::Binary::Add, &far).unwrap_err());
    assert!(
        error.contains("along `lat` of `theta` (from -50.0 to 50.0) and `theta` (from 1.0 to 3.0)"),
        "{error}"
    );
    let error = text(ds["theta"].groupby("lat.month").unwrap_err());
    assert!(error.contains("`lat` holds float64, not times"), "{error}");
    let panic =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| &dataset()["theta"] - &far)).unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("have nothing in common"));
}
