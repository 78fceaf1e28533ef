//! Untrusted text made harmless: for a terminal, for Markdown, for GitHub's workflow commands.
//! Pure, and total: every function takes any string and never fails.
//!
//! Untrusted is everything that did not start as a literal in this program: Helm's output, descriptions in records,
//! messages of pods and events, annotations of somebody else's Lease, names.

/// Longest single line, in characters.
const LINE: usize = 600;
/// Longest table cell or sentence in Markdown, in characters.
const CELL: usize = 400;
/// Longest data of one annotation, in characters.
const ANNOTATION: usize = 1500;

/// One line for a terminal or a log: no escape sequences, control characters, line breaks or characters that reorder
/// or hide text; bounded.
pub fn terminal_safe(text: &str) -> String {
    one_line(text, LINE)
}

/// Text for a Markdown sentence or table cell, for use behind other text on the same line. It renders as itself: no
/// HTML, link, image, mention, reference, emphasis or column separator. Bounded.
///
/// Punctuation becomes numeric entities, which CommonMark never takes for structure. Mentions and bare links are found
/// by later passes over the rendered text, so these are also broken with a zero-width space.
pub fn markdown_cell(text: &str) -> String {
    let line = one_line(text, CELL);
    let mut out = String::with_capacity(line.len() * 2);
    for (at, c) in line.char_indices() {
        let rest = &line[at + c.len_utf8()..];
        match c {
            '&' | '<' | '>' | '"' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' | '\\' | '!' | '{'
            | '}' | '^' => {
                entity(&mut out, c);
            }
            '@' | '#' => {
                entity(&mut out, c);
                out.push_str("&#8203;");
            }
            // Behind the dash of a list item, more dashes alone are a rule across the page.
            '-' if at == 0 && line.len() > 1 && line.chars().all(|c| matches!(c, '-' | ' ')) => {
                entity(&mut out, c);
            }
            ':' if rest.starts_with("//") => out.push_str("&#58;&#8203;"),
            '.' if line[..at].to_ascii_lowercase().ends_with("www") => out.push_str("&#8203;."),
            _ => out.push(c),
        }
    }
    out
}

/// A fenced block that shows `text` as it is. The fence is longer than any run of backticks inside. Keeps the last
/// `max_lines` lines, where errors are, and bounds each; ends with a line break.
pub fn markdown_code_block(text: &str, language: &str, max_lines: usize) -> String {
    let text = clean(text);
    let lines: Vec<&str> = text.trim_matches('\n').lines().collect();
    let dropped = lines.len().saturating_sub(max_lines);
    let fence = "`".repeat(longest_run(&text, '`').max(2) + 1);
    let mut out = format!("{fence}{language}\n");
    if dropped > 0 {
        out.push_str(&format!("… {dropped} earlier lines\n"));
    }
    for line in &lines[dropped..] {
        out.push_str(&shorten(line, LINE));
        out.push('\n');
    }
    out.push_str(&fence);
    out.push('\n');
    out
}

/// Data of a workflow command, the part behind the second `::`. Line breaks survive as `%0A`. Bounded.
pub fn workflow_data(text: &str) -> String {
    let text = shorten(clean(text).trim(), ANNOTATION);
    // The old syntax is looked for only where the new one does not match, but the runner decides that, not we.
    break_old_commands(&text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Data of a workflow command that must arrive as it is, such as a mask. One line.
pub fn workflow_value(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command, e.g. its `title=`. One line, bounded.
pub fn workflow_property(text: &str) -> String {
    workflow_data(&shorten(&terminal_safe(text), 200)).replace(':', "%3A").replace(',', "%2C")
}

/// One line of a log that GitHub's runner does not take for a command, otherwise as it was, colours included.
///
/// The runner reads `::cmd::` after leading blanks and the older `##[cmd]` anywhere, and compares by culture
/// (`StartsWith` and `IndexOf` without an ordinal comparison, `ActionCommand.cs`): characters that the collation ignores,
/// such as a soft hyphen, ESC or a zero-width joiner, may stand between. So all but visible ASCII is looked past.
pub fn inert_line(line: &str) -> String {
    let line: String = line.trim_end_matches(['\r', '\n']).replace(['\r', '\n'], " ");
    break_new_command(&break_old_commands(&line))
}

/// Puts a blank between the `##` and the `[` of every `##[`.
fn break_old_commands(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 4);
    let mut hashes = 0;
    let mut after_hash = 0;
    for c in line.chars() {
        if c == '[' && hashes >= 2 {
            // Right behind the second '#', so that an ESC before the '[' keeps its sequence.
            out.insert(after_hash, ' ');
        }
        out.push(c);
        match c {
            '#' => {
                hashes += 1;
                after_hash = out.len();
            }
            ' ' => hashes = 0,
            c if c.is_ascii_graphic() => hashes = 0,
            _ => {}
        }
    }
    out
}

/// Puts a blank between the two colons when they are the first visible characters.
fn break_new_command(line: &str) -> String {
    let mut visible = line.char_indices().filter(|(_, c)| c.is_ascii_graphic());
    match (visible.next(), visible.next()) {
        (Some((first, ':')), Some((_, ':'))) => format!("{} {}", &line[..=first], &line[first + 1..]),
        _ => line.to_owned(),
    }
}

/// Without escape sequences and without characters that are not seen; `\n` is the only line break left.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\r' => {
                chars.next_if_eq(&'\n');
                out.push('\n');
            }
            '\n' => out.push('\n'),
            '\t' => out.push_str("  "),
            '\u{2028}' | '\u{2029}' | '\u{85}' => out.push('\n'),
            c if c.is_control() || is_invisible(c) => {}
            c => out.push(c),
        }
    }
    out
}

