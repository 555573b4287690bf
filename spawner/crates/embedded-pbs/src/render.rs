//! How PBS prints things: `-f` text, `-F json`, `-F dsv`, and the short tables. Pure functions of objects.

use std::fmt::Write;

use crate::attributes::{Object, Value};
use crate::batch::PBS_VERSION;

/// The column after which `qstat -f` continues on the next line.
const LINE_LIMIT: usize = 78;

/// `qstat -f`, `-Q -f`, `-B -f` and `pbsnodes` in words.
pub(crate) fn text(heading: &str, objects: &[Object]) -> String {
    let mut out = String::new();
    for object in objects {
        let _ = writeln!(out, "{heading}{}", object.name);
        for (name, value) in &object.attributes {
            match value {
                Value::Text(text) => line(&mut out, name, text),
                Value::Resources(values) => {
                    for (resource, text) in values {
                        line(&mut out, &format!("{name}.{resource}"), text);
                    }
                }
                Value::Variables(values) => line(&mut out, name, &joined(values)),
            }
        }
        out.push('\n');
    }
    out
}

fn joined(values: &[(String, String)]) -> String {
    let items: Vec<String> =
        values.iter().map(|(name, value)| format!("{name}={}", value.replace(',', "\\,"))).collect();
    items.join(",")
}

/// One attribute, wrapped where the real `qstat` wraps it: between commas if the next part does not fit,
/// else in the middle of a word.
fn line(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, "    {name} = ");
    let mut column = name.len() + 7;
    for (index, part) in value.split(',').enumerate() {
        if index > 0 {
            out.push(',');
        }
        let length = part.chars().count();
        if length + column < LINE_LIMIT {
            out.push_str(part);
            column += length + 1;
            continue;
        }
        if index > 0 {
            out.push_str("\n\t");
            column = 9;
        }
        for letter in part.chars() {
            out.push(letter);
            column += 1;
            if column > LINE_LIMIT {
                out.push_str("\n\t");
                column = 8;
            }
        }
    }
    out.push('\n');
}

/// `-F dsv`.
pub(crate) fn separated(heading: &str, objects: &[Object]) -> String {
    let escape = |text: &str| text.replace('|', "\\|");
    let mut out = String::new();
    for object in objects {
        let _ = write!(out, "{heading}{}", object.name);
        for (name, value) in &object.attributes {
            match value {
                Value::Text(text) => {
                    let _ = write!(out, "|{name}={}", escape(text));
                }
                Value::Resources(values) => {
                    for (resource, text) in values {
                        let _ = write!(out, "|{name}.{resource}={}", escape(text));
                    }
                }
                Value::Variables(values) => {
                    let _ = write!(out, "|{name}={}", escape(&joined(values)));
                }
            }
        }
        out.push('\n');
    }
    out
}

/// `-F json`: the header, then `group` (absent if there is nothing in it, as in PBS).
pub(crate) fn json(server: &str, timestamp: i64, group: &str, objects: &[Object]) -> String {
    let mut out = format!(
        "{{\n\t\"timestamp\":\t{timestamp},\n\t\"pbs_version\":\t\"{PBS_VERSION}\",\n\t\"pbs_server\":\t{}",
        quoted(server)
    );
    if !objects.is_empty() {
        let _ = write!(out, ",\n\t{}:\t{{", quoted(group));
        for (index, object) in objects.iter().enumerate() {
            let _ = write!(out, "{}\n\t\t{}:\t{{", comma(index), quoted(&object.name));
            for (index, (name, value)) in object.attributes.iter().enumerate() {
                let _ = write!(out, "{}\n\t\t\t{}:\t", comma(index), quoted(name));
                match value {
                    Value::Text(text) => out.push_str(&scalar(text)),
                    Value::Resources(values) | Value::Variables(values) => {
                        out.push('{');
                        for (index, (name, text)) in values.iter().enumerate() {
                            let _ =
                                write!(out, "{}\n\t\t\t\t{}:\t{}", comma(index), quoted(name), scalar(text));
                        }
                        out.push_str("\n\t\t\t}");
                    }
                }
            }
            out.push_str("\n\t\t}");
        }
        out.push_str("\n\t}");
    }
    out.push_str("\n}\n");
    out
}

fn comma(index: usize) -> &'static str {
    if index == 0 { "" } else { "," }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// PBS guesses types from the text: what reads as a number is printed as one, even a job's name.
fn scalar(text: &str) -> String {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty()
        && digits.len() <= 15
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if plain { text.to_owned() } else { quoted(text) }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width - 1).collect();
    short.push('*');
    short
}

fn owner(object: &Object) -> &str {
    object.get("Job_Owner").split('@').next().unwrap_or_default()
}

