//! How arrays and datasets look, as text, HTML and SVG.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use nuna_chunk::Chunk;
use nuna_labels::{Calendar, DataArray, Dataset, PlotOptions, Times};

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

/// A smooth field on a grid of longitudes from 0 to 360 and latitudes from south to north.
fn earth() -> DataArray {
    let (lat, lon): (Vec<f64>, Vec<f64>) = (
        (0..90).map(|i| f64::from(i) * 2.0 - 89.0).collect(),
        (0..180).map(|i| f64::from(i) * 2.0 + 1.0).collect(),
    );
    let values: Vec<f64> = lat
        .iter()
        .flat_map(|y| lon.iter().map(move |x| 28.0 * y.to_radians().cos() + 2.0 * (x / 30.0).sin() + 0.5))
        .collect();
    DataArray::from_chunk(Chunk::from_slice(&[90, 180], &values), ["lat", "lon"])
        .unwrap()
        .assign_coord("lat", lat)
        .unwrap()
        .assign_coord("lon", lon)
        .unwrap()
        .named("sst")
        .with_attr("units", "degC")
}

/// Writes a drawing where `NUNA_PLOTS` says, to be looked at.
fn look(name: &str, plot: &nuna_labels::Plot) {
    if let Some(folder) = std::env::var_os("NUNA_PLOTS") {
        plot.save(std::path::Path::new(&folder).join(format!("{name}.svg"))).unwrap();
    }
}

#[test]
fn a_grid_of_degrees_is_a_map_with_coasts() {
    let map = earth().plot().unwrap();
    look("map", &map);
    let svg = map.svg();
    assert!(svg.contains("aria-label=\"map of sst [degC]\""), "{}", &svg[..400]);
    assert!(["60°N", "30°S", "60°E", "120°W"].iter().all(|tick| svg.contains(tick)));
    assert!(svg.contains("stroke-opacity=\"0.75\""), "coastlines");
    // As wide as two maps of its height, whatever the drawing's size.
    let side = |name: &str| -> f64 {
        let image = svg.split("<image ").nth(1).unwrap();
        image.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
    };
    assert!((side("width") / side("height") - 2.0).abs() < 0.02);
    // No line runs from one edge of the world to the other.
    let coast = svg.split("stroke-opacity=\"0.75\"").next().unwrap().rsplit("<path d=\"").next().unwrap();
    for line in coast.split('M').filter(|line| !line.is_empty()) {
        let longitudes: Vec<f64> =
            line.split(['L', '"']).filter_map(|point| point.split(' ').next()?.parse().ok()).collect();
        assert!(longitudes.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 100.0), "{line}");
    }
    let turned = earth().transpose(["lon", "lat"]).unwrap().plot().unwrap();
    assert!(turned.svg().contains("60°N") && turned.svg().contains("map of"));
    let region = earth().sel("lat", 30.0..=60.0).unwrap();
    let region = region.sel("lon", 0.0..=40.0).unwrap().plot_with(PlotOptions::new().robust()).unwrap();
    look("region", &region);
    assert!(
        !earth()
            .plot_with(PlotOptions::new().no_coastlines())
            .unwrap()
            .svg()
            .contains("stroke-opacity=\"0.75\"")
    );
}

#[test]
fn lines_of_a_dimension_have_a_legend() {
    let plot = array().plot_lines("lat", PlotOptions::new().title("by latitude")).unwrap();
    look("lines", &plot);
    let svg = plot.svg();
    assert_eq!(svg.matches("clip-path=").count(), 6, "a line for each latitude");
    assert!(svg.contains(">-50.0<title>") && svg.contains(">by latitude</text>"), "{svg}");
    let error = earth().plot_lines("lon", PlotOptions::new()).unwrap_err().to_string();
    assert!(error.contains("180 lines") && error.contains("isel(\"lon\", 0..20)"), "{error}");
    assert!(
        array()
            .plot_lines("depth", PlotOptions::new())
            .unwrap_err()
            .to_string()
            .contains("no dimension `depth`")
    );
}

#[test]
fn a_histogram_takes_any_number_of_dimensions() {
    let plot = earth().plot_hist(PlotOptions::new().bins(30)).unwrap();
    look("hist", &plot);
    let bars = plot.svg().split("fill=\"#1f6fb4\"").next().unwrap().rsplit("<path d=\"").next().unwrap();
    assert!((20..=30).contains(&bars.matches('M').count()), "{bars}");
    assert!(plot.svg().contains(">count</text>") && plot.svg().contains("sst [degC]"));
    look("hist_log", &earth().plot_hist(PlotOptions::new().log()).unwrap());
    let error = array().plot_hist(PlotOptions::new().bins(0)).unwrap_err().to_string();
    assert!(error.contains("1 to 10000 bins"), "{error}");
}

