//! NetCDF, HDF5 and TIFF files at addresses hold what they hold on disk, are described in a few requests, and are read by their
//! parts alone; what cannot be read that way says why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use nuna_labels::{
    DataArray, Dataset, open_dataset, open_geotiff, open_geotiff_overview, open_geotiffs, open_many,
    open_netcdf, open_netcdf_group,
};
use nuna_testing::{WebReply, WebRequest, WebServer};
use serde_json::Value;

fn made(script: &str) -> (tempfile::TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    common::run(script, &[folder.path()]);
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    (folder, serde_json::from_str(&text).unwrap())
}

static NETCDF: LazyLock<(tempfile::TempDir, Value)> = LazyLock::new(|| made("make_netcdf.py"));
static GEOTIFF: LazyLock<(tempfile::TempDir, Value)> = LazyLock::new(|| made("make_geotiff.py"));

/// One request of sixteen fails in one way or another.
fn shaky(folder: &'static Path) -> WebServer {
    WebServer::start(move |request| {
        let good = WebReply::file(request, folder).with("etag", "\"a-1\"");
        match request.number % 48 {
            6 => WebReply::new(503, "busy"),
            22 => WebReply { cut: Some(good.body.len() / 2), ..good },
            38 => WebReply::new(429, "slowly").with("retry-after", "0"),
            _ => good,
        }
    })
}

fn bytes(array: &DataArray) -> Vec<u8> {
    array.to_chunk().unwrap().bytes().to_vec()
}

#[track_caller]
fn assert_equal(what: &str, found: &Dataset, expected: &Dataset) {
    assert_eq!(found.names(), expected.names(), "{what}");
    assert_eq!(found.attrs(), expected.attrs(), "{what}");
    for name in expected.names() {
        let (Ok(found), Ok(expected)) = (found.var(&name), expected.var(&name)) else { continue };
        assert_eq!((found.dims(), found.attrs()), (expected.dims(), expected.attrs()), "{what} {name}");
        assert_eq!(bytes(&found), bytes(&expected), "{what} {name}");
        for dim in expected.dims() {
            let labels = |array: &DataArray| array.coord(dim).ok().map(common::plain);
            assert_eq!(labels(&found), labels(&expected), "{what} {name} {dim}");
        }
    }
}

#[test]
fn netcdf_files_hold_at_an_address_what_they_hold_on_disk() {
    let (folder, expected) = &*NETCDF;
    let server = shaky(folder.path());
    let mut compared = 0;
    for key in expected.as_object().unwrap().keys() {
        let Some((file, group)) = key.split_once(':') else { continue };
        let far = open_netcdf_group(server.url(&format!("/{file}?sig=secret")), group);
        let far = far.unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_equal(key, &far, &open_netcdf_group(folder.path().join(file), group).unwrap());
        assert!(!far.to_string().contains("secret"), "{far}");
        compared += 1;
    }
    assert!(compared > 20, "only {compared} were compared");
    for request in server.requests() {
        assert!(request.header("range").is_some() && request.target.contains("sig=secret"), "{request:?}");
    }
}

#[test]
fn images_hold_at_an_address_what_they_hold_on_disk() {
    let (folder, expected) = &*GEOTIFF;
    let server = shaky(folder.path());
    let mut files: Vec<&str> =
        expected.as_array().unwrap().iter().map(|one| one["file"].as_str().unwrap()).collect();
    files.sort_unstable();
    files.dedup();
    assert!(files.len() > 50);
    for file in files {
        let far = open_geotiff(server.url(&format!("/{file}?sig=secret"))).unwrap();
        let near = open_geotiff(folder.path().join(file)).unwrap();
        assert_eq!((far.dims(), far.attrs(), far.name()), (near.dims(), near.attrs(), near.name()), "{file}");
        assert_eq!(bytes(&far), bytes(&near), "{file}");
    }
}

/// What is made with one line of Python, in a folder that stays as long as the test program.
fn python(code: &str) -> &'static Path {
    let folder = tempfile::tempdir().unwrap().keep();
    common::run_python(code, &[&folder]);
    Box::leak(folder.into_boxed_path())
}

/// Counts requests and the bytes that are sent for them.
fn counting(folder: &'static Path) -> (WebServer, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let server = WebServer::start(move |request| {
        let reply = WebReply::file(request, folder).with("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT");
        counted.fetch_add(reply.body.len() as u64, SeqCst);
        reply
    });
    (server, sent)
}

