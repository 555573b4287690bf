//! Job scripts are run by a real shell here, and forms are looked at as a browser would.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::config::OptionSettings;
use crate::profiles::Profiles;

const CODE: &str = "c0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0de";
const PROFILES: &str = r#"
    [full]
    title = "Full"
    description = "All there is"
    queue = "workq"
    select = "{nodes}:ncpus={cores}:mem=4gb"
    place = "scatter:excl"
    walltime = "01:00:00"
    account = "a-1"
    project = "p_2"
    [full.options]
    nodes = { kind = "number", title = "Nodes", min = 1, max = 4, default = 1 }
    cores = { kind = "choice", title = "Cores", choices = ["4", "28"], default = "4" }
    walltime = { kind = "walltime", title = "Time", max = "08:00:00" }
"#;

fn settings() -> BTreeMap<String, ProfileSettings> {
    toml::from_str(PROFILES).unwrap()
}

fn resources(fields: &[(&str, &str)]) -> Option<Resources> {
    let profiles = Profiles::new(settings());
    let form = fields.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
    let choice = profiles.choose_from_form("alice", &[], &form).ok()?;
    profiles.resources(&choice)
}

fn form(profile: &ProfileSettings) -> String {
    let moment = Moment { user: "alice", system: System::Pbs, known: &Known::default(), servers: &[] };
    let form = Form::new(&[("full", profile.clone())], Before::default(), moment);
    built_in().form(&form).unwrap()
}

fn built_in() -> Templates {
    Templates::new(&TemplateSettings::default(), System::Pbs).unwrap()
}

fn own(text: &str) -> Result<Templates, Vec<Fault>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Templates::new(&TemplateSettings { job: Some(file.path().to_owned()), form: None }, System::Pbs)
}

fn script(
    templates: &Templates,
    resources: &Resources,
    launcher: &LauncherSettings,
) -> Result<String, TemplateError> {
    let (user, code) = ("alice".parse().unwrap(), Code::from_text(CODE));
    let url = "http://hub:8092/services/nuna";
    templates.job(&JobContext::new(resources, launcher, url, &user, "nuna-abcd012345", &code))
}

#[test]
fn the_script_of_a_profile_on_slurm() {
    let mut resources = resources(&[("profile", "full"), ("full.nodes", "2")]).unwrap();
    resources.select = "2:ncpus=4:mem=4gb:ngpus=1".to_owned();
    resources.directives = vec!["--qos=high".to_owned(), "--exclusive".to_owned()];
    let templates = Templates::new(&TemplateSettings::default(), System::Slurm).unwrap();
    let launcher =
        LauncherSettings { program: "/opt/nuna/bin/nuna-singleuser".into(), ..LauncherSettings::default() };
    let text = script(&templates, &resources, &launcher).unwrap();
    let directives: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    assert_eq!(
        directives[..directives.len() - 1],
        [
            "#!/bin/sh",
            "#SBATCH --job-name=nuna-abcd012345",
            "#SBATCH --partition=workq",
            "#SBATCH --nodes=2",
            "#SBATCH --ntasks-per-node=1",
            "#SBATCH --cpus-per-task=4",
            "#SBATCH --mem=4096M",
            "#SBATCH --gres=gpu:1",
            "#SBATCH --time=01:00:00",
            "#SBATCH --account=a-1",
            "#SBATCH --output=nuna-abcd012345.o%j",
            "#SBATCH --no-requeue",
            "#SBATCH --mail-type=NONE",
            "#SBATCH --propagate=NONE",
            "#SBATCH --qos=high",
            "#SBATCH --exclusive",
        ]
    );
    let (_, body) = text.split_once("# A notebook server").unwrap();
    let pbs = script(&built_in(), &resources, &launcher).unwrap();
    assert_eq!(body, pbs.split_once("# A notebook server").unwrap().1, "the same on both");
    assert!(pbs.contains("#PBS -m n\n#PBS --qos=high\n#PBS --exclusive\n# A"), "{pbs}");

    resources.select = "1:ncpus=1+2:ncpus=4".to_owned();
    let error = script(&templates, &resources, &launcher).unwrap_err();
    assert!(error.to_string().contains("joins different chunks"), "{error}");
}

