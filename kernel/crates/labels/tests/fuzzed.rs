//! Catalogues, weights, dates and frequencies as anybody may have written them: the checks of the fuzz targets, over their seeds and
//! damaged ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;
#[path = "../../../fuzz/checks/intake.rs"]
mod intake;
#[path = "../../../fuzz/checks/stac.rs"]
mod stac;
#[path = "../../../fuzz/checks/times.rs"]
mod times;
#[path = "../../../fuzz/checks/weights.rs"]
mod weights;
#[path = "../../../fuzz/checks/yaml.rs"]
mod yaml;

use std::io::Write;

use nuna_testing::{Noise, check_damaged};
use serde_json::Value;

#[test]
fn any_stac_is_items_or_an_error() {
    check_damaged("stac", 100, stac::check);
}

#[test]
fn any_catalogue_of_intake_is_entries_or_an_error() {
    check_damaged("intake", 100, intake::check);
}

#[test]
fn any_yaml_is_a_value_or_an_error() {
    check_damaged("yaml", 300, yaml::check);
}

#[test]
fn any_weights_fit_each_other_or_are_an_error() {
    check_damaged("weights", 100, weights::check);
}

#[test]
fn any_times_are_written_as_they_were_read() {
    check_damaged("times", 300, times::check);
}

/// Numbers and words of YAML are what PyYAML, which reads intake's catalogues, makes of them. Dates, and what JSON has no number for,
/// stay text.
#[test]
fn any_word_of_yaml_means_what_it_means_in_python() {
    const LETTERS: &[u8] = b"0011256789__..--++::eExb onO";
    let mut noise = Noise::new(1);
    let mut word = |_| -> String {
        let length = 1 + noise.below(8);
        (0..length).map(|_| char::from(LETTERS[noise.below(LETTERS.len())])).collect()
    };
    let words: Vec<String> = (0..20_000).map(&mut word).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(serde_json::to_string(&words).unwrap().as_bytes()).unwrap();
    let code = "import sys, json, math, yaml\n\
        def read(word):\n\
        \ttry: found = yaml.load(word, Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader))\n\
        \texcept Exception: return ['no']\n\
        \tif isinstance(found, (dict, list)): return ['no']\n\
        \tif found is None or isinstance(found, (bool, str)): return [found]\n\
        \tif isinstance(found, int): return [found if -2**63 <= found < 2**64 else word.strip()]\n\
        \tif isinstance(found, float): return [found if math.isfinite(found) else word.strip()]\n\
        \treturn [word.strip()]\n\
        print(json.dumps([read(word) for word in json.load(open(sys.argv[1]))]))";
    let expected: Vec<Vec<Value>> = serde_json::from_str(&common::run_python(code, &[file.path()])).unwrap();
    let mut compared = 0;
    for (word, expected) in words.iter().zip(&expected) {
        if expected[0] == "no" {
            continue;
        }
        // What is no document on its own may still be a key.
        let Ok(found) = nuna_labels::fuzzing::yaml(word) else { continue };
        let same = match (found.as_f64(), expected[0].as_f64()) {
            (Some(a), Some(b)) => a.to_bits() == b.to_bits() && found.is_f64() == expected[0].is_f64(),
            _ => found == expected[0],
        };
        assert!(same, "{word:?} is {found}, not {}", expected[0]);
        compared += 1;
    }
    assert!(compared > 10_000, "only {compared} were compared");
}
