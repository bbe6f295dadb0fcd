//! Output in columns as RocketMQ's tools print it, and the values that stand in them.

use crate::base::clock;

/// How one column is filled.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Left-aligned, at least so wide.
    Left(usize),
    /// Right-aligned, at least so wide.
    Right(usize),
    /// As long as it is.
    Free,
}

/// A row: each cell in its column, `gap` blanks (one entry a gap) between neighbours.
pub fn row(columns: &[Column], gaps: &[usize], cells: &[&str]) -> String {
    let mut text = String::new();
    for (index, (column, cell)) in columns.iter().zip(cells).enumerate() {
        if index > 0 {
            text.extend(std::iter::repeat_n(' ', gaps[index - 1]));
        }
        match column {
            Column::Left(width) => text.push_str(&format!("{cell:<width$}")),
            Column::Right(width) => text.push_str(&format!("{cell:>width$}")),
            Column::Free => text.push_str(cell),
        }
    }
    text
}

/// At most the first `max` characters.
pub fn cut(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(at, _)| &text[..at])
}

/// `yyyy-MM-dd HH:mm:ss,SSS` in local time.
pub fn human_time(ms: i64) -> String {
    let time = clock::local_time(ms);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03}",
        time.year, time.month, time.day, time.hour, time.minute, time.second, time.millisecond
    )
}

/// The three letters of a topic permission.
pub fn permission(perm: i32) -> String {
    let letter = |bit: i32, letter: char| if perm & bit != 0 { letter } else { '-' };
    [letter(4, 'R'), letter(2, 'W'), letter(1, 'X')].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_in_their_columns() {
        let columns = [Column::Left(4), Column::Right(5), Column::Free];
        assert_eq!(row(&columns, &[2, 1], &["ab", "12", "end"]), "ab       12 end");
        assert_eq!(row(&columns, &[2, 1], &["abcdef", "1", ""]), "abcdef      1 ");
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("äbc", 2), "äb");
    }

    #[test]
    fn permissions_are_three_letters() {
        assert_eq!(permission(6), "RW-");
        assert_eq!(permission(7), "RWX");
        assert_eq!(permission(2), "-W-");
    }
}
