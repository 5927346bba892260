//! What a Pod needs next: one pure function and its numbered invariants. No IO, no clock, no random.
