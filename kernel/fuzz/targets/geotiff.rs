//! A TIFF file as anybody may have made it: what it says, and all elements of what is not huge.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuna_geotiff::{Image, Reader, open};

/// More bytes than this are not read.
const BYTES_MAX: u64 = 1 << 20;
/// Nor blocks of more.
const BLOCK_BYTES_MAX: u64 = 16 << 20;

fn read(bytes: &[u8], image: &Image) {
    let again = Image::read(&bytes.to_vec(), image.at).expect("what was read once can be read again");
    let _ = again.scratch_bytes();
    let size = u64::from(image.element.size);
    let Ok(reader) = Reader::new(bytes.to_vec(), again) else { return };
    if image.block_bytes() > BLOCK_BYTES_MAX {
        return;
    }
    let shape = [image.bands, image.height, image.width];
    // Any part is as in the whole.
    let part = shape.map(|n| n / 3..(n / 3 + 2).min(n));
    let count: u64 = part.iter().map(|r| r.end - r.start).product();
    let mut some = vec![0; (count * size) as usize];
    let of_part = reader.read(&part, &mut some);
    let length = shape.iter().fold(size, |length, &n| length.saturating_mul(n));
    if length > BYTES_MAX {
        return;
    }
    let mut out = vec![0; length as usize];
    if reader.read(&shape.map(|n| 0..n), &mut out).is_ok() {
        of_part.expect("a part of what can be read can be read");
        let mut from = some.chunks_exact(size as usize);
        for band in part[0].clone() {
            for row in part[1].clone() {
                for column in part[2].clone() {
                    let at = (((band * shape[1] + row) * shape[2] + column) * size) as usize;
                    assert_eq!(from.next(), Some(&out[at..at + size as usize]), "a part is as in the whole");
                }
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let bytes = data.to_vec();
    let Ok(file) = open(&bytes) else { return };
    let bands = file.image.bands;
    assert_eq!(file.metadata.scales(bands).len() as u64, bands);
    assert_eq!(file.metadata.descriptions(bands).len() as u64, bands);
    read(data, &file.image);
    for overview in file.overviews.iter().take(3) {
        assert!(
            file.geo.transform_for((1, 1), (overview.height, overview.width)).is_none_or(|t| t.len() == 6)
        );
        read(data, overview);
    }
});