/// A file as reanalyses are published: thirty variables, chunks by the day, compressed.
static REANALYSIS: LazyLock<&Path> = LazyLock::new(|| {
    python(
        "
import sys, numpy as np, netCDF4
f = netCDF4.Dataset(sys.argv[1] + '/era.nc', 'w')
f.createDimension('time', None); f.createDimension('lat', 91); f.createDimension('lon', 180)
for name, values in [('time', np.arange(40.)), ('lat', np.linspace(-90, 90, 91)), ('lon', np.arange(180.) * 2)]:
    f.createVariable(name, 'f8', (name,))[:] = values
f['time'].units = 'days since 2001-01-01'
random = np.random.default_rng(1)
for i in range(30):
    v = f.createVariable(f'v{i}', 'f4', ('time', 'lat', 'lon'), zlib=True, complevel=1, chunksizes=(1, 91, 180))
    v.units = 'K'; v.long_name = f'variable number {i} of many'
    v[:] = random.integers(0, 9, (40, 91, 180)) if i in (3, 17) else i
f.close()
",
    )
});

#[test]
fn a_file_is_described_in_a_few_requests_and_read_by_its_parts() {
    let (server, sent) = counting(*REANALYSIS);
    let near = open_netcdf(REANALYSIS.join("era.nc")).unwrap();
    let far = open_dataset(server.url("/era.nc")).unwrap();
    let described = server.requests().len();
    assert!(described <= 6, "{described} requests described a file of thirty variables");
    // One of thirty variables: its chunks, those that are neighbours together.
    let before = (server.requests().len(), sent.load(SeqCst));
    assert_eq!(bytes(&far.var("v17").unwrap()), bytes(&near.var("v17").unwrap()));
    let (requests, bytes_read) = (server.requests().len() - before.0, sent.load(SeqCst) - before.1);
    let whole = std::fs::metadata(REANALYSIS.join("era.nc")).unwrap().len();
    assert!(requests <= 6, "{requests} requests for forty chunks");
    assert!(bytes_read < whole * 3 / 4, "{bytes_read} of {whole} bytes");
    // One day of it is one chunk; where it lies is known.
    let before = server.requests().len();
    let day = |ds: &Dataset| bytes(&ds.var("v17").unwrap().isel("time", 20).unwrap());
    assert_eq!(day(&far), day(&near));
    assert_eq!(server.requests().len() - before, 1);
    eprintln!("described in {described}, read in {requests} requests and {bytes_read} of {whole} bytes");
}

/// Tiles of 256, overviews, directories in front.
static COG: LazyLock<&Path> = LazyLock::new(|| {
    python(
        "
import sys, numpy as np, rasterio
from rasterio.transform import from_origin
x = np.random.default_rng(1).integers(0, 1000, (2048, 2048)).astype('u2')
with rasterio.open(sys.argv[1] + '/a_20240102.tif', 'w', driver='COG', height=2048, width=2048, count=1, dtype='uint16',
    crs='EPSG:32632', transform=from_origin(5e5, 5e6, 10, 10), blocksize=256, compress='deflate') as f:
    f.write(x, 1)
import shutil; shutil.copy(sys.argv[1] + '/a_20240102.tif', sys.argv[1] + '/a_20240103.tif')
",
    )
});

#[test]
fn an_overview_costs_no_more_than_itself() {
    let (server, sent) = counting(*COG);
    let whole = std::fs::metadata(COG.join("a_20240102.tif")).unwrap().len();
    for level in 0..3 {
        let before = (server.requests().len(), sent.load(SeqCst));
        let far = open_geotiff_overview(server.url("/a_20240102.tif"), level).unwrap();
        assert_eq!(server.requests().len() - before.0, 1, "opening");
        assert_eq!(bytes(&far), bytes(&open_geotiff_overview(COG.join("a_20240102.tif"), level).unwrap()));
        let read = sent.load(SeqCst) - before.1;
        assert!(read < (whole >> (2 * level + 1)) + (300 << 10), "level {level}: {read} of {whole} bytes");
    }
    // A window of the image itself is its four tiles, in two rows.
    let far = open_geotiff(server.url("/a_20240102.tif")).unwrap();
    let near = open_geotiff(COG.join("a_20240102.tif")).unwrap();
    let window = |image: &DataArray| image.isel("y", 600..900).unwrap().isel("x", 600..900).unwrap();
    let before = server.requests().len();
    assert_eq!(bytes(&window(&far)), bytes(&window(&near)));
    let requests = server.requests().len() - before;
    assert!(requests <= 4, "{requests} requests for four tiles");
    // Series, by their addresses.
    let addresses = ["/a_20240102.tif?sig=1", "/a_20240103.tif?sig=1"].map(|path| server.url(path));
    let cube = open_geotiffs(addresses, "time").unwrap();
    assert_eq!(common::plain(cube.coord("time").unwrap())[1], "2024-01-03T00:00:00");
    let last = cube.isel("time", 1).unwrap();
    assert_eq!(bytes(&window(&last)), bytes(&window(&near)));
}

