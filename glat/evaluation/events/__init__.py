"""When does what sound: PSDS, event-based and segment-based F1 of frames, of crops and of both."""