#[test]
fn the_script_of_a_profile_on_torque() {
    let mut resources = resources(&[("profile", "full"), ("full.nodes", "2")]).unwrap();
    resources.select = "2:ncpus=4:mem=4gb:ngpus=1".to_owned();
    resources.directives = vec!["-n".to_owned()];
    let templates = Templates::new(&TemplateSettings::default(), System::Torque).unwrap();
    let launcher =
        LauncherSettings { program: "/opt/nuna/bin/nuna-singleuser".into(), ..LauncherSettings::default() };
    let text = script(&templates, &resources, &launcher).unwrap();
    let directives: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    assert_eq!(
        directives[..directives.len() - 1],
        [
            "#!/bin/sh",
            "#PBS -N nuna-abcd012345",
            "#PBS -q workq",
            "#PBS -l nodes=2:ppn=4:gpus=1",
            "#PBS -l mem=8192mb",
            "#PBS -l walltime=01:00:00",
            "#PBS -A a-1",
            "#PBS -S /bin/sh",
            "#PBS -j oe",
            "#PBS -r n",
            "#PBS -m n",
            "#PBS -n",
        ]
    );
    let pbs = script(&built_in(), &resources, &launcher).unwrap();
    let body = |text: &str| text.split_once("# A notebook server").unwrap().1.to_owned();
    assert_eq!(body(&text), body(&pbs), "the same on all");

    resources.select = "1".to_owned();
    let text = script(&templates, &resources, &launcher).unwrap();
    assert!(text.contains("#PBS -l nodes=1\n#PBS -l walltime="), "{text}");
    resources.select = "1:ncpus=1+2:ncpus=4".to_owned();
    let error = script(&templates, &resources, &launcher).unwrap_err();
    assert!(error.to_string().contains("joins different chunks"), "{error}");
}

#[test]
fn the_script_of_a_profile_with_everything() {
    let resources =
        resources(&[("profile", "full"), ("full.nodes", "2"), ("full.walltime", "90:00")]).unwrap();
    let launcher = LauncherSettings {
        program: "/opt/nuna/bin/nuna-singleuser".into(),
        home: Some("/demo/{user}".to_owned()),
        path: Some("/opt/venv/bin:/usr/bin".to_owned()),
        arguments: vec!["--grace-seconds".to_owned(), "5".to_owned()],
        environment: BTreeMap::new(),
    };
    insta::assert_snapshot!(script(&built_in(), &resources, &launcher).unwrap(), @r#"
    #!/bin/sh
    #PBS -N nuna-abcd012345
    #PBS -q workq
    #PBS -l select=2:ncpus=4:mem=4gb
    #PBS -l place=scatter:excl
    #PBS -l walltime=01:30:00
    #PBS -A a-1
    #PBS -P p_2
    #PBS -S /bin/sh
    #PBS -j oe
    #PBS -r n
    #PBS -m n
    # A notebook server of alice, profile full; JupyterHub asked nuna-spawner for it.
    umask 077
    HOME='/demo/alice'
    export HOME
    mkdir -p "$HOME"
    cd "$HOME" || exit 1
    PATH='/opt/venv/bin:/usr/bin'
    export PATH
    # When this job's walltime is over, in seconds since 1970: JupyterLab warns before.
    NUNA_WALLTIME_END=$(($(date +%s) + 5400))
    export NUNA_WALLTIME_END
    # The line below is worth the environment of this server, once, and to nobody after that.
    exec '/opt/nuna/bin/nuna-singleuser' --service 'http://hub:8092/services/nuna' '--grace-seconds' '5' <<'EOF'
    c0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0dec0de
    EOF
    "#);
}

/// Runs the script with a launcher that writes down its arguments and its standard input.
#[test]
fn whatever_a_setting_holds_is_one_word_to_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display().to_string();
    let odd = "it's $(touch pwned) `touch pwned` \"; touch pwned; # \\ * ${HOME} !";
    let program = folder.path().join("the launcher's $(touch pwned)");
    let text = "#!/bin/sh\ncat > \"$NOTES/stdin\"\nprintf '%s\\n' \"$@\" > \"$NOTES/arguments\"\npwd > \"$NOTES/folder\"\n";
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let launcher = LauncherSettings {
        program,
        home: Some(format!("{root}/{odd}/{{user}}")),
        path: Some("/usr/bin:/bin:/it's $(touch pwned)".to_owned()),
        arguments: vec![odd.to_owned(), String::new(), "-x".to_owned()],
        environment: BTreeMap::new(),
    };
    let script = script(&built_in(), &resources(&[("profile", "full")]).unwrap(), &launcher).unwrap();
    let path = folder.path().join("job.sh");
    std::fs::write(&path, script).unwrap();
    let output = std::process::Command::new("/bin/sh")
        .arg(&path)
        .env_clear()
        .env("NOTES", folder.path())
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("stdin"), format!("{CODE}\n"));
    assert_eq!(read("arguments"), format!("--service\nhttp://hub:8092/services/nuna\n{odd}\n\n-x\n"));
    assert_eq!(read("folder").trim_end(), format!("{root}/{odd}/alice"));
    let pwned: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name() == "pwned")
        .collect();
    assert!(pwned.is_empty());
}

