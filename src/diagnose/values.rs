//! Causes: values that the chart or Helm does not accept.
//! Pure. The words are those of Helm 3 and 4.

use super::{
    Cause, Snapshot, between,
    messages::{cause, message, one_line, place},
};

/// What the words of a template mean for who gives the values.
struct Reading<'a> {
    /// `web/templates/cm.yaml, line 1`; empty if it is not told.
    at: String,
    /// The expression, such as `.Values.image.tag`; empty if it is not told.
    expression: &'a str,
    /// What is wrong with it.
    detail: &'a str,
}

/// `… executing "web/templates/cm.yaml" at <EXPRESSION>: DETAIL`, the innermost.
fn reading(line: &str) -> Option<Reading<'_>> {
    let (before, rest) = line.rsplit_once(" at <").filter(|(before, _)| before.contains("executing \""))?;
    let (expression, detail) = rest.rsplit_once(">:")?;
    Some(Reading { at: at(before), expression, detail: detail.trim() })
}

fn at(words: &str) -> String {
    place(words).map_or_else(String::new, |(file, line)| format!("{file}, line {line}"))
}

/// `.Values.image.tag` → `image.tag`.
fn path(expression: &str) -> Option<&str> {
    let path = expression.trim_start_matches('$').strip_prefix(".Values.")?;
    let is_plain = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
    (!path.is_empty() && path.chars().all(is_plain)).then_some(path)
}

fn inside(at: &str) -> String {
    if at.is_empty() { String::new() } else { format!(" ({at})") }
}

/// The values do not fit the chart's `values.schema.json`.
pub(super) fn schema(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let Some((_, told)) = message.split_once("values don't meet the specifications of the schema(s)") else {
        return Vec::new();
    };
    let lines: Vec<&str> = told.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect();
    let faults: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("- ")).collect();
    let summary = match faults.as_slice() {
        [] => "the values do not fit the chart's schema".to_owned(),
        [only] => format!("the values do not fit the chart's schema: {only}"),
        [first, rest @ ..] => {
            format!("the values do not fit the chart's schema: {first}, and {} more", rest.len())
        }
    };
    let remedy = vec![
        "correct these values: the paths are those of the values file".to_owned(),
        "helm show values CHART   # the chart's own values, with its comments".to_owned(),
    ];
    let evidence = lines.into_iter().map(str::to_owned).collect();
    vec![Cause { summary, evidence, remedy, ..Cause::default() }]
}

/// The chart itself stops: `required` or `fail` in a template.
pub(super) fn required(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let Some((_, told)) = message.split_once("execution error at (") else { return Vec::new() };
    let Some((here, told)) = told.split_once("): ") else { return Vec::new() };
    let here = at(here);
    let summary = format!("the chart stops with its own words: {}", one_line(told));
    let remedy = vec![
        format!("give the value that it asks for, with -f or --set{}", inside(&here)),
        "helm show values CHART   # the chart's own values, with its comments".to_owned(),
    ];
    cause(&message, summary, remedy)
}

const TYPES: [&str; 7] = [
    "can't evaluate field ",
    "range can't iterate over ",
    "wrong type for value",
    "incompatible types for comparison",
    "expected integer; found",
    "expected string; found",
    "cannot index slice/array",
];

/// A template reads below a value that is not set.
pub(super) fn missing(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let line = one_line(&message);
    let Some(reading) = reading(&line) else { return Vec::new() };
    let is_index = reading.detail.contains("index of nil pointer");
    if !reading.detail.contains("nil pointer evaluating ") && !is_index {
        return Vec::new();
    }
    // `interface {}.tag`: the field that was read of nothing.
    let field = reading.detail.rsplit('.').next().unwrap_or_default().trim();
    let parent = parent(reading.expression, field).filter(|_| !is_index);
    let summary = match parent {
        Some(parent) => format!("a template reads {}, and {parent} is not set", reading.expression),
        None => format!("a template reads a value that is not set: {}", reading.expression),
    };
    let mut remedy = Vec::new();
    if let Some(path) = path(reading.expression) {
        remedy.push(format!("set {path} in the values, with -f or --set {path}=…"));
    }
    remedy.push(format!("or let the template do without it{}", inside(&reading.at)));
    cause(&message, summary, remedy)
}

/// The part of `.Values.a.b.c` before the field that was read of nothing.
fn parent<'a>(expression: &'a str, field: &str) -> Option<&'a str> {
    path(expression)?;
    let dotted = format!(".{field}");
    let at = expression.match_indices(&dotted).find(|(at, _)| {
        let rest = &expression[at + dotted.len()..];
        *at > 0 && (rest.is_empty() || rest.starts_with('.'))
    })?;
    Some(&expression[..at.0])
}

