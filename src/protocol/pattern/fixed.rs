//! The path segments that all URLs of a pattern have at the same place: `/:tenant/orders/17` has `orders` and `17`, whoever the
//! tenant is. What tells patterns apart that begin alike.

use url::Url;

use super::{Components, SEPARATOR, segments};

/// Segments that are looked at, from the start of the path. A topic is looked up by each choice of them that patterns make.
pub const FIXED_SEGMENTS_MAX: usize = 4;
/// Longer ones tell nothing apart.
const FIXED_SEGMENT_BYTES_MAX: usize = 64;

/// The segments of a path by their place.
pub type Segments<'a> = [Option<&'a str>; FIXED_SEGMENTS_MAX];

/// The segments that are fixed in a program, but for those that its literal prefix has already.
pub(super) fn of(program: &[u8]) -> Segments<'_> {
    let mut fixed = [None; FIXED_SEGMENTS_MAX];
    let mut components = [&[][..]; 8];
    for (component, text) in components.iter_mut().zip(program.split(|&b| b == SEPARATOR)) {
        *component = text;
    }
    let literal = |text: &[u8]| segments::literal_prefix(text).len() == text.len();
    let mut beyond_prefix =
        ![Components::PROTOCOL, Components::HOST, Components::PORT].iter().all(|&place| literal(components[place]));
    let Some(path) = components[Components::PATH].strip_prefix(b"/") else {
        return fixed;
    };
    for (place, segment) in path.split(|&b| b == b'/').enumerate().take(FIXED_SEGMENTS_MAX) {
        if literal(segment) {
            if beyond_prefix && (1..=FIXED_SEGMENT_BYTES_MAX).contains(&segment.len()) {
                fixed[place] = Some(std::str::from_utf8(segment).expect("a literal is ASCII"));
            }
        } else if segment.iter().all(|&b| b < segments::ANY || b == segments::SOME_WITHOUT_SLASH) {
            beyond_prefix = true;
        } else {
            // It may take any number of segments: what follows has no place.
            break;
        }
    }
    fixed
}

/// The segments of a URL. One without a hierarchy has none.
pub fn segments_of(url: &Url) -> Segments<'_> {
    let mut found = [None; FIXED_SEGMENTS_MAX];
    if let Some(path) = url.path().strip_prefix('/') {
        for (place, segment) in path.split('/').enumerate().take(FIXED_SEGMENTS_MAX) {
            found[place] = Some(segment).filter(|segment| segment.len() <= FIXED_SEGMENT_BYTES_MAX);
        }
    }
    found
}