/// With an epilogue the shell stays; what ends the job ends the launcher too, and the epilogue runs after it.
#[test]
fn prologue_and_epilogue_are_around_the_launcher_however_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("launcher");
    let text = "#!/bin/sh\ntrap 'echo ended >> notes; exit 7' TERM\ncat > code\necho \"$LOADED, $(($NUNA_WALLTIME_END - $(date +%s)))\" >> notes\n\
                [ -e quick ] && exit 3\necho ready > ready\nwhile :; do sleep 0.05; done\n";
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let launcher = LauncherSettings { program, ..LauncherSettings::default() };
    let mut resources = resources(&[("profile", "full")]).unwrap();
    resources.prologue = vec!["LOADED=yes".to_owned(), "export LOADED".to_owned()];
    resources.epilogue = vec!["echo \"after $status\" >> notes".to_owned()];
    let path = folder.path().join("job.sh");
    std::fs::write(&path, script(&built_in(), &resources, &launcher).unwrap()).unwrap();
    let start = || {
        let mut command = std::process::Command::new("/bin/sh");
        command.arg(&path).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder.path());
        command.spawn().unwrap()
    };
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    std::fs::write(folder.path().join("quick"), "").unwrap();
    assert_eq!(start().wait().unwrap().code(), Some(3));
    let notes = read("notes");
    assert!(notes.starts_with("yes, 3") && notes.ends_with("after 3\n"), "{notes}");
    assert_eq!(read("code"), format!("{CODE}\n"));

    std::fs::remove_file(folder.path().join("quick")).unwrap();
    std::fs::remove_file(folder.path().join("notes")).unwrap();
    let mut job = start();
    while read("ready").is_empty() {
        assert!(job.try_wait().unwrap().is_none(), "{}", read("notes"));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let pid = job.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(job.wait().unwrap().code(), Some(7));
    assert!(read("notes").ends_with("ended\nafter 7\n"), "{}", read("notes"));
}

#[test]
fn no_value_can_add_a_line() {
    let good = resources(&[("profile", "full")]).unwrap();
    let line = "x\n#PBS -q vip".to_owned();
    let mut cases = vec![
        Resources { queue: line.clone(), ..good.clone() },
        Resources { select: line.clone(), ..good.clone() },
        Resources { place: Some(line.clone()), ..good.clone() },
        Resources { walltime: "1\r#PBS -q vip".to_owned(), ..good.clone() },
        Resources { account: Some(line.clone()), ..good.clone() },
        Resources { project: Some("x\0".to_owned()), ..good.clone() },
        Resources { profile: line.clone(), ..good.clone() },
    ];
    for case in cases.drain(..) {
        let outcome = script(&built_in(), &case, &LauncherSettings::default());
        assert!(matches!(outcome, Err(TemplateError::ControlCharacter { .. })), "{case:?}");
    }
    let launcher = LauncherSettings { arguments: vec![line], ..LauncherSettings::default() };
    let outcome = script(&built_in(), &good, &launcher);
    assert!(matches!(outcome, Err(TemplateError::ControlCharacter { .. })));
}