#[test]
fn series_are_opened_by_their_addresses() {
    let folder = python(
        "
import sys, numpy as np, xarray as xr
for i in range(5):
    xr.Dataset({'t': (('time', 'x'), np.arange(12.).reshape(3, 4) + 100 * i)}, {'time': np.arange(3.) + 3 * i}).to_netcdf(
        f'{sys.argv[1]}/s{i}.nc', format=['NETCDF4', 'NETCDF3_CLASSIC'][i % 2], unlimited_dims=['time'])
",
    );
    let (server, _) = counting(folder);
    let far = open_many((0..5).map(|i| server.url(&format!("/s{i}.nc"))), "time").unwrap();
    let near = open_many((0..5).map(|i| folder.join(format!("s{i}.nc"))), "time").unwrap();
    assert_equal("series", &far, &near);
}

#[test]
fn servers_without_ranges_are_named() {
    let (folder, _) = &*NETCDF;
    let without = |request: &WebRequest| WebRequest { headers: Vec::new(), ..request.clone() };
    let server = WebServer::start(move |request| WebReply::file(&without(request), *REANALYSIS));
    let address = server.url("/era.nc?sig=secret");
    for opened in [open_netcdf(&address), open_dataset(&address)] {
        let message = opened.unwrap_err().to_string();
        assert!(message.contains("no ranges") && message.contains("/era.nc?…"), "{message}");
    }
    let message = open_geotiff(server.url("/era.nc")).unwrap_err().to_string();
    assert!(message.contains("no ranges"), "{message}");
    // What came as a whole is enough.
    let server = WebServer::start(move |request| WebReply::file(&without(request), folder.path()));
    let small = small_file(folder.path());
    let name = small.file_name().unwrap().to_str().unwrap();
    assert_equal(name, &open_netcdf(server.url(&format!("/{name}"))).unwrap(), &open_netcdf(&small).unwrap());
}

fn small_file(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| open_netcdf(path).is_ok() && path.metadata().unwrap().len() < 100_000)
        .collect();
    files.sort();
    files.remove(0)
}

#[test]
fn a_file_that_is_changed_or_gone_is_no_other_file() {
    let state = Arc::new(AtomicU64::new(0));
    let now = state.clone();
    let server = WebServer::start(move |request| match now.load(SeqCst) {
        2 => WebReply::new(404, ""),
        state => WebReply::file(request, *REANALYSIS).with("etag", &format!("W/\"{state}\"")),
    });
    let far = open_netcdf(server.url("/era.nc?sig=secret")).unwrap();
    for (is, said) in [(1, "changed after it was opened"), (2, "there no more")] {
        state.store(is, SeqCst);
        let message = far.var("v3").unwrap().compute().unwrap_err().to_string();
        assert!(message.contains(said) && message.contains("`v3`"), "{message}");
        assert!(message.contains("/era.nc?…") && !message.contains("secret"), "{message}");
    }
    let message = open_netcdf(server.url("/era.nc")).unwrap_err().to_string();
    assert!(message.contains("nothing at this address"), "{message}");
}

#[test]
fn what_is_no_such_file_is_said() {
    let server = WebServer::start(|request| WebReply::of(request, b"<html>no file of elements</html>"));
    let message = open_netcdf(server.url("/a.nc")).unwrap_err().to_string();
    assert!(message.contains("no NetCDF") && message.contains("/a.nc"), "{message}");
    let message = open_geotiff(server.url("/a.tif")).unwrap_err().to_string();
    assert!(message.contains("no TIFF"), "{message}");
    let empty = WebServer::start(|request| WebReply::of(request, b""));
    assert!(open_netcdf(empty.url("/a.nc")).unwrap_err().to_string().contains("no NetCDF"));
    let message = open_geotiffs(server.url("/a_*.tif?sig=secret").as_str(), "time").unwrap_err().to_string();
    assert!(message.contains("one by one") && !message.contains("secret"), "{message}");
    let folder =
        python("import sys, netCDF4; f = netCDF4.Dataset(sys.argv[1] + '/a.nc', 'w'); f.x = 1; f.close()");
    let whole = std::fs::read(folder.join("a.nc")).unwrap();
    for length in [9, 100, whole.len() / 2, whole.len() - 1] {
        let cut = whole[..length].to_vec();
        let server = WebServer::start(move |request| WebReply::of(request, &cut));
        assert!(open_netcdf(server.url("/a.nc")).is_err(), "{length} bytes");
    }
}
