//! `cinnabar-loadgen report RUN.json`: a record that was kept, shown again.

use std::path::PathBuf;

use clap::Args;

use crate::{archive, html, markdown, output, table};

/// Show a run that was kept with --json
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The file of records; its last run is shown
    file: PathBuf,
    /// Show this run of the file instead, counted from 1
    #[arg(long, value_name = "N")]
    run: Option<usize>,
    /// Write the run as a page with charts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print a table in Markdown
    #[arg(long)]
    markdown: bool,
}

impl Show {
    /// Reads it and shows it.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let record = archive::open(&self.file, self.run)?;
        if let Some(path) = &self.html {
            output::write_page(&html::of_run(&record), path)?;
        }
        print!("{}", if self.markdown { markdown::of_run(&record) } else { table::of(&record) });
        Ok(())
    }
}
