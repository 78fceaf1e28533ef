//! What hostile text may not do.

use comrak::{Options, markdown_to_html};
use proptest::prelude::*;

use super::*;

/// Would GitHub's runner read a command in this output? Stricter than the runner: looks past all but visible ASCII, and
/// needs neither a known command nor a closing bracket.
pub(crate) fn is_workflow_command(output: &str) -> bool {
    output.split(['\r', '\n']).any(|line| {
        let visible: String = line.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        visible.trim_start().starts_with("::") || visible.contains("##[")
    })
}

/// GitHub's flavour of Markdown, raw HTML allowed so that a test sees it.
pub(crate) fn github_html(markdown: &str) -> String {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.extension.math_dollars = true;
    options.extension.alerts = true;
    options.render.r#unsafe = true;
    markdown_to_html(markdown, &options)
}

/// Text made of what matters to the readers of the output, with some of everything in between.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            "::", ":", "##[", "##", "[", "]", "error", "::error::", "::stop-commands::x", "::set-output name=a::b", "\r", "\n",
            "\r\n", " ", "\t", "\u{ad}", "\u{200d}", "\u{feff}", "\u{1b}", "\u{1b}[31m", "\u{1b}]0;t\u{7}", "\u{202e}",
            "\u{2028}", "%0A", "%", ",", "`", "```", "~~~", "|", "\\", "<script>", "</details>", "<!--", "&lt;", "@admin",
            "#12", "http://evil.example", "www.evil.example", "a@evil.example", "![x](y)", "[x](y)", "*", "_", "$x$", "- ",
            "> ", "# ", "1. ", "---", "    ", "[^1]", "\0",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn an_inert_line_is_never_a_command(text in hostile()) {
        let line = inert_line(&text);
        prop_assert!(!is_workflow_command(&line), "{line:?}");
        prop_assert!(!line.contains(['\r', '\n']));
    }

    #[test]
    fn an_inert_line_only_gains_blanks(text in hostile()) {
        let strip = |s: &str| s.replace([' ', '\r', '\n'], "");
        prop_assert_eq!(strip(&inert_line(&text)), strip(&text));
    }

    #[test]
    fn terminal_text_is_one_bounded_line_without_controls(text in hostile()) {
        let safe = terminal_safe(&text);
        prop_assert!(!safe.chars().any(|c| c.is_control() || is_invisible(c)), "{safe:?}");
        prop_assert!(safe.chars().count() <= LINE);
    }

    #[test]
    fn an_annotation_is_one_command_and_its_data(title in hostile(), data in hostile()) {
        let (title, data) = (workflow_property(&title), workflow_data(&data));
        let line = format!("::error title={title}::{data}");
        prop_assert!(!line.contains(['\r', '\n']));
        // The runner ends the properties at the first `::` and splits them at commas.
        prop_assert!(!title.contains([':', ',']));
        prop_assert!(!line.contains("##["));
        // Only the three escapes that the runner knows follow a percent sign.
        prop_assert!(data.split('%').skip(1).all(|s| ["25", "0D", "0A"].iter().any(|e| s.starts_with(e))));
    }

    #[test]
    fn a_cell_stays_in_its_cell_and_renders_only_text(text in hostile()) {
        let html = github_html(&format!("| a | b |\n| --- | --- |\n| x {} | end |\n", markdown_cell(&text)));
        prop_assert_eq!(html.matches("<td").count(), 2, "{}", html);
        prop_assert!(html.contains("<td>end</td>"), "{}", html);
        let cell = html.split("<td>").nth(1).unwrap().split("</td>").next().unwrap();
        prop_assert!(!cell.contains('<'), "{}", cell);
    }

    #[test]
    fn a_sentence_renders_only_text(text in hostile()) {
        let html = github_html(&format!("x {}\n", markdown_cell(&text)));
        let inner = html.trim().strip_prefix("<p>").and_then(|h| h.strip_suffix("</p>")).unwrap();
        prop_assert!(!inner.contains('<'), "{}", html);
        prop_assert!(!inner.contains("@a"), "{}", html);
    }

    #[test]
    fn a_code_block_is_one_block(text in hostile()) {
        let html = github_html(&format!("before\n\n{}\nafter\n", markdown_code_block(&text, "text", 50)));
        let inner = html.strip_prefix("<p>before</p>\n<pre><code class=\"language-text\">")
            .and_then(|h| h.strip_suffix("</code></pre>\n<p>after</p>\n"));
        prop_assert!(inner.is_some_and(|h| !h.contains('<')), "{}", html);
    }
}

#[test]
fn commands_are_broken_and_the_rest_is_left_alone() {
    let rows = [
        ("plain", "plain", "ordinary text stays"),
        ("::error::x", ": :error::x", "the new syntax at the start"),
        (" \t::error::x", " \t: :error::x", "after leading blanks"),
        ("a ::error::x", "a ::error::x", "not at the start it is text"),
        ("a ##[error]x", "a ## [error]x", "the old syntax anywhere"),
        ("###[error]x", "### [error]x", "more hashes"),
        ("a\r::error::x", "a ::error::x", "a bare carriage return splits lines"),
        ("\u{ad}::error::x", "\u{ad}: :error::x", "a soft hyphen is ignored by the collation"),
        ("#\u{200d}#[error]x", "#\u{200d}# [error]x", "a joiner inside the old syntax"),
        ("##\u{1b}[31m]x", "## \u{1b}[31m]x", "a colour keeps its sequence"),
        ("\u{1b}[32mok\u{1b}[0m\n", "\u{1b}[32mok\u{1b}[0m", "colours stay, the line break goes"),
    ];
    for (input, expected, why) in rows {
        assert_eq!(inert_line(input), expected, "{why}");
    }
}

#[test]
fn escape_sequences_hide_nothing() {
    let rows = [
        ("\u{1b}[1;31mred\u{1b}[0m", "red"),
        ("\u{1b}]0;title\u{7}text", "text"),
        ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
        ("\u{1b}]0;never closed\nnext line", "next line"),
        ("50%\rdone", "50% done"),
        ("nul\0bell\u{7}", "nulbell"),
        ("abc\u{202e}cba", "abccba"),
    ];
    for (input, expected) in rows {
        assert_eq!(terminal_safe(input), expected);
    }
}

#[test]
fn long_text_is_cut_with_an_ellipsis() {
    assert_eq!(shorten("12345", 5), "12345");
    assert_eq!(shorten("123456", 5), "1234…");
    assert_eq!(terminal_safe(&"x".repeat(10_000)).chars().count(), LINE);
}

#[test]
fn a_code_block_keeps_the_last_lines() {
    assert_eq!(markdown_code_block("1\n2\n3\n4", "", 2), "```\n… 2 earlier lines\n3\n4\n```\n");
    assert_eq!(markdown_code_block("a ```` b", "", 2), "`````\na ```` b\n`````\n");
}

#[test]
fn an_age_is_one_number() {
    for (seconds, expected) in [
        (-5, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (864_000, "10d"),
    ] {
        assert_eq!(age(seconds), expected);
    }
}
