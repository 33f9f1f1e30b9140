//! Results as pages: one file each, with nothing from elsewhere, readable without its script and on paper.
//!
//! `page` is the frame, `run` and `pair` say what stands on it, `charts` turns samples into lines, `chart` draws them
//! on the axes of `scale`. All text goes through `text::escaped`.

mod chart;
mod charts;
mod page;
mod pair;
mod run;
mod scale;
mod tables;
mod text;
#[cfg(test)]
mod wellformed;

pub(crate) use pair::of_pair;
pub(crate) use run::of_run;
