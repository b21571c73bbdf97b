//! Tables of text. Pure.

/// A table: its head, then its rows, all with the same number of cells. The first `left` cells of each row
/// are aligned to the left, the others to the right.
#[derive(Debug)]
pub struct Table {
    pub left: usize,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(left: usize, head: &[&str]) -> Self {
        Self { left, rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// Its lines, of which there are at most `max`; a last one says how many rows are left out.
    pub fn lines(&self, max: usize) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                match column < self.left {
                    true => format!("{cell:<width$}"),
                    false => format!("{cell:>width$}"),
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines: Vec<_> = self.rows.iter().map(line).collect();
        if lines.len() > max {
            let shown = max.saturating_sub(1);
            let left_out = lines.len() - shown;
            lines.truncate(shown);
            if max > 0 {
                lines.push(format!("and {left_out} more"));
            }
        }
        lines
    }
}

/// The beginning of a line, with at most this many characters.
pub fn cut(line: &str, columns: usize) -> String {
    line.chars().take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_rows_left_out_are_counted() {
        let mut table = Table::new(1, &["NAME", "N"]);
        for (name, number) in [("a", "1"), ("long name", "22"), ("\u{e9}", "3")] {
            table.rows.push(vec![name.to_owned(), number.to_owned()]);
        }
        let lines = table.lines(9);
        assert_eq!(lines[0], "NAME        N");
        assert_eq!(lines[2], "long name  22");
        assert_eq!(lines[3], "\u{e9}           3");
        assert_eq!(table.lines(3), ["NAME        N", "a           1", "and 2 more"]);
        assert_eq!(table.lines(0), Vec::<String>::new());
        assert_eq!(cut("a\u{e9}bc", 2), "a\u{e9}");
    }
}
