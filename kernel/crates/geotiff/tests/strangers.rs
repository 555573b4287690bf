//! Files as other programs have written them, in forms that GDAL reads and does not write, and such as nobody means well with.

use nuna_geotiff::{Error, Reader, open};

const SHORT: u16 = 3;
const LONG: u16 = 4;
/// Where the elements begin.
const DATA: u32 = 8;

/// A file of one image: its entries (tag, type, values) in ascending order, and its elements as they are stored.
fn tiff(entries: &[(u16, u16, &[u32])], data: &[u8]) -> Vec<u8> {
    let mut out = b"II*\0".to_vec();
    let directory = (DATA as usize + data.len()).next_multiple_of(2);
    out.extend((directory as u32).to_le_bytes());
    out.extend(data);
    out.resize(directory, 0);
    let mut beyond = Vec::new();
    let beyond_at = directory + 2 + entries.len() * 12 + 4;
    out.extend((entries.len() as u16).to_le_bytes());
    for &(tag, kind, values) in entries {
        let write = |value: &u32| match kind {
            SHORT => (*value as u16).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        let mut bytes: Vec<u8> = values.iter().flat_map(write).collect();
        if bytes.len() > 4 {
            let at = beyond_at + beyond.len();
            beyond.extend(std::mem::replace(&mut bytes, (at as u32).to_le_bytes().to_vec()));
        }
        bytes.resize(4, 0);
        out.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        out.extend((values.len() as u32).to_le_bytes());
        out.extend(bytes);
    }
    out.extend(0u32.to_le_bytes());
    out.extend(beyond);
    out
}

fn elements(bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    let image = open(&bytes)?.image;
    let shape = [image.bands, image.height, image.width];
    let mut out = vec![0; (shape.iter().product::<u64>() * u64::from(image.element.size)) as usize];
    Reader::new(bytes, image)?.read(&shape.map(|n| 0..n), &mut out)?;
    Ok(out)
}

#[test]
fn bytes_with_their_lowest_bit_first_are_turned_around() {
    let values = [1u16, 480, 65_000];
    let turned: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).map(u8::reverse_bits).collect();
    let bytes = tiff(
        &[
            (256, SHORT, &[3]),
            (257, SHORT, &[1]),
            (258, SHORT, &[16]),
            (259, SHORT, &[1]),
            (266, SHORT, &[2]),
            (273, LONG, &[DATA]),
            (279, LONG, &[6]),
        ],
        &turned,
    );
    let expected: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(elements(bytes).unwrap(), expected);
}

#[test]
fn tiles_may_be_listed_as_strips() {
    let tiles: Vec<u8> = (0..2u8).flat_map(|tile| (0..16 * 16).map(move |_| tile + 1)).collect();
    let bytes = tiff(
        &[
            (256, SHORT, &[20]),
            (257, SHORT, &[1]),
            (258, SHORT, &[8]),
            (259, SHORT, &[1]),
            (273, LONG, &[DATA, DATA + 256]),
            (279, LONG, &[256, 256]),
            (322, SHORT, &[16]),
            (323, SHORT, &[16]),
        ],
        &tiles,
    );
    assert_eq!(elements(bytes).unwrap(), [[1; 16].as_slice(), &[2; 4]].concat());
}

#[test]
fn colours_of_several_pixels_at_once_are_refused_by_name() {
    let bytes = tiff(
        &[
            (256, SHORT, &[2]),
            (257, SHORT, &[2]),
            (258, SHORT, &[8, 8, 8]),
            (259, SHORT, &[1]),
            (262, SHORT, &[6]),
            (273, LONG, &[DATA]),
            (277, SHORT, &[3]),
            (279, LONG, &[6]),
        ],
        &[0; 6],
    );
    let error = elements(bytes).unwrap_err().to_string();
    assert!(error.contains("YCbCr") && error.contains("[2, 2]"), "{error}");
}

#[test]
fn a_strip_that_cannot_be_decoded_costs_little_memory() {
    let peak = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let side = 8192;
    let bytes = tiff(
        &[
            (256, SHORT, &[side]),
            (257, SHORT, &[side]),
            (258, SHORT, &[8]),
            (259, SHORT, &[50_000]),
            (273, LONG, &[DATA]),
            (279, LONG, &[4096]),
        ],
        &[7; 4096],
    );
    let before = peak();
    assert!(elements(bytes).unwrap_err().to_string().contains("cannot be decoded"));
    let more = (peak() - before) >> 10;
    assert!(more < 600, "{more} MiB for a strip of 64");
}
