//! Engines that remember events.
