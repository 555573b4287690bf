//! What comes to the spawner service: its configuration, bodies of requests, and choices on a form. The first byte says what the rest
//! is taken for. A choice that is taken leads to a job's resources that are the profile's, each of one line.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use nuna_spawner::config::{Config, ProfileSettings};
use nuna_spawner::handlers::{launch, servers};
use nuna_spawner::profiles::{Choice, Profiles};

const PROFILES: &str = r#"
[ocean]
title = "Ocean"
queue = "workq"
select = "{nodes}:ncpus={cores}:mem=4gb"
walltime = "01:00:00"
options.nodes = { kind = "number", title = "Nodes", min = 1, max = 8, default = 1 }
options.cores = { kind = "choice", title = "Cores", choices = ["4", "28"], default = "4" }
options.walltime = { kind = "walltime", title = "Time", max = "02:00:00" }
[secret]
title = "Secret"
queue = "vip"
select = "1:ncpus=1"
walltime = "01:00:00"
groups = ["vip"]
"#;

fn profiles() -> &'static Profiles {
    static PARSED: OnceLock<Profiles> = OnceLock::new();
    PARSED.get_or_init(|| {
        let settings: BTreeMap<String, ProfileSettings> =
            toml::from_str(PROFILES).expect("the profiles above");
        Profiles::new(settings)
    })
}

fn look(choice: &Choice) {
    assert_eq!(choice.profile, "ocean", "the other one is for others");
    let resources = profiles().resources(choice).expect("what was chosen can be had");
    assert_eq!(resources.queue, "workq");
    let (nodes, rest) = resources.select.split_once(':').expect("two parts");
    assert!((1..=8).contains(&nodes.parse::<u32>().expect("a number of nodes")), "{nodes}");
    assert!(["ncpus=4:mem=4gb", "ncpus=28:mem=4gb"].contains(&rest), "{rest}");
    let walltime = nuna_spawner::config::parse_walltime(&resources.walltime).expect("a walltime");
    assert!(walltime.as_secs() <= 7200, "{}", resources.walltime);
}

pub(crate) fn check(data: &[u8]) {
    let [kind, rest @ ..] = data else { return };
    match kind % 4 {
        0 => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            if let Ok(config) = toml::from_str::<Config>(text) {
                for fault in config.check() {
                    assert!(!fault.key.is_empty() && !fault.remedy.is_empty(), "{fault}");
                }
            }
        }
        1 => {
            let _ = serde_json::from_slice::<servers::Requested>(rest);
            let _ = serde_json::from_slice::<launch::Exchange>(rest);
            let _ = serde_json::from_slice::<launch::Ready>(rest);
            let _ = serde_json::from_slice::<launch::Failed>(rest);
        }
        2 => {
            let Ok(form) = serde_json::from_slice::<BTreeMap<String, Vec<String>>>(rest) else { return };
            profiles().choose_from_form("alice", &[], &form).iter().for_each(look);
        }
        _ => {
            let Ok(options) = serde_json::from_slice::<serde_json::Map<_, _>>(rest) else { return };
            profiles().choose_from_json("alice", &[], &options).iter().for_each(look);
        }
    }
}
