//! What stories of runs have in common: a small scenario that has nearly everything, and how a run has to end.

use std::path::Path;
use std::process::Output;

use super::Defect;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cinnabar-loadgen");

/// Nearly everything that may happen, to some sixty subscribers.
pub(crate) const SMALL: &str = include_str!("small.toml");

/// What a run says of each planted defect.
pub(crate) const CAUGHT: [(Defect, &str); 8] = [
    (Defect::Loss, "with gaps"),
    (Defect::LossAtReturn, "with gaps"),
    (Defect::Repeat, "with repeats"),
    (Defect::Disorder, "with repeats, disorder"),
    (Defect::Foreign, "topics they didn't ask for"),
    (Defect::Torn, "torn"),
    (Defect::Close, "closed by the server"),
    (Defect::CloseWithHead, "closed by the server"),
];

/// A sound stand-in passes, and each planted defect is caught.
pub(crate) fn judges(run: impl Fn(Defect) -> Output) {
    held(&run(Defect::None));
    for (defect, words) in CAUGHT {
        let output = run(defect);
        assert_eq!(output.status.code(), Some(1), "{defect:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{defect:?}: {}", said(&output));
    }
}

/// A scenario's file.
pub(crate) fn scenario(name: &str, text: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    std::fs::write(&file, text).expect("written");
    file.to_str().expect("a path").to_owned()
}

/// All that a run wrote.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Every delivery was checked, and was as it had to be.
pub(crate) fn held(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    assert!(said(output).contains("every event once, whole, in one order"), "{}", said(output));
}