/// A template wants a value of another type.
pub(super) fn mistyped(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let line = one_line(&message);
    let Some(reading) = reading(&line).filter(|it| TYPES.iter().any(|sign| it.detail.contains(sign))) else {
        return Vec::new();
    };
    let field = reading.detail.strip_prefix("can't evaluate field ").and_then(|rest| rest.split(' ').next());
    let parent = field.and_then(|field| parent(reading.expression, field));
    let summary = match (parent, field) {
        (Some(parent), Some(field)) => {
            format!("{parent} has no field {field}: it is not the map that the template expects")
        }
        _ => format!("a value has another type than the template expects: {}", reading.detail),
    };
    let what = path(reading.expression).map_or_else(|| "the values".to_owned(), |path| path.to_owned());
    let remedy = vec![
        format!("compare {what} with the chart's own values: helm show values CHART"),
        format!("a number or true in --set is no string: use --set-string{}", inside(&reading.at)),
    ];
    cause(&message, summary, remedy)
}

/// A file of values, or a `--set`, that cannot be read.
pub(super) fn unreadable(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let parse = "the file must be YAML: helm names the line".to_owned();
    let (summary, remedy) = if let Some(rest) = message.strip_prefix("failed to parse ") {
        let file = rest.split(": ").next().unwrap_or_default();
        (format!("the values file {file} is not valid YAML"), parse)
    } else if let Some(rest) = message.strip_prefix("failed parsing ") {
        let flag = rest.split(' ').next().unwrap_or_default();
        let hint = "a comma, a bracket or a dot in a value needs a backslash before it; --set-literal takes any text";
        (format!("a value of {flag} cannot be read"), hint.to_owned())
    } else if let Some(file) =
        between(&message, "open ", ": no such file or directory").filter(|_| message.starts_with("open "))
    {
        let hint = "paths are relative to the working directory, not to the chart".to_owned();
        (format!("there is no file {file}"), hint)
    } else {
        return Vec::new();
    };
    cause(&message, summary, vec![remedy])
}

/// Another error of a template: it cannot be parsed, or calls what does not exist.
pub(super) fn template(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let line = one_line(&message);
    let parse = line.split_once("parse error at (").and_then(|(_, rest)| rest.split_once("): "));
    let (at, detail) = match (parse, reading(&line)) {
        (Some((place, detail)), _) => (at(place), detail.to_owned()),
        (None, Some(reading)) => {
            let known = ["nil pointer evaluating ", "index of nil pointer"];
            let is_of_values = known.iter().chain(&TYPES).any(|sign| reading.detail.contains(sign));
            if is_of_values || line.contains("execution error at (") {
                return Vec::new();
            }
            let detail = reading.detail.trim_start_matches("error calling include:").trim();
            let detail = detail.trim_start_matches("template: ");
            (reading.at, detail.to_owned())
        }
        (None, None) => return Vec::new(),
    };
    let summary = format!("a template of the chart is wrong{}: {detail}", inside(&at));
    let remedy = vec![
        "helm lint CHART".to_owned(),
        "a template of a dependency that is missing: helm dependency build CHART".to_owned(),
    ];
    cause(&message, summary, remedy)
}

/// What the templates render to is not YAML.
pub(super) fn not_yaml(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let Some((_, told)) = message.split_once("YAML parse error on ") else { return Vec::new() };
    let (file, why) = told.split_once(": ").unwrap_or((told, ""));
    let why = why.rsplit("yaml: ").next().unwrap_or(why);
    let mut remedy = vec![format!(
        "helm template {} CHART --debug   # prints the rendered text, to which the line number refers",
        super::messages::shell(&snapshot.release)
    )];
    let unquoted = [
        "cannot start any token",
        "mapping values are not allowed",
        "did not find expected",
        "could not find expected",
    ];
    if unquoted.iter().any(|sign| why.contains(sign)) {
        remedy.push(
            "a value with special characters needs quotes: {{ .Values.x | quote }}; a block needs nindent"
                .to_owned(),
        );
    }
    cause(&message, format!("{file} does not render to YAML: {}", one_line(why)), remedy)
}

/// A rendered document without what makes it an object.
pub(super) fn incomplete(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    if !is_incomplete(&message) {
        return Vec::new();
    }
    let missing: Vec<&str> = [
        ("apiVersion not set", "apiVersion"),
        ("kind not set", "kind"),
        ("Object 'Kind' is missing", "kind"),
        ("resource name may not be empty", "metadata.name"),
    ]
    .iter()
    .filter(|(sign, _)| message.contains(sign))
    .map(|(_, field)| *field)
    .collect();
    let summary = format!("a rendered document has no {}", missing.join(" and no "));
    let remedy = vec![format!(
        "helm template {} CHART | less   # find the document; a condition around only a part of it is the usual cause",
        super::messages::shell(&snapshot.release)
    )];
    cause(&message, summary, remedy)
}

/// Is it about a document that is no object?
pub(super) fn is_incomplete(words: &str) -> bool {
    let signs =
        ["apiVersion not set", "kind not set", "Object 'Kind' is missing", "resource name may not be empty"];
    signs.iter().any(|sign| words.contains(sign))
}
