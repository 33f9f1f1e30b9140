//! A record for tests: as a real run left it in a file, shortened.

use crate::record::Record;

/// What `testdata/record-1.jsonl` holds: a record of format 1.
pub(crate) const LINE: &str = include_str!("../testdata/record-1.jsonl");

/// The same, read.
pub(crate) fn record() -> Record {
    serde_json::from_str(LINE).expect("the example is a record")
}
