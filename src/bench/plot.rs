//! A picture: latency by percentile, throughput and p99 over time, as SVG.

use std::fmt::Write;

use super::compare::Compared;
use super::outcome::{Outcome, micros};
use super::run::Run;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 320.0;
/// Left, right, top and bottom of the plot of a panel.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 45.0;
const COLORS: [&str; 2] = ["#0b6", "#c33"];
/// The last percentile drawn is that of one request in this many.
const TAIL: f64 = 10_000.0;

/// A line to draw.
struct Line {
    color: &'static str,
    points: Vec<(f64, f64)>,
}

/// An axis from `from` to `to`, by logarithm or evenly.
struct Axis {
    from: f64,
    to: f64,
    log: bool,
    /// Values with what is written at them.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Where a value lies between 0 and 1.
    fn place(&self, value: f64) -> f64 {
        let (from, to, value) = match self.log {
            true => (self.from.ln(), self.to.ln(), value.max(self.from).ln()),
            false => (self.from, self.to, value),
        };
        ((value - from) / (to - from)).clamp(0.0, 1.0)
    }

    /// By powers of ten around values that are all positive.
    fn powers(values: impl Iterator<Item = f64>) -> Axis {
        let (from, to) = values
            .filter(|value| *value > 0.0)
            .fold((f64::MAX, 1.0), |(low, high), value| (value.min(low), value.max(high)));
        let from = from.min(to).log10().floor() as i32;
        let to = (to.log10().ceil() as i32).max(from + 1);
        let ticks = (from..=to).map(|power| (10f64.powi(power), latency(10f64.powi(power))));
        Axis { from: 10f64.powi(from), to: 10f64.powi(to), log: true, ticks: ticks.collect() }
    }

    /// From 0 to a round number above all values.
    fn even(values: impl Iterator<Item = f64>) -> Axis {
        let to = values.fold(0.0, f64::max).max(1e-9);
        let unit = 10f64.powf(to.log10().floor());
        let step = [0.2, 0.5, 1.0, 2.0].map(|part| part * unit);
        let step = step.into_iter().find(|step| to / step <= 6.0).unwrap_or(unit * 2.0);
        let count = (to / step).ceil().max(1.0) as usize;
        let ticks: Vec<_> =
            (0..=count).map(|at| at as f64 * step).map(|at| (at, short(at))).collect();
        Axis { from: 0.0, to: count as f64 * step, log: false, ticks }
    }

    /// Percentiles, each nine as wide as the one before.
    fn percentiles() -> Axis {
        let ticks = [(1.0, "0"), (2.0, "50 %"), (10.0, "90 %"), (100.0, "99 %")]
            .into_iter()
            .chain([(1000.0, "99.9 %"), (TAIL, "99.99 %")])
            .map(|(at, text)| (at, text.to_string()));
        Axis { from: 1.0, to: TAIL, log: true, ticks: ticks.collect() }
    }
}

/// The picture of one run.
pub fn of_run(run: &Run) -> String {
    let name = super::report::title(&run.settings);
    picture(&name, &[("", vec![&run.outcome])])
}

/// The picture of a comparison: all runs of each side in one colour.
pub fn of_compared(compared: &Compared) -> String {
    let settings = &compared.runs[0][0].settings;
    let sides: Vec<(&str, Vec<&Outcome>)> = compared
        .comparison
        .targets
        .iter()
        .zip(&compared.runs)
        .map(|(target, runs)| {
            (target.name.as_str(), runs.iter().map(|run| &run.outcome).collect::<Vec<_>>())
        })
        .collect();
    picture(&super::report::title(settings), &sides)
}

fn picture(title: &str, sides: &[(&str, Vec<&Outcome>)]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        height = HEIGHT * 3.0
    );
    let lines = |points: fn(&Outcome) -> Vec<(f64, f64)>| -> Vec<Line> {
        let sides = sides.iter().zip(COLORS);
        sides
            .flat_map(|((_, runs), color)| {
                runs.iter().map(move |run| Line { color, points: points(run) })
            })
            .collect()
    };
    let latency = lines(by_percentile);
    let rate = lines(rate_over_time);
    let p99 = lines(p99_over_time);
    let values = |lines: &[Line]| -> Vec<f64> {
        lines.iter().flat_map(|line| line.points.iter().map(|point| point.1)).collect()
    };
    let times = || {
        let ends = rate.iter().filter_map(|line| line.points.last());
        Axis::even(ends.map(|point| point.0).collect::<Vec<_>>().into_iter())
    };
    let y = Axis::powers(values(&latency).into_iter());
    panel(&mut svg, 0, &format!("{title}: latency"), (&Axis::percentiles(), &y), &latency);
    let y = Axis::even(values(&rate).into_iter());
    panel(&mut svg, 1, "messages a second over time (s)", (&times(), &y), &rate);
    let y = Axis::powers(values(&p99).into_iter());
    panel(&mut svg, 2, "p99 latency over time (s)", (&times(), &y), &p99);
    legend(&mut svg, sides);
    svg.push_str("</svg>\n");
    svg
}

