//! How commands are run: their environment, their input, and what happens when they misbehave.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::time::Duration;

use common::{Scripted, user};
use nuna_pbs::{BatchSystem, Commands, DeleteError, RunAs, StatusError, SubmitError};

fn helped(pbs: &Scripted) -> Commands {
    let helper = pbs.path("helper").display().to_string();
    Commands { run_as: RunAs::Helper { argv: vec![helper, "-n".to_owned()] }, ..pbs.commands() }
}

#[tokio::test]
async fn the_script_arrives_whole_and_nothing_of_our_environment() {
    let pbs = Scripted::new();
    let folder = pbs.folder.path().display();
    pbs.script("qsub", &format!("cat > '{folder}/script'; env > '{folder}/environment'; echo \"$*\" > '{folder}/arguments'; echo 7.head"));
    let mut commands = pbs.commands();
    commands.environment.insert("HOME".to_owned(), format!("{folder}/{{user}}"));
    commands.run_as = RunAs::Label;
    // More than a pipe holds, with every kind of quote.
    let script = format!("#PBS -N a\necho \"$HOME\" 'it' `x` \\\n{}", "# padding\n".repeat(20_000));
    assert_eq!(commands.submit(&user("alice"), &script).await.unwrap().to_string(), "7.head");
    let read = |name: &str| std::fs::read_to_string(pbs.path(name)).unwrap();
    assert_eq!(read("script"), script);
    assert_eq!(read("arguments"), "-f\n");
    let environment = read("environment");
    let mut names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // The shell's own, and names that this machine may not set.
    names.retain(|name| !["PWD", "_", "SHLVL", "OLDPWD", "USER", "LOGNAME"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["HOME", "NUNA_PBS_USER", "PATH"]);
    assert!(environment.contains(&format!("HOME={folder}/alice\n")));
    assert!(environment.contains("NUNA_PBS_USER=alice\n"));
}

#[tokio::test]
async fn a_helper_gets_user_word_and_arguments() {
    let pbs = Scripted::new();
    pbs.script(
        "helper",
        "cat >/dev/null; echo \"$*\" >> \"$(dirname \"$0\")/calls\"; case $3 in qsub) echo 7.head;; esac",
    );
    let commands = helped(&pbs);
    let id = commands.submit(&user("alice"), "true\n").await.unwrap();
    commands.delete(&user("alice"), &id).await.unwrap();
    let calls = std::fs::read_to_string(pbs.path("calls")).unwrap();
    assert_eq!(calls, "-n alice qsub -f\n-n alice qdel 7.head\n");
}

/// A site's set-up at fault is not PBS rejecting the user's job.
#[tokio::test]
async fn the_helper_s_own_complaints_are_not_pbs_s() {
    let pbs = Scripted::new();
    for (complaint, code) in
        [("sudo: a password is required", 1), ("nuna-submit: user alice has uid 12, below 1000", 125)]
    {
        pbs.script("helper", &format!("echo '{complaint}' >&2; exit {code}"));
        let error = helped(&pbs).submit(&user("alice"), "true\n").await.unwrap_err();
        assert_eq!(error, SubmitError::NotRun { message: complaint.to_owned() });
        let error = helped(&pbs).delete(&user("alice"), &"7.head".parse().unwrap()).await.unwrap_err();
        assert_eq!(error, DeleteError::Failed { message: complaint.to_owned() });
    }
}

#[tokio::test]
async fn the_helper_is_tried_before_it_is_needed() {
    let pbs = Scripted::new();
    assert_eq!(pbs.commands().helper().await, None);
    let missing = helped(&pbs).helper().await.unwrap().unwrap_err();
    assert!(missing.contains("cannot run"), "{missing}");
    pbs.script("helper", "echo 'sudo: a password is required' >&2; exit 1");
    let refused = helped(&pbs).helper().await.unwrap().unwrap_err();
    assert!(refused.contains("a password is required"), "{refused}");
    pbs.script("helper", "echo \"nuna-submit 0.1.0 $*\"");
    assert_eq!(helped(&pbs).helper().await.unwrap().unwrap(), "nuna-submit 0.1.0 -n --version");
}

/// sudo grumbles about the machine's name on every call, and runs the command all the same.
#[tokio::test]
async fn a_warning_of_sudo_does_not_hide_pbs_s_words() {
    let pbs = Scripted::new();
    pbs.script(
        "helper",
        "echo 'sudo: unable to resolve host hub' >&2; echo 'qsub: Unknown queue' >&2; exit 170",
    );
    let error = helped(&pbs).submit(&user("alice"), "true\n").await.unwrap_err();
    assert!(
        matches!(&error, SubmitError::Rejected { exit_code: 170, words, .. } if words.contains("Unknown queue")),
        "{error:?}"
    );
}

/// Nobody has to wait for a job to turn up that cannot exist.
#[tokio::test]
async fn a_missing_command_surely_submitted_nothing() {
    let pbs = Scripted::new();
    let error = pbs.commands().submit(&user("alice"), "true\n").await.unwrap_err();
    assert!(matches!(&error, SubmitError::NotRun { message } if message.contains("/qsub")), "{error:?}");
}

#[tokio::test]
async fn a_command_that_hangs_is_ended_with_its_children() {
    let pbs = Scripted::new();
    pbs.script("qstat", "sleep 54321.25 & wait");
    let commands = Commands { timeout: Duration::from_millis(300), ..pbs.commands() };
    let error = commands.jobs().await.unwrap_err();
    assert!(matches!(error, StatusError::TimedOut { .. }), "{error:?}");
    let started = std::time::Instant::now();
    while is_running("sleep 54321.25") {
        assert!(started.elapsed() < common::PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pbs.script("qsub", "trap '' TERM; sleep 54321.5");
    let commands = Commands { timeout: Duration::from_millis(300), ..pbs.commands() };
    let error = commands.submit(&user("alice"), "true\n").await.unwrap_err();
    assert!(matches!(error, SubmitError::TimedOut { .. }), "{error:?}");
    assert!(error.to_string().contains("may have been submitted"));
}

fn is_running(line: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ").trim() == line)
    })
}

/// `qsub` may leave a process of its own behind that still holds its output.
#[tokio::test]
async fn a_background_process_does_not_delay_the_answer_beyond_the_limit() {
    let pbs = Scripted::new();
    pbs.script("qsub", "sleep 20 & echo 7.head");
    let commands = Commands { timeout: Duration::from_secs(15), ..pbs.commands() };
    assert_eq!(commands.submit(&user("alice"), "true\n").await.unwrap().to_string(), "7.head");
}

#[tokio::test]
async fn commands_that_cannot_run_are_named() {
    let commands =
        Commands { qsub: "/nowhere/qsub".into(), qstat: "/nowhere/qstat".into(), ..Commands::default() };
    let error = commands.submit(&user("alice"), "true\n").await.unwrap_err();
    assert!(error.to_string().contains("cannot run /nowhere/qsub: No such file"), "{error}");
    let error = commands.jobs().await.unwrap_err();
    assert!(error.to_string().contains("cannot run /nowhere/qstat"), "{error}");
}

#[tokio::test]
async fn a_list_that_says_nothing_is_no_list() {
    let pbs = Scripted::new();
    for said in ["true", "echo", "echo '{\"Jobs\":'; exit 0"] {
        pbs.script("qstat", said);
        let answer = pbs.commands().jobs().await;
        assert!(matches!(answer, Err(StatusError::Unreadable { .. })), "{said}: {answer:?}");
    }
    pbs.script("qstat", "echo '{\"timestamp\":1}'");
    let none = pbs.commands().jobs().await.unwrap();
    assert!(none.complete && none.jobs.is_empty());
}

#[tokio::test]
async fn success_without_an_id_is_a_failure() {
    let pbs = Scripted::new();
    for (printed, what) in [
        ("", "\"\" is not a PBS job id"),
        ("welcome", "\"welcome\" is not"),
        ("1.a; rm -rf /", "is not a PBS job id"),
    ] {
        pbs.script("qsub", &format!("cat >/dev/null; echo '{printed}'"));
        let error = pbs.commands().submit(&user("alice"), "true\n").await.unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    pbs.script("qsub", "cat >/dev/null; echo 'Dear user,'; echo; echo 8.head");
    assert_eq!(pbs.commands().submit(&user("alice"), "true\n").await.unwrap().to_string(), "8.head");
    pbs.script("qsub", "kill -9 $$");
    let error = pbs.commands().submit(&user("alice"), "true\n").await.unwrap_err();
    assert!(error.to_string().contains("signal"), "{error}");
}