proptest! {
    /// All that a user can change, with anything in it.
    #[test]
    fn form_fields_change_numbers_and_nothing_else(
        nodes in "\\PC{0,12}|[0-9]{1,3}|[1-4]\n.{0,20}|-?[0-9]{1,30}",
        cores in "\\PC{0,12}|4|28|28\n.{0,20}",
        walltime in "\\PC{0,12}|[0-9:]{1,10}|[0-9]{2}:[0-9]{2}\n.{0,20}",
    ) {
        let fields = [("profile", "full"), ("full.nodes", &nodes), ("full.cores", &cores), ("full.walltime", &walltime)];
        if let Some(resources) = resources(&fields) {
            let changed = script(&built_in(), &resources, &LauncherSettings::default()).unwrap();
            let usual = script(&built_in(), &self::resources(&[("profile", "full")]).unwrap(), &LauncherSettings::default()).unwrap();
            let digits = |text: &str| text.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>();
            prop_assert_eq!(digits(&changed), digits(&usual));
        }
    }
}

#[test]
fn a_site_s_own_script_must_hand_over_the_code_and_put_its_directives_first() {
    let good = resources(&[("profile", "full")]).unwrap();
    let launcher = LauncherSettings::default();
    let rendered = |text: &str| script(&own(text).unwrap(), &good, &launcher);
    assert!(rendered("#!/bin/sh\n#PBS -q {{ queue }}\nnuna-singleuser <<EOF\n{{ code }}\nEOF\n").is_ok());
    for text in [
        "#!/bin/sh\nnuna-singleuser\n",
        "#!/bin/sh\nnuna-singleuser {{ code }}\n",
        "#!/bin/sh\n#PBS -v CODE={{ code }}\nnuna-singleuser <<EOF\n{{ code }}\nEOF\n",
    ] {
        assert!(matches!(rendered(text), Err(TemplateError::NoCode)), "{text}");
    }
    let late = rendered("#!/bin/sh\numask 077\n #PBS -q workq\nx <<EOF\n{{ code }}\nEOF\n");
    assert!(matches!(late, Err(TemplateError::LateDirective { .. })));
    let unknown = rendered("{{ quueue }}\n{{ code }}\n").unwrap_err().to_string();
    assert!(unknown.contains("quueue"), "{unknown}");
    let faults = own("{% if %}").err().unwrap();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].key, "templates.job");
}

#[test]
fn a_template_is_tried_with_every_profile_before_anybody_uses_it() {
    let settings = settings();
    let templates = own("{{ account | quote }} {{ plaace }}\n{{ code }}\n").unwrap();
    let profiles = Profiles::new(settings.clone());
    let faults =
        check_all(&templates, &profiles, &settings, &LauncherSettings::default(), "http://hub/services/nuna");
    assert!(
        faults.iter().any(|fault| fault.key == "templates.job" && fault.wrong.contains("plaace")),
        "{faults:?}"
    );
    let well = check_all(
        &built_in(),
        &profiles,
        &settings,
        &LauncherSettings::default(),
        "http://hub/services/nuna",
    );
    assert_eq!(well, []);
}

#[test]
fn the_form_shows_words_as_words() {
    let odd = "<script>alert(1)</script>\"'><b a=\"";
    let mut settings = settings();
    let profile = settings.get_mut("full").unwrap();
    profile.title = odd.to_owned();
    profile.description = odd.to_owned();
    profile.options.insert(
        "cores".to_owned(),
        OptionSettings::Choice {
            title: odd.to_owned(),
            choices: vec![crate::config::Offer { value: odd.to_owned(), title: odd.to_owned() }],
            default: odd.to_owned(),
            for_groups: BTreeMap::new(),
        },
    );
    profile.options.insert(
        "walltime".to_owned(),
        OptionSettings::Walltime { title: odd.to_owned(), max: odd.to_owned(), for_groups: BTreeMap::new() },
    );
    let form = form(&settings["full"]);
    assert!(!form.contains("<script>alert") && !form.contains("<b a") && !form.contains("'><"), "{form}");
    assert!(form.contains("&lt;script&gt;alert(1)"), "{form}");
}

#[test]
fn the_form_offers_what_profiles_offer() {
    let settings = settings();
    let form = form(&settings["full"]);
    for part in [
        r#"name="profile" value="full" checked"#,
        r#"name="full.nodes" value="1" inputmode="numeric""#,
        "1 to 4",
        r#"<option value="4" selected>4</option>"#,
        r#"<option value="28">28</option>"#,
        r#"name="full.walltime" value="01:00:00""#,
        "at most 08:00:00",
        "4 GB, up to 08:00:00, queue workq",
    ] {
        assert!(form.contains(part), "no {part} in {form}");
    }
}
