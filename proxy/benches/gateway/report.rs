//! The table that is printed, with the target beside each figure.

use std::fmt;

/// Rows in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, String, String)>,
}

impl Table {
    pub(crate) fn row(&mut self, what: String, figure: String) {
        self.rows.push((what, figure, String::new()));
    }

    pub(crate) fn ratio(&mut self, what: &str, ratio: f64, most: f64) {
        self.rows.push((what.to_owned(), format!("{ratio:.2}"), target(most)));
    }

    pub(crate) fn limit(&mut self, what: &str, figure: f64, most: f64) {
        self.rows.push((what.to_owned(), format!("{figure:.1}"), target(most)));
    }
}

fn target(most: f64) -> String {
    if most.is_finite() { format!("≤ {most}") } else { String::new() }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| what | figure | target |\n|---|---|---|")?;
        for (what, figure, target) in &self.rows {
            writeln!(formatter, "| {what} | {figure} | {target} |")?;
        }
        Ok(())
    }
}

/// The least value: what others did on the machine meanwhile only ever adds.
pub(crate) fn best(values: &[f64]) -> f64 {
    values.iter().copied().min_by(f64::total_cmp).unwrap_or(f64::NAN)
}
