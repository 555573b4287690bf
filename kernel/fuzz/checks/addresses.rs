//! Addresses as people, catalogues and references write them, a line each for an address, a name below it and a link; and the same
//! bytes as a file of AWS's tools. What is understood is written so that it is understood as the same.

use nuna_remote::{Aws, Location};

fn again(location: &Location) {
    let text = location.to_text();
    let found = Location::parse(&text).expect("an address can be written");
    assert_eq!(found.to_text(), text);
    assert_eq!(&found, location, "{text}");
    let shown = location.to_string();
    assert!(
        !text.starts_with("http") || !shown.trim_end_matches("?…").contains('?'),
        "{shown}: no token is shown"
    );
}

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = |_: &std::path::PathBuf| Ok(Some(text.to_owned()));
    for profile in ["", "lab"] {
        let variable = |name: &str| match name {
            "HOME" => Some("/home/me".to_owned()),
            "AWS_PROFILE" => Some(profile.to_owned()),
            _ => None,
        };
        if let Some(credentials) = Aws::from(&variable, &file).ok().and_then(|found| found.credentials) {
            assert_eq!(format!("{credentials:?}"), "Credentials(***)", "no secret is shown");
        }
    }
    let mut lines = text.lines();
    let (base, name, link) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let Ok(base) = Location::parse(base) else { return };
    again(&base);
    if !name.ends_with('/') {
        let above = |location: &Location| match location {
            Location::Http(url) => url.path().trim_end_matches('/').to_owned(),
            Location::S3 { bucket, key } => format!("{bucket}/{key}"),
        };
        if let Ok(below) = base.join(name) {
            again(&below);
            let (below, above) = (above(&below), above(&base));
            assert!(below.starts_with(above.trim_end_matches('/')), "{below} is not below {above}");
        }
        base.beside(name).iter().for_each(again);
    }
    if let Ok(found) = base.resolve(link) {
        assert!(
            link.contains("://") || matches!(found, Location::Http(_)) == matches!(base, Location::Http(_))
        );
        again(&found);
    }
}