/// `qstat`.
pub(crate) fn job_table(objects: &[Object]) -> String {
    if objects.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "Job id            Name             User              Time Use S Queue\n\
         ----------------  ---------------- ----------------  -------- - -----\n",
    );
    for object in objects {
        let _ = writeln!(
            out,
            "{:<16}  {:<16} {:<16}  {:>8} {} {:<16}",
            cut(&object.name, 17),
            cut(object.get("Job_Name"), 15),
            cut(owner(object), 15),
            object.resource("resources_used", "cput").unwrap_or("0"),
            object.get("job_state"),
            cut(object.get("queue"), 15),
        );
    }
    out
}

/// `qstat -a`, `-u`, `-n`, `-s`: the wider table, with the comment below each job if asked.
pub(crate) fn wide_table(server: &str, objects: &[Object], with_comment: bool, with_nodes: bool) -> String {
    if objects.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "\n{server}: \n\
         {:60}Req'd  Req'd   Elap\n\
         Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time\n\
         --------------- -------- -------- ---------- ------ --- --- ------ ----- - -----\n",
        ""
    );
    let clock =
        |text: Option<&str>| text.and_then(|text| text.get(..text.len() - 3)).unwrap_or("--").to_owned();
    for object in objects {
        let or_dashes = |text: &str| if text.is_empty() { "--".to_owned() } else { text.to_owned() };
        let _ = writeln!(
            out,
            "{:<15} {:<8} {:<8} {:<10} {:>6} {:>3} {:>3} {:>6} {:>5} {} {:>5}",
            cut(&object.name, 15),
            cut(owner(object), 8),
            cut(object.get("queue"), 8),
            cut(object.get("Job_Name"), 10),
            or_dashes(object.get("session_id")),
            object.resource("Resource_List", "nodect").unwrap_or("--"),
            object.resource("Resource_List", "ncpus").unwrap_or("--"),
            object.resource("Resource_List", "mem").unwrap_or("--"),
            clock(object.resource("Resource_List", "walltime")),
            object.get("job_state"),
            clock(object.resource("resources_used", "walltime")),
        );
        if with_nodes {
            let _ = writeln!(out, "   {}", or_dashes(object.get("exec_host")));
        }
        if with_comment {
            let _ = writeln!(out, "   {}", or_dashes(object.get("comment")));
        }
    }
    out
}

/// `qstat -Q`.
pub(crate) fn queue_table(objects: &[Object]) -> String {
    let mut out = String::from(
        "Queue              Max   Tot Ena Str   Que   Run   Hld   Wat   Trn   Ext Type\n\
         ---------------- ----- ----- --- --- ----- ----- ----- ----- ----- ----- ----\n",
    );
    for object in objects {
        let count = |name: &str| {
            object
                .get("state_count")
                .split(' ')
                .find_map(|item| item.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or("0")
                .to_owned()
        };
        let yes = |name: &str| if object.get(name) == "True" { "yes" } else { "no" };
        let _ = writeln!(
            out,
            "{:<16} {:>5} {:>5} {:>3} {:>3} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} Exec",
            cut(&object.name, 15),
            0,
            object.get("total_jobs"),
            yes("enabled"),
            yes("started"),
            count("Queued"),
            count("Running"),
            count("Held"),
            count("Waiting"),
            count("Transit"),
            count("Exiting"),
        );
    }
    out
}

/// `qstat -B`.
pub(crate) fn server_table(object: &Object) -> String {
    let count = |name: &str| {
        object
            .get("state_count")
            .split(' ')
            .find_map(|item| item.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("0")
            .to_owned()
    };
    format!(
        "Server             Max   Tot   Que   Run   Hld   Wat   Trn   Ext Status\n\
         ---------------- ----- ----- ----- ----- ----- ----- ----- ----- -----------\n\
         {:<16} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {}\n",
        cut(&object.name, 15),
        0,
        object.get("total_jobs"),
        count("Queued"),
        count("Running"),
        count("Held"),
        count("Waiting"),
        count("Transit"),
        count("Exiting"),
        object.get("server_state"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_wrap_as_recorded() {
        let sample = include_str!("../tests/samples/qstat-f-R.txt");
        let unwrapped = sample.replace("\n\t", "");
        for name in ["Variable_List", "Submit_arguments", "comment"] {
            let prefix = format!("    {name} = ");
            let value = unwrapped.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap();
            let mut out = String::new();
            line(&mut out, name, value);
            assert!(sample.contains(&out), "{name} wrapped as\n{out}");
        }
    }

    #[test]
    fn numbers_are_guessed_from_text() {
        for (text, printed) in [
            ("12", "12"),
            ("-29", "-29"),
            ("012", "\"012\""),
            ("00:10", "\"00:10\""),
            ("", "\"\""),
            ("0", "0"),
        ] {
            assert_eq!(scalar(text), printed);
        }
    }

    #[test]
    fn json_is_valid_whatever_a_value_holds() {
        let mut object = Object::new("1.head");
        object.variables("Variable_List", vec![("A".to_owned(), "quote \" back \\ line\n".to_owned())]);
        let parsed: serde_json::Value = serde_json::from_str(&json("head", 1, "Jobs", &[object])).unwrap();
        assert_eq!(parsed["Jobs"]["1.head"]["Variable_List"]["A"], "quote \" back \\ line\n");
    }
}