#[test]
fn logarithmic_values_leave_out_what_is_not_positive() {
    let values: Vec<f64> = (0..50).map(|i| 10f64.powf(f64::from(i) / 10.0) - 1.0).collect();
    let array = DataArray::from_chunk(Chunk::from_slice(&[50], &values), ["x"]).unwrap().named("growth");
    let plot = array.plot_with(PlotOptions::new().log()).unwrap();
    look("log", &plot);
    assert!(plot.svg().contains(">1000</text>"), "{}", plot.svg());
    assert!(!plot.svg().contains("NaN") && !plot.svg().contains("inf"));
    look("log_map", &earth().plot_with(PlotOptions::new().log().vmin(1.0).cmap("greys")).unwrap());
    let error = array.plot_with(PlotOptions::new().vmin(2.0).vmax(1.0)).unwrap_err().to_string();
    assert!(error.contains("vmin 2 is not below vmax 1"), "{error}");
    let error = array.plot_with(PlotOptions::new().log().vmin(0.0)).unwrap_err().to_string();
    assert!(error.contains("vmin is 0, which a logarithmic scale does not reach"), "{error}");
    let error = array.plot_with(PlotOptions::new().vmax(f64::NAN)).unwrap_err().to_string();
    assert!(error.contains("vmax is NaN"), "{error}");
    assert!(earth().plot_hist(PlotOptions::new().log().vmin(-5.0)).is_ok(), "the counts are logarithmic");
    assert!(array.plot_with(PlotOptions::new().size(5, 5)).unwrap_err().to_string().contains("160 to 4000"));
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

/// Four months, each a little warmer.
fn months() -> DataArray {
    let parts: Vec<DataArray> = (0..5).map(|month| earth() + f64::from(month) * 1.5).collect();
    let dates: Vec<String> = (1..=5).map(|month| format!("2001-{month:02}-01")).collect();
    nuna_labels::concat(&parts, "time")
        .unwrap()
        .assign_coord("time", Times::from_dates(&dates, Calendar::Standard).unwrap())
        .unwrap()
        .named("sst")
        .with_attr("units", "degC")
}

#[test]
fn panels_share_their_colours_and_axes() {
    let plot = months().plot_with(PlotOptions::new().col("time").wrap(3)).unwrap();
    look("panels", &plot);
    let svg = plot.svg();
    // Five maps and one bar of colours.
    assert_eq!(svg.matches("<image ").count(), 6);
    assert_eq!(svg.matches("sst [degC]</text>").count(), 1);
    assert!(svg.contains("time = 2001-03-01"));
    // Degrees stand at the left and below, once for each column and row.
    assert_eq!((svg.matches(">30°S</text>").count(), svg.matches(">120°E</text>").count()), (2, 3));
    // What stands below a panel's right edge would run into the next one's.
    assert_eq!(svg.matches(">0°</text>").count(), 3 + 2);
    // The same value has the same colour in all: the first panel's image is not the last one's.
    let images: Vec<&str> =
        svg.split("base64,").skip(1).map(|part| part.split('"').next().unwrap()).collect();
    assert!(images[..5].windows(2).all(|pair| pair[0] != pair[1]));
    let turned = months().transpose(["lon", "time", "lat"]).unwrap();
    assert_eq!(turned.plot_with(PlotOptions::new().col("time").wrap(3)).unwrap(), plot);
    // One below the other.
    let rows = months().plot_with(PlotOptions::new().row("time")).unwrap();
    look("panels_rows", &rows);
    assert_eq!(rows.svg().matches("rotate(90)").count(), 5);
}

#[test]
fn panels_of_lines_share_a_legend() {
    let seasons = nuna_labels::concat(&[array(), array() * 2.0, array() - 1.0], "run").unwrap();
    let seasons =
        seasons.assign_coord("run", vec!["control", "warm", "a name that is far too long to stand there"]);
    let seasons = seasons.unwrap().named("theta").with_attr("units", "degC").with_attr("long_name", "theta");
    let plot = seasons.plot_lines("lat", PlotOptions::new().col("run")).unwrap();
    look("panels_lines", &plot);
    let svg = plot.svg();
    assert_eq!(svg.matches(">theta [degC]</text>").count(), 1, "the title of the value axis stands once");
    assert_eq!(svg.matches("font-weight=\"600\"").count(), 1, "one legend");
    assert_eq!(
        svg.matches("stroke=\"#1f6fb4\"").count(),
        3 + 1,
        "the first line in each panel and in the legend"
    );
    assert!(svg.contains("run = control"));
    let grid = seasons.plot_with(PlotOptions::new().col("run").row("time")).unwrap();
    look("panels_grid", &grid);
    assert_eq!(grid.svg().matches("stroke=\"#1f6fb4\"").count(), 12);
    assert_eq!(grid.svg().matches("rotate(90)").count(), 4);
    assert!(!grid.svg().contains("NaN") && !grid.svg().contains("inf"));
}

#[test]
fn panels_that_cannot_be_say_why() {
    let error = |options: PlotOptions| months().plot_with(options).unwrap_err().to_string();
    assert!(error(PlotOptions::new().col("depth")).contains("no dimension"));
    assert!(error(PlotOptions::new().wrap(2)).contains("`col`"));
    assert!(error(PlotOptions::new().col("time").row("time")).contains("two of"));
    assert!(error(PlotOptions::new().col("lon")).contains("too many"));
    assert!(error(PlotOptions::new().col("time").wrap(0)).contains("`col`"));
    let nothing = months().where_(&months().greater(1e9).unwrap()).unwrap();
    let error = nothing.plot_with(PlotOptions::new().col("time")).unwrap_err().to_string();
    assert!(error.contains("all of them are missing"), "{error}");
    let four = nuna_labels::concat(&[months(), months()], "run").unwrap();
    let error = four.plot_with(PlotOptions::new().col("time")).unwrap_err().to_string();
    assert!(error.contains("select or average"), "{error}");
    let error = months().plot_hist(PlotOptions::new().col("time")).unwrap_err().to_string();
    assert!(error.contains("panels"), "{error}");
}
