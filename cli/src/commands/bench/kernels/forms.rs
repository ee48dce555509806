//! The forms of requantization.

use serde::Serialize;
use ylb_kernels::synthetic::RequantizeStrip;

use super::seconds;
use crate::output::{Align, Table, millions};
use crate::requantization::Requantization;
use crate::text;

/// A form of requantization on an example.
#[derive(Debug, Serialize)]
pub struct TimedForm {
    form: &'static str,
    example: &'static str,
    /// `null` for what a convolution's micro-kernel does itself.
    kernel: Option<&'static str>,
    ns_per_level: Option<f64>,
    /// Layers of the model that take the form, whatever the example; `null` without a model, and in further rows of a form.
    layers: Option<usize>,
    /// Levels of a picture that they make.
    levels: Option<u64>,
}

/// Times every form.
pub fn timed_forms(model: Option<&Requantization>) -> Vec<TimedForm> {
    let mut forms: Vec<TimedForm> = Vec::new();
    for mut strip in RequantizeStrip::all() {
        let ns_per_level = 1e9 * seconds(|| strip.run()) / strip.levels() as f64;
        let first = forms.iter().all(|other| other.form != strip.form());
        let total = model.filter(|_| first).map(|model| {
            let own = model.by_form.iter().find(|total| total.form == strip.form());
            own.map_or((0, 0), |total| (total.layers, total.levels))
        });
        forms.push(TimedForm {
            form: strip.form(),
            example: strip.example,
            kernel: Some(strip.kernel()),
            ns_per_level: Some(ns_per_level),
            layers: total.map(|(layers, _)| layers),
            levels: total.map(|(_, levels)| levels),
        });
    }
    for total in model.iter().flat_map(|model| &model.by_form) {
        if forms.iter().all(|other| other.form != total.form) {
            forms.push(TimedForm {
                form: total.form,
                example: "in the micro-kernel of the convolution",
                kernel: None,
                ns_per_level: None,
                layers: Some(total.layers),
                levels: Some(total.levels),
            });
        }
    }
    forms
}

/// The forms in text, with columns for the model if there is one.
pub fn forms_table(forms: &[TimedForm], model: Option<&str>) -> String {
    let mut titles = vec![("form", Align::Left), ("example", Align::Left), ("ns a level", Align::Right)];
    if model.is_some() {
        titles.extend([("layers", Align::Right), ("levels", Align::Right)]);
    }
    titles.push(("kernel", Align::Left));
    let mut table = Table::new(&titles);
    for form in forms {
        let mut row = vec![form.form.to_owned(), form.example.to_owned()];
        row.push(form.ns_per_level.map(|ns| format!("{ns:.3}")).unwrap_or_default());
        if model.is_some() {
            row.push(form.layers.map(|layers| layers.to_string()).unwrap_or_default());
            row.push(form.levels.map(millions).unwrap_or_default());
        }
        row.push(form.kernel.unwrap_or_default().to_owned());
        table.row(row);
    }
    let of_model =
        model.map(|model| format!(" Layers and levels of {}.", text::line(model))).unwrap_or_default();
    format!(
        "Requantization, from accumulators to levels, by form: 32 pixels of 64 channels.{of_model}\n\n{table}"
    )
}
