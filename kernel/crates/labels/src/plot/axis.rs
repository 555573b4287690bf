//! Owns axes: ticks at round numbers or dates, and their drawing.

use std::{fmt::Write as _, sync::Arc};

use crate::{
    calendar::{Calendar, DAY},
    html::escape,
    plot::Frame,
};

/// How positions along an axis are written.
#[derive(Clone, Debug)]
pub(crate) enum Scale {
    Number,
    /// Positions are decimal logarithms.
    Log,
    /// Microseconds of a calendar.
    Time(Calendar),
    /// Positions count the names.
    Text(Arc<[String]>),
}

/// About as many ticks as this.
const TICKS: f64 = 6.0;

impl Scale {
    /// Ticks between two positions, with their text.
    pub(crate) fn ticks(&self, low: f64, high: f64) -> Vec<(f64, String)> {
        if !(low.is_finite() && high.is_finite()) || low > high {
            return Vec::new();
        }
        match self {
            Scale::Number => numbers(low, high),
            Scale::Log => logarithms(low, high),
            Scale::Time(calendar) => times(*calendar, low, high),
            Scale::Text(names) => {
                let step = names.len().div_ceil(12).max(1);
                let within = |i: &usize| (low..=high).contains(&(*i as f64));
                (0..names.len()).step_by(step).filter(within).map(|i| (i as f64, names[i].clone())).collect()
            }
        }
    }
}

fn numbers(low: f64, high: f64) -> Vec<(f64, String)> {
    if low == high {
        return vec![(low, crate::format::float(low, 4))];
    }
    let raw = (high - low) / TICKS;
    let power = 10f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= raw).unwrap_or(raw);
    let decimals = if step >= 1.0 {
        usize::from(step.fract() > 1e-6)
    } else {
        (-step.log10()).ceil().clamp(0.0, 12.0) as usize + usize::from((step / power - 2.5).abs() < 1e-9)
    };
    let scientific = low.abs().max(high.abs()) >= 1e6 || step < 1e-5;
    let first = (low / step).ceil();
    (0..20)
        .map(|i| (first + f64::from(i)) * step)
        .take_while(|x| *x <= high + step * 1e-9)
        .map(|x| {
            let x = if x.abs() < step * 1e-9 { 0.0 } else { x };
            (x, if scientific { format!("{x:.3e}") } else { format!("{x:.decimals$}") })
        })
        .collect()
}

/// At powers of ten, and at twice and five times these where there are few.
fn logarithms(low: f64, high: f64) -> Vec<(f64, String)> {
    let step = ((high - low) / 8.0).ceil().max(1.0);
    let factors: &[f64] = if high - low < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let first = (low / step).floor();
    let powers = (0..20).map(|i| (first + f64::from(i)) * step).take_while(|power| *power <= high);
    let places =
        powers.flat_map(|power| factors.iter().map(move |factor| (power + factor.log10(), factor, power)));
    let inside = places.filter(|(at, ..)| (low - 1e-9..=high + 1e-9).contains(at));
    let text = |factor: f64, power: f64| {
        if (-4.0..6.0).contains(&power) {
            crate::format::float(factor * 10f64.powf(power), 4).trim_end_matches(".0").to_owned()
        } else {
            format!("{factor}e{power}")
        }
    };
    inside.map(|(at, &factor, power)| (at, text(factor, power))).collect()
}

/// At the starts of years, months, days or hours.
fn times(calendar: Calendar, low: f64, high: f64) -> Vec<(f64, String)> {
    let (a, b) = (low as i64, high as i64);
    let days = (high - low) / DAY as f64;
    let start = calendar.split(a);
    let tick = |t: i64, text: String| (t as f64, text);
    let mut out = Vec::new();
    if days > 365.0 * 3.0 {
        let step = round_step(days / 365.25 / TICKS);
        let mut year = start.year.div_euclid(step) * step;
        while out.len() < 20 {
            let t = calendar.days(year, 1, 1).saturating_mul(DAY);
            if t > b {
                break;
            }
            if t >= a {
                out.push(tick(t, format!("{year:04}")));
            }
            year += step;
        }
    } else if days > 80.0 {
        let step = [1, 2, 3, 6].into_iter().find(|s| days / 30.4 / f64::from(*s) <= TICKS + 1.0).unwrap_or(6);
        let mut month = start.year * 12 + (start.month - 1) / i64::from(step) * i64::from(step);
        while out.len() < 20 {
            let (year, of_year) = (month.div_euclid(12), month.rem_euclid(12) + 1);
            let t = calendar.days(year, of_year, 1).saturating_mul(DAY);
            if t > b {
                break;
            }
            if t >= a {
                out.push(tick(t, format!("{year:04}-{of_year:02}")));
            }
            month += i64::from(step);
        }
    } else {
        let steps = [
            60_000_000,
            600_000_000,
            3_600_000_000,
            3 * 3_600_000_000,
            6 * 3_600_000_000,
            DAY / 2,
            DAY,
            2 * DAY,
            5 * DAY,
            10 * DAY,
            20 * DAY,
        ];
        let step = steps.into_iter().find(|s| (high - low) / *s as f64 <= TICKS + 1.0).unwrap_or(20 * DAY);
        let mut t = a.div_euclid(step) * step;
        while t <= b && out.len() < 20 {
            if t >= a {
                let when = calendar.split(t);
                let text = if step >= DAY {
                    format!("{:04}-{:02}-{:02}", when.year, when.month, when.day)
                } else {
                    format!("{:02}-{:02} {:02}:{:02}", when.month, when.day, when.hour, when.minute)
                };
                out.push(tick(t, text));
            }
            t += step;
        }
    }
    out
}