/// Latency in microseconds at 1/(1 - quantile).
fn by_percentile(outcome: &Outcome) -> Vec<(f64, f64)> {
    if outcome.latency.is_empty() {
        return Vec::new();
    }
    let steps = 100;
    (0..=steps)
        .map(|step| TAIL.powf(f64::from(step) / f64::from(steps)))
        .map(|at| (at, outcome.micros(1.0 - 1.0 / at)))
        .collect()
}

fn rate_over_time(outcome: &Outcome) -> Vec<(f64, f64)> {
    let seconds = outcome.window_ns as f64 / 1e9;
    let windows = outcome.whole_windows().iter().enumerate();
    windows.map(|(at, w)| ((at as f64 + 0.5) * seconds, w.messages as f64 / seconds)).collect()
}

fn p99_over_time(outcome: &Outcome) -> Vec<(f64, f64)> {
    let seconds = outcome.window_ns as f64 / 1e9;
    let windows = outcome.whole_windows().iter().enumerate();
    windows
        .filter(|(_, window)| !window.latency.is_empty())
        .map(|(at, window)| ((at as f64 + 0.5) * seconds, micros(&window.latency, 0.99)))
        .collect()
}

/// Panel `number` from the top.
fn panel(svg: &mut String, number: usize, title: &str, axes: (&Axis, &Axis), lines: &[Line]) {
    let (x_axis, y_axis) = axes;
    let top = number as f64 * HEIGHT + TOP;
    let bottom = (number + 1) as f64 * HEIGHT - BOTTOM;
    let x = |value| LEFT + x_axis.place(value) * (WIDTH - LEFT - RIGHT);
    let y = |value| bottom - y_axis.place(value) * (bottom - top);
    text(svg, (LEFT, top - 10.0), "start", title);
    for (value, label) in &x_axis.ticks {
        let at = x(*value);
        grid(svg, (at, top), (at, bottom));
        text(svg, (at, bottom + 18.0), "middle", label);
    }
    for (value, label) in &y_axis.ticks {
        let at = y(*value);
        grid(svg, (LEFT, at), (WIDTH - RIGHT, at));
        text(svg, (LEFT - 6.0, at + 4.0), "end", label);
    }
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let points: Vec<String> = line
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let (color, points) = (line.color, points.join(" "));
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\" points=\"{points}\"/>"
        );
    }
}

fn grid(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, text: &str) {
    let (x, y) = at;
    let text = escaped(text);
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

fn legend(svg: &mut String, sides: &[(&str, Vec<&Outcome>)]) {
    for (index, ((name, _), color)) in sides.iter().zip(COLORS).enumerate() {
        if !name.is_empty() {
            let (x, name) = (WIDTH - RIGHT - 120.0 * (index + 1) as f64, escaped(name));
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"20\" fill=\"{color}\" font-weight=\"bold\">{name}</text>"
            );
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Microseconds in a fitting unit.
fn latency(micros: f64) -> String {
    match micros {
        large if large >= 1e6 => format!("{} s", large / 1e6),
        middle if middle >= 1e3 => format!("{} ms", middle / 1e3),
        small => format!("{small} us"),
    }
}

fn short(value: f64) -> String {
    match value {
        large if large >= 1e6 => format!("{:.1}M", large / 1e6),
        middle if middle >= 1e3 => format!("{:.0}k", middle / 1e3),
        small if small.fract() == 0.0 => format!("{small:.0}"),
        small => format!("{small:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tag closed in order, every attribute quoted, no bare `<` or `&` in text.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        let mut rest = svg;
        while let Some(start) = rest.find('<') {
            let text = ["&lt;", "&gt;", "&amp;"]
                .iter()
                .fold(rest[..start].to_string(), |text, known| text.replace(known, ""));
            assert!(!text.contains(['&', '>']), "{text}");
            let end = start + rest[start..].find('>').expect("a tag without end");
            let tag = &rest[start + 1..end];
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "{tag}");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    }

    fn outcome() -> Outcome {
        let mut outcome = Outcome::new(10.0, 1).unwrap();
        outcome.seconds = 3.0;
        for latency in 1..100_000u64 {
            outcome.latency.saturating_record(latency * 100);
            let window = outcome.window(latency * 29_000).unwrap();
            window.messages += 1;
            window.latency.saturating_record(latency * 100);
        }
        outcome
    }

    #[test]
    fn a_picture_is_well_formed_and_has_a_line_for_each_run() {
        let one = outcome();
        let svg = picture("a <b> & c", &[("x&y", vec![&one, &one]), ("B", vec![&one])]);
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<polyline").count(), 9);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_run_without_anything_still_gives_a_picture() {
        let empty = Outcome::new(1.0, 1).unwrap();
        let svg = picture("empty", &[("", vec![&empty])]);
        assert_well_formed(&svg);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn axes_hold_all_values() {
        let axis = Axis::even([3.0, 47.0].into_iter());
        assert_eq!((axis.to, axis.ticks.len()), (50.0, 6));
        let axis = Axis::powers([30.0, 4700.0].into_iter());
        assert_eq!((axis.from, axis.to), (10.0, 10_000.0));
        assert_eq!(axis.ticks[1].1, "100 us");
        assert!((axis.place(100.0) - 1.0 / 3.0).abs() < 1e-9);
    }
}