/// Skips the rest of an escape sequence. One that is never closed ends with its line: it must not hide what follows.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next_if(|c| !c.is_control()) {
        Some('[') => {
            while chars.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
            chars.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next_if(|c| !matches!(c, '\n' | '\r')) {
                if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    return;
                }
            }
        }
        _ => {}
    }
}

/// Characters that change the order of others or take no room: text that contains them is not what it looks like.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// One line of at most `max` characters. Looks only at a beginning that is long enough: a cluster can say megabytes, and
/// the report is rendered anew after every event.
fn one_line(text: &str, max: usize) -> String {
    let start = text.char_indices().nth(max * 8).map_or(text, |(at, _)| &text[..at]);
    shorten(&clean(start).split_whitespace().collect::<Vec<_>>().join(" "), max)
}

/// At most `max` characters, the last one an ellipsis if some were cut.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(str::len).max().unwrap_or(0)
}

fn entity(out: &mut String, c: char) {
    out.push_str(&format!("&#{};", u32::from(c)));
}

/// A duration for people: `850ms`, `12s`, `3m 04s`, `1h 05m`.
pub fn duration(seconds: f64) -> String {
    if !(seconds.is_finite() && seconds > 0.0) {
        return "0s".to_owned();
    }
    if seconds < 1.0 {
        return format!("{}ms", (seconds * 1000.0) as u64);
    }
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole / 60 % 60),
    }
}

/// How long ago something was, in one unit: `45s`, `12m`, `5h`, `3d`. Times ahead, by a clock that is wrong, are now.
pub fn age(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds.max(0) {
        seconds if seconds < 2 * MINUTE => format!("{seconds}s"),
        seconds if seconds < 2 * HOUR => format!("{}m", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        seconds => format!("{}d", seconds / DAY),
    }
}

/// The start of each line of the log that is helm-guard's own.
pub const PREFIX: &str = "helm-guard: ";

/// `2026-06-01T10:02:11.123456Z` without what nobody reads.
pub fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) if time.ends_with('Z') => format!("{whole}Z"),
        _ => time.to_owned(),
    }
}

/// A line of the log: safe to print, and told apart from Helm's by its start.
pub fn prefixed(text: &str) -> String {
    format!("{PREFIX}{}", terminal_safe(text))
}

/// Markdown under a title, folded until a reader opens it.
pub fn folded(title: &str, markdown: &str) -> String {
    format!("<details><summary>{title}</summary>\n\n{markdown}\n</details>\n")
}

#[cfg(test)]
#[path = "text_tests.rs"]
pub(crate) mod tests;