fn round_step(raw: f64) -> i64 {
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]
        .into_iter()
        .find(|&s| s as f64 >= raw)
        .unwrap_or(20_000)
}

/// Places along a frame's side, from 0 to 1, with their text.
pub(crate) type Places = Vec<(f64, String)>;

/// The frame, ticks below and to the left, and the titles of both axes.
pub(crate) fn draw(svg: &mut String, frame: Frame, x: &Places, x_title: &str, y: &Places, y_title: &str) {
    let Frame { left, top, width, height } = frame;
    let bottom = top + height;
    let _ = write!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#444\"/>"
    );
    for (at, text) in x {
        let px = left + at * width;
        let _ = write!(
            svg,
            "<path d=\"M{px:.1} {bottom:.1}v4\" stroke=\"#444\"/><text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            escape(text)
        );
    }
    for (at, text) in y {
        let py = bottom - at * height;
        let _ = write!(
            svg,
            "<path d=\"M{left:.1} {py:.1}h-4\" stroke=\"#444\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 7.0,
            py + 4.0,
            escape(text)
        );
    }
    let (cx, cy) = (left + width / 2.0, top + height / 2.0);
    let _ = write!(
        svg,
        "<text x=\"{cx:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate({:.0} {cy:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        bottom + 36.0,
        escape(x_title),
        left - 60.0,
        escape(y_title)
    );
}

/// Which of its axes a panel has written on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edges {
    pub(crate) left: bool,
    pub(crate) bottom: bool,
    /// Whether another panel stands to the right, into which what is written below must not reach.
    pub(crate) is_followed: bool,
}

impl Edges {
    pub(crate) const BOTH: Self = Self { left: true, bottom: true, is_followed: false };

    /// [`draw`] with ticks and titles at these edges, and no more ticks than there is room for.
    pub(crate) fn draw(self, svg: &mut String, frame: Frame, x: (&Places, &str), y: (&Places, &str)) {
        let (none, width) = (Places::new(), frame.width);
        let letters = x.0.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
        let most = (width / (letters as f64 * 6.2 + 10.0)).floor().max(1.0) as usize;
        let fewer = |ticks: &Places, most: usize| -> Places {
            ticks.iter().step_by(ticks.len().div_ceil(most).max(1)).cloned().collect()
        };
        let mut x_ticks = if self.bottom { fewer(x.0, most) } else { none.clone() };
        if self.is_followed {
            x_ticks.retain(|(at, text)| at * width + text.chars().count() as f64 * 3.1 < width + 4.0);
        }
        let y_ticks = if self.left { fewer(y.0, (frame.height / 14.0).max(1.0) as usize) } else { none };
        draw(
            svg,
            frame,
            &x_ticks,
            if self.bottom { x.1 } else { "" },
            &y_ticks,
            if self.left { y.1 } else { "" },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = Scale::Number.ticks(-1.3, 7.9);
        assert_eq!(ticks.iter().map(|t| t.1.as_str()).collect::<Vec<_>>(), ["0", "2", "4", "6"]);
        let halves = Scale::Number.ticks(-4.0, 8.5);
        assert_eq!(
            halves.iter().map(|t| t.1.as_str()).collect::<Vec<_>>(),
            ["-2.5", "0.0", "2.5", "5.0", "7.5"]
        );
        let ticks = Scale::Number.ticks(0.0, 0.011);
        assert!(ticks.iter().all(|(x, text)| (text.parse::<f64>().unwrap() - x).abs() < 1e-12), "{ticks:?}");
    }

    #[test]
    fn logarithms_tick_at_powers_of_ten() {
        let text = |low, high| logarithms(low, high).into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(text(-0.1, 1.0), ["1", "2", "5", "10"]);
        assert_eq!(text(0.0, 7.0).len(), 8);
    }

    #[test]
    fn times_tick_at_years_months_and_hours() {
        let calendar = Calendar::NoLeap;
        let at = |year: i64, month: i64| (calendar.days(year, month, 1) * DAY) as f64;
        let text =
            |low, high| Scale::Time(calendar).ticks(low, high).into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(text(at(2000, 1), at(2024, 1)), ["2000", "2005", "2010", "2015", "2020"]);
        assert_eq!(
            text(at(2000, 1), at(2000, 12)),
            ["2000-01", "2000-03", "2000-05", "2000-07", "2000-09", "2000-11"]
        );
        assert_eq!(text(0.0, DAY as f64)[1], "01-01 06:00");
    }
}
