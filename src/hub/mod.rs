//! Who gets what, in which order: log, tail, selector index, subscribers, fan-out. No sockets, clock, threads or randomness.
