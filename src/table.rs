//! Columns of text, one below the other. Pure.

use crate::color::Severity;
use unicode_width::UnicodeWidthStr;

/// Columns, or facts, that are in colour where there is any: their first words.
const TOLD_BY_COLOR: [&str; 3] = ["STATE", "STATUS", "HEALTH"];

/// Lines of as many cells each, one below the other. A header names columns; else the first cell of a line names the second.
pub fn aligned(lines: Vec<Vec<String>>, color: bool) -> String {
    let is_told = |name: Option<&String>| name.is_some_and(|name| TOLD_BY_COLOR.contains(&name.as_str()));
    let width = |column: usize| lines.iter().map(|line| line[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let mut text = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let is_status =
                (number > 0 && is_told(lines[0].get(column))) || (column == 1 && is_told(line.first()));
            // The blanks behind it are those of the text that is seen.
            let blanks = " ".repeat(width - cell.width());
            text.push_str(&if color && is_status { painted(cell) } else { cell.clone() });
            text.push_str(&blanks);
            text.push_str("   ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// A cell with its first word in colour.
fn painted(cell: &str) -> String {
    let (word, rest) = cell.split_at(cell.find([' ', ',']).unwrap_or(cell.len()));
    Severity::of(word).paint(word) + rest
}
