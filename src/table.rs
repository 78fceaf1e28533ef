//! Columns of text, one below the other, no wider than the terminal. Pure.

use crate::{
    color::Severity,
    display::{Display, cut, wrapped},
};
use unicode_width::UnicodeWidthStr;

/// Columns, or facts, that are in colour where there is any: their first words.
const TOLD_BY_COLOR: [&str; 3] = ["STATE", "STATUS", "HEALTH"];
/// Blanks between two columns.
const GAP: usize = 3;
/// A column is not made narrower than this: of less nobody reads anything.
const NARROWEST: usize = 8;

/// A header, and lines of as many cells each. Where they are wider than the terminal, the widest columns are cut.
pub fn aligned(lines: Vec<Vec<String>>, on: Display) -> String {
    let widths = widths(&lines, on.width);
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let mut text = String::new();
        let mut column = 0;
        for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let is_status = number > 0 && lines[0].get(at).is_some_and(|name| is_told(name));
            let cell = cut(cell, *width);
            // The whole line is cut only where even the narrowest columns do not fit.
            let cell = on.width.map_or(cell.clone(), |all| cut(&cell, all.saturating_sub(column)));
            // The blanks behind it are those of the text that is seen.
            let blanks = " ".repeat(width - cell.width().min(*width) + GAP);
            text.push_str(&if on.color && is_status { painted(&cell) } else { cell });
            text.push_str(&blanks);
            column += width + GAP;
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// Does all of it fit?
pub fn fits(lines: &[Vec<String>], on: Display) -> bool {
    let natural = widths(lines, None);
    on.width.is_none_or(|width| total(&natural) <= width)
}

/// Facts, each a name and a value. Long values are wrapped beside their names, commands are not: they are copied.
pub fn facts(facts: Vec<(&str, String)>, on: Display) -> String {
    let names = facts.iter().map(|(name, _)| name.width()).max().unwrap_or(0) + GAP;
    let mut out = String::new();
    for (name, value) in facts {
        let is_command = value.starts_with("helm-guard ") || value.starts_with("HELM_DRIVER=");
        let lines = match on.width {
            Some(width) if !is_command && width > names + NARROWEST => wrapped(&value, width - names),
            _ => vec![value],
        };
        for (number, line) in lines.iter().enumerate() {
            let shown = if number == 0 { name } else { "" };
            let line = if on.color && is_told(shown) { painted(line) } else { line.clone() };
            out.push_str(format!("{shown:names$}{line}").trim_end());
            out.push('\n');
        }
    }
    out
}

fn is_told(name: &str) -> bool {
    TOLD_BY_COLOR.contains(&name)
}

/// Columns that each column takes: what its widest cell takes, or less, so that all fit.
fn widths(lines: &[Vec<String>], limit: Option<usize>) -> Vec<usize> {
    let natural = |column: usize| lines.iter().map(|line| line[column].width()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(natural).collect();
    while limit.is_some_and(|limit| total(&widths) > limit) {
        match widths.iter_mut().filter(|width| **width > NARROWEST).max() {
            Some(widest) => *widest -= 1,
            None => break,
        }
    }
    widths
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// A cell with its first word in colour.
fn painted(cell: &str) -> String {
    let (word, rest) = cell.split_at(cell.find([' ', ',']).unwrap_or(cell.len()));
    Severity::of(word).paint(word) + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Display = Display { color: false, width: None };

    fn lines(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_they_are_on_a_screen() {
        let text = aligned(lines(&[&["ab", "x"], &["\u{6f22}", "y"], &["e\u{301}", "z"]]), PLAIN);
        assert_eq!(text, "ab   x\n\u{6f22}   y\ne\u{301}    z\n");
    }

    #[test]
    fn the_widest_column_is_cut() {
        let table = lines(&[
            &["RELEASE", "STATE", "CAUSE"],
            &["web", "stuck", "revision 2 is pending-upgrade, and nobody holds its lock"],
        ]);
        let on = Display { color: false, width: Some(40) };
        assert_eq!(
            aligned(table.clone(), on),
            "RELEASE   STATE   CAUSE\nweb       stuck   revision 2 is pending…\n"
        );
        assert!(!fits(&table, on) && fits(&table, PLAIN));
    }

    #[test]
    fn a_fact_is_wrapped_and_a_command_is_not() {
        let of = |color| {
            let command = "helm-guard repair web -n shop, without a deploy";
            let values =
                vec![("HEALTH", "Stuck, beside revision 2".to_owned()), ("NEXT", command.to_owned())];
            facts(values, Display { color, width: Some(24) })
        };
        let next = "NEXT     helm-guard repair web -n shop, without a deploy\n";
        assert_eq!(of(false), format!("HEALTH   Stuck, beside\n         revision 2\n{next}"));
        assert_eq!(
            of(true),
            format!("HEALTH   \u{1b}[31mStuck\u{1b}[0m, beside\n         revision 2\n{next}")
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(cells in prop::collection::vec("[a-z日 ]{0,40}", 6), width in 0usize..100) {
            let table = vec![cells[..3].to_vec(), cells[3..].to_vec()];
            for line in aligned(table, Display { color: false, width: Some(width) }).lines() {
                prop_assert!(line.width() <= width, "{}", line);
            }
        }
    }
}
