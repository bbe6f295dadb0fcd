//! Two brokers alternated, and their ratios with spread.

use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

use super::figures::figures;
use super::report;
use super::run::Run;
use super::settings::{Comparison, Settings};
use crate::base::Result;

/// Before a run what the last one wrote may reach the disk: until less than this is to be written,
/// or for this long.
const DIRTY_KIB: u64 = 64 * 1024;
const SETTLE: Duration = Duration::from_secs(5);

/// One figure on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub key: &'static str,
    pub title: &'static str,
    /// Medians.
    pub a: f64,
    pub b: f64,
    /// Median, smallest and largest of A/B over the pairs; none when B is 0.
    pub ratio: Option<[f64; 3]>,
}

/// All pairs and what they come to.
pub struct Compared {
    pub comparison: Comparison,
    /// Runs of A and B, in the order of the pairs.
    pub runs: [Vec<Run>; 2],
    pub rows: Vec<Row>,
    /// Pairs that other load disturbed: left out of the rows unless all were.
    pub disturbed: usize,
}

/// Runs A B, B A, A B, … and, for pairs that were disturbed, as many again at most. `progress` is
/// told of every run.
pub fn compare(
    settings: &Settings,
    comparison: &Comparison,
    mut progress: impl FnMut(&str, &Run),
) -> Result<Compared> {
    let mut runs = [Vec::new(), Vec::new()];
    let mut good = 0;
    for pair in 0..comparison.pairs * 2 {
        if good == comparison.pairs {
            break;
        }
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let target = &comparison.targets[side];
            let run = run(settings, target.broker, target.pid)?;
            progress(&target.name, &run);
            runs[side].push(run);
        }
        good += usize::from(!is_disturbed(&runs, pair));
    }
    let disturbed = runs[0].len() - good;
    let counted: Vec<usize> =
        (0..runs[0].len()).filter(|pair| good == 0 || !is_disturbed(&runs, *pair)).collect();
    let rows = rows(&runs, &counted);
    Ok(Compared { comparison: comparison.clone(), runs, rows, disturbed })
}

fn run(settings: &Settings, broker: std::net::SocketAddr, pid: Option<u32>) -> Result<Run> {
    settle();
    let settings = Settings { broker, pid, comparison: None, ..settings.clone() };
    let run = Run::new(&settings)?;
    match run.failure() {
        // Refusals are a result, and stand in the table.
        Some(crate::base::Error::Refused { .. }) | None => Ok(run),
        Some(error) => Err(error),
    }
}

fn is_disturbed(runs: &[Vec<Run>; 2], pair: usize) -> bool {
    runs.iter().any(|side| side[pair].disturbed())
}

/// Waits until little is left to be written to the disk.
fn settle() {
    let end = Instant::now() + SETTLE;
    while Instant::now() < end && dirty_kib() > DIRTY_KIB {
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn dirty_kib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("Dirty:").or_else(|| line.strip_prefix("Writeback:"))?;
            rest.trim().trim_end_matches(" kB").parse::<u64>().ok()
        })
        .sum()
}

fn rows(runs: &[Vec<Run>; 2], counted: &[usize]) -> Vec<Row> {
    let sides = [0, 1]
        .map(|side| counted.iter().map(|pair| figures(&runs[side][*pair])).collect::<Vec<_>>());
    let Some(first) = sides[0].first() else { return Vec::new() };
    first
        .iter()
        .enumerate()
        .filter(|(_, figure)| !figure.title.is_empty())
        .filter_map(|(index, figure)| {
            let value = |side: usize, pair: usize| sides[side][pair][index].value;
            let pairs: Option<Vec<[f64; 2]>> =
                (0..counted.len()).map(|pair| Some([value(0, pair)?, value(1, pair)?])).collect();
            Row::of(figure.key, figure.title, &pairs?)
        })
        .collect()
}

impl Row {
    /// From the values of A and B in each pair.
    fn of(key: &'static str, title: &'static str, pairs: &[[f64; 2]]) -> Option<Row> {
        let side = |side: usize| median(pairs.iter().map(|pair| pair[side]).collect());
        let ratios: Vec<f64> =
            pairs.iter().filter(|[_, b]| *b != 0.0).map(|[a, b]| a / b).collect();
        let smallest = ratios.iter().copied().reduce(f64::min);
        let largest = ratios.iter().copied().reduce(f64::max);
        let ratio = match (median(ratios), smallest, largest) {
            (Some(median), Some(smallest), Some(largest)) => Some([median, smallest, largest]),
            _ => None,
        };
        Some(Row { key, title, a: side(0)?, b: side(1)?, ratio })
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

impl Compared {
    /// A table for a person.
    pub fn text(&self, settings: &Settings) -> String {
        let [a, b] = self.comparison.targets.each_ref().map(|target| target.name.as_str());
        let mut lines = vec![
            format!("{}: {} pairs, {}", report::title(settings), self.runs[0].len(), self.state()),
            format!("{:<22}{a:>14}{b:>14}  {:>8}  (spread over pairs)", "", format!("{a}/{b}")),
        ];
        for row in &self.rows {
            let ratio = match row.ratio {
                Some([ratio, smallest, largest]) => {
                    format!("{ratio:>8.3}  ({smallest:.3} to {largest:.3})")
                }
                None => String::new(),
            };
            let (a, b) = (short(row.a), short(row.b));
            lines.push(format!("{:<22}{a:>14}{b:>14}  {ratio}", row.title).trim_end().to_string());
        }
        lines.join("\n")
    }

    fn state(&self) -> String {
        match self.disturbed {
            0 => "none disturbed".to_string(),
            all if all == self.runs[0].len() => "ALL DISTURBED by other load".to_string(),
            some => format!("{some} DISTURBED by other load and left out"),
        }
    }

    /// Everything as one JSON object.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(row_json).collect();
        let sides = self.comparison.targets.iter().zip(&self.runs);
        let sides: Vec<Value> = sides
            .map(|(target, runs)| {
                let runs: Vec<Value> = runs.iter().map(report::json).collect();
                json!({ "name": target.name, "runs": runs })
            })
            .collect();
        json!({
            "pairs": self.runs[0].len(),
            "disturbedPairs": self.disturbed,
            "rows": rows,
            "sides": sides,
        })
    }
}

fn row_json(row: &Row) -> Value {
    json!({
        "figure": row.key,
        "title": row.title,
        "a": row.a,
        "b": row.b,
        "ratio": row.ratio.map(|ratio| ratio[0]),
        "min": row.ratio.map(|ratio| ratio[1]),
        "max": row.ratio.map(|ratio| ratio[2]),
    })
}

/// A number with about four digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_over_pairs_not_of_medians() {
        let pairs = [[10.0, 1.0], [20.0, 10.0], [90.0, 30.0]];
        let row = Row::of("k", "t", &pairs).unwrap();
        assert_eq!((row.a, row.b), (20.0, 10.0));
        assert_eq!(row.ratio, Some([3.0, 2.0, 10.0]));
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let row = Row::of("k", "t", &[[1.0, 0.0], [3.0, 0.0]]).unwrap();
        assert_eq!((row.a, row.b, row.ratio), (2.0, 0.0, None));
        assert_eq!(Row::of("k", "t", &[]), None);
    }

    #[test]
    fn medians_of_even_and_odd() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
        assert_eq!(
            (short(1234.5), short(2.345), short(0.01234)),
            ("1234".into(), "2.35".into(), "0.0123".into())
        );
    }
}
