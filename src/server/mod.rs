//! The I/O shell: monoio shards, the sequencer thread, sending, signals.
